/**
 * Joining a host to a controller: looks who is there, whether it is who it should be, and whether it knows
 * our key.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { connect } from "node:net";
import { Client, KEY_TYPE, SSH_ALGORITHMS } from "../sys/ssh.ts";
import type { ControllerAddress } from "./known_controllers.ts";
import {
  LONGEST_LINE,
  parseControllerMessage,
  REMOTE_VERSION,
  SUBSYSTEM,
} from "./remote_protocol.ts";

/** What a visit to a controller came to. `hostKey` is base64. */
export type Visit =
  /** It serves us, in the name of `delegate`; or would, but another controller leads. */
  | { readonly outcome: "welcome"; readonly hostKey: string; readonly delegate: string }
  | { readonly outcome: "standby"; readonly hostKey: string; readonly why: string }
  /** Its host key is none that we trust: nothing was said to it. */
  | { readonly outcome: "stranger"; readonly hostKey: string }
  /** It does not know our key. */
  | { readonly outcome: "unknown-here"; readonly hostKey: string; readonly why: string }
  | { readonly outcome: "failed"; readonly why: string };

const PATIENCE_MS = 10_000;

/**
 * Visits a controller.
 *
 * @param trusted says whether a host key (base64) is the right one.
 */
export function visitController(
  address: ControllerAddress,
  user: string,
  privateKey: string,
  trusted: (hostKey: string) => boolean,
): Promise<Visit> {
  return new Promise((resolve) => {
    const client = new Client();
    const socket = connect({ host: address.host, port: address.port, noDelay: true });
    let hostKey: string | undefined;
    let proven = false;
    let done = false;
    const finish = (visit: Visit) => {
      if (done) return;
      done = true;
      clearTimeout(timer);
      client.end();
      socket.destroy();
      resolve(visit);
    };
    const fail = (why: string) => {
      if (hostKey !== undefined && !trusted(hostKey)) finish({ outcome: "stranger", hostKey });
      else if (hostKey !== undefined && !proven) {
        finish({ outcome: "unknown-here", hostKey, why });
      } else finish({ outcome: "failed", why });
    };
    const timer = setTimeout(() => fail("it does not answer"), PATIENCE_MS);
    socket.on("error", (error) => fail(error.message));
    client.on("error", (error: Error) => fail(error.message));
    client.on("close", () => fail("it has closed the connection"));
    client.on("ready", () => {
      proven = true;
      client.subsys(SUBSYSTEM, (error, channel) => {
        if (error !== undefined) return fail(error.message);
        let text = "";
        channel.on("data", (data: Buffer) => {
          text += data.toString();
          const end = text.indexOf("\n");
          if (end === -1) {
            if (text.length > LONGEST_LINE) fail("it does not speak our protocol");
            return;
          }
          const m = parseControllerMessage(text.slice(0, end));
          if (typeof m === "string") return fail(m);
          const key = hostKey ?? "";
          if (m.op === "welcome") {
            finish({ outcome: "welcome", hostKey: key, delegate: m.delegate });
          } else if (m.op === "standby") finish({ outcome: "standby", hostKey: key, why: m.why });
          else fail(m.op === "error" ? m.why : "it does not speak our protocol");
        });
        // Under a name of our own, so that no broker's session is taken over.
        const [broker, boot, instance] = [1, 2, 3].map(() => crypto.randomUUID());
        const hello = { op: "hello", version: REMOTE_VERSION, broker, boot, instance };
        channel.write(JSON.stringify(hello) + "\n");
      });
    });
    client.connect({
      sock: socket,
      username: user,
      privateKey,
      readyTimeout: PATIENCE_MS,
      algorithms: { ...SSH_ALGORITHMS, serverHostKey: [KEY_TYPE] },
      hostVerifier: (key: Buffer) => {
        hostKey = key.toString("base64");
        return trusted(hostKey);
      },
    });
  });
}
