import assert from "node:assert/strict";
import fc from "fast-check";
import { EmailScanner } from "../../../niapp/email/scanner.ts";
import { read } from "../../../niapp/email/mime/readings.ts";
import {
  append,
  bdat,
  bytes,
  dotted,
  imap,
  latin1,
  mail,
  MALICIOUS,
  MALICIOUS_MD5,
  pop3,
  smtp,
  type Step,
} from "./dialogues.ts";
import { connect, fakeNi, type FakeStream } from "./fake_stream.ts";

const PORTS = { smtp: 25, pop3: 110, imap: 143 };
const OPTIONS = { digests: [`${MALICIOUS_MD5} Test.Virus`] };
const CLEAN = mail(bytes("an innocent attachment"));
const INFECTED = mail(MALICIOUS);
const NOTICE = /An infected attachment was removed/;

function run(
  protocol: keyof typeof PORTS,
  steps: readonly Step[],
  options: Readonly<Record<string, unknown>> = OPTIONS,
  cut: (step: Uint8Array, place: number) => Uint8Array[] = (step) => [step],
): FakeStream {
  const stream = connect(new EmailScanner(), PORTS[protocol], fakeNi(options));
  for (const [place, [side, data]] of steps.entries()) {
    for (const piece of cut(data, place)) stream.send(side === "C", piece);
  }
  stream.end(true);
  stream.end(false);
  return stream;
}

function sent(steps: readonly Step[], side: "C" | "S"): string {
  return steps.filter(([who]) => who === side).map(([, data]) => latin1(data)).join("");
}

const DIALOGUES: Readonly<Record<string, readonly [keyof typeof PORTS, (m: string) => Step[]]>> = {
  "SMTP": ["smtp", (m) => smtp([m, CLEAN])],
  "SMTP, pipelined": ["smtp", (m) => smtp([CLEAN, m], true)],
  "SMTP, one chunk": ["smtp", (m) => bdat([m])],
  "POP3": ["pop3", (m) => pop3([CLEAN, m, CLEAN])],
  "POP3, pipelined": ["pop3", (m) => pop3([m, CLEAN, m], true)],
  "IMAP": [
    "imap",
    (m) => imap([["BODY[]", m], ["RFC822.SIZE", ""], ["BODY[HEADER]", "A: b\r\n\r\n"]]),
  ],
  "IMAP APPEND": ["imap", (m) => append(m, true)],
  "IMAP APPEND, not waiting": ["imap", (m) => append(m, false)],
};

for (const [name, [protocol, dialogue]] of Object.entries(DIALOGUES)) {
  Deno.test(`${name}: a clean message passes byte for byte`, () => {
    const steps = dialogue(CLEAN);
    const stream = run(protocol, steps);
    assert.equal(latin1(stream.received(true)), sent(steps, "C"));
    assert.equal(latin1(stream.received(false)), sent(steps, "S"));
    assert.deepEqual(stream.signatures, []);
    assert.equal(stream.killed, false);
  });

  Deno.test(`${name}: an infected attachment is replaced, the rest is as it was`, () => {
    const steps = dialogue(INFECTED);
    const stream = run(protocol, steps);
    assert.ok(stream.signatures.includes("infected attachment"));
    const received = [latin1(stream.received(true)), latin1(stream.received(false))].join("\0");
    assert.doesNotMatch(received, new RegExp(MALICIOUS.toBase64().slice(0, 20)));
    assert.match(received, NOTICE);
    // What is left around the notice is what was there.
    const expected = dialogue(INFECTED);
    const all = `${sent(expected, "C")}\0${sent(expected, "S")}`;
    const [before = ""] = all.split('Content-Type: application/octet-stream; name="invoice.com"');
    assert.ok(received.startsWith(before));
    assert.match(received, /--=_b1\r\nContent-Type: image\/png/);
  });
}

