# Makes system calls as its input says, and says with which errnos they have failed: `0:1400 111:600`.
# Few modules, as an emulated machine takes its time for each.
import ctypes, os, signal, socket, stat, struct, sys

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
HERE = -100
where = f"{os.environ.get('TMPDIR', '/tmp')}/mphy-caller-{os.getpid()}"
made = {}


def call(number, *arguments):
    """The errno of a call; 0 where it has not failed."""
    arguments = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    if libc.syscall(ctypes.c_long(number), *arguments) >= 0:
        return 0
    return ctypes.get_errno()


def errno_of(something):
    """The same of a function."""
    try:
        something()
    except OSError as error:
        return error.errno
    return 0


def path(name):
    return os.path.join(where, name).encode()


def vector(buffer):
    return struct.pack("QQ", ctypes.addressof(buffer), len(buffer))


def message(name, buffer, keep):
    """A msghdr, of which only the last field of a mmsghdr is missing."""
    data = ctypes.create_string_buffer(vector(buffer), 16)
    keep += [name, data]
    parts = ctypes.addressof(name) if name else 0, len(name) - 1 if name else 0, ctypes.addressof(data), 1, 0, 0, 0
    return ctypes.create_string_buffer(struct.pack("QIxxxxQQQQIxxxx", *parts) + bytes(8), 64)


