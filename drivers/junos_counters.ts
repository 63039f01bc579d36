/**
 * Reads counters of Junos firewall filters, as the command line prints them. Never throws.
 *
 * @module
 */

/** One counter. */
export interface JunosCount {
  readonly filter: string;
  readonly counter: string;
  readonly packets: number;
  readonly bytes: number;
}

/** Reads `show firewall`, with or without a filter's name. */
export function parseShowFirewall(text: string): JunosCount[] {
  const counts: JunosCount[] = [];
  let filter: string | undefined;
  let counting = false;
  for (const raw of text.split(/\r?\n/)) {
    const line = raw.trim();
    if (line.length > 1000) continue;
    const name = /^Filter: (\S+)/.exec(line)?.[1];
    if (name !== undefined) {
      [filter, counting] = [name, false];
    } else if (line === "Counters:") counting = true;
    else if (line === "Policers:") counting = false;
    else if (counting && filter !== undefined) {
      const [, counter, bytes, packets] = /^(\S+)\s+(\d{1,19})\s+(\d{1,19})$/.exec(line) ?? [];
      if (counter === undefined) continue;
      counts.push({ filter, counter, packets: Number(packets), bytes: Number(bytes) });
    }
  }
  return counts;
}

/**
 * The sums of a term's counter: a filter that is interface-specific has one for each interface and direction,
 * with their names behind the term's (`ph-1-ge-0/0/0.0-i`).
 */
export function countsOf(
  counts: readonly JunosCount[],
  filter: string,
): (counter: string) => { packets: number; bytes: number } | undefined {
  const sums = new Map<string, { packets: number; bytes: number }>();
  for (const { filter: name, counter, packets, bytes } of counts) {
    // An interface-specific filter's own name has the interface behind it, too.
    if (name !== filter && !name.startsWith(`${filter}-`)) continue;
    const key = counter.replace(
      /-[a-z]+-\d+\/\d+\/\d+(:\d+)?\.\d+-[io]$|-[a-z]+\d*\.\d+-[io]$/,
      "",
    );
    const sum = sums.get(key) ?? { packets: 0, bytes: 0 };
    sum.packets += packets;
    sum.bytes += bytes;
    sums.set(key, sum);
  }
  return (counter) => sums.get(counter);
}
