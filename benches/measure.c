/* Runs one command and says what it cost as a whole: wall and processor time, and the most memory it held at once.
 * It measures one process and what it waits for; which commands, how often and what follows is for others to say.
 *
 *   measure COMMAND...    prints WALL_NS USER_US SYSTEM_US MAX_RSS_KIB STATUS; the command's own output is dropped
 *
 * In C because the kernel counts the memory of the program that starts another as the other's until it replaces it:
 * started by Python, no program would seem to need less than Python. This one is static and needs next to nothing. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: measure COMMAND...\n");
        return 2;
    }
    long long start = now();
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(null, 1);
        dup2(null, 2);
        /* Before others, where that is allowed: not how busy the machine is should be measured. */
        (void)setpriority(PRIO_PROCESS, 0, -20);
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    struct rusage used;
    int status;
    if (child < 0 || wait4(child, &status, 0, &used) != child) {
        perror("measure");
        return 1;
    }
    printf("%lld %ld %ld %ld %d\n", now() - start, used.ru_utime.tv_sec * 1000000L + used.ru_utime.tv_usec,
           used.ru_stime.tv_sec * 1000000L + used.ru_stime.tv_usec, used.ru_maxrss,
           WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return 0;
}
