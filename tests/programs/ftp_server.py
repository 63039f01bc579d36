"""An FTP server on pyftpdlib: one process or thread for all, or one for each client.

usage: ftp_server.py ADDRESS PORT DIRECTORY multiplexed|threaded|multiprocess epoll|poll|select
       [CERTIFICATE KEY]

With a certificate both connections must be inside TLS.
"""

import logging
import sys

from pyftpdlib import ioloop, servers
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler

address, port, directory, model, poller = sys.argv[1:6]
logging.basicConfig(level=logging.ERROR)

# Before the first loop is made: servers with a process for each client make more of them.
ioloop.IOLoop = {
    "epoll": ioloop.Epoll,
    "poll": ioloop.Poll,
    "select": ioloop.Select,
}[poller]
servers.IOLoop = ioloop.IOLoop

authorizer = DummyAuthorizer()
authorizer.add_anonymous(directory)
handler = FTPHandler
if len(sys.argv) > 6:
    handler = TLS_FTPHandler
    handler.certfile, handler.keyfile = sys.argv[6:]
    handler.tls_control_required = True
    handler.tls_data_required = True
handler.authorizer = authorizer
handler.use_sendfile = False

server_class = {
    "multiplexed": servers.FTPServer,
    "threaded": servers.ThreadedFTPServer,
    "multiprocess": servers.MultiprocessFTPServer,
}[model]
server = server_class((address, int(port)), handler, backlog=512)
server.max_cons = 2000
print("ready", flush=True)
server.serve_forever(handle_exit=True)
