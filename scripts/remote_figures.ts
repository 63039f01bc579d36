/**
 * Runs the benchmarks of a controller for other hosts several times, one run after the other, and writes every
 * figure of every run as a table: docs/evaluation/controller.md. Five minutes a run; needs root.
 *
 *   deno run --allow-all scripts/remote_figures.ts [RUNS]
 *
 * @module
 */
import { writeFigures } from "./figures.ts";

await writeFigures({
  file: "docs/evaluation/controller.md",
  title: "Speed of a controller, and how soon another takes over",
  script: "scripts/remote_figures.ts",
  benches: ["remote", "queue", "failover"],
  words:
    `Broker, controller and outside host are network namespaces of one machine, so that the network
takes no time; what is measured is authentication, authorization, ledger and trail. Failover: of
two controllers with an etcd the leader is killed, or what comes to it is dropped, while 1,000
programs ask at once; from that moment until the broker is served by the other, and until the next
pinhole is open. None of the 1,000 is lost. Of an enforcer that is cut off only its silence tells,
so that the time that it may take for an answer comes to it.`,
});
