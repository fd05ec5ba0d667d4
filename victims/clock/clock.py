"""Reads its clocks every 20 ms and says `R <realtime ns> M <monotonic ns>`, until SIGTERM; then `BYE`, exit code 0.

M is the middle of two readings around R, close to each other.
"""

import signal
import time

PERIOD_S = 0.02
# Readings of M this close are good enough; else the best of so many tries is taken.
CLOSE_NS = 20_000
TRIES = 16

terminated = False


def on_term(_signal, _frame):
    global terminated
    terminated = True


def read_clocks():
    narrowest, best = None, (0, 0)
    for _ in range(TRIES):
        before = time.monotonic_ns()
        realtime = time.time_ns()
        width = time.monotonic_ns() - before
        if narrowest is None or width < narrowest:
            narrowest, best = width, (realtime, before + width // 2)
        if narrowest <= CLOSE_NS:
            break
    return best


signal.signal(signal.SIGTERM, on_term)
while not terminated:
    print("R %d M %d" % read_clocks(), flush=True)
    time.sleep(PERIOD_S)
print("BYE", flush=True)
