/*
 * Asks for the time as fast as it can, in THREADS threads, and counts what cannot be, until SIGTERM; then it says one
 * line and ends with exit code 0 if there was nothing to count.
 *
 *   hammer THREADS [churn] [signals] [skews=NS,NS,...]
 *
 *   churn    threads live a millisecond or two, and processes are forked meanwhile, each of which asks for the time, too
 *   signals  a SIGPROF for each millisecond of CPU time, whose handler asks, too
 *   skews=   the only differences to the clocks of the start that may ever be read; 0 belongs to them
 *
 * The line: `calls N bad N back N apart N strange N threads N forks N signals N steps N slow N`.
 *
 *   bad      a call failed, or tv_nsec or tv_usec was out of range
 *   back     a clock that cannot go back (monotonic, its raw and coarse forms, boottime) went back within a thread
 *   apart    the realtime clock, gettimeofday, the coarse clock and time() contradict each other
 *   strange  a skew was read that `skews=` does not name: half an old offset and half a new one, for instance
 *   signals  handled; what a handler sees wrong counts as bad
 *   steps    the skew of a thread changed from one round to the next; this is no violation
 *   slow     rounds that took too long to be judged: the thread did not have the processor; nor is this
 *
 * A round in which the skew changed is not asked whether its clocks agree: some were read before, some after.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define THREADS_MAX 64
#define SKEWS_MAX 16
/* A round that takes longer is not judged. */
#define SLOW_NS 200000
/* Two skews closer than this are one: the clocks of a round are read that far apart, at most. */
#define SAME_NS 400000
/* The coarse clocks are behind by a tick, which is late where a virtual machine's processor was taken away. */
#define TICK_NS 250000000LL
/* Rounds in the life of a thread or of a child of `churn`. */
#define SHORT_LIFE 2000

/* What a thread counts, and in the end adds to the total. */
struct counts {
    uint64_t calls, bad, back, apart, strange, steps, slow;
};

struct round {
    int64_t m, r, g, t, c, a, b, w, k, end;
};

static struct {
    atomic_ullong calls, bad, back, apart, strange, threads, forks, signals, steps, slow;
} total;
static atomic_int stop;

/* Realtime and TAI, less monotonic, at the start. */
static int64_t realtime_base, tai_base;
static int64_t skews[SKEWS_MAX];
static int skew_count;

static int64_t ns(clockid_t clock, struct counts *counts) {
    struct timespec t = {0, -1};
    counts->calls++;
    if (clock_gettime(clock, &t) != 0 || t.tv_nsec < 0 || t.tv_nsec >= SECOND)
        counts->bad++;
    return t.tv_sec * SECOND + t.tv_nsec;
}

static int64_t us(struct counts *counts) {
    struct timeval t = {0, -1};
    counts->calls++;
    if (gettimeofday(&t, NULL) != 0 || t.tv_usec < 0 || t.tv_usec >= 1000000)
        counts->bad++;
    return t.tv_sec * 1000000LL + t.tv_usec;
}

static struct round read_clocks(struct counts *counts) {
    struct round now;
    now.m = ns(CLOCK_MONOTONIC, counts);
    now.r = ns(CLOCK_REALTIME, counts);
    now.g = us(counts);
    now.t = time(NULL);
    counts->calls++;
    now.c = ns(CLOCK_REALTIME_COARSE, counts);
    now.a = ns(CLOCK_TAI, counts);
    now.b = ns(CLOCK_BOOTTIME, counts);
    now.w = ns(CLOCK_MONOTONIC_RAW, counts);
    now.k = ns(CLOCK_MONOTONIC_COARSE, counts);
    now.end = ns(CLOCK_MONOTONIC, counts);
    return now;
}

static int64_t skew_of(const struct round *round) {
    return round->r - round->m - realtime_base;
}

static int is_same(int64_t one, int64_t other) {
    int64_t apart = one - other;
    return apart < SAME_NS && apart > -SAME_NS;
}

static int may_be(int64_t skew, int64_t early, int64_t late) {
    for (int i = 0; i < skew_count; i++)
        if (skew - skews[i] < late && skew - skews[i] > -early)
            return 1;
    return skew_count == 0;
}

static int64_t floor_second(int64_t nanoseconds) {
    return nanoseconds / SECOND;
}

/* Whether the wall clocks of one round, between which no update fell, contradict each other. */
static int is_apart(const struct round *round) {
    int64_t after = round->end - round->m + round->r;
    int g = round->g < round->r / 1000 || round->g > after / 1000 + 1;
    int c = round->c > after || round->c < round->r - TICK_NS;
    /* time() is the second of the coarse clock, or of the other one with a libc that asks that. */
    int t = round->t > floor_second(after) || round->t < floor_second(round->r - TICK_NS);
    return g + c + t;
}

static int is_strange(const struct round *round) {
    int64_t second = round->t * SECOND - round->m - realtime_base;
    return !may_be(skew_of(round), SAME_NS, SAME_NS)
           + !may_be(round->g * 1000 - round->m - realtime_base, SAME_NS, SAME_NS)
           + !may_be(round->c - round->m - realtime_base, TICK_NS, SAME_NS)
           + !may_be(second, SECOND + TICK_NS, SAME_NS)
           + !may_be(round->a - round->m - tai_base, SAME_NS, SAME_NS);
}

static int went_back(const struct round *before, const struct round *now) {
    return (now->m < before->end) + (now->end < now->m) + (now->b < before->b) + (now->w < before->w)
           + (now->k < before->k);
}

