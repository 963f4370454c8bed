// The worker that measures. It reads the clock first. Then it checks what it has got, and writes a line to a FIFO:
//
//   worker PID PARENT GENERATION LISTENERS VARIABLES NANOSECONDS
//
// LISTENERS is the number of sockets in SERVER_STARTER_PORT that listen, VARIABLES that of variables that begin with
// BENCH_.
//
//   worker FIFO [lingers] [ready]    lingers: TERM doesn't end it; ready: it sends READY=1 to its NOTIFY_SOCKET
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int say_ready(void) {
    struct sockaddr_un manager = {.sun_family = AF_UNIX};
    char *path = getenv("NOTIFY_SOCKET");
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (!path || strlen(path) >= sizeof manager.sun_path || fd < 0) return 0;
    strcpy(manager.sun_path, path);
    int is_said = sendto(fd, "READY=1", 7, 0, (struct sockaddr *)&manager, sizeof manager) == 7;
    close(fd);
    return is_said;
}

int main(int argc, char **argv) {
    struct timespec now;
    int says_ready = 0;
    clock_gettime(CLOCK_MONOTONIC, &now);
    for (int index = 2; index < argc; index++) {
        if (!strcmp(argv[index], "lingers")) signal(SIGTERM, SIG_IGN);
        if (!strcmp(argv[index], "ready")) says_ready = 1;
    }

    int listeners = 0, first = -1, variables = 0;
    char *ports = getenv("SERVER_STARTER_PORT"), *generation = getenv("SERVER_STARTER_GENERATION"), line[200];
    for (char *entry = ports; entry && (entry = strchr(entry, '=')); entry++) {
        int listens = 0;
        socklen_t size = sizeof listens;
        getsockopt(atoi(entry + 1), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size);
        listeners += listens;
        if (listens && first < 0) first = atoi(entry + 1);
    }
    for (char **variable = environ; *variable; variable++) variables += !strncmp(*variable, "BENCH_", 6);

    int fifo = open(argv[1], O_WRONLY), length = snprintf(line, sizeof line, "worker %d %d %s %d %d %lld\n", getpid(), getppid(),
        generation ? generation : "none", listeners, variables, now.tv_sec * 1000000000LL + now.tv_nsec);
    if (write(fifo, line, length) != length) return 1;
    close(fifo);
    if (says_ready && !say_ready()) return 1;
    // Waits as a server does, for --take-over.
    for (;;) {
        if (first < 0) pause();
        else close(accept(first, NULL, NULL));
    }
}
