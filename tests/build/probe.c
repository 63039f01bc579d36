/* Stands in for the runtime in tests of the launcher: prints what it was started with, one fact a line. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv, char **envp) {
    char exe[4096];
    ssize_t length = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[length < 0 ? 0 : length] = '\0';
    printf("exe\t%s\n", exe);
    for (int i = 0; i < argc; i++) printf("arg\t%s\n", argv[i]);
    for (char **e = envp; *e != NULL; e++) printf("env\t%s\n", *e);
    mode_t mask = umask(0);
    printf("umask\t%03o\n", (unsigned)mask);
    for (int fd = 3; fd < 256; fd++) {
        if (fcntl(fd, F_GETFD) < 0) continue;
        printf("fd\t%d\n", fd);
        int seals = fcntl(fd, F_GET_SEALS);
        if (seals >= 0) printf("seals\t%d\n", seals);
    }
    /* The bundle is the argument after those of the runtime. */
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '/') continue;
        FILE *bundle = fopen(argv[i], "r");
        char line[256];
        if (bundle != NULL && fgets(line, sizeof line, bundle) != NULL) {
            line[strcspn(line, "\n")] = '\0';
            printf("bundle\t%s\n", line);
        }
        break;
    }
    return getenv("PROBE_EXIT") == NULL ? 0 : atoi(getenv("PROBE_EXIT"));
}
