/* dump PID: writes the newest system call filter of a process to standard output, as the kernel has it (struct sock_filter[]).
 * Needs CAP_SYS_ADMIN and a kernel with CONFIG_CHECKPOINT_RESTORE. */
#include <linux/filter.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#ifndef PTRACE_SECCOMP_GET_FILTER
#define PTRACE_SECCOMP_GET_FILTER 0x420c
#endif

int main(int argc, char **argv) {
    static struct sock_filter filter[4096];
    pid_t pid = argc == 2 ? atoi(argv[1]) : 0;
    if (pid <= 0 || ptrace(PTRACE_SEIZE, pid, 0, 0) || ptrace(PTRACE_INTERRUPT, pid, 0, 0)) { perror("ptrace"); return 1; }
    waitpid(pid, 0, __WALL);
    long count = ptrace(PTRACE_SECCOMP_GET_FILTER, pid, 0, filter);
    if (count < 0) { perror("PTRACE_SECCOMP_GET_FILTER"); return 1; }
    return fwrite(filter, sizeof *filter, count, stdout) == (size_t)count ? 0 : 1;
}
