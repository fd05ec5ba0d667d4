"""A small server that is known to crash, hang, forget, do worse and survive, each by the errors of one call.

    verdicts.py DIRECTORY

It makes five calls some hundred times a second, and looks at how many of the last ones have failed. Above a half
fsync has it end, ftruncate has it answer no more, pwrite64 has it answer by an error, and rename has it lose what it
keeps: its answers at /state are wrong from then on. readlink is tried until it succeeds. It prints the port on which
it listens.
"""

import collections
import http.server
import os
import sys
import threading
import time

os.chdir(sys.argv[1])
LIMIT = 0.5
WINDOW = 300
file = os.open("file", os.O_RDWR | os.O_CREAT)
if not os.path.islink("link"):
    os.symlink("file", "link")
open("one", "w").close()
lately = {name: collections.deque(maxlen=WINDOW) for name in ("fsync", "ftruncate", "pwrite64", "rename")}
is_hung = False
is_lost = False


def is_above(name):
    window = lately[name]
    return len(window) == WINDOW and sum(window) > LIMIT * WINDOW


def attempt(name, call):
    try:
        call()
        lately[name].append(0)
    except OSError:
        lately[name].append(1)


def read_link():
    while True:
        try:
            return os.readlink("link")
        except OSError:
            continue


def work():
    global is_hung, is_lost
    names = ["one", "other"]
    while True:
        attempt("fsync", lambda: os.fsync(file))
        attempt("ftruncate", lambda: os.ftruncate(file, 64))
        attempt("pwrite64", lambda: os.pwrite(file, b"x", 0))

        def rename():
            os.rename(*names)
            names.reverse()

        attempt("rename", rename)
        read_link()
        if is_above("fsync"):
            print("verdicts: cannot keep anything on this disk", file=sys.stderr, flush=True)
            os.abort()
        is_hung = is_hung or is_above("ftruncate")
        is_lost = is_lost or is_above("rename")
        time.sleep(0.001)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        while is_hung:
            time.sleep(0.1)
        is_wrong = is_lost if self.path == "/state" else is_above("pwrite64")
        self.send_response(500 if is_wrong else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


server = Server(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0), Handler)
threading.Thread(target=work, daemon=True).start()
print(server.server_address[1], flush=True)
server.serve_forever()
