/** The policy verb alone, as main.ts runs it. */
import { runProgram } from "../../lib/cli/program.ts";

Deno.exit(
  await runProgram([{
    name: "policy",
    summary: "check, explain and test policies",
    load: () => import("../../lib/cli/policy.ts"),
  }], Deno.args),
);
