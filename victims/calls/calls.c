// Makes system calls again and again, and counts what came of each, in a file that others may map.
//
//   calls DIRECTORY [--threads N] [--fork] CALL...
//
// The counts are in DIRECTORY/counts, as long as it runs and afterwards: for each CALL, in the order of the words, 256 numbers of 8
// bytes. The first is how often it was made; the one at the place of an errno is how often it failed with that. With --fork a child
// does the same, and its counts come behind those of its parent. It ends when the file DIRECTORY/end is there.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PLACES = 256, CALLS_MAX = 128 };

typedef struct {
  const char *name;
  // 0, or -1 with errno.
  long (*make)(void);
} Call;

static int file, directory, in, out, udp, own, listener, epoll, watches, ends[2];
static __thread char buffer[64];
static struct sockaddr_in nobody;

static void shut(long fd) {
  while (fd >= 0 && close((int)fd) != 0 && errno == EINTR) {
  }
}

static long opened(long fd) {
  int error = errno;
  shut(fd);
  errno = error;
  return fd < 0 ? -1 : 0;
}

static struct iovec one(void) {
  return (struct iovec){.iov_base = buffer, .iov_len = 1};
}

static long make_read(void) { return read(file, buffer, 8); }
static long make_readv(void) {
  struct iovec vector = one();
  return readv(file, &vector, 1);
}
static long make_pread64(void) { return pread(file, buffer, 8, 0); }
static long make_write(void) { return write(file, "x", 1); }
static long make_writev(void) {
  struct iovec vector = one();
  return writev(file, &vector, 1);
}
static long make_pwrite64(void) { return pwrite(file, "x", 1, 0); }
#ifdef __GLIBC__
static long make_close(void) { return close(dup(file)); }
#else
// musl tells nobody of EINTR.
static long make_close(void) { return syscall(SYS_close, dup(file)); }
#endif
static long make_fsync(void) { return fsync(file); }
static long make_fdatasync(void) { return fdatasync(file); }
static long make_fallocate(void) { return fallocate(file, 0, 0, 64); }
static long make_ftruncate(void) { return ftruncate(file, 64); }
static long make_open(void) { return opened(syscall(SYS_open, "file", O_RDONLY)); }
static long make_openat(void) { return opened(openat(AT_FDCWD, "file", O_RDONLY)); }
static long make_newfstatat(void) {
  struct stat stat;
  // musl asks by stat(2).
  return syscall(SYS_newfstatat, AT_FDCWD, "file", &stat, 0);
}
static long make_fstat(void) {
  struct stat stat;
  return syscall(SYS_fstat, file, &stat);
}
static long make_access(void) { return access("file", F_OK); }
static long make_mkdir(void) { return mkdir("file/no", 0700) == -1 && errno == ENOTDIR ? 0 : -1; }
static long make_unlink(void) { return unlink("file/no") == -1 && errno == ENOTDIR ? 0 : -1; }
static long make_rename(void) { return rename("file/no", "no") == -1 && errno == ENOTDIR ? 0 : -1; }
static long make_readlink(void) { return readlink("link", buffer, sizeof buffer); }
static long make_getdents64(void) { return syscall(SYS_getdents64, directory, buffer, sizeof buffer); }
static long make_flock(void) { return flock(file, LOCK_SH); }
static long make_statfs(void) {
  struct statfs stat;
  return statfs("file", &stat);
}
static long make_fchmod(void) { return fchmod(file, 0600); }
static long make_socket(void) { return opened(socket(AF_INET, SOCK_DGRAM, 0)); }
static long make_connect(void) { return connect(udp, (struct sockaddr *)&nobody, sizeof nobody); }
static long make_listen(void) { return listen(listener, 8); }
static long make_accept4(void) {
  long fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  return fd < 0 && errno == EWOULDBLOCK ? 0 : opened(fd);
}
static long make_sendto(void) { return sendto(out, "x", 1, MSG_NOSIGNAL, NULL, 0); }
static long make_sendmsg(void) {
  struct iovec vector = one();
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
  return sendmsg(out, &message, MSG_NOSIGNAL);
}
static long make_recvfrom(void) { return recvfrom(in, buffer, 1, MSG_PEEK, NULL, NULL); }
static long make_recvmsg(void) {
  struct iovec vector = one();
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
  return recvmsg(in, &message, MSG_PEEK);
}
static long make_epoll_create1(void) { return opened(epoll_create1(0)); }
static long make_eventfd2(void) { return opened(eventfd(0, 0)); }
static long make_epoll_wait(void) {
  struct epoll_event event;
  return syscall(SYS_epoll_wait, epoll, &event, 1, 0);
}
static long make_poll(void) {
  struct pollfd fd = {.fd = file, .events = POLLIN};
  return poll(&fd, 1, 0);
}
static long make_dup(void) { return opened(dup(file)); }
static long make_pipe2(void) {
  int made[2];
  if (pipe2(made, O_CLOEXEC) != 0)
    return -1;
  shut(made[0]);
  shut(made[1]);
  return 0;
}
static long make_socketpair(void) {
  int made[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, made) != 0)
    return -1;
  shut(made[0]);
  shut(made[1]);
  return 0;
}