/* Rounds until the program stops, or until the life is over. Judges a round when it knows the next one's skew. */
static struct counts hammer(long rounds) {
    struct counts counts = {0};
    struct round last = {0}, now = {0};
    int last_steady = 0, last_slow = 1, have_last = 0;
    for (long i = 0; i < rounds && !atomic_load_explicit(&stop, memory_order_relaxed); i++) {
        now = read_clocks(&counts);
        int slow = now.end - now.m > SLOW_NS || now.end < now.m;
        int steady = 0;
        if (have_last) {
            counts.back += (uint64_t)went_back(&last, &now);
            steady = !slow && !last_slow && is_same(skew_of(&last), skew_of(&now));
            counts.steps += !slow && !last_slow && !steady;
            /* The last round had the skew of the one before it and of this one. */
            if (last_steady && steady)
                counts.apart += (uint64_t)is_apart(&last);
        }
        counts.slow += slow;
        if (!slow)
            counts.strange += (uint64_t)is_strange(&now);
        last = now;
        last_steady = steady;
        last_slow = slow;
        have_last = 1;
    }
    return counts;
}

static void add(struct counts counts) {
    total.calls += counts.calls;
    total.bad += counts.bad;
    total.back += counts.back;
    total.apart += counts.apart;
    total.strange += counts.strange;
    total.steps += counts.steps;
    total.slow += counts.slow;
}

static void *run_for_life(void *rounds) {
    add(hammer((long)(intptr_t)rounds));
    total.threads++;
    return NULL;
}

/* One short life after another. */
static void *run_generations(void *unused) {
    (void)unused;
    while (!stop) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, run_for_life, (void *)(intptr_t)SHORT_LIFE) != 0) {
            total.bad++;
            break;
        }
        pthread_join(thread, NULL);
    }
    return NULL;
}

/* One child after another; each hands back whether it saw a violation. */
static void *run_families(void *unused) {
    (void)unused;
    while (!stop) {
        pid_t pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            struct counts counts = hammer(SHORT_LIFE);
            _exit((counts.bad > 0) | (counts.back > 0) << 1 | (counts.apart > 0) << 2 | (counts.strange > 0) << 3);
        }
        int status = -1;
        while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        int seen = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
        total.bad += seen & 1;
        total.back += seen >> 1 & 1;
        total.apart += seen >> 2 & 1;
        total.strange += seen >> 3 & 1;
        total.forks++;
    }
    return NULL;
}

static void on_prof(int signal) {
    (void)signal;
    int before = errno;
    struct counts counts = {0};
    ns(CLOCK_REALTIME, &counts);
    ns(CLOCK_MONOTONIC, &counts);
    us(&counts);
    total.bad += counts.bad;
    total.calls += counts.calls;
    total.signals++;
    errno = before;
}

static void start_signals(void) {
    struct sigaction action = {.sa_handler = on_prof, .sa_flags = SA_RESTART};
    struct itimerval timer = {{0, 1000}, {0, 1000}};
    sigaction(SIGPROF, &action, NULL);
    setitimer(ITIMER_PROF, &timer, NULL);
}

/* Where the clocks are without a skew: the middle of the closest of some readings. */
static void find_bases(void) {
    struct counts counts = {0};
    int64_t narrowest = INT64_MAX;
    for (int i = 0; i < 1000; i++) {
        struct round now = read_clocks(&counts);
        if (now.end - now.m < narrowest) {
            narrowest = now.end - now.m;
            realtime_base = now.r - now.m;
            tai_base = now.a - now.m;
        }
    }
}

static int parse_skews(char *list) {
    skews[skew_count++] = 0;
    for (char *word = strtok(list, ","); word; word = strtok(NULL, ",")) {
        char *end;
        if (skew_count == SKEWS_MAX)
            return 0;
        skews[skew_count++] = strtoll(word, &end, 10);
        if (*end)
            return 0;
    }
    return 1;
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 0, churn = 0, signals = 0, understood = 1;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "churn") == 0)
            churn = 1;
        else if (strcmp(argv[i], "signals") == 0)
            signals = 1;
        else
            understood &= strncmp(argv[i], "skews=", 6) == 0 && parse_skews(argv[i] + 6);
    }
    if (!understood || threads < 1 || threads > THREADS_MAX) {
        fprintf(stderr, "usage: %s THREADS [churn] [signals] [skews=NS,NS,...]\n", argv[0]);
        return 2;
    }
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &term, NULL);
    find_bases();
    if (signals)
        start_signals();

    pthread_t thread[THREADS_MAX + 1];
    int started = 0;
    for (int i = 0; i < threads; i++)
        started += pthread_create(&thread[started], NULL, churn ? run_generations : run_for_life,
                                  (void *)(intptr_t)INT64_MAX) == 0;
    if (churn)
        started += pthread_create(&thread[started], NULL, run_families, NULL) == 0;
    if (started != threads + churn)
        return 1;
    puts("ready");
    fflush(stdout);
    int received;
    sigwait(&term, &received);
    stop = 1;
    for (int i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
    printf("calls %llu bad %llu back %llu apart %llu strange %llu threads %llu forks %llu signals %llu steps %llu slow %llu\n",
           total.calls, total.bad, total.back, total.apart, total.strange, total.threads, total.forks, total.signals,
           total.steps, total.slow);
    return total.bad || total.back || total.apart || total.strange;
}
