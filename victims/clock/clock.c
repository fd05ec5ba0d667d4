/*
 * Reads its clocks every 20 ms and says what they say: one line, `R <ns> M <ns> G <us> T <s> C <ns> A <ns> B <ns>
 * W <ns> K <ns>`, until SIGTERM; then a last line `BYE` and exit code 0.
 *
 *   R CLOCK_REALTIME      M CLOCK_MONOTONIC      G gettimeofday           T time
 *   C CLOCK_REALTIME_COARSE                      A CLOCK_TAI              B CLOCK_BOOTTIME
 *   W CLOCK_MONOTONIC_RAW                        K CLOCK_MONOTONIC_COARSE
 *
 * All are read between two readings of M, of which the middle is said, and as often as it takes for these to be close:
 * a change of R - M is then a skew, to some microseconds.
 *
 * A mode may be named:
 *   child         a child, forked at the start, reads too; its lines begin with `child `
 *   forklater     the same, forked at each SIGUSR1 (8 at most)
 *   execlater     at each SIGUSR1 (8 at most) a child that executes this program anew; its lines begin with `exec `
 *   shortexec N   at SIGUSR1, N programs one after another, each executed anew and 10 ms long; each says `short `, its
 *                 reading at its end, and `r <ns> m <ns>`, that at its start; then this program says `done`
 *   raw           the clocks are read by system calls, past the vDSO; before another mode, as in `rawsignals`, the same there
 *   null          at each SIGUSR1, the unusual calls and how they ended, one line each, then `end`
 *   signals       a SIGPROF for each millisecond of CPU time, whose handler reads the clocks, while the program is busy;
 *                 each line ends with `S <handled> X <impossible readings>`; with `raw`, two readings in a row that are
 *                 more than a second apart are impossible, too
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define PERIOD_NS 20000000L
/* Readings of M this close are good enough; else the best of so many tries is taken. */
#define CLOSE_NS 20000
#define TRIES 16
#define CHILDREN_MAX 8

enum mode { READ, CHILD, FORK_LATER, EXEC_LATER, SHORT_EXEC, NULLS, SIGNALS };

static const struct {
    const char *name;
    enum mode mode;
} MODES[] = {
    {"read", READ},           {"child", CHILD}, {"forklater", FORK_LATER}, {"execlater", EXEC_LATER},
    {"shortexec", SHORT_EXEC}, {"null", NULLS},  {"signals", SIGNALS},
};

struct reading {
    int64_t m, r, g, t, c, a, b, w, k;
};

static volatile sig_atomic_t terminated, asked;
static volatile sig_atomic_t handled, impossible;
static const char *prefix = "";
/* Whether the clocks are read by system calls. */
static int raw;
static pid_t children[CHILDREN_MAX];
static int child_count;

static void on_term(int signal) {
    (void)signal;
    terminated = 1;
}

static void on_usr1(int signal) {
    (void)signal;
    asked++;
}

/* A line goes out in one write, so that those of a family do not mix. */
static void say(const char *text) {
    char line[512];
    int length = snprintf(line, sizeof line, "%s%s\n", prefix, text);
    if (write(STDOUT_FILENO, line, (size_t)length) != length)
        exit(1);
}

static long ask_clock(clockid_t clock, struct timespec *t) {
    return raw ? syscall(SYS_clock_gettime, clock, t) : clock_gettime(clock, t);
}

static long ask_day(struct timeval *t) {
    return raw ? syscall(SYS_gettimeofday, t, NULL) : gettimeofday(t, NULL);
}

