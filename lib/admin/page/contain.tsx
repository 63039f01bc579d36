/**
 * Ordering that a host be contained, or let go; never without a reason.
 *
 * @module
 */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { post } from "./api.ts";
import { Dialog } from "./parts.tsx";

/** What can be ordered. */
export type Verb = "slow" | "filter" | "block" | "allow";

/** What each means, in words. */
export const VERBS: Readonly<Record<Verb, string>> = {
  slow: "Slow down: few new connections a second",
  filter: "Filter: only what is named below",
  block: "Block: nothing but the administrator's channel",
  allow: "Let go: undo what was ordered",
};

const TIMES: readonly [string, number][] = [
  ["10 minutes", 600],
  ["1 hour", 3600],
  ["8 hours", 28_800],
  ["1 day", 86_400],
  ["7 days", 604_800],
];

/** The dialog. */
export function ContainDialog(
  { host, verb: first, close, done }: {
    readonly host: string;
    readonly verb: Verb;
    readonly close: () => void;
    readonly done: (text: string) => void;
  },
): JSX.Element {
  const [verb, setVerb] = useState<Verb>(first);
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const text = (name: string) => String(form.get(name) ?? "").trim();
    setBusy(true);
    try {
      const { peers } = await post<{ peers: string[] }>("orders", {
        verb,
        host: text("host"),
        lifetime: Number(text("lifetime")),
        reason: text("reason"),
        ...(verb === "slow" ? { connections: Number(text("connections")) } : {}),
        ...(verb === "filter"
          ? { destinations: text("destinations").split(/[\s,]+/).filter(Boolean) }
          : {}),
      });
      done(`Ordered: ${verb} ${text("host")} at ${peers.join(", ")}`);
      close();
    } catch (failure) {
      setError((failure as Error).message);
      setBusy(false);
    }
  };
  return (
    <Dialog title="Contain a host" close={close}>
      <form onSubmit={send}>
        <div class="fields">
          <label>
            Host
            <input name="host" required value={host} autocomplete="off" spellcheck={false} />
          </label>
          <label>
            What
            <select
              name="verb"
              value={verb}
              onChange={(e) => setVerb((e.currentTarget as HTMLSelectElement).value as Verb)}
            >
              {Object.entries(VERBS).map(([v, words]) => <option key={v} value={v}>{words}
              </option>)}
            </select>
          </label>
          {verb === "slow" && (
            <label>
              New connections a second
              <input name="connections" type="number" min="0" max="1000" value="1" required />
            </label>
          )}
          {verb === "filter" && (
            <label>
              Addresses that it may still reach
              <input name="destinations" required placeholder="192.0.2.53 192.0.2.0/28" />
            </label>
          )}
          <label>
            For how long
            <select name="lifetime">
              {TIMES.map(([words, seconds]) => (
                <option key={seconds} value={seconds} selected={seconds === 3600}>{words}</option>
              ))}
            </select>
          </label>
          <label>
            Why (everybody who looks at it will read this)
            <textarea name="reason" required minLength={3} maxLength={500} rows={2}></textarea>
          </label>
        </div>
        {error !== "" && <p class="error" role="alert">{error}</p>}
        <div class="row">
          <button type="submit" class={verb === "allow" ? "main" : "danger"} disabled={busy}>
            {verb === "allow" ? "Let go" : `Order: ${verb}`}
          </button>
          <button type="button" onClick={close}>Cancel</button>
        </div>
      </form>
    </Dialog>
  );
}
