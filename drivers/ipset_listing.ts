/**
 * Listings of ipset: `ipset save`, `ipset list`, and `ipset list -o xml`.
 *
 * @module
 */
import { elementTuple, parseElement, type SavedElement, SET_TYPE } from "./ipset_text.ts";
import { countOf, type ListingEntry, UNKNOWN_ENTRY } from "./listing.ts";

/** Reads any of the listings; never throws. Sets of other kinds than ours have no pinholes. */
export function parseIpset(text: string): ListingEntry[] {
  return text.includes("<ipset ") ? parseXml(text) : parseText(text);
}

function parseText(text: string): ListingEntry[] {
  const types = new Map<string, string>();
  let set = "";
  let members = false;
  return text.split("\n").flatMap((raw) => {
    const line = raw.trim();
    const [, created, type] = /^create (\S+) (\S+)/.exec(line) ?? [];
    if (created !== undefined && type !== undefined) {
      types.set(created, type);
      return [];
    }
    const [, added, element] = /^add (\S+) (.*)$/.exec(line) ?? [];
    if (added !== undefined && element !== undefined) {
      return entry(added, types.get(added), parseElement(element));
    }
    const [, key, value = ""] = /^(Name|Type|Members): *(.*)$/.exec(line) ?? [];
    if (key === "Name") [set, members] = [value, false];
    else if (key === "Type") types.set(set, value);
    else if (key === "Members") members = true;
    else if (members && line !== "") return entry(set, types.get(set), parseElement(line));
    return [];
  });
}

function parseXml(text: string): ListingEntry[] {
  return [...text.matchAll(/<ipset name="([^"]*)">(.*?)(?:<\/ipset>|$)/gs)].flatMap((set) => {
    const name = plain(set[1] as string);
    const body = set[2] as string;
    const type = /<type>([^<]*)<\/type>/.exec(body)?.[1];
    return [...body.matchAll(/<member>(.*?)<\/member>/gs)].flatMap((member) => {
      const fields = new Map(
        [...(member[1] as string).matchAll(/<(\w+)>([^<]*)<\/\1>/g)]
          .map((field) => [field[1] as string, plain(field[2] as string)]),
      );
      return entry(name, type, { element: fields.get("elem") ?? "", options: fields });
    });
  });
}

function plain(text: string): string {
  const names: Record<string, string> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
  return text.replaceAll(/&(lt|gt|quot|apos|amp);/g, (_, name: string) => names[name] ?? "");
}

function entry(set: string, type: string | undefined, saved: SavedElement): ListingEntry[] {
  const tuple = type === undefined || type === SET_TYPE ? elementTuple(saved.element) : undefined;
  if (tuple === undefined) return [];
  const bits = tuple.source.family === 4 ? 32 : 128;
  return [{
    ...UNKNOWN_ENTRY,
    acl: set,
    action: "permit",
    proto: tuple.protocol,
    source: `${tuple.source.text}/${bits}`,
    destination: `${tuple.destination.text}/${bits}`,
    destination_port: tuple.destinationPort,
    packets: countOf(saved.options.get("packets")) ?? null,
    ours: /^(diaper|ph[46]$)/.test(set) ||
      saved.options.get("comment")?.startsWith("diaper:") === true,
  }];
}
