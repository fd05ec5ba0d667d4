/*
 * Says what one call of a clock function costs it. For each line on its standard input it says one line:
 *
 *   the name of a function   nanoseconds of CPU time a call: the least of BATCHES times CALLS calls in a row
 *   shift                    how far CLOCK_REALTIME, as libc gives it, is from the kernel's, in nanoseconds
 *
 * Its end of input ends it. A mode may be named instead:
 *   idle N                   N threads in all, which sleep; says `ready`
 *   family N                 N processes in all, of which all but this one are its children, which sleep; says `ready`
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define CALLS 20000
#define BATCHES 5
#define SECOND 1000000000LL

/* Past libc and the vDSO, and past a library that is preloaded: what is measured must not be the ruler, too. */
static int64_t kernel_ns(clockid_t clock)
{
    struct timespec t;
#ifdef __x86_64__
    long answer;
    __asm__ volatile("syscall"
                     : "=a"(answer)
                     : "0"((long)SYS_clock_gettime), "D"((long)clock), "S"(&t)
                     : "rcx", "r11", "memory");
#else
    syscall(SYS_clock_gettime, clock, &t);
#endif
    return t.tv_sec * SECOND + t.tv_nsec;
}

#define CALL(name, call) \
    if (strcmp(function, name) == 0) { \
        int64_t least = INT64_MAX; \
        for (int batch = 0; batch < BATCHES; batch++) { \
            int64_t began = kernel_ns(CLOCK_THREAD_CPUTIME_ID); \
            for (int i = 0; i < CALLS; i++) \
                call; \
            int64_t took = kernel_ns(CLOCK_THREAD_CPUTIME_ID) - began; \
            least = took < least ? took : least; \
        } \
        return (double)least / CALLS; \
    }

static double cost(const char *function)
{
    struct timespec t;
    struct timeval v;
    CALL("CLOCK_REALTIME", clock_gettime(CLOCK_REALTIME, &t))
    CALL("CLOCK_MONOTONIC", clock_gettime(CLOCK_MONOTONIC, &t))
    CALL("CLOCK_BOOTTIME", clock_gettime(CLOCK_BOOTTIME, &t))
    CALL("CLOCK_TAI", clock_gettime(CLOCK_TAI, &t))
    CALL("CLOCK_REALTIME_COARSE", clock_gettime(CLOCK_REALTIME_COARSE, &t))
    CALL("gettimeofday", gettimeofday(&v, NULL))
    CALL("time", time(NULL))
    fprintf(stderr, "bench: no such function: %s\n", function);
    exit(2);
}

static void answer(void)
{
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (strcmp(line, "shift") == 0) {
            struct timespec t;
            int64_t true_ns = kernel_ns(CLOCK_REALTIME);
            clock_gettime(CLOCK_REALTIME, &t);
            printf("%lld\n", (long long)(t.tv_sec * SECOND + t.tv_nsec - true_ns));
        } else {
            printf("%.3f\n", cost(line));
        }
        fflush(stdout);
    }
}

static void *sleep_on(void *nothing)
{
    for (;;)
        pause();
    return nothing;
}

static void sleep_until_the_end(void)
{
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF)
        ;
}

int main(int argc, char **argv)
{
    int count = argc > 2 ? atoi(argv[2]) : 1;
    if (argc > 1 && strcmp(argv[1], "idle") == 0) {
        for (int i = 1; i < count; i++) {
            pthread_t thread;
            if (pthread_create(&thread, NULL, sleep_on, NULL) != 0)
                return 1;
        }
        sleep_until_the_end();
    } else if (argc > 1 && strcmp(argv[1], "family") == 0) {
        for (int i = 1; i < count; i++) {
            pid_t child = fork();
            if (child < 0)
                return 1;
            if (child == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                sleep_on(NULL);
            }
        }
        sleep_until_the_end();
    } else {
        answer();
    }
    return 0;
}
