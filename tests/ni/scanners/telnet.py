"""A scanner in Python: cuts connections to port 23, tells of them. Nothing but the standard library."""
import json
import struct
import sys

READ, CONTAIN, PASS, CUT = 1, 2, 1, 2


def send(kind, body):
    body += bytes(-len(body) % 4)
    sys.stdout.buffer.write(struct.pack("<IHH", 8 + len(body), kind, 0) + body)


def receive():
    header = sys.stdin.buffer.read(8)
    if len(header) < 8:
        sys.exit()
    length, kind, _ = struct.unpack("<IHH", header)
    return kind, sys.stdin.buffer.read(length - 8)


send(0x81, struct.pack("<HH", 1, 0) + b"telnet")
send(0x82, struct.pack("<II", 0, CONTAIN) + b"tcp dst port 23")
while True:
    sys.stdout.buffer.flush()
    kind, body = receive()
    if kind == 0x03:
        (number,) = struct.unpack_from("<Q", body)
        text = json.dumps({"signature": "telnet", "severity": 2, "action": "blocked"}).encode()
        send(0x85, struct.pack("<IIQ", 1, len(text), number) + text)
        send(0x83, struct.pack("<QII", number, CUT, 0))
    elif kind == 0x05:
        send(0x86, body[:4])
    elif kind == 0x07:
        break
