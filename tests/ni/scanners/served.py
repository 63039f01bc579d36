"""A scanner in Python that asks a service about each frame: cuts it when the answer is not `stream: OK`.

The service is asked as clamd is. First argument: its name, second: how to misbehave.
"""
import json
import struct
import sys

CONTAIN, PASS, CUT, ALL = 2, 1, 2, 2
service, deed = (sys.argv + ["", ""])[1:3]


def send(kind, body):
    body += bytes(-len(body) % 4)
    sys.stdout.buffer.write(struct.pack("<IHH", 8 + len(body), kind, 0) + body)


def receive():
    header = sys.stdin.buffer.read(8)
    if len(header) < 8:
        sys.exit()
    length, kind, _ = struct.unpack("<IHH", header)
    return kind, sys.stdin.buffer.read(length - 8)


def write(connection, data):
    send(0xC1, struct.pack("<II", connection, len(data)) + data)


def alert(text):
    text = json.dumps({"signature": text}).encode()
    send(0x85, struct.pack("<II", 0, len(text)) + text)


def decide(connection, why):
    number = asked.pop(connection)
    clean = answers.pop(connection) == b"stream: OK\0"
    send(0x83, struct.pack("<QII", number, PASS if clean else CUT, 0))
    if why:
        alert(why)


send(0x81, struct.pack("<HH", 1, 0) + b"served")
send(0x82, struct.pack("<II", 0, CONTAIN) + b"udp")
connections, asked, answers, payloads, sync = 0, {}, {}, {}, None
while True:
    if sync is not None and not asked:
        send(0x86, sync)
        sync = None
    sys.stdout.buffer.flush()
    kind, body = receive()
    connection = struct.unpack_from("<I", body)[0] if len(body) >= 4 else 0
    if kind == 0x03:
        asked[connections], answers[connections] = struct.unpack_from("<Q", body)[0], b""
        payloads[connections] = body[32 + 42:32 + struct.unpack_from("<I", body, 20)[0]]
        send(0xC0, struct.pack("<II", connections + (deed == "number"), 0) + service.encode())
        connections += 1
    elif kind == 0x40:
        data = payloads.pop(connection)
        if deed == "much":
            for _ in range(16):
                write(connection, bytes(65536))
        write(connection, b"zINSTREAM\0" + struct.pack(">I", len(data)) + data + bytes(4))
    elif kind == 0x41:
        answers[connection] += body[8:8 + struct.unpack_from("<I", body, 4)[0]]
    elif kind == 0x43:
        decide(connection, body[8:].rstrip(b"\0").decode())
    elif kind == 0x05:
        sync = body[:4]
    elif kind == 0x07:
        break
