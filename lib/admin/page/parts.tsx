/**
 * Small parts of the page.
 *
 * @module
 */
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, get } from "./api.ts";

/** A time for people, by their own clock; with milliseconds where the order of things is the point. */
export function Time(
  { at, exact }: { at: number | string | null | undefined; exact?: boolean },
): JSX.Element {
  if (at === null || at === undefined) return <span class="soft">-</span>;
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return <span>{String(at)}</span>;
  const pad = (n: number) => String(n).padStart(2, "0");
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  const second = pad(date.getSeconds()) +
    (exact === true ? `.${String(date.getMilliseconds()).padStart(3, "0")}` : "");
  const clock = `${pad(date.getHours())}:${pad(date.getMinutes())}:${second}`;
  return <time dateTime={date.toISOString()}>{`${day} ${clock}`}</time>;
}

const WORDS = ["", "grave", "warning", "notice"];

/** How grave an alert is, in a word. */
export function Severity({ severity }: { severity: number }): JSX.Element {
  return <span class={`tag s${severity}`}>{WORDS[severity] ?? severity}</span>;
}

/** What is asked for, again whenever `version` changes. */
export function useData<T>(path: string | undefined, version: unknown): {
  readonly data: T | undefined;
  readonly error: string | undefined;
} {
  const [data, setData] = useState<T>();
  const [error, setError] = useState<string>();
  useEffect(() => {
    if (path === undefined) return;
    let over = false;
    get<T>(path).then((value) => {
      if (over) return;
      setData(value);
      setError(undefined);
    }).catch((failure: Error) => {
      if (failure instanceof ApiError && failure.status === 401) return location.reload();
      if (!over) setError(failure.message);
    });
    return () => {
      over = true;
    };
  }, [path, version]);
  return { data, error };
}

/** A column of a table. */
export interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row) => ComponentChildren;
  readonly kind?: "num" | "time";
}

/** A table, which is a list of cards on a phone. */
export function Table<Row>(
  { caption, columns, rows, empty, id }: {
    readonly caption: string;
    readonly columns: readonly Column<Row>[];
    readonly rows: readonly Row[] | undefined;
    readonly empty: string;
    readonly id: (row: Row) => string | number;
  },
): JSX.Element {
  if (rows === undefined) return <p class="empty">Loading…</p>;
  if (rows.length === 0) return <p class="empty">{empty}</p>;
  return (
    <div class="scroll">
      <table class="stack">
        <caption>{caption}</caption>
        <thead>
          <tr>
            {columns.map((c) => <th key={c.title} scope="col" class={c.kind ?? ""}>{c.title}</th>)}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={id(row)}>
              {columns.map((c) => (
                <td key={c.title} class={c.kind ?? ""} data-label={c.title}>{c.cell(row)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** A dialog; the browser keeps the focus in it and closes it by Escape. */
export function Dialog(
  { title, wide, close, children }: {
    readonly title: string;
    readonly wide?: boolean;
    readonly close: () => void;
    readonly children: ComponentChildren;
  },
): JSX.Element {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    ref.current?.showModal();
  }, []);
  return (
    <dialog
      ref={ref}
      class={wide === true ? "wide" : ""}
      aria-labelledby="dialog-title"
      onClose={close}
    >
      <h2 id="dialog-title">{title}</h2>
      {children}
    </dialog>
  );
}
