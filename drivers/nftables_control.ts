/**
 * Control ports: those that are open to all, as elements of two sets, so that rules stay as they are
 * when the ports change.
 *
 * @module
 */
import { NetlinkError } from "../lib/sys/netlink.ts";
import type { ElementTransaction } from "../lib/sys/nftables_elements.ts";
import type { ElementReader } from "../lib/sys/nftables_reader.ts";
import { EnforcerError } from "./enforcer.ts";
import { CONTROL_SETS, type OpenPort } from "./nftables_rules.ts";
import { portWord } from "./nftables_tuple.ts";

/** What is needed to set control ports. */
export interface ControlHandles {
  readonly transaction: ElementTransaction;
  readonly reader: ElementReader;
}

/** Differences between the ports that are open and those that should be. */
interface Difference {
  readonly set: typeof CONTROL_SETS[number];
  readonly action: "add" | "delete";
  readonly port: number;
}

/** True when exactly these ports are open to all. */
export function controlPortsMatch(reader: ElementReader, ports: readonly OpenPort[]): boolean {
  return differences(reader, ports).length === 0;
}

/**
 * Makes these the ports that are open to all, in one transaction.
 *
 * @throws {EnforcerError} when the kernel refuses.
 */
export function setControlPorts(handles: ControlHandles, ports: readonly OpenPort[]): void {
  const { transaction, reader } = handles;
  transaction.begin();
  for (const { set, action, port } of differences(reader, ports)) {
    const at = transaction.step(action, set, 0);
    if (at < 0) {
      throw new EnforcerError(
        `Cannot change ${ports.length} control ports at once`,
        "Open fewer ports to all.",
      );
    }
    transaction.words[at] = portWord(port);
  }
  const failure = transaction.commit();
  if (failure === undefined) return;
  const { message } = new NetlinkError(
    "Cannot set the control ports",
    failure.code,
    failure.text,
    -1,
  );
  throw new EnforcerError(message, "Have the perimeter made anew: restart the controller.");
}

function differences(reader: ElementReader, ports: readonly OpenPort[]): Difference[] {
  return CONTROL_SETS.flatMap((set) => {
    const wanted = new Set(ports.filter((p) => p.protocol === set.protocol).map((p) => p.port));
    const open = new Set<number>();
    reader.dump(set, (view, key) => open.add(view.getUint16(key)));
    return [
      ...[...open.difference(wanted)].map((port) => ({ set, action: "delete" as const, port })),
      ...[...wanted.difference(open)].map((port) => ({ set, action: "add" as const, port })),
    ];
  });
}
