/**
 * baresip: calls by SIP over UDP, each with ports of its own for RTP and RTCP. The one inside answers and
 * sends back what it hears, so that the caller has a record of its own tone when RTP went both ways.
 *
 * @module
 */
import { readdirSync, readFileSync } from "node:fs";
import type { MatrixCase } from "../case.ts";
import type { Field } from "../field.ts";
import { command } from "./common.ts";

const PORT = 5060;
const MODULES = "/usr/lib/baresip/modules";
/** Seconds of a call. */
const LENGTH = 4;

function configure(field: Field, name: string, address: string, lines: readonly string[]): string {
  const directory = field.directory(name);
  const config = [
    "poll_method epoll",
    `sip_listen ${address}:${PORT}`,
    "call_max_calls 40",
    "rtp_ports 20000-29999",
    "audio_level no",
    `module_path ${MODULES}`,
    "module g711.so",
    ...lines,
    "",
  ];
  field.file(`${name}/config`, config.join("\n"));
  field.file(`${name}/accounts`, `<sip:${name}@${address}>;regint=0\n`);
  field.file(`${name}/contacts`, "");
  return directory;
}

/** Ten seconds of 440 Hz as a WAV file of 8,000 samples a second, 16 bits. */
function toneFile(): Uint8Array {
  const samples = 80_000;
  const file = new DataView(new ArrayBuffer(44 + 2 * samples));
  const text = (at: number, word: string) => {
    for (let i = 0; i < word.length; i++) file.setUint8(at + i, word.charCodeAt(i));
  };
  text(0, "RIFF");
  file.setUint32(4, 36 + 2 * samples, true);
  text(8, "WAVEfmt ");
  file.setUint32(16, 16, true);
  file.setUint16(20, 1, true); // PCM
  file.setUint16(22, 1, true); // mono
  file.setUint32(24, 8_000, true);
  file.setUint32(28, 16_000, true);
  file.setUint16(32, 2, true);
  file.setUint16(34, 16, true);
  text(36, "data");
  file.setUint32(40, 2 * samples, true);
  for (let i = 0; i < samples; i++) {
    file.setInt16(44 + 2 * i, 10_000 * Math.sin(2 * Math.PI * 440 * i / 8_000), true);
  }
  return new Uint8Array(file.buffer);
}

/** Samples of a recording (16 bits) that are not silence. */
function loudSamples(path: string): number {
  const bytes = readFileSync(path);
  let loud = 0;
  for (let at = 44; at + 1 < bytes.length; at += 2) {
    if (Math.abs(bytes.readInt16LE(at)) > 500) loud++;
  }
  return loud;
}

/** The cases. */
export const BARESIP: readonly MatrixCase[] = [{
  name: "baresip",
  program: "baresip",
  mode: "a call, RTP both ways",
  package: "baresip-core",
  model: "one process, epoll",
  inside: "server",
  open: [`udp/${PORT}`, `tcp/${PORT}`],
  run: ["--control", `udp/${PORT},tcp/${PORT},tcp/${PORT + 1}`],
  pinholes: [2, 4],
  // Its resolver has two ports from the start, which are opened when the first peer is known.
  lasting: 2,
  note:
    "two ports of its resolver, bound before anybody called, are opened for the first caller and stay " +
    "open until it ends",
  // Both ends send, from the ports that they receive at: the first packet from inside opens the way back.
  needed: false,
  files: ["/usr/bin/baresip", `${MODULES}/echo.so`, `${MODULES}/aufile.so`],
  prepare: (field) => {
    const tone = field.file("tone.wav", toneFile());
    const inside = configure(field, "inside", field.address, [
      "audio_player aubridge,pseudo0",
      "audio_source aubridge,pseudo0",
      "module aubridge.so",
      "module_app account.so",
      "module_app echo.so",
    ]);
    const callers = field.outside.map((_, i) =>
      configure(field, `caller${i}`, field.source(i), [
        "audio_player aubridge,unheard",
        `audio_source aufile,${tone}`,
        "module aubridge.so",
        "module aufile.so",
        "module sndfile.so",
        `snd_path ${field.directory(`heard${i}`)}`,
        "module_app account.so",
        "module_app menu.so",
      ])
    );
    return {
      listen: () => command("baresip", "-4", "-f", inside),
      ready: () => ({ protocol: "udp", port: PORT }),
      session: (i) =>
        command("baresip", ...[
          ...["-4", "-f", callers[i] as string, "-t", String(LENGTH)],
          ...["-e", `d sip:inside@${field.address}`],
        ]),
      verify: (i) => {
        const directory = field.path(`heard${i}`);
        const records = readdirSync(directory).filter((name) => name.includes("dec"));
        const loud = records.map((name) => loudSamples(`${directory}/${name}`));
        for (const name of readdirSync(directory)) Deno.removeSync(`${directory}/${name}`);
        if (!loud.some((n) => n > 4_000)) {
          throw new Error(`Of its own tone ${Math.max(0, ...loud)} samples came back`);
        }
      },
    };
  },
}];