// What is expected of a call to which nothing is done.
static long expected(long result, int error) { return result < 0 && errno == error ? 0 : result < 0 ? -1 : 0; }

// The same calls of other descriptors. Of what is read of a socket there is always some, and what is written to a pipe is taken out.
static long make_read_socket(void) {
  sendto(own, "x", 1, MSG_DONTWAIT, NULL, 0);
  return read(own, buffer, 1);
}
static long make_readv_socket(void) {
  struct iovec vector = one();
  sendto(own, "x", 1, MSG_DONTWAIT, NULL, 0);
  return readv(own, &vector, 1);
}
static long make_write_socket(void) { return write(out, "x", 1); }
static long make_writev_socket(void) {
  struct iovec vector = one();
  return writev(out, &vector, 1);
}
static long make_write_pipe(void) {
  struct iovec vector = one();
  long result = write(ends[1], "x", 1);
  int error = errno;
  if (result == 1)
    readv(ends[0], &vector, 1);
  errno = error;
  return result;
}
static long make_read_pipe(void) {
  struct iovec vector = one();
  // One that was not read is still there.
  struct pollfd full = {.fd = ends[0], .events = POLLIN};
  if (poll(&full, 1, 0) == 0)
    writev(ends[1], &vector, 1);
  return read(ends[0], buffer, 1);
}
static long make_connect_nonblocking(void) {
  return connect(udp, (struct sockaddr *)&nobody, sizeof nobody);
}

static long make_fcntl(void) {
  struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
  return fcntl(file, F_SETLK, &lock);
}
static long make_dup2(void) { return opened(syscall(SYS_dup2, file, 100)); }
static long make_dup3(void) { return opened(dup3(file, 101, O_CLOEXEC)); }
static long make_bind(void) {
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = (int)syscall(SYS_socket, AF_INET, SOCK_DGRAM, 0);
  long result = bind(fd, (struct sockaddr *)&here, sizeof here);
  int error = errno;
  shut(fd);
  errno = error;
  return result;
}
static long make_sendmmsg(void) {
  struct iovec vector = one();
  struct mmsghdr message = {.msg_hdr = {.msg_iov = &vector, .msg_iovlen = 1}};
  return sendmmsg(out, &message, 1, MSG_NOSIGNAL);
}
static long make_recvmmsg(void) {
  struct iovec vector = one();
  struct mmsghdr message = {.msg_hdr = {.msg_iov = &vector, .msg_iovlen = 1}};
  return recvmmsg(in, &message, 1, MSG_PEEK, NULL);
}
static long make_sendfile(void) { return sendfile(out, file, &(off_t){0}, 1); }
static long make_copy_file_range(void) {
  return syscall(SYS_copy_file_range, file, &(int64_t){0}, file, &(int64_t){64}, 8L, 0L);
}
static long make_shutdown(void) { return expected(shutdown(udp, 99), EINVAL); }
static long make_epoll_ctl(void) {
  return expected(epoll_ctl(epoll, EPOLL_CTL_ADD, listener, (struct epoll_event *)1), EFAULT);
}
static long make_epoll_pwait(void) {
  struct epoll_event event;
  return epoll_pwait(epoll, &event, 1, 0, &(sigset_t){0});
}
static long make_ppoll(void) {
  struct pollfd fd = {.fd = file, .events = POLLIN};
  return ppoll(&fd, 1, &(struct timespec){0}, NULL);
}
static long make_inotify_add_watch(void) { return inotify_add_watch(watches, "file", IN_DELETE_SELF); }
static long make_inotify_init1(void) { return opened(inotify_init1(IN_CLOEXEC)); }
static long make_timerfd_create(void) { return opened(timerfd_create(CLOCK_MONOTONIC, 0)); }
static long make_waitid(void) { return expected(waitid(P_PID, (id_t)getpid(), NULL, 0), EINVAL); }
static long make_tgkill(void) { return syscall(SYS_tgkill, getpid(), gettid(), 0); }
static long make_clock_nanosleep(void) {
  return syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = 1000}, NULL);
}
static long make_truncate(void) { return truncate("file", 64); }
static long make_link(void) { return expected(link("file/no", "no"), ENOTDIR); }
static long make_symlink(void) { return expected(symlink("file", "file/no"), ENOTDIR); }
static long make_rmdir(void) { return expected(rmdir("file/no"), ENOTDIR); }
static long make_statx(void) {
  char much[256];
  return syscall(SYS_statx, AT_FDCWD, "file", 0, 0x7ff, much);
}
static long make_fstatfs(void) {
  struct statfs stat;
  return fstatfs(file, &stat);
}
static long make_chmod(void) { return chmod("file", 0600); }
static long make_fchown(void) { return fchown(file, getuid(), getgid()); }
static long make_sync_file_range(void) { return sync_file_range(file, 0, 1, 0); }
static long make_preadv(void) {
  struct iovec vector = one();
  return preadv(file, &vector, 1, 0);
}
static long make_pwritev(void) {
  struct iovec vector = one();
  return pwritev(file, &vector, 1, 0);
}
static long make_io_setup(void) {
  unsigned long context = 0;
  long result = syscall(SYS_io_setup, 1, &context);
  int error = errno;
  if (result == 0)
    syscall(SYS_io_destroy, context);
  errno = error;
  return result;
}
static long make_kill(void) { return kill(getpid(), 0); }
static long make_getrandom(void) { return getrandom(buffer, 8, 0); }
static long make_nanosleep(void) {
  struct timespec little = {.tv_nsec = 1000};
  return syscall(SYS_nanosleep, &little, NULL);
}
static long make_lseek(void) { return lseek(file, 0, SEEK_SET); }
static long make_getppid(void) { return getppid() > 0 ? 0 : -1; }