static int64_t ns(clockid_t clock) {
    struct timespec t = {0, 0};
    ask_clock(clock, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static int64_t us(void) {
    struct timeval t = {0, 0};
    ask_day(&t);
    return t.tv_sec * 1000000LL + t.tv_usec;
}

static int64_t seconds(void) {
#ifdef SYS_time
    if (raw)
        return syscall(SYS_time, NULL);
#endif
    return time(NULL);
}

static struct reading read_clocks(void) {
    int64_t (*read)(clockid_t) = ns;
    struct reading best = {0};
    int64_t narrowest = INT64_MAX;
    for (int try = 0; try < TRIES && narrowest > CLOSE_NS; try++) {
        struct reading now;
        int64_t before = read(CLOCK_MONOTONIC);
        now.r = read(CLOCK_REALTIME);
        now.g = us();
        now.t = seconds();
        now.c = read(CLOCK_REALTIME_COARSE);
        now.a = read(CLOCK_TAI);
        now.b = read(CLOCK_BOOTTIME);
        now.w = read(CLOCK_MONOTONIC_RAW);
        now.k = read(CLOCK_MONOTONIC_COARSE);
        int64_t width = read(CLOCK_MONOTONIC) - before;
        if (width >= 0 && width < narrowest) {
            now.m = before + width / 2;
            narrowest = width;
            best = now;
        }
    }
    return best;
}

static void say_reading(struct reading now, const char *rest) {
    char text[448];
    snprintf(text, sizeof text, "R %lld M %lld G %lld T %lld C %lld A %lld B %lld W %lld K %lld%s", (long long)now.r,
             (long long)now.m, (long long)now.g, (long long)now.t, (long long)now.c, (long long)now.a,
             (long long)now.b, (long long)now.w, (long long)now.k, rest);
    say(text);
}

/* The kernel counts this, so that no skew makes it longer. A signal ends it early. */
static void doze(long nanoseconds) {
    struct timespec t = {0, nanoseconds};
    nanosleep(&t, NULL);
}

static void read_until_terminated(void) {
    while (!terminated) {
        say_reading(read_clocks(), "");
        doze(PERIOD_NS);
    }
}

static pid_t fork_child(const char *its_prefix) {
    if (child_count == CHILDREN_MAX)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prefix = its_prefix;
        child_count = 0;
    } else if (pid > 0) {
        children[child_count++] = pid;
    }
    return pid;
}

/* This program anew, in place of a child. */
static void execute(const char *mode, const char *its_prefix) {
    static char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length < 0)
        _exit(1);
    path[length] = 0;
    execl(path, path, mode, its_prefix, (char *)NULL);
    _exit(1);
}

