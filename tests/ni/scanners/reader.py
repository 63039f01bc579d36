# Reads frames, or contains them and lets them pass. Arguments: a filter, 1 to read or 2 to contain, and `stop` to read
# nothing after it has subscribed.
import signal, struct, sys

text, right, stops = sys.argv[1].encode(), int(sys.argv[2]), sys.argv[3:] == ["stop"]
out = sys.stdout.buffer


def send(kind, body):
    body += b"\0" * (-len(body) % 4)
    out.write(struct.pack("<IHH", 8 + len(body), kind, 0) + body)


def read(n):
    data = sys.stdin.buffer.read(n)
    if len(data) < n:
        sys.exit()
    return data


send(0x81, struct.pack("<HH", 1, 0) + b"reader")
send(0x82, struct.pack("<II", 0, right) + text)
out.flush()
while True:
    length, kind, _ = struct.unpack("<IHH", read(8))
    body = read(length - 8)
    if kind == 0x02:
        print("subscribed", file=sys.stderr, flush=True)
        if stops:
            signal.pause()
    elif kind == 0x05:
        send(0x86, body[:4])
    elif kind == 0x06:
        print("lost", file=sys.stderr, flush=True)
    elif kind == 0x03 and body[25] & 1:
        send(0x83, struct.pack("<QII", struct.unpack_from("<Q", body)[0], 1, 0))
    out.flush()
