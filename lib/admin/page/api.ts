/**
 * What the page asks the console for.
 *
 * @module
 */

/** Who is logged in. */
export interface Me {
  readonly user: string;
  readonly role: "look" | "act" | "administer";
  readonly csrf: string;
  readonly console: string;
}

/** An answer that says no. */
export class ApiError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

let token = "";

/** The token that every change has to bring along. */
export function setToken(text: string): void {
  token = text;
}

/** Asks. */
export async function get<T>(path: string): Promise<T> {
  return await answer<T>(await fetch(`/api/${path}`));
}

/** Changes something. */
export async function post<T>(path: string, body: unknown): Promise<T> {
  return await answer<T>(
    await fetch(`/api/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Diaper-Token": token },
      body: JSON.stringify(body),
    }),
  );
}

async function answer<T>(response: Response): Promise<T> {
  const value = await response.json();
  if (response.ok) return value as T;
  const { error, next } = value as { error?: string; next?: string };
  throw new ApiError(response.status, next === undefined ? `${error}` : `${error} (${next})`);
}
