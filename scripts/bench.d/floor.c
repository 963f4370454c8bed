// The floor: a superdaemon that does only what fork and exec need. It knows --port=HOST:PORT, --interval, --pid-file,
// --status-file and --envdir, checks nothing, and logs nothing. It reads an envdir as start_server does, so that this
// can be compared, too.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static volatile sig_atomic_t hup, term;
static const int caught[] = {SIGHUP, SIGTERM, SIGCHLD};
static char *pid_file, *status_file, *envdir, port_variable[128 * 1024];
static int interval = 1, listeners, generation, workers;
static struct worker { pid_t pid; int generation; } worker[1024];  // in the order of their start

static void note(int signal) {
    if (signal == SIGHUP) hup = 1;
    if (signal == SIGTERM) term = 1;
}

static void listen_to(char *port) {
    static char *end = port_variable;
    char *colon = strrchr(port, ':');
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(colon + 1))};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    *colon = 0;
    inet_pton(AF_INET, port, &address.sin_addr);
    *colon = ':';
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (void *)&address, sizeof address) || listen(fd, 4096)) exit(98);
    end += sprintf(end, "%s%s=%d", listeners++ ? ";" : "", port, fd);
}

// Names and values are kept in two buffers, which grow as needed and are used again.
static char **read_envdir(void) {
    static char *text, **array;
    static size_t size, room;
    size_t length = 0, count = 0, inherited = 0;
    DIR *dir = opendir(envdir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        size_t name = strlen(entry->d_name);
        if (entry->d_name[0] == '.') continue;
        if (length + name + 4096 > size) text = realloc(text, size = size * 2 + 65536);
        int fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC);
        memcpy(text + length, entry->d_name, name);
        text[length + name] = '=';
        char *value = text + length + name + 1;
        ssize_t got = read(fd, value, 4000);
        close(fd);
        if (got <= 0) continue;
        char *line = memchr(value, '\n', got);
        value[line ? line - value : got] = 0;
        length += strlen(text + length) + 1;
        count++;
    }
    closedir(dir);
    while (environ[inherited]) inherited++;
    if (inherited + count + 1 > room) array = realloc(array, (room = (inherited + count) * 2) * sizeof *array);
    memcpy(array, environ, inherited * sizeof *array);
    for (char *next = text; count--; next += strlen(next) + 1) array[inherited++] = next;
    array[inherited] = NULL;
    return array;
}

static void start_worker(char **program) {
    static char variable[40];
    sprintf(variable, "SERVER_STARTER_GENERATION=%d", ++generation);
    putenv(variable);
    char **environment = envdir ? read_envdir() : environ;
    pid_t pid = fork();
    if (pid == 0) {
        for (unsigned i = 0; i < sizeof caught / sizeof *caught; i++) signal(caught[i], SIG_DFL);
        execvpe(program[0], program, environment);
        _exit(255);
    }
    worker[workers++] = (struct worker){pid, generation};
    if (interval) sleep(interval);
}

static void write_status(void) {
    if (!status_file) return;
    char name[4096], text[sizeof worker * 3], *end = text;
    sprintf(name, "%s.%d", status_file, getpid());
    for (int i = 0; i < workers; i++) end += sprintf(end, "%d:%d\n", worker[i].generation, worker[i].pid);
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (write(fd, text, end - text) < 0 || rename(name, status_file)) exit(1);
    close(fd);
}

static void reap(void) {
    for (pid_t pid; workers && (pid = waitpid(-1, NULL, WNOHANG)) > 0;) {
        int i = 0;
        while (worker[i].pid != pid) i++;
        memmove(&worker[i], &worker[i + 1], (--workers - i) * sizeof *worker);
        write_status();
    }
}

int main(int argc, char **argv) {
    char **program = argv + 1;
    sigset_t blocked, before;
    for (; *program && strcmp(*program, "--"); program++) {
        char *value = strchr(*program, '=') ? strchr(*program, '=') + 1 : "";
        if (!strcmp(*program, "--version")) return puts("0.35"), 0;
        if (!strncmp(*program, "--port=", 7)) listen_to(value);
        if (!strncmp(*program, "--interval=", 11)) interval = atoi(value);
        if (!strncmp(*program, "--pid-file=", 11)) pid_file = value;
        if (!strncmp(*program, "--status-file=", 14)) status_file = value;
        if (!strncmp(*program, "--envdir=", 9)) envdir = value;
    }
    if (program + 1 >= argv + argc) return 255;
    setenv("SERVER_STARTER_PORT", port_variable, 1);
    if (pid_file) {
        int fd = open(pid_file, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        if (flock(fd, LOCK_EX) || ftruncate(fd, 0) || dprintf(fd, "%d\n", getpid()) < 0) return 1;
    }
    for (unsigned i = 0; i < sizeof caught / sizeof *caught; i++)
        sigaction(caught[i], &(struct sigaction){.sa_handler = note}, NULL);
    start_worker(++program);
    write_status();
    // The signals are blocked except in the wait, and unblocked before a worker is started, which would inherit that.
    sigemptyset(&blocked);
    for (unsigned i = 0; i < sizeof caught / sizeof *caught; i++) sigaddset(&blocked, caught[i]);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    for (;;) {
        reap();
        if (term && !workers) break;
        if (term == 1) {
            for (int i = 0; i < workers; i++) kill(worker[i].pid, SIGTERM);
            term = 2;
        } else if (hup && !term) {
            int old = workers;
            hup = 0;
            sigprocmask(SIG_SETMASK, &before, NULL);
            start_worker(program);
            sigprocmask(SIG_BLOCK, &blocked, NULL);
            write_status();
            for (int i = 0; i < old; i++) kill(worker[i].pid, SIGTERM);
        } else {
            sigsuspend(&before);
        }
    }
    if (status_file) unlink(status_file);
    if (pid_file) unlink(pid_file);
    return 0;
}
