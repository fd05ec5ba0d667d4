"""A crowd holds many connections at once, and answers whatever comes over them with the same.

    crowd.py HOST PORT

connects there and takes orders, a line each, which it answers with a line:

    open HOST PORT N   connects so many times: `opened`
    ended              the connections that have ended, as JSON: {"LOCAL PORT": "ECONNRESET"}, or END for an end of stream
    close              closes all: `closed`

It ends when its orders end.
"""

import errno
import json
import select
import socket
import struct
import sys

EVENTS_MAX = 65536
# A close is a reset, after which nothing is waited for.
AT_ONCE = struct.pack("ii", 1, 0)


class Crowd:
    def __init__(self, control):
        self.control = control
        self.orders = b""
        self.epoll = select.epoll()
        self.epoll.register(control, select.EPOLLIN)
        self.held, self.ports, self.ended = {}, {}, {}

    def open(self, host, port, count):
        for _ in range(count):
            one = socket.create_connection((host, port))
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            one.setblocking(False)
            self.held[one.fileno()] = one
            self.ports[one.fileno()] = one.getsockname()[1]
            self.epoll.register(one, select.EPOLLIN)

    def close(self):
        for one in self.held.values():
            one.close()
        self.held, self.ports, self.ended = {}, {}, {}

    def hear(self, number):
        """What came over one of them."""
        one = self.held[number]
        try:
            said = one.recv(4096)
            if said:
                one.sendall(said)
                return
            why = "END"
        except BlockingIOError:
            return
        except OSError as error:
            why = errno.errorcode[error.errno]
        self.ended[self.ports[number]] = why
        self.epoll.unregister(one)

    def hear_all(self, timeout):
        """Whether there was anything; the orders are left for later."""
        numbers = [number for number, _ in self.epoll.poll(timeout, EVENTS_MAX)]
        others = [number for number in numbers if number != self.control.fileno()]
        for number in others:
            self.hear(number)
        return bool(others), len(others) < len(numbers)

    def obey(self, order):
        match order.split():
            case ["open", host, port, count]:
                self.open(host, int(port), int(count))
                return "opened"
            case ["ended"]:
                while self.hear_all(0)[0]:
                    pass
                return json.dumps(self.ended)
            case ["close"]:
                self.close()
                return "closed"
        raise SystemExit(f"crowd.py: no such order: {order}")

    def run(self):
        while True:
            if not self.hear_all(None)[1]:
                continue
            said = self.control.recv(4096)
            if not said:
                return
            self.orders += said
            while b"\n" in self.orders:
                order, self.orders = self.orders.split(b"\n", 1)
                self.control.sendall(self.obey(order.decode()).encode() + b"\n")


Crowd(socket.create_connection((sys.argv[1], int(sys.argv[2])))).run()
