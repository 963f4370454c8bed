// Reads the clock where Perl would be too slow. Each command writes lines to a FIFO:
//
//   clock exec FIFO PROGRAM ...    "exec PID NANOSECONDS", and executes PROGRAM, which may open as many files as possible
//   clock connect FIFO PORT        "ready PID 0", and "connect PID NANOSECONDS" once 127.0.0.1:PORT takes a connection
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void tell(int fifo, const char *what, int with_time) {
    struct timespec now = {0, 0};
    char line[100];
    if (with_time) clock_gettime(CLOCK_MONOTONIC, &now);
    int length = snprintf(line, sizeof line, "%s %d %lld\n", what, getpid(), now.tv_sec * 1000000000LL + now.tv_nsec);
    if (write(fifo, line, length) != length) exit(1);
}

int main(int argc, char **argv) {
    int fifo = argc > 3 ? open(argv[2], O_WRONLY | O_CLOEXEC) : -1;
    if (fifo < 0) return 2;
    if (!strcmp(argv[1], "exec")) {
        struct rlimit files;
        // Descriptors may be inherited from whoever runs the benchmark.
        for (int fd = 3; fd < 1024; fd++)
            if (fd != fifo) close(fd);
        getrlimit(RLIMIT_NOFILE, &files);
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
        tell(fifo, "exec", 1);
        execv(argv[3], argv + 3);
        return 127;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[3]))};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    tell(fifo, "ready", 0);
    for (;;) {
        int fd = socket(AF_INET, SOCK_STREAM, 0), failed = connect(fd, (void *)&address, sizeof address);
        if (!failed) return tell(fifo, "connect", 1), 0;
        close(fd);
    }
}
