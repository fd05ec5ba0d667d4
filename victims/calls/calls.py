"""Makes system calls as Python does, and counts what came of each: see calls.c.

calls.py DIRECTORY CALL...
"""

import errno
import mmap
import os
import socket
import sys

PLACES = 256
os.chdir(sys.argv[1])
names = sys.argv[2:]
counts = os.open("counts", os.O_RDWR | os.O_CREAT, 0o600)
os.ftruncate(counts, 8 * PLACES * len(names))
# Written eight bytes at a time: struct would clear them first, and somebody reads them meanwhile.
shared = memoryview(mmap.mmap(counts, 8 * PLACES * len(names))).cast("Q")
file = os.open("file", os.O_RDWR | os.O_CREAT, 0o600)
os.write(file, b"murphy")
os.symlink("file", "link")
taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
taken.bind(("127.0.0.1", 0))
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.connect(taken.getsockname())


def closed(fd):
    os.close(fd)


def made(make):
    """A call that fails in the way that is expected where nothing is done to it."""
    try:
        make()
    except NotADirectoryError:
        pass


CALLS = {
    "read": lambda: os.read(file, 8),
    "pread64": lambda: os.pread(file, 8, 0),
    "write": lambda: os.write(file, b"x"),
    "pwrite64": lambda: os.pwrite(file, b"x", 0),
    "fsync": lambda: os.fsync(file),
    "fdatasync": lambda: os.fdatasync(file),
    "ftruncate": lambda: os.ftruncate(file, 64),
    "openat": lambda: closed(os.open("file", os.O_RDONLY)),
    "newfstatat": lambda: os.stat("file"),
    "access": lambda: os.access("file", os.F_OK),
    "mkdir": lambda: made(lambda: os.mkdir("file/no")),
    "unlink": lambda: made(lambda: os.unlink("file/no")),
    "rename": lambda: made(lambda: os.rename("file/no", "no")),
    "readlink": lambda: os.readlink("link"),
    "socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
    "sendto": lambda: out.send(b"x"),
    "getppid": os.getppid,
}


# By a call that nobody has fail.
def is_over():
    try:
        os.chmod("end", 0o600)
    except OSError:
        return False
    return True


def count(place, number):
    shared[PLACES * place + number] += 1


print("ready", os.getpid(), 0, flush=True)
turn = 0
while turn % 16 or not is_over():
    turn += 1
    for place, name in enumerate(names):
        try:
            CALLS[name]()
        except OSError as error:
            count(place, error.errno or errno.EPERM)
        count(place, 0)
