/**
 * The rules of the house: which room may import from which. Kept by import_graph_test.ts.
 *
 * @module
 */

/** What one room may import, besides itself. */
export interface RoomRule {
  /** Rooms, as path prefixes of the repository. */
  readonly rooms: readonly string[];
  /** Packages: npm names of deno.json, `node:*` for all of Node's modules or `node:NAME` for one. */
  readonly packages: readonly string[];
  /** Why it is so. */
  readonly reason: string;
}

/**
 * The rooms by path prefix; the longest that matches a file is its room. A room that is not here may not
 * be imported from and may not exist.
 */
export const ROOMS: Readonly<Record<string, RoomRule>> = {
  "main.ts": {
    rooms: ["lib/"],
    packages: [],
    reason: "the table of verbs and of workers names every room, and nothing else does",
  },
  "deno.json": { rooms: [], packages: [], reason: "data: version and packages" },
  "lib/net/": {
    rooms: [],
    packages: [],
    reason:
      "pure packet code: usable in scanners, drivers and the domain, tested without a machine",
  },
  "lib/pinhole/": {
    rooms: ["lib/net/"],
    packages: [],
    reason: "the domain has no I/O, so that a policy means the same everywhere",
  },
  "lib/config/": {
    rooms: ["lib/net/"],
    packages: ["zod", "yaml"],
    reason: "how configuration files are read and checked, without knowing what stands in them",
  },
  "lib/sys/": {
    rooms: ["lib/net/", "deno.json"],
    packages: ["node:*", "ssh2"],
    reason: "the floor that all others stand on knows none of them",
  },
  "lib/broker/": {
    rooms: ["lib/config/", "lib/controller/", "lib/net/", "lib/pinhole/", "lib/sys/"],
    packages: ["node:*", "zod", "yaml", "@logtape/logtape"],
    reason: "local authentication hands over to a controller; it never drives an enforcer",
  },
  "lib/controller/": {
    rooms: ["drivers/", "lib/broker/", "lib/config/", "lib/net/", "lib/pinhole/", "lib/sys/"],
    packages: ["node:*", "zod", "yaml", "@logtape/logtape"],
    reason: "authorization and execution; on a single host it runs the broker's sessions too",
  },
  "lib/devices/": {
    rooms: ["lib/net/", "lib/sys/"],
    packages: ["node:*", "ssh2", "saxes"],
    reason: "a simulated device knows no driver, so that a driver's mistake is not made twice",
  },
  "lib/ni/": {
    // The protocol's page is the one thing that the kernel and scanners share.
    rooms: ["lib/config/", "lib/net/", "lib/pinhole/", "lib/sys/", "niapp/sdk/protocol.ts"],
    packages: ["node:*", "zod", "yaml", "@logtape/logtape"],
    reason: "the NI kernel trusts no scanner and no controller, and starts without either",
  },
  "lib/admin/": {
    rooms: ["lib/config/", "lib/net/", "lib/pinhole/", "lib/sys/"],
    packages: ["node:*", "zod", "yaml", "@logtape/logtape", "hono", "postgres"],
    reason: "administration talks to the others over the network only",
  },
  "lib/cli/": {
    rooms: ["drivers/", "lib/"],
    packages: ["commander", "node:*", "zod", "yaml", "@logtape/logtape"],
    reason: "verbs use every room; no room uses a verb",
  },
  "drivers/": {
    rooms: ["lib/net/", "lib/pinhole/", "lib/sys/"],
    packages: ["node:*", "zod", "yaml", "ssh2", "saxes"],
    reason: "a driver turns pinholes into commands and knows nothing of who asked for them",
  },
  "niapp/": {
    rooms: ["lib/net/"],
    packages: ["fflate", "hash-wasm"],
    reason:
      "scanners are unprivileged and get everything from the SDK; what they compute with needs no rights",
  },
};

/** One import: from a file, of a file of the repository or of a package. Paths start at the root. */
export interface Import {
  readonly from: string;
  readonly to: string;
}

/** The room of a file, or undefined when it is in none. */
export function roomOf(path: string): string | undefined {
  return Object.keys(ROOMS).filter((room) => path === room || isBelow(path, room))
    .sort((a, b) => b.length - a.length)[0];
}

/** Says what is wrong with the imports of the rooms; nothing when nothing is. */
export function violations(imports: readonly Import[]): string[] {
  return imports.flatMap(({ from, to }) => {
    const room = roomOf(from);
    if (room === undefined) return [`${from} is in no room; add its room to tests/house/rooms.ts`];
    const rule = ROOMS[room] as RoomRule;
    const allowed = isFile(to)
      ? to !== "main.ts" &&
        (roomOf(to) === room || rule.rooms.some((r) => to === r || isBelow(to, r)))
      : rule.packages.some((p) => p === to || (p === "node:*" && to.startsWith("node:")));
    return allowed ? [] : [`${from} imports ${to}, but for ${room} the rule is: ${rule.reason}`];
  });
}

/** Packages are bare names or have a scheme; files of the repository have an extension. */
function isFile(to: string): boolean {
  return /\.(ts|json|mjs|js|yaml)$/.test(to) && !to.includes(":");
}

function isBelow(path: string, room: string): boolean {
  return room.endsWith("/") && path.startsWith(room);
}
