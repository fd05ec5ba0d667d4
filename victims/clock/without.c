/*
 * Runs a program under a seccomp filter, as a kernel or a sandbox without some system calls would.
 *
 *   without process_vm PROGRAM...   process_vm_readv and process_vm_writev are not implemented (ENOSYS)
 *   without pwrite PROGRAM...       pwrite is an input/output error (EIO), as /proc/PID/mem may say of it
 *   without maps PROGRAM...         a process that maps executable memory of no file is killed: one in whose name that is
 *                                   done dies of it
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)
/* Returns `what` from a call. */
#define REFUSE(call, what) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1), RETURN(what)

static int filter(struct sock_filter *code, size_t length) {
    struct sock_fprog program = {(unsigned short)length, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

int main(int argc, char **argv) {
    struct sock_filter process_vm[] = {
        LOAD(nr),
        REFUSE(SYS_process_vm_readv, SECCOMP_RET_ERRNO | ENOSYS),
        REFUSE(SYS_process_vm_writev, SECCOMP_RET_ERRNO | ENOSYS),
        RETURN(SECCOMP_RET_ALLOW),
    };
    struct sock_filter pwrite[] = {
        LOAD(nr),
        REFUSE(SYS_pwrite64, SECCOMP_RET_ERRNO | EIO),
        RETURN(SECCOMP_RET_ALLOW),
    };
    /* A program is loaded by mapping executable parts of files; only an intruder maps executable memory of no file. */
    struct sock_filter maps[] = {
        LOAD(nr),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 5),
        LOAD(args[2]),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 3),
        LOAD(args[3]),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MAP_ANONYMOUS, 0, 1),
        RETURN(SECCOMP_RET_KILL_PROCESS),
        RETURN(SECCOMP_RET_ALLOW),
    };
    if (argc < 3) {
        fprintf(stderr, "usage: %s process_vm|pwrite|maps PROGRAM...\n", argv[0]);
        return 2;
    }
    int failed = 1;
    if (strcmp(argv[1], "process_vm") == 0)
        failed = filter(process_vm, sizeof process_vm / sizeof *process_vm);
    else if (strcmp(argv[1], "pwrite") == 0)
        failed = filter(pwrite, sizeof pwrite / sizeof *pwrite);
    else if (strcmp(argv[1], "maps") == 0)
        failed = filter(maps, sizeof maps / sizeof *maps);
    if (failed) {
        perror("without");
        return 1;
    }
    execv(argv[2], argv + 2);
    perror(argv[2]);
    return 127;
}
