/**
 * Diaper's table of verbs. Each entry loads its room when it is the one that was asked for.
 *
 * @module
 */
import { buildProgram, runProgram, type Verb } from "./lib/cli/program.ts";
import { hideBundle, isWorker } from "./lib/sys/runtime.ts";

const verbs: readonly Verb[] = [
  {
    name: "up",
    summary: "guard this host: broker, controller and nftables in one process",
    load: () => import("./lib/cli/up.ts"),
  },
  {
    name: "agent-broker",
    summary: "hand this host's requests over to controllers elsewhere",
    load: () => import("./lib/cli/agent_broker.ts"),
  },
  {
    name: "controller",
    summary: "open and close pinholes for other hosts at one enforcer",
    load: () => import("./lib/cli/controller.ts"),
  },
  {
    name: "gate",
    summary: "join a broker's SSH session to the controller (forced command of a stock sshd)",
    load: () => import("./lib/cli/gate.ts"),
  },
  {
    name: "keygen",
    summary: "make a key pair and print its public half",
    load: () => import("./lib/cli/keygen.ts"),
  },
  {
    name: "enroll",
    summary: "join this host to its controllers",
    load: () => import("./lib/cli/enroll.ts"),
  },
  {
    name: "run",
    summary: "run a program under the interposition agent",
    load: () => import("./lib/cli/run.ts"),
  },
  {
    name: "wrap",
    summary: "let programs of users ask in a delegate's name",
    load: () => import("./lib/cli/wrap.ts"),
  },
  {
    name: "status",
    summary: "show who guards this host, since when, and what is not well",
    load: () => import("./lib/cli/status.ts"),
  },
  {
    name: "pinhole",
    summary: "open, close and list pinholes by hand",
    load: () => import("./lib/cli/pinhole.ts"),
  },
  {
    name: "observe",
    summary: "show what was asked, allowed, refused, opened and closed, and why",
    load: () => import("./lib/cli/observe.ts"),
  },
  {
    name: "policy",
    summary: "check, explain and test a policy",
    load: () => import("./lib/cli/policy.ts"),
  },
  {
    name: "enforcer",
    summary: "show the drivers, what an enforcer holds, and what a saved listing says",
    load: () => import("./lib/cli/enforcer.ts"),
  },
  {
    name: "calibrate",
    summary: "measure an enforcer: updates by batch and by existing pinholes",
    load: () => import("./lib/cli/calibrate.ts"),
  },
  {
    name: "ni",
    summary: "run the NI kernel and its scanners, inline or over a capture",
    load: () => import("./lib/cli/ni.ts"),
  },
  {
    name: "console",
    summary: "administer NIs and controllers, with a web page",
    load: () => import("./lib/cli/console.ts"),
  },
  {
    name: "alerts",
    summary: "show what NIs have found",
    load: () => import("./lib/cli/alerts.ts"),
  },
  {
    name: "slow",
    summary: "let a host begin few connections a second",
    load: async () => ({ register: (await import("./lib/cli/contain.ts")).registerSlow }),
  },
  {
    name: "filter",
    summary: "let a host reach named destinations alone",
    load: async () => ({ register: (await import("./lib/cli/contain.ts")).registerFilter }),
  },
  {
    name: "block",
    summary: "let a host reach nothing",
    load: async () => ({ register: (await import("./lib/cli/contain.ts")).registerBlock }),
  },
  {
    name: "allow",
    summary: "let a host go that was slowed, filtered or blocked",
    load: async () => ({ register: (await import("./lib/cli/contain.ts")).registerAllow }),
  },
  {
    name: "scanners",
    summary: "show scanners and bring bundles of them to NIs",
    load: () => import("./lib/cli/scanners.ts"),
  },
  {
    name: "capacity",
    summary: "show which pinholes a capture's multiport sessions would have needed",
    load: () => import("./lib/cli/capacity.ts"),
  },
  {
    name: "lab",
    summary: "run a simulated device, to try a policy or a driver on",
    load: () => import("./lib/cli/lab.ts"),
  },
  {
    name: "doctor",
    summary: "check what this host offers, and say how to mend what is missing",
    load: () => import("./lib/cli/doctor.ts"),
  },
  {
    name: "completions",
    summary: "print the completion script of a shell",
    load: () => import("./lib/cli/completions.ts"),
  },
  {
    name: "version",
    summary: "print the version, the kind of binary and the runtime",
    load: () => import("./lib/cli/version.ts"),
  },
  {
    name: "complete",
    summary: "answer a completion script",
    hidden: true,
    load: async () => {
      const { registerAnswer } = await import("./lib/cli/completions.ts");
      return { register: (parent) => registerAnswer(parent, (verb) => buildProgram(verbs, verb)) };
    },
  },
];

/** What a worker does, by its name (startWorker). */
const roles: Readonly<Record<string, () => Promise<unknown>>> = {
  ni: () => import("./lib/ni/worker.ts"),
  perimeter: () => import("./lib/controller/worker.ts"),
  controller: () => import("./lib/controller/controller_worker.ts"),
  broker: () => import("./lib/broker/broker_worker.ts"),
  alerts: () => import("./lib/admin/sqlite_worker.ts"),
};

if (isWorker()) {
  const role = roles[self.name];
  if (role === undefined) {
    throw new Error(`Cannot start a worker named ${JSON.stringify(self.name)}`);
  }
  await role();
} else {
  await hideBundle();
  Deno.exit(await runProgram(verbs, Deno.args));
}
