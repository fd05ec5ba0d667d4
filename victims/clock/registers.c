/*
 * Asks for the time from assembler, and says `kept` each 20 ms when every register that a function must keep, and
 * xmm15, which Go relies on, are what they were, `changed N` when the Nth is not; until SIGTERM, with exit code 0.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t terminated;

static void on_term(int signal) {
    (void)signal;
    terminated = 1;
}

/* The first register that a call changes, from 1; 0 when it keeps all of them. */
static int changed_by(void *function, uint64_t first, void *second) {
    uint64_t changed = 0;
    __asm__ volatile("push %%rbp\n"
                     "mov %%rsp, %%r15\n"
                     "and $-16, %%rsp\n"
                     "push %%r15\n"
                     "push %%rax\n"
                     "mov $0x1111, %%ebx\n"
                     "mov $0x2222, %%ebp\n"
                     "mov $0x3333, %%r12d\n"
                     "mov $0x4444, %%r13d\n"
                     "mov $0x5555, %%r14d\n"
                     "pcmpeqd %%xmm15, %%xmm15\n"
                     "call *%%rax\n"
                     "mov $1, %%ecx\n"
                     "cmp $0x1111, %%rbx\n jne 1f\n"
                     "mov $2, %%ecx\n"
                     "cmp $0x2222, %%rbp\n jne 1f\n"
                     "mov $3, %%ecx\n"
                     "cmp $0x3333, %%r12\n jne 1f\n"
                     "mov $4, %%ecx\n"
                     "cmp $0x4444, %%r13\n jne 1f\n"
                     "mov $5, %%ecx\n"
                     "cmp $0x5555, %%r14\n jne 1f\n"
                     "mov $6, %%ecx\n"
                     "cmp %%r15, 8(%%rsp)\n jne 1f\n"
                     "mov $7, %%ecx\n"
                     "pmovmskb %%xmm15, %%eax\n"
                     "cmp $0xffff, %%eax\n jne 1f\n"
                     "mov $0, %%ecx\n"
                     "1:\n"
                     "mov 8(%%rsp), %%rsp\n"
                     "pop %%rbp\n"
                     : "=c"(changed), "+a"(function), "+D"(first), "+S"(second)
                     :
                     : "rbx", "r12", "r13", "r14", "r15", "rdx", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm15",
                       "memory", "cc");
    return (int)changed;
}

int main(void) {
    signal(SIGTERM, on_term);
    void *vdso = dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_NOLOAD);
    void *clock = vdso ? dlsym(vdso, "__vdso_clock_gettime") : NULL;
    void *day = vdso ? dlsym(vdso, "__vdso_gettimeofday") : NULL;
    void *seconds = vdso ? dlsym(vdso, "__vdso_time") : NULL;
    if (!clock || !day || !seconds) {
        fprintf(stderr, "registers: no vDSO\n");
        return 1;
    }
    while (!terminated) {
        struct timespec t;
        struct timeval v;
        struct timezone z;
        time_t s;
        int changed = 0;
        for (int i = 0; i < 1000 && !changed; i++) {
            for (uint64_t id = 0; id < 12 && !changed; id++)
                changed = changed_by(clock, id, &t);
            changed = changed ? changed : changed_by(day, (uint64_t)&v, &z);
            changed = changed ? changed : changed_by(day, (uint64_t)&v, NULL);
            changed = changed ? changed : changed_by(seconds, (uint64_t)&s, NULL);
        }
        if (changed)
            printf("changed %d\n", changed);
        else
            printf("kept\n");
        fflush(stdout);
        usleep(20000);
    }
    return 0;
}
