/**
 * Counts different members of groups over a minute.
 *
 * @module
 */

interface Group {
  /** When each member was seen last, in milliseconds; in that order. */
  readonly members: Map<string, number>;
  toldAt: number;
}

const MINUTE = 60_000;
/** Groups kept at most, and members of each. */
const MOST_GROUPS = 4096;
const MOST_MEMBERS = 65_536;

/** Groups of members, each seen at a time. */
export class Window {
  readonly #groups = new Map<string, Group>();

  /** Notes a member of a group; how many different ones there were in the last minute. */
  add(group: string, member: string, now: number): number {
    let entry = this.#groups.get(group);
    if (entry === undefined) entry = { members: new Map(), toldAt: -Infinity };
    else this.#groups.delete(group);
    // Used last, kept longest.
    this.#groups.set(group, entry);
    if (this.#groups.size > MOST_GROUPS) {
      for (const oldest of this.#groups.keys()) {
        this.#groups.delete(oldest);
        break;
      }
    }
    const { members } = entry;
    members.delete(member);
    members.set(member, now);
    for (const [old, time] of members) {
      if (time > now - MINUTE && members.size <= MOST_MEMBERS) break;
      members.delete(old);
    }
    return members.size;
  }

  /** True when the group was not told of in the last minute; it counts as told of then. */
  mayTell(group: string, now: number): boolean {
    const entry = this.#groups.get(group);
    if (entry === undefined || now < entry.toldAt + MINUTE) return false;
    entry.toldAt = now;
    return true;
  }
}
