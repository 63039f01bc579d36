/**
 * Every driver of a device against every fault.
 */
import { FAULTS, runFault, SUBJECTS } from "./fault_matrix.ts";

for (const subject of SUBJECTS) {
  for (const fault of FAULTS) {
    if (fault.cliOnly === true && !subject.cli) continue;
    Deno.test(`${subject.title}: ${fault.name}`, async () => {
      await runFault(subject, fault);
    });
  }
}