Deno.test("the replaced message is one of three parts, the others with the same bytes", () => {
  const stream = run("pop3", pop3([INFECTED]));
  const received = latin1(stream.received(false));
  const text = received.slice(
    received.indexOf("From: alice"),
    received.indexOf("\r\n.\r\n+OK bye") + 2,
  )
    .replace(/^\.\./gm, ".");
  const parts = read(bytes(text)).parts;
  const original = read(bytes(INFECTED)).parts;
  assert.deepEqual(parts.map((part) => part.type), ["text/plain", "text/plain", "image/png"]);
  for (const place of [0, 2]) {
    const now = parts[place] as (typeof parts)[0];
    const then = original[place] as (typeof parts)[0];
    assert.equal(
      text.slice(now.bodyStart, now.bodyEnd),
      INFECTED.slice(then.bodyStart, then.bodyEnd),
    );
  }
});

Deno.test("lengths that were told stay true", () => {
  const steps = imap([["BODY[]", INFECTED]]);
  const stream = run("imap", steps);
  assert.equal(stream.received(false).length, sent(steps, "S").length);
  const chunked = bdat([INFECTED]);
  assert.equal(run("smtp", chunked).received(true).length, sent(chunked, "C").length);
});

Deno.test("a message without parts keeps its header, and its body says what happened", () => {
  const message = [
    "From: a@example.org",
    'Content-Type: application/octet-stream; name="x.com"',
    "Content-Transfer-Encoding: base64",
    "Subject: x",
    "",
    MALICIOUS.toBase64(),
    "",
  ].join("\r\n");
  const stream = run("smtp", smtp([message]));
  const received = latin1(stream.received(true));
  assert.match(
    received,
    /DATA\r\nFrom: a@example.org\r\nSubject: x\r\nContent-Type: text\/plain; charset=us-ascii\r\n.*\r\n\r\nAn infected/,
  );
  assert.match(received, /\r\n\.\r\nQUIT\r\n$/);
});

Deno.test("the original goes with the alert", () => {
  const stream = run("smtp", smtp([INFECTED]));
  const found = stream.alerts.find(({ alert }) => alert.signature === "infected attachment");
  assert.equal(latin1(found?.original ?? new Uint8Array()), dotted(INFECTED));
  assert.deepEqual(found?.alert.detail?.["found"], [{
    name: "Test.Virus",
    by: "digests",
    file: "invoice.com",
    size: MALICIOUS.length,
    md5: MALICIOUS_MD5,
    sha256: "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f",
  }]);
});

Deno.test("a message in several chunks is held at the last one; what has gone on ends the connection", () => {
  const half = INFECTED.indexOf("WDVPIVAl") + 10;
  const inLast = bdat([INFECTED.slice(0, 200), INFECTED.slice(200)]);
  assert.match(latin1(run("smtp", inLast).received(true)), NOTICE);
  const split = run("smtp", bdat([INFECTED.slice(0, half), INFECTED.slice(half)]));
  assert.equal(split.killed, true);
  assert.doesNotMatch(latin1(split.received(true)), /image\/png/);
});

Deno.test("IMAP: a part alone, whatever it is encoded with, and its header apart", () => {
  const part = MALICIOUS.toBase64();
  const steps = imap([["BODY[2.MIME]", "Content-Type: text/plain\r\n\r\n"], ["BODY[2]", part]]);
  const stream = run("imap", steps);
  assert.ok(stream.signatures.includes("infected attachment"));
  assert.doesNotMatch(latin1(stream.received(false)), new RegExp(part));
  assert.equal(stream.received(false).length, sent(steps, "S").length);
});

Deno.test("IMAP: a quoted part, and BINARY", () => {
  const steps: Step[] = imap([["BODY[1]", "x"]]);
  const quoted = MALICIOUS.toBase64();
  steps[6] = ["S", bytes(`* 1 FETCH (BODY[2] "${quoted}" UID 4)\r\n`)];
  const stream = run("imap", steps);
  assert.ok(stream.signatures.includes("infected attachment"));
  assert.match(
    latin1(stream.received(false)),
    / FETCH \(BODY\[2\] " +\r?\n?" UID 4\)|BODY\[2\] "[ \r\n]*" UID/,
  );
  const binary = run(
    "imap",
    imap([["BINARY[2] ~", latin1(MALICIOUS)]].map(([n = "", v = ""]) => [n, v])),
  );
  assert.equal(binary.signatures.length, 0, "not valid: a literal8 has its tilde before the brace");
});

