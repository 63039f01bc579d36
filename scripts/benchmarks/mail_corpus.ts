/**
 * A month's mail: messages as many and as long as those of the paper (CMU-CS-02-144, section 5.2), always the same.
 *
 * @module
 */

/** Messages, their average length, and the longest one's. Bytes. */
export const CORPUS = { messages: 1500, average: 8240, longest: 776 * 1024 } as const;

/** Numbers from 0 to 1 that are the same in every run. */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = Math.imul(state ^ state >>> 15, 0x2c1b3c6d) + 0x9e3779b9 | 0;
    const mixed = Math.imul(state ^ state >>> 13, 0x297a2d39);
    return ((mixed ^ mixed >>> 16) >>> 0) / 0x100000000;
  };
}

/** Lengths of mail are spread as the logarithm of a normal distribution. */
function lengths(random: () => number): number[] {
  const { messages, average, longest } = CORPUS;
  const raw = Array.from({ length: messages - 1 }, () => {
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    return Math.min(Math.exp(normal * 1.1), 40);
  });
  const wanted = average * messages - longest;
  const scale = (wanted - 600 * raw.length) / raw.reduce((sum, value) => sum + value, 0);
  const all = raw.map((value) => Math.round(600 + value * scale));
  all.splice(Math.floor(messages / 2), 0, longest);
  return all;
}

const WORDS = "the of and to in is that for it as was with be by on not he his but at are this have"
  .split(" ");

/** The messages. Longer ones have an attachment. */
export function corpus(): string[] {
  const random = randomNumbers(1);
  return lengths(random).map((length, number) => {
    const header = [
      `From: sender${number % 97}@example.org`,
      "To: bob@example.net",
      `Subject: message ${number}`,
      `Message-ID: <${number}@example.org>`,
      "MIME-Version: 1.0",
    ];
    if (length < 12_000) {
      const head = [...header, "Content-Type: text/plain; charset=us-ascii", "", ""].join("\r\n");
      return head + text(random, length - head.length);
    }
    const boundary = `=_${number}`;
    const head = [
      ...header,
      `Content-Type: multipart/mixed; boundary="${boundary}"`,
      "",
      `--${boundary}`,
      "Content-Type: text/plain",
      "",
      text(random, 900),
      `--${boundary}`,
      `Content-Type: application/octet-stream; name="file${number}.bin"`,
      "Content-Transfer-Encoding: base64",
      "",
      "",
    ].join("\r\n");
    const tail = `\r\n--${boundary}--\r\n`;
    return head + base64(random, length - head.length - tail.length) + tail;
  });
}

function text(random: () => number, length: number): string {
  let out = "";
  let line = "";
  while (out.length < length) {
    line += `${WORDS[Math.floor(random() * WORDS.length)]} `;
    if (line.length < 66) continue;
    out += `${line.trimEnd()}\r\n`;
    line = "";
  }
  return `${out.slice(0, Math.max(0, length - 2)).replace(/\r$/, ".")}\r\n`;
}

function base64(random: () => number, length: number): string {
  const data = Uint8Array.from({ length: Math.floor(length * 57 / 78) }, () => random() * 256);
  return data.toBase64().replace(/.{76}/g, "$&\r\n").trimEnd();
}