#define CALL(name) {#name, make_##name}
#define OTHER(name, of) {#name "." #of, make_##name##_##of}
static const Call CALLS[] = {
    CALL(read),       CALL(readv),     CALL(pread64),    CALL(write),         CALL(writev),   CALL(pwrite64),
    CALL(close),      CALL(fsync),     CALL(fdatasync),  CALL(fallocate),     CALL(ftruncate), CALL(open),
    CALL(openat),     CALL(newfstatat), CALL(fstat),     CALL(access),        CALL(mkdir),    CALL(unlink),
    CALL(rename),     CALL(readlink),  CALL(getdents64), CALL(flock),         CALL(statfs),   CALL(fchmod),
    CALL(socket),     CALL(connect),   CALL(listen),     CALL(accept4),       CALL(sendto),   CALL(sendmsg),
    CALL(recvfrom),   CALL(recvmsg),   CALL(epoll_create1), CALL(eventfd2),   CALL(epoll_wait), CALL(poll),
    CALL(dup),        CALL(pipe2),     CALL(kill),       CALL(getrandom),     CALL(nanosleep), CALL(lseek),
    CALL(getppid),    CALL(socketpair), CALL(fcntl),     CALL(dup2),          CALL(dup3),     CALL(bind),
    CALL(sendmmsg),   CALL(recvmmsg),  CALL(sendfile),   CALL(copy_file_range), CALL(shutdown), CALL(epoll_ctl),
    CALL(epoll_pwait), CALL(ppoll),    CALL(inotify_add_watch), CALL(inotify_init1), CALL(timerfd_create),
    CALL(waitid),     CALL(tgkill),    CALL(clock_nanosleep), CALL(truncate), CALL(link),     CALL(symlink),
    CALL(rmdir),      CALL(statx),     CALL(fstatfs),    CALL(chmod),         CALL(fchown),   CALL(sync_file_range),
    CALL(preadv),     CALL(pwritev),   CALL(io_setup),
    OTHER(read, socket), OTHER(readv, socket), OTHER(write, socket), OTHER(writev, socket), OTHER(write, pipe),
    OTHER(read, pipe), OTHER(connect, nonblocking),
};

static const Call *made[CALLS_MAX];
static int count;
static uint64_t (*counts)[PLACES];
static volatile int is_over;

static void *work(void *unused) {
  (void)unused;
  while (!is_over) {
    for (int place = 0; place < count; place++) {
      errno = 0;
      long result = made[place]->make();
      int failed = result < 0 ? errno : 0;
      if (failed > 0 && failed < PLACES)
        __atomic_fetch_add(&counts[place][failed], 1, __ATOMIC_SEQ_CST);
      __atomic_fetch_add(&counts[place][0], 1, __ATOMIC_SEQ_CST);
    }
  }
  return NULL;
}

