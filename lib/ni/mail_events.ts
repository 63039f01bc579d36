/**
 * Messages that the e-mail scanner saw, as events of their own: it tells of each with its `log` option.
 *
 * @module
 */

type Event = Readonly<Record<string, unknown>>;

/** A line of the mail log, when an alert is one; undefined: it is an alert. */
export function mailEvent(event: Event): Event | undefined {
  const { alert, detail, scanner, event_type: _, ...facts } = event as {
    readonly alert?: { readonly signature?: unknown };
    readonly detail?: Event;
    readonly scanner?: unknown;
    readonly event_type?: unknown;
  };
  if (scanner !== "email" || alert?.signature !== "mail") return undefined;
  const { timestamp, ...rest } = facts as Event;
  return { timestamp, event_type: "mail", ...rest, mail: detail };
}
