/**
 * The NI as an enforcer, for its benchmark: a perimeter with so many pinholes.
 *
 * @module
 */
import type { NiLab } from "../../../tests/ni/inline_lab.ts";
import { RemoteEnforcer } from "../../../tests/drivers/remote.ts";
import { open, tuple } from "../../../tests/drivers/tuples.ts";

const PORTS = 50_000;

/** Opens pinholes in a new perimeter; the result takes it away. */
export async function fillEnforcer(
  { box, hostAddress, netAddress }: NiLab,
  pinholes: number,
): Promise<() => Promise<void>> {
  const driver = await RemoteEnforcer.startDriver(box, "ni", { host: "porth", net: "portn" });
  await driver.connect();
  const batch = Array.from({ length: pinholes }, (_, i) => {
    const source = i < 4 ? netAddress : `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`;
    // The first ones are those that the benchmark's own traffic comes in by.
    return open(tuple("udp", source, 0, hostAddress, i < 4 ? 7001 + i : 1024 + (i % PORTS)));
  });
  for (let i = 0; i < batch.length; i += 5000) await driver.apply(batch.slice(i, i + 5000));
  return async () => {
    await driver.remove();
    await driver.program.stop();
  };
}