// What a test must not do without.
static long sure(long result, const char *what) {
  if (result < 0) {
    perror(what);
    exit(1);
  }
  return result;
}

static void prepare(void) {
  file = (int)sure(open("file", O_RDWR | O_CREAT, 0600), "file");
  sure(pwrite(file, "murphy", 6, 0), "file");
  symlink("file", "link");
  directory = (int)sure(open(".", O_RDONLY | O_DIRECTORY), "directory");
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof here;
  in = (int)sure(socket(AF_INET, SOCK_DGRAM, 0), "socket");
  sure(bind(in, (struct sockaddr *)&here, sizeof here), "bind");
  sure(getsockname(in, (struct sockaddr *)&nobody, &length), "getsockname");
  out = (int)sure(socket(AF_INET, SOCK_DGRAM, 0), "socket");
  sure(connect(out, (struct sockaddr *)&nobody, sizeof nobody), "connect");
  sure(send(out, "x", 1, 0), "send");
  udp = (int)sure(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), "socket");
  here.sin_port = 0;
  own = (int)sure(socket(AF_INET, SOCK_DGRAM, 0), "socket");
  sure(bind(own, (struct sockaddr *)&here, sizeof here), "bind");
  struct sockaddr_in itself;
  length = sizeof itself;
  sure(getsockname(own, (struct sockaddr *)&itself, &length), "getsockname");
  sure(connect(own, (struct sockaddr *)&itself, sizeof itself), "connect");
  sure(pipe(ends), "pipe");
  watches = (int)sure(inotify_init1(0), "inotify");
  // What is written to a pipe that is said to be broken is counted.
  signal(SIGPIPE, SIG_IGN);
  listener = (int)sure(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
  here.sin_port = 0;
  sure(bind(listener, (struct sockaddr *)&here, sizeof here), "bind");
  sure(listen(listener, 8), "listen");
  epoll = (int)sure(epoll_create1(0), "epoll");
}

int main(int argc, char **argv) {
  int threads = 1, forks = 0;
  if (argc < 3)
    return 2;
  sure(chdir(argv[1]), argv[1]);
  for (int word = 2; word < argc; word++) {
    if (strcmp(argv[word], "--fork") == 0) {
      forks = 1;
    } else if (strcmp(argv[word], "--threads") == 0 && word + 1 < argc) {
      threads = atoi(argv[++word]);
    } else {
      const Call *found = NULL;
      for (size_t place = 0; place < sizeof CALLS / sizeof *CALLS; place++)
        if (strcmp(CALLS[place].name, argv[word]) == 0)
          found = &CALLS[place];
      if (!found || count == CALLS_MAX) {
        fprintf(stderr, "no call %s\n", argv[word]);
        return 2;
      }
      made[count++] = found;
    }
  }
  size_t bytes = sizeof *counts * (size_t)count;
  int shared = (int)sure(open("counts", O_RDWR | O_CREAT, 0600), "counts");
  sure(ftruncate(shared, (off_t)bytes * (1 + forks)), "counts");
  void *mapped = mmap(NULL, bytes * (size_t)(1 + forks), PROT_READ | PROT_WRITE, MAP_SHARED, shared, 0);
  if (mapped == MAP_FAILED)
    sure(-1, "mmap");
  counts = mapped;
  prepare();
  pid_t child = forks ? (pid_t)sure(fork(), "fork") : 0;
  if (forks && child == 0)
    counts += count;
  printf("ready %d 0\n", getpid());
  fflush(stdout);
  pthread_t others[16];
  for (int thread = 1; thread < threads && thread <= 16; thread++)
    sure(-pthread_create(&others[thread - 1], NULL, work, NULL), "thread");
  pthread_t first;
  sure(-pthread_create(&first, NULL, work, NULL), "thread");
  // By calls that nobody has fail.
  struct timespec pause = {.tv_nsec = 5000000};
  unsigned long nobody = 0;
  struct stat end;
  while (syscall(SYS_lstat, "end", &end) != 0)
    syscall(SYS_rt_sigtimedwait, &nobody, NULL, &pause, sizeof(unsigned long));
  is_over = 1;
  pthread_join(first, NULL);
  for (int thread = 1; thread < threads && thread <= 16; thread++)
    pthread_join(others[thread - 1], NULL);
  if (child > 0)
    waitpid(child, NULL, 0);
  return 0;
}
