"""FTP clients of many hosts at once: each fetches a file again and again, over passive connections.

usage: ftp_swarm.py SERVER PORT FILE BYTES FETCHES HOST...

Prints a line "HOST PORT" for each data connection that brought the whole file, and one for each
failure on stderr. All clients ask for a port at the same moment, each time.
"""

import ftplib
import sys
import threading

server, port, file, size, fetches = sys.argv[1:6]
hosts = sys.argv[6:]
turn = threading.Barrier(len(hosts))
done = []
failed = []


class Client(ftplib.FTP):
    """Remembers the port that the server has told."""

    data_port = 0

    def makepasv(self):
        turn.wait(60)
        host, self.data_port = super().makepasv()
        return host, self.data_port


def fetch(host):
    client = Client(timeout=10, source_address=(host, 0))
    try:
        client.connect(server, int(port))
        client.login()
        for _ in range(int(fetches)):
            count = 0

            def take(block):
                nonlocal count
                count += len(block)

            client.retrbinary("RETR " + file, take)
            if count != int(size):
                raise OSError(f"{count} bytes came")
            done.append(f"{host} {client.data_port}")
        client.quit()
    except Exception as error:  # every failure is one, and is told
        failed.append(f"{host} {client.data_port}: {error}")
        turn.abort()


threads = [threading.Thread(target=fetch, args=(host,)) for host in hosts]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("\n".join(done))
print("\n".join(failed), file=sys.stderr)
sys.exit(1 if failed else 0)
