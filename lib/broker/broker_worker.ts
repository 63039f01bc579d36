/**
 * The data plane of `diaper agent-broker` as a Worker.
 *
 * @module
 */
import { serveAsWorker } from "../controller/orders.ts";
import { AgentBroker } from "./agent_broker.ts";

serveAsWorker(({ config, controlGid }, tell) =>
  new AgentBroker({
    config,
    controlGid,
    log: (level, text) => tell({ news: "log", level, text }),
  })
);
