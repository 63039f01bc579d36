/**
 * The program that a scanner's process runs: one bundle holds all scanners, the first argument names one.
 *
 * @module
 */
import { Beacon } from "./beacon/scanner.ts";
import { CodeRed } from "./codered/scanner.ts";
import { EmailScanner } from "./email/scanner.ts";
import { HttpScanner } from "./http/scanner.ts";
import { Guard } from "./guard/scanner.ts";
import { PortScan } from "./portscan/scanner.ts";
import { runScanner, type Scanner } from "./sdk/mod.ts";
import { SynBomb } from "./synbomb/scanner.ts";

const SCANNERS: Readonly<Record<string, () => Scanner>> = {
  beacon: () => new Beacon(),
  codered: () => new CodeRed(),
  email: () => new EmailScanner(),
  http: () => new HttpScanner(),
  guard: () => new Guard(),
  portscan: () => new PortScan(),
  synbomb: () => new SynBomb(),
};

const name = Deno.args[0] ?? "";
const make = Object.hasOwn(SCANNERS, name) ? SCANNERS[name] : undefined;
if (make === undefined) throw new Error(`There is no scanner named ${JSON.stringify(name)}`);
runScanner(make());