static void run_short_programs(int count) {
    for (int i = 0; i < count && !terminated; i++) {
        pid_t pid = fork();
        if (pid == 0)
            execute("short", "short ");
        while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    say("done");
}

/* What `shortexec` executes. */
static int be_short(void) {
    struct reading first = read_clocks();
    doze(10000000L);
    char rest[64];
    snprintf(rest, sizeof rest, " r %lld m %lld", (long long)first.r, (long long)first.m);
    say_reading(read_clocks(), rest);
    return 0;
}

static void say_end(const char *call, long result) {
    char text[128];
    snprintf(text, sizeof text, "N %s %ld %d", call, result, result == -1 ? errno : 0);
    say(text);
}

static void say_value(const char *call, int64_t value) {
    char text[128];
    snprintf(text, sizeof text, "V %s %lld", call, (long long)value);
    say(text);
}

/* A pointer that the compiler does not know to be null. */
static void *nowhere(void) {
    void *volatile pointer = NULL;
    return pointer;
}

static void try_clock(long id) {
    struct timespec t = {-1, -1};
    char call[64];
    snprintf(call, sizeof call, "clock_gettime(%ld)", id);
    int result = clock_gettime((clockid_t)id, &t);
    say_end(call, result);
    /* A refused call leaves the memory alone: -1 and -1. */
    say_value(call, result == 0 ? t.tv_sec * SECOND + t.tv_nsec : t.tv_sec + t.tv_nsec);
}

static void say_nulls(void) {
    struct timeval tv = {0, 0};
    struct timezone tz = {-1, -1};
    time_t t = 0;
    say_end("gettimeofday(NULL,NULL)", gettimeofday(nowhere(), nowhere()));
    say_end("gettimeofday(NULL,&tz)", gettimeofday(nowhere(), &tz));
    say_end("tz.tz_minuteswest", tz.tz_minuteswest);
    say_end("tz.tz_dsttime", tz.tz_dsttime);
    say_end("gettimeofday(&tv,&tz)", gettimeofday(&tv, &tz));
    say_value("gettimeofday(&tv,&tz)", tv.tv_sec * SECOND + tv.tv_usec * 1000);
    say_value("time(NULL)", time(nowhere()) * SECOND);
    say_end("time(&t)==t", time(&t) == t);
    say_value("time(&t)", t * SECOND);
    for (long id = -9; id <= 70; id++)
        try_clock(id);
    try_clock(INT_MAX);
    try_clock(INT_MIN);
    say("end");
}

static void on_prof(int signal) {
    (void)signal;
    int before = errno;
    struct timespec t = {0, -1};
    struct timeval v = {0, -1};
    if (ask_clock(CLOCK_REALTIME, &t) || t.tv_nsec < 0 || t.tv_nsec >= SECOND)
        impossible++;
    if (ask_clock(CLOCK_MONOTONIC, &t) || t.tv_nsec < 0 || t.tv_nsec >= SECOND)
        impossible++;
    if (ask_day(&v) || v.tv_usec < 0 || v.tv_usec >= 1000000)
        impossible++;
    if (seconds() <= 0)
        impossible++;
    handled++;
    errno = before;
}

static void read_under_signals(void) {
    struct sigaction action = {.sa_handler = on_prof, .sa_flags = SA_RESTART};
    struct itimerval timer = {{0, 1000}, {0, 1000}};
    sigaction(SIGPROF, &action, NULL);
    setitimer(ITIMER_PROF, &timer, NULL);
    while (!terminated) {
        /* Busy, so that CPU time passes, and signals hit inside the calls. */
        for (int i = 0; i < 200000 && !terminated; i++) {
            int64_t apart = ns(CLOCK_REALTIME) - us() * 1000;
            seconds();
            if (raw && (apart > SECOND || apart < -SECOND))
                impossible++;
        }
        char rest[64];
        snprintf(rest, sizeof rest, " S %d X %d", (int)handled, (int)impossible);
        say_reading(read_clocks(), rest);
    }
    memset(&timer, 0, sizeof timer);
    setitimer(ITIMER_PROF, &timer, NULL);
}

/* What SIGUSR1 asked for. */
static void answer(enum mode mode, int count) {
    switch (mode) {
    case FORK_LATER:
        if (fork_child("child ") == 0)
            asked = 0;
        break;
    case EXEC_LATER:
        if (fork_child("exec ") == 0)
            execute(raw ? "raw" : "read", "exec ");
        break;
    case SHORT_EXEC:
        run_short_programs(count);
        break;
    case NULLS:
        say_nulls();
        break;
    default:
        break;
    }
}

/* Until SIGTERM, or as the child of `forklater`, which reads and does not fork again. */
static void read_and_answer(enum mode mode, int count) {
    pid_t self = getpid();
    for (int answered = 0; !terminated && getpid() == self;) {
        say_reading(read_clocks(), "");
        doze(PERIOD_NS);
        if (answered < asked) {
            answered++;
            answer(mode, count);
        }
    }
    if (getpid() != self)
        read_until_terminated();
}

static int end_children(void) {
    int failed = 0;
    for (int i = 0; i < child_count; i++)
        kill(children[i], SIGTERM);
    for (int i = 0; i < child_count; i++) {
        int status = -1;
        while (waitpid(children[i], &status, 0) < 0 && errno == EINTR)
            ;
        failed |= status != 0;
    }
    return failed;
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "read";
    struct sigaction term = {.sa_handler = on_term}, usr1 = {.sa_handler = on_usr1};
    sigaction(SIGTERM, &term, NULL);
    sigaction(SIGUSR1, &usr1, NULL);
    if (strcmp(name, "short") == 0) {
        prefix = argc > 2 ? argv[2] : "";
        return be_short();
    }
    if (strncmp(name, "raw", 3) == 0) {
        raw = 1;
        name = name[3] ? name + 3 : "read";
    }
    int mode = -1, count = 0;
    for (size_t i = 0; i < sizeof MODES / sizeof *MODES; i++)
        if (strcmp(name, MODES[i].name) == 0)
            mode = (int)MODES[i].mode;
    if (mode == SHORT_EXEC)
        count = argc > 2 ? atoi(argv[2]) : 0;
    else if (argc > 2)
        prefix = argv[2];
    if (mode < 0 || (mode == SHORT_EXEC && (count < 1 || count > 1000000))) {
        fprintf(stderr, "usage: %s [raw][child|forklater|execlater|shortexec N|null|signals]\n", argv[0]);
        return 2;
    }
    if (mode == CHILD)
        fork_child("child ");
    if (mode == SIGNALS)
        read_under_signals();
    else if (mode == READ || mode == CHILD)
        read_until_terminated();
    else
        read_and_answer((enum mode)mode, count);
    int failed = end_children();
    say("BYE");
    return failed;
}