Deno.test("IMAP: a part in pieces is found at its last one, and refused from then on", () => {
  const part = `${MALICIOUS.toBase64()}\r\n`;
  const at = 40;
  const fetch = (tag: string, from: number): Step[] => [
    ["C", bytes(`${tag} UID FETCH 7 (BODY.PEEK[2]<${from}.${at}>)\r\n`)],
    [
      "S",
      bytes(
        `* 1 FETCH (UID 7 BODY[2]<${from}> {${part.slice(from, from + at).length}}\r\n${
          part.slice(from, from + at)
        })\r\n${tag} OK\r\n`,
      ),
    ],
  ];
  const steps = [
    ...imap([]).slice(0, 5),
    ...fetch("b1", 0),
    ...fetch("b2", 40),
    ...fetch("b3", 80),
  ];
  const stream = run("imap", steps);
  assert.ok(stream.signatures.includes("infected attachment"));
  const again = run("imap", [...steps, ...fetch("b4", 0)]);
  assert.equal(again.signatures.at(-1), "piece of an infected attachment");
  const received = latin1(again.received(false));
  assert.equal(received.length, sent([...steps, ...fetch("b4", 0)], "S").length);
  assert.match(
    received,
    /b3 OK\r\n\* 1 FETCH \(UID 7 BODY\[2\]<0> \{40\}\r\n[ \r\n]{40}\)\r\nb4 OK/,
  );
});

Deno.test("encryption: passed and told of, its offer taken out, or refused", () => {
  const begins: Step[] = [
    ["S", bytes("220 mx\r\n")],
    ["C", bytes("EHLO c\r\n")],
    ["S", bytes("250-mx\r\n250-STARTTLS\r\n250 SIZE\r\n")],
    ["C", bytes("STARTTLS\r\n")],
    ["S", bytes("220 go\r\n")],
    ["C", bytes("\x16\x03\x01")],
  ];
  const passed = run("smtp", begins);
  assert.deepEqual(passed.signatures, ["mail connection cannot be looked into"]);
  assert.equal(passed.released, true);
  const stripped = run("smtp", begins.slice(0, 3), { ...OPTIONS, starttls: "strip" });
  assert.equal(latin1(stripped.received(false)), "220 mx\r\n250-mx\r\n250 SIZE\r\n");
  assert.equal(run("smtp", begins, { ...OPTIONS, starttls: "strip" }).killed, true);
  const last = run("smtp", smtp([CLEAN]), { ...OPTIONS, starttls: "strip" });
  assert.match(latin1(last.received(false)), /250-PIPELINING\r\n250 HELP\r\n250 ok/);
  const pop = run("pop3", pop3([CLEAN]), { ...OPTIONS, starttls: "strip" });
  assert.match(latin1(pop.received(false)), /\+OK\r\nTOP\r\nPIPELINING\r\n\.\r\n/);
  const imaps = run("imap", imap([["BODY[]", CLEAN]]), { ...OPTIONS, starttls: "strip" });
  assert.match(latin1(imaps.received(false)), /^\* OK \[CAPABILITY IMAP4rev1 IDLE\] ready\r\n/);
});

Deno.test("passwords are not taken for commands", () => {
  const steps: Step[] = [
    ["S", bytes("220 mx\r\n")],
    ["C", bytes("AUTH LOGIN\r\n")],
    ["S", bytes("334 VXNlcm5hbWU6\r\n")],
    ["C", bytes("DATA\r\n")],
    ["S", bytes("334 UGFzc3dvcmQ6\r\n")],
    ["C", bytes("BDAT 99999 LAST\r\n")],
    ["S", bytes("235 ok\r\n")],
    ...smtp([INFECTED]).slice(3),
  ];
  assert.match(latin1(run("smtp", steps).received(true)), NOTICE);
});

Deno.test("a refused DATA begins no message", () => {
  const steps: Step[] = [
    ["S", bytes("220 mx\r\n")],
    ["C", bytes("DATA\r\n")],
    ["S", bytes("503 no\r\n")],
    ...smtp([INFECTED]).slice(3),
  ];
  assert.match(latin1(run("smtp", steps).received(true)), NOTICE);
});

