// Starts as many idle processes as the argument says, until standard input ends. Prints "ready" when they run.
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char byte;
    for (int count = argc > 1 ? atoi(argv[1]) : 0; count > 0; count--) {
        int pid = fork();
        if (pid < 0) return 1;
        if (!pid) {
            // Each reads by itself, so all see the end.
            while (read(0, &byte, 1) > 0) {}
            _exit(0);
        }
    }
    puts("ready");
    fflush(stdout);
    while (read(0, &byte, 1) > 0) {}
    while (wait(NULL) > 0) {}
    return 0;
}