def remove(directory):
    """With all that is in it."""
    if not os.path.isdir(directory):
        return
    for entry in os.scandir(directory):
        remove(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
    os.rmdir(directory)


def prepare():
    """Makes anew what the calls of a tour are about."""
    for one in made.values():
        one.close() if hasattr(one, "close") else os.close(one)
    made.clear()
    # What the last tour has opened.
    os.closerange(3, 256)
    remove(where)
    os.mkdir(where)
    for name in ["data", "gone1", "gone2", "old1", "old2", "old3"]:
        with open(path(name), "wb") as file:
            file.write(b"." * 4096)
    for name in ["empty", "below"]:
        os.mkdir(path(name))
    os.symlink("data", path("to"))
    made["data"] = os.open(path("data"), os.O_RDWR)
    made["list"] = os.open(where, os.O_RDONLY)
    made["list64"] = os.open(where, os.O_RDONLY)
    made["listener"] = socket.create_server(("127.0.0.1", 0))
    made["listener"].setblocking(False)
    made["unbound"] = socket.socket()
    made["bound"] = socket.socket()
    made["bound"].bind(("127.0.0.1", 0))
    made["server"] = socket.socket(type=socket.SOCK_DGRAM)
    made["server"].bind(("127.0.0.1", 0))
    made["server"].setblocking(False)
    # Whoever receives finds something, whatever is sent later.
    for _ in range(3):
        socket.socket(type=socket.SOCK_DGRAM).sendto(b"?", made["server"].getsockname())
    made["client"] = socket.socket(type=socket.SOCK_DGRAM)
    made["left"], made["right"] = socket.socketpair()


def address(port):
    return ctypes.create_string_buffer(struct.pack("=H", 2) + struct.pack("!H", port) + b"\x7f\0\0\1" + bytes(8), 17)


def tour():
    """Each call once, in an order in which none needs another."""
    data, buffer = made["data"], ctypes.create_string_buffer(b"." * 64, 64)
    room = ctypes.create_string_buffer(4096)
    one, flock = ctypes.create_string_buffer(vector(buffer), 16), struct.pack("hhxxxxqqixxxx", 1, 0, 0, 0, 0)
    how = struct.pack("QQQ", os.O_RDONLY, 0, 0)
    listener, bound, unbound, server, client, left = (
        made[name].fileno() for name in ["listener", "bound", "unbound", "server", "client", "left"]
    )
    there, keep = address(made["server"].getsockname()[1]), []
    sent, asked = message(there, buffer, keep), message(None, room, keep)
    done = [
        ("open", 2, path("data"), os.O_RDWR),
        ("creat", 85, path("new1"), 0o644),
        ("openat", 257, HERE, path("new2"), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644),
        ("openat2", 437, HERE, path("data"), how, 24),
        ("write", 1, data, buffer, 64),
        ("writev", 20, data, one, 1),
        ("pwrite64", 18, data, buffer, 64, 0),
        ("pwritev", 296, data, one, 1, 0, 0),
        ("pwritev2", 328, data, one, 1, 0, 0, 0),
        ("fallocate", 285, data, 0, 0, 4096),
        ("read", 0, data, room, 64),
        ("readv", 19, data, one, 1),
        ("pread64", 17, data, room, 64, 0),
        ("preadv", 295, data, one, 1, 0, 0),
        ("preadv2", 327, data, one, 1, 0, 0, 0),
        ("getdents", 78, made["list"], room, 4096),
        ("getdents64", 217, made["list64"], room, 4096),
        ("mmap", 9, 0, 4096, 1, 2, data, 0),
        ("truncate", 76, path("data"), 100),
        ("ftruncate", 77, data, 200),
        ("flock", 73, data, 1),
        ("fcntl", 72, data, 6, flock),
        ("stat", 4, path("data"), room),
        ("lstat", 6, path("to"), room),
        ("fstat", 5, data, room),
        ("newfstatat", 262, HERE, path("to"), room, 0x100),
        ("statx", 332, HERE, path("data"), 0, 0x7FF, room),
        ("readlink", 89, path("to"), room, 64),
        ("readlinkat", 267, HERE, path("to"), room, 64),
        ("unlink", 87, path("gone1")),
        ("unlinkat", 263, HERE, path("gone2"), 0),
        ("rmdir", 84, path("empty")),
        ("mkdir", 83, path("dir1"), 0o755),
        ("mkdirat", 258, HERE, path("dir2"), 0o755),
        ("mknod", 133, path("node1"), stat.S_IFIFO | 0o644, 0),
        ("mknodat", 259, HERE, path("node2"), stat.S_IFREG | 0o644, 0),
        ("link", 86, path("data"), path("link1")),
        ("linkat", 265, HERE, path("data"), HERE, path("link2"), 0),
        ("symlink", 88, b"data", path("sym1")),
        ("symlinkat", 266, b"data", HERE, path("sym2")),
        ("rename", 82, path("old1"), path("below/1")),
        ("renameat", 264, HERE, path("old2"), HERE, path("below/2")),
        ("renameat2", 316, HERE, path("old3"), HERE, path("below"), 2),
        ("chmod", 90, path("data"), 0o600),
        ("fchmod", 91, data, 0o640),
        ("fchmodat", 268, HERE, path("data"), 0o644),
        ("chown", 92, path("data"), 0, 0),
        ("fchown", 93, data, 0, 0),
        ("lchown", 94, path("to"), 0, 0),
        ("fchownat", 260, HERE, path("data"), 0, 0, 0),
        ("socket", 41, 2, 2, 0),
        ("socketpair", 53, 1, 1, 0, room),
        ("bind", 49, unbound, address(0), 16),
        ("listen", 50, bound, 5),
        ("accept", 43, listener, 0, 0),
        ("accept4", 288, listener, 0, 0, 0),
        ("connect", 42, client, there, 16),
        ("sendto", 44, client, buffer, 64, 0, there, 16),
        ("sendmsg", 46, client, sent, 0),
        ("sendmmsg", 307, client, sent, 1, 0),
        ("recvfrom", 45, server, room, 64, 0x40, 0, 0),
        ("recvmsg", 47, server, asked, 0x40),
        ("recvmmsg", 299, server, asked, 1, 0x40, 0),
        ("shutdown", 48, left, 1),
        # Nobody is asked about these.
        ("lseek", 8, data, 0, 0),
        ("fsync", 74, data),
        ("dup", 32, data),
        ("getppid", 110),
    ]
    return " ".join(f"{name}:{call(*arguments)}" for name, *arguments in done)


def opened(name, flags=os.O_RDONLY):
    return errno_of(lambda: os.close(os.open(name, flags, 0o644)))


def in_child(something):
    """What a child says by its end: the errno of something, or by which signal it was killed."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os._exit(something())
    ended = os.waitpid(child, 0)[1]
    return -os.WTERMSIG(ended) if os.WIFSIGNALED(ended) else os.WEXITSTATUS(ended)


def created():
    """An open that makes a file, with 1000 added where it has failed and a file is there."""
    errno = opened(path("fresh"), os.O_RDWR | os.O_CREAT)
    left = os.path.exists(path("fresh"))
    if left:
        os.unlink(path("fresh"))
    return errno + 1000 * bool(errno and left)


def connected(host, kind, port):
    domain = socket.AF_INET6 if ":" in host else socket.AF_INET
    one = socket.socket(domain, kind)
    try:
        return errno_of(lambda: one.connect((host, int(port))))
    finally:
        # Nothing waits for what may come late.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()


def sent(host, port):
    domain = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(domain, socket.SOCK_DGRAM) as one:
        return errno_of(lambda: one.sendto(b"?", (host, int(port))))


def sent_connected(host, port):
    with socket.socket(type=socket.SOCK_DGRAM) as one:
        one.connect((host, int(port)))
        return errno_of(lambda: one.send(b"?"))


def bound(host):
    domain = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(domain, socket.SOCK_DGRAM) as one:
        return errno_of(lambda: one.bind((host, 0)))


def paired(does):
    """What is done to one of a new pair of sockets."""
    left, right = socket.socketpair()
    with left, right:
        return in_child(lambda: errno_of(lambda: does(left)))


DO = {
    "open": opened,
    "create": created,
    "create-unnamed": lambda directory: opened(directory, os.O_RDWR | os.O_TMPFILE),
    "open-in-child": lambda name: in_child(lambda: opened(name)),
    "fork": lambda: errno_of(lambda: os.waitpid(os.fork() or os._exit(0), 0)),
    "execute": lambda: in_child(lambda: call(59, b"/bin/true", (ctypes.c_char_p * 2)(b"true"), 0)),
    "tcp": lambda host, port: connected(host, socket.SOCK_STREAM, port),
    "udp": lambda host, port: connected(host, socket.SOCK_DGRAM, port),
    "send": sent,
    "send-connected": sent_connected,
    "bind": bound,
    "bind-in-child": lambda host: in_child(lambda: bound(host)),
    "socket": lambda domain: errno_of(lambda: socket.socket(getattr(socket, domain)).close()),
    "write-to-pair": lambda: paired(lambda one: os.write(one.fileno(), b"?")),
    "send-to-pair": lambda: paired(lambda one: one.send(b"?")),
    "send-to-pair-quietly": lambda: paired(lambda one: one.send(b"?", socket.MSG_NOSIGNAL)),
    "receive": lambda: paired(lambda one: one.recv(1, socket.MSG_DONTWAIT)),
}
remove(where)
os.mkdir(where)
print("ready", flush=True)
for line in sys.stdin:
    what, count, *arguments = line.split()
    if what == "prepare":
        answer = prepare()
    elif what == "tour":
        answer = tour()
    else:
        errnos = {}
        for _ in range(int(count)):
            errno = DO[what](*arguments)
            errnos[errno] = errnos.get(errno, 0) + 1
        answer = " ".join(f"{errno}:{times}" for errno, times in sorted(errnos.items()))
    print(answer or "done", flush=True)
remove(where)