Deno.test("bytes after DATA wait for the server's answer", () => {
  const stream = connect(new EmailScanner(), 25, fakeNi(OPTIONS));
  stream.send(false, bytes("220 mx\r\n"));
  stream.send(true, bytes(`DATA\r\n${dotted(INFECTED)}QUIT\r\n`));
  assert.equal(latin1(stream.received(true)), "DATA\r\n");
  stream.send(false, bytes("354 go\r\n"));
  assert.match(latin1(stream.received(true)), NOTICE);
  assert.match(latin1(stream.received(true)), /QUIT\r\n$/);
});

Deno.test("a message whose end others see elsewhere ends the connection", () => {
  for (const end of ["\n.\n", "\n.\r\n", "\r\n.\n"]) {
    const text = dotted(CLEAN).replace("preamble", () => `x${end}MAIL FROM:<>`);
    const steps: Step[] = [...smtp([]).slice(0, 3), ["C", bytes("DATA\r\n")], [
      "S",
      bytes("354\r\n"),
    ]];
    const stream = run("smtp", [...steps, ["C", bytes(text)]]);
    assert.equal(stream.killed, true, JSON.stringify(end));
    assert.deepEqual(stream.signatures, ["mail exchange that can be read in two ways"]);
    assert.doesNotMatch(latin1(stream.received(true)), /From: alice/);
  }
});

Deno.test("what is too large follows the administrator's choice", () => {
  const large = mail(new Uint8Array(5000).fill(65));
  const blocked = run("smtp", smtp([large]), { ...OPTIONS, max_message: 4000 });
  assert.equal(blocked.killed, true);
  const steps = smtp([large, INFECTED]);
  const passed = run("smtp", steps, { ...OPTIONS, max_message: 4000, oversize: "pass" });
  assert.deepEqual(passed.signatures, [
    "message is too large to be looked at",
    "infected attachment",
  ]);
  assert.ok(latin1(passed.received(true)).includes(dotted(large)));
});

Deno.test("a message that is cut off is looked at as far as it came", () => {
  const cutOff = pop3([INFECTED.slice(0, INFECTED.indexOf("--=_b1\r\nContent-Type: image"))]);
  const steps = cutOff.slice(0, -2).map(([side, data], place, all): Step =>
    place === all.length - 1 ? [side, data.subarray(0, -3)] : [side, data]
  );
  const stream = run("pop3", steps);
  assert.match(latin1(stream.received(false)), NOTICE);
});

/** Cuts each step into random pieces. */
const pieces = fc.infiniteStream(fc.integer({ min: 1, max: 200 }));

for (const [name, [protocol, dialogue]] of Object.entries(DIALOGUES)) {
  Deno.test(`${name}: any segmentation gives the same`, () => {
    const steps = dialogue(INFECTED);
    const whole = run(protocol, steps);
    fc.assert(
      fc.property(pieces, (sizes) => {
        const stream = run(protocol, steps, OPTIONS, (step) => {
          const out = [];
          for (let at = 0; at < step.length;) {
            const size = sizes.next().value as number;
            out.push(step.subarray(at, at + size));
            at += size;
          }
          return out;
        });
        assert.equal(latin1(stream.received(true)), latin1(whole.received(true)));
        assert.equal(latin1(stream.received(false)), latin1(whole.received(false)));
        assert.deepEqual(stream.signatures, whole.signatures);
      }),
      { numRuns: 25 },
    );
  });
}

Deno.test("garbage on both sides never throws, and what ends passes", () => {
  const words = [
    "DATA\r\n",
    "354 x\r\n",
    "BDAT 5 LAST\r\n",
    ".\r\n",
    "+OK\r\n",
    "RETR 1\r\n",
    "\r\n",
    "{5}\r\n",
  ];
  const more = [
    "* 1 FETCH (BODY[] {10}\r\n",
    "a APPEND x {9+}\r\n",
    "250 ok\r\n",
    "\n.\n",
    "+ \r\n",
    "--x",
    "\0",
  ];
  const piece = fc.oneof(
    fc.constantFrom(...words, ...more).map(bytes),
    fc.uint8Array({ maxLength: 30 }),
  );
  for (const protocol of ["smtp", "pop3", "imap"] as const) {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom("C", "S"), piece), { maxLength: 40 }),
        (steps) => {
          run(protocol, steps as Step[]);
        },
      ),
      { numRuns: 300 },
    );
  }
});
