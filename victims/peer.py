"""A peer listens and connects on the loopback as it is told, beside others in the same network namespace.

    peer.py SOCKET

connects to that Unix socket and takes orders, a line each, which it answers with a line:

    listen            listens and takes in whoever comes: its port
    listen waiting    listens, and lets whoever comes wait: its port
    connect PORT N    connects so many times: how that went, as JSON: {"made": 3, "ECONNREFUSED": 1}
    ends              how all ends are that it has ever had, as JSON: {"alive": 2, "ECONNRESET": 1}, END for an end of stream
    fork              has a child that connects to the Unix socket for orders of its own: its pid

It ends when its orders end.
"""

import collections
import errno
import json
import os
import selectors
import socket
import struct
import sys

BACKLOG = 4096
# A close is a reset, so that no port waits for anything afterwards.
AT_ONCE = struct.pack("ii", 1, 0)


class Peer:
    def __init__(self, path):
        self.path = path
        self.begin()

    def begin(self):
        self.control = socket.socket(socket.AF_UNIX)
        self.control.connect(self.path)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.control, selectors.EVENT_READ)
        self.orders, self.ends, self.over = b"", [], collections.Counter()
        self.waiting = []

    def keep(self, end):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        end.setblocking(False)
        self.ends.append(end)

    def listen(self, waits):
        listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        if waits:
            self.waiting.append(listener)
        else:
            listener.setblocking(False)
            self.selector.register(listener, selectors.EVENT_READ, "come")
        return str(listener.getsockname()[1])

    def take_in(self):
        """Whoever has come by now."""
        for key in list(self.selector.get_map().values()):
            while key.data == "come":
                try:
                    self.keep(key.fileobj.accept()[0])
                except BlockingIOError:
                    break
                except ConnectionError:
                    continue

    def connect(self, port, times):
        went = collections.Counter()
        for _ in range(times):
            try:
                self.keep(socket.create_connection(("127.0.0.1", port)))
                went["made"] += 1
            except OSError as error:
                went[errno.errorcode[error.errno]] += 1
        return json.dumps(went)

    def look(self):
        self.take_in()
        alive = []
        for end in self.ends:
            try:
                # Nobody ever sends anything.
                assert not end.recv(1)
                self.over["END"] += 1
            except BlockingIOError:
                alive.append(end)
            except OSError as error:
                self.over[errno.errorcode[error.errno]] += 1
        self.ends = alive
        return json.dumps(self.over | collections.Counter(alive=len(alive)))

    def fork(self):
        child = os.fork()
        if child == 0:
            # What is inherited is the parent's to speak of.
            for end in [self.control, *self.ends, *self.waiting]:
                end.close()
            self.begin()
            return None
        return str(child)

    def obey(self, order):
        match order.split():
            case ["listen", *waiting]:
                return self.listen(bool(waiting))
            case ["connect", port, times]:
                return self.connect(int(port), int(times))
            case ["ends"]:
                return self.look()
            case ["fork"]:
                return self.fork()
        raise SystemExit(f"peer.py: no such order: {order}")

    def run(self):
        while True:
            ready = [key.fileobj for key, _ in self.selector.select()]
            self.take_in()
            if self.control not in ready:
                continue
            said = self.control.recv(4096)
            if not said:
                return
            self.orders += said
            while b"\n" in self.orders:
                order, self.orders = self.orders.split(b"\n", 1)
                answer = self.obey(order.decode())
                if answer is not None:
                    self.control.sendall(answer.encode() + b"\n")


Peer(sys.argv[1]).run()
