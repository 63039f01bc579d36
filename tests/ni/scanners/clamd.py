"""A service for tests, at the Unix socket that the first argument names: says as clamd does whether there is a virus, byte
4, in what it is given. Byte 9 makes it hang up without an answer. With `echo` as second argument it gives back what it
gets, with `deaf` it takes nothing."""
import socket
import struct
import sys


def exactly(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            return None
        data += more
    return data


def stream(connection):
    if exactly(connection, 10) != b"zINSTREAM\0":
        return b"UNKNOWN COMMAND\0"
    data = b""
    while length := struct.unpack(">I", exactly(connection, 4) or bytes(4))[0]:
        data += exactly(connection, length) or b""
    if data == b"\x09":
        return b""
    return b"stream: Test FOUND\0" if data == b"\x04" else b"stream: OK\0"


listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listening", flush=True)
while True:
    connection, _ = listener.accept()
    with connection:
        if sys.argv[2:] == ["echo"]:
            while data := connection.recv(65536):
                connection.sendall(data)
        elif sys.argv[2:] == ["deaf"]:
            connection.recv(1, socket.MSG_PEEK)
            sys.stdin.read()
        else:
            connection.sendall(stream(connection))
