# Runs in a test machine, as root: whole lives of the program, beside the original. Prints a line for each test, and the
# totals at the end.
#
#   guest.pl               the tests; ROUNDS, RESTRICTIONS and ONLY in the environment say how many, what else, and which;
#                          with SCENARIOS, those of start_server-compat instead
#   guest.pl WORKER ...    one of the workers at the end of this file
#   guest.pl loopback      makes a new network usable
#   guest.pl off           ends the machine
use strict;
use warnings;
use Errno qw(EINTR);
use File::Temp qw(tempdir);
use FindBin ();
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use Socket qw(:all);
use Time::HiRes qw(time);
$| = 1;

my $here = $FindBin::RealBin;
my ($ours, $original, $fixtures) = ("$here/start_server", "/usr/bin/start_server", "$here/fixtures");
my ($processor, $rounds) = ((POSIX::uname())[4], $ENV{ROUNDS} || 20);
# An emulated processor is slow, and nothing waits for this long unless something is wrong.
my ($patience, $short) = (120, 30);
# What makes a slow machine slower.
my $busy = 15;
my %worker = (waits => \&wait_by, family => \&family, silent => sub { sleep 1000 while 1 },
    loopback => \&loopback, off => \&off);
if (@ARGV) {
    my $worker = shift @ARGV;
    $worker{$worker}->(@ARGV);
    exit;
}

my ($port, $passed, $failed, $pid) = ($ENV{PORT} || 7000, 0, 0);
my $may_be_taken_over = $processor =~ /^(x86_64|aarch64)$/;
my @files = ("--pid-file=pid", "--status-file=st");
my @three_ways = ("--", "perl", "$fixtures/three_ways.pl");
print "on Linux ", (POSIX::uname())[2], " $processor, ", libc(), ", Perl $^V\n";

defined $ENV{SCENARIOS} ? scenarios() : lives();
print "$passed passed, $failed failed\n";

# --- the tests

sub lives {
    both("start, HUP, --restart, a death, --show-status, --stop", \&life);
    test("--ready=accepting, a worker that waits by $_", root => \&accepting, $_) for ways();
    test("--ready=accepting", user => \&accepting, "epoll_pwait");
    both("--ready=notify", \&notify);
    test("never ready by --ready=$_: --restart exits with 125", root => \&never_ready, $_) for qw(accepting notify);
    both("--kill-timeout ends whole families", \&families);
    both("--upgrade under load", \&upgrade);
    both("listeners that the manager keeps", \&store);
    if ($may_be_taken_over) {
        both("--take-over under load", \&take_over);
        test("--take-over beside $busy busy processes", user => \&take_over_on_a_busy_machine);
        test("--take-over and $_ at random moments, $rounds rounds", root => \&at_random, $_) for qw(HUP TERM);
    } else {
        test("--take-over is refused", root => \&take_over_is_refused);
    }
    restrict() if $ENV{RESTRICTIONS};
}

# On both programs, by the tool. Its report is for the machine's log.
sub scenarios {
    my $before = time;
    # More at a time would only make them slower.
    open my $report, "-|", "$here/start_server-compat", "--candidate=$ours", "--jobs=2", "--verbose", $ENV{SCENARIOS}
        or die "start_server-compat: $!\n";
    my $summary = "";
    while (<$report>) {
        print;
        chomp($summary = $_) if /\S/;
    }
    my $is_ok = close $report;
    $is_ok ? $passed++ : $failed++;
    printf "%s the scenarios: %s (%.1f s)\n", $is_ok ? "ok" : "FAILED", $summary, time - $before;
}

sub life {
    start($ours, @files, listeners(), "--interval=0", @three_ways);
    generation(1);
    answers("version 1");
    kill "HUP", $pid;
    generation(2);
    answers("version 2");
    succeeds($ours, "--restart", @files);
    generation(3);
    answers("version 3");
    kill "KILL", worker();
    generation(4);
    answers("version 4");
    my ($code, $said) = run($ours, "--show-status", @files);
    is("--show-status", "$code " . ($said =~ /generation 4/ ? "generation 4" : $said), "0 generation 4");
    is("--show-status without its files", (run($ours, "--show-status", "--pid-file=no"))[0], 3);
    stop();
    # The same with the original's commands.
    start($ours, @files, listeners(), "--interval=0", @three_ways);
    generation(1);
    answers("version 1");
    succeeds($original, "--restart", @files);
    generation(2);
    stop($original);
}

sub accepting {
    my $way = shift;
    my $is_udp = $way =~ /^(recv|read)/;
    start($ours, @files, "--port=127.0.0.1:" . ($is_udp ? "u" : "") . $port, "--ready=accepting", "--interval=0",
        "--ready-timeout=$patience", "--", "perl", "$here/guest.pl", "waits", $way);
    generation(1);
    my ($call) = read_file("/proc/" . worker() . "/syscall") =~ /^(\d+) /;
    is("the system call that the worker sleeps in", $call, number($way)) if $way ne "connections";
    kill "HUP", $pid;
    generation(2);
    stop();
}

sub notify {
    start($ours, @files, "--port=127.0.0.1:$port", "--ready=notify", "--interval=0", "--ready-timeout=$patience", "--",
        "perl", "$fixtures/probe.pl", "report", "notify=READY=1", "now");
    generation(1);
    succeeds($ours, "--restart", @files);
    generation(2);
    stop();
}

sub never_ready {
    my $ready = shift;
    my @working = ("perl", "$fixtures/probe.pl", "report", $ready eq "notify" ? ("notify=READY=1", "now") : ("accept", "now"));
    # The timeout also applies to the first worker.
    start($ours, @files, "--port=127.0.0.1:$port", "--ready=$ready", "--interval=0", "--ready-timeout=$short",
        "--max-start-failures=1", "--", "sh", "-c",
        'if [ -e broken ]; then exec perl "$0" silent; fi; exec "$@"', "$here/guest.pl", @working);
    generation(1);
    my $before = read_file("st");
    write_file("broken", "");
    my ($code, $said) = run($ours, "--restart", @files);
    is("--restart", $code, 125);
    # The command doesn't wait for the end of the failed worker.
    eventually("the status of before", sub { read_file("st") eq $before });
    eventually("the reason", sub { said("is not ready in time") && said("giving up the restart") });
    unlink "broken";
    succeeds($ours, "--restart", @files);
    stop();
}

# A child in the worker's session, one in a session of its own, and one whose parent has ended; all ignore TERM.
sub families {
    start($ours, @files, "--kill-timeout=2", "--interval=0", "--", "perl", "$here/guest.pl", "family");
    my @families;
    for my $generation (1, 2) {
        eventually("the family of generation $generation", sub { -e "family.$generation" });
        push @families, [ split " ", read_file("family.$generation") ];
        is("its size", scalar @{ $families[-1] }, 4);
        eventually("its worker", sub { read_file("st") =~ /^$generation:/m });
        kill "HUP", $pid if $generation == 1;
    }
    generation(2);
    eventually("the end of the first family", sub { !grep { is_alive($_) } @{ $families[0] } });
    is("the second family", scalar(grep { is_alive($_) } @{ $families[1] }), 4);
    eventually("the reason", sub { said("has not ended in time, sending KILL") });
    stop();
    is("who is left", scalar(grep { is_alive($_) } map { @$_ } @families), 0);
}

sub upgrade {
    my $installed = POSIX::getcwd() . "/installed";
    my $install = sub { system("cp", $ours, "new") == 0 && rename("new", $installed) or die "install: $!\n" };
    $install->();
    start($installed, @files, listeners(), "--kill-timeout=$patience", "--interval=0", @three_ways);
    generation(1);
    answers("version 1");
    my $load = load();
    for my $generation (1 .. 5) {
        my $before = (stat "/proc/$pid/exe")[1];
        $install->();
        succeeds($installed, "--upgrade", "--pid-file=pid");
        my $after = (stat "/proc/$pid/exe")[1];
        is("the program", $after == (stat $installed)[1] && $after != $before ? "the new one" : "another", "the new one");
        generation($generation);
        kill $generation % 2 ? "HUP" : "KILL", $generation % 2 ? $pid : worker();
        generation($generation + 1);
        answers("version " . ($generation + 1));
    }
    # A worker that is killed loses the requests that it has accepted, so only refused connections count.
    is("refused connections", $load->(), 0);
    stop();
}

sub store {
    mkdir "manager";
    start("perl", "$fixtures/store.pl", "manager", $ours, "--sd-notify", "--from-systemd", @files, listeners(), "--interval=0",
        @three_ways);
    generation(1);
    answers("version 1");
    my $load = load();
    my $manager = $pid;
    for (1 .. 5) {
        my $before = read_file("manager/pid");
        my $worker = worker();
        kill "KILL", $before, $worker;
        eventually("another superdaemon", sub { read_file("manager/pid") !~ /^$before$/ });
        eventually("another worker", sub { my $status = read_file("st"); $status =~ /^1:\d+\n$/ && $status !~ /:$worker$/ });
        answers("version 1");
    }
    is("refused connections", $load->(), 0);
    kill "TERM", read_file("manager/pid");
    is("the end", wait_for($manager), 0);
    is("what is left", join(" ", grep { -e } "pid", "st", "sock"), "");
}

sub take_over {
    start($original, @files, listeners(), "--interval=0", @three_ways);
    generation(1);
    answers("version 1");
    rest();
    my $load = load();
    my $worker = worker();
    my ($code, $said) = run($ours, "--take-over", "--pid-file=pid");
    is("--take-over", "$code $said", "0 start_server (pid:$pid) now runs this program, generation 1 keeps running\n");
    is("the worker", worker(), $worker);
    is("the program", readlink "/proc/$pid/exe", $ours);
    kill "HUP", $pid;
    generation(2);
    answers("version 2");
    kill "KILL", worker();
    generation(3);
    answers("version 3");
    succeeds($_, "--restart", @files) for $ours, $original;
    generation(5);
    answers("version 5");
    is("refused connections", $load->(), 0);
    stop();
}

# A machine that is slow is no reason to refuse it.
sub take_over_on_a_busy_machine {
    start($original, @files, listeners(), "--interval=0", @three_ways);
    generation(1);
    answers("version 1");
    rest();
    my @busy = map { fork_with(sub { alarm 10 * $patience; 1 while 1 }) } 1 .. $busy;
    my $before = time;
    my ($code, $said) = run($ours, "--take-over", "--pid-file=pid");
    my $took = time - $before;
    kill "KILL", @busy;
    is("--take-over", "$code $said", "0 start_server (pid:$pid) now runs this program, generation 1 keeps running\n");
    kill "HUP", $pid;
    generation(2);
    answers("version 2");
    stop();
    return sprintf "%.1f s", $took;
}

# How a take-over ends, and in what state the superdaemon is, whatever comes in at whichever moment.
sub at_random {
    my $signal = shift;
    my ($takes, %ends) = 0;
    for my $round (1 .. $rounds) {
        start($original, @files, listeners(), "--interval=0", @three_ways);
        generation(1);
        answers("version 1");
        rest();
        my $moment = rand 1.2 * $takes;
        # The first round only measures the time of a take-over.
        my $sender = $round > 1 && fork_with(sub {
            select undef, undef, undef, $moment;
            kill $signal, $pid;
        });
        my $before = time;
        my ($code, $said) = run($ours, "--take-over", "--pid-file=pid");
        $takes = time - $before if $round == 1;
        $sender ? wait_for($sender) : kill $signal, $pid;
        $ends{$code}++;
        if ($signal eq "HUP") {
            is("--take-over in round $round", $code ? "$code $said" : 0, 0);
            generation(2);
            answers("version 2");
            is("how often HUP came in", scalar(() = read_file("log") =~ /received HUP/g), 1);
            stop();
        } else {
            is("the end of the superdaemon in round $round after $code $said", wait_for($pid), 0);
            is("how often TERM came in", scalar(() = read_file("log") =~ /received TERM/g), 1);
            is("what is left", join(" ", grep { -e } "pid", "st", "sock"), "");
            # The superdaemon may have ended before the command looked.
            is("the exit code ($said)", $code == 0 || $code == 125 || $said =~ /:No such (file|process)/ ? "known" : $code, "known");
        }
        unlink "log";
    }
    return sprintf "a take-over takes %d ms; exit codes: %s", 1000 * $takes,
        join ", ", map { "$ends{$_} times $_" } sort { $a <=> $b } keys %ends;
}

sub take_over_is_refused {
    start($original, @files, "--port=127.0.0.1:$port", "--interval=0", @three_ways);
    generation(1);
    my ($code, $said) = run($ours, "--take-over", "--pid-file=pid");
    is("--take-over", $code ? $said : "done", "--take-over needs Linux on x86_64 or aarch64\n");
    succeeds($ours, "--restart", @files);
    generation(2);
    stop();
}

sub may_not_be_traced {
    start($original, @files, "--port=127.0.0.1:$port", "--interval=0", @three_ways);
    generation(1);
    my ($code, $said) = run($ours, "--take-over", "--pid-file=pid");
    is("--take-over", "$code $said", POSIX::EACCES() . " not taken over: process $pid may not be traced:Permission denied\n");
    succeeds($ours, "--restart", @files);
    generation(2);
    stop();
}

sub may_not_look {
    my ($code, $said) =
        run($ours, @files, "--path=sock", "--port=127.0.0.1:$port", "--ready=accepting", "--interval=0", @three_ways);
    my $sentence = "--ready=accepting can't look at workers (is kernel.yama.ptrace_scope above 1?): failed to read /proc/";
    is("the refusal", $code && $said =~ /^\Q$sentence\E\d+\/\w+:(Operation not permitted|Permission denied)$/m ? "said" : "$code $said", "said");
    is("what is left", join(" ", grep { -e } "pid", "st", "sock"), "");
}

# --- how they are run

# Restrictions that an administrator may have set.
sub restrict {
    if (-e "/proc/sys/kernel/unprivileged_userns_clone") {
        set("kernel/unprivileged_userns_clone", 0);
        all_as("kernel.unprivileged_userns_clone=0", "user");
    }
    set("kernel/yama/ptrace_scope", 1);
    all_as("kernel.yama.ptrace_scope=1", "root", "user");
    test("kernel.yama.ptrace_scope=1: the user's --take-over is refused", user => \&may_not_be_traced) if $may_be_taken_over;
    set("kernel/yama/ptrace_scope", 2);
    all_as("kernel.yama.ptrace_scope=2", "root");
    test("kernel.yama.ptrace_scope=2: the user's --ready=accepting is refused", user => \&may_not_look);
    set("kernel/yama/ptrace_scope", 0);
    system("mount -o remount,hidepid=2 /proc") == 0 or die "hidepid";
    all_as("hidepid=2", "root", "user");
    system("mount -o remount,hidepid=0 /proc") == 0 or die "hidepid";
    # This can't be undone.
    set("kernel/yama/ptrace_scope", 3);
    test("kernel.yama.ptrace_scope=3: --ready=accepting is refused", root => \&may_not_look);
    test("kernel.yama.ptrace_scope=3: --take-over is refused", root => \&may_not_be_traced) if $may_be_taken_over;
}

# Each test has a directory, a process group and a port of its own.
sub test {
    my ($name, $user, $code, @arguments) = @_;
    return if defined $ENV{ONLY} && "$name, as $user" !~ /$ENV{ONLY}/;
    my $directory = tempdir(CLEANUP => 1);
    $port++;
    my $id = $user eq "root" ? 0 : 1000;
    chown $id, $id, $directory;
    my $test = fork_with(sub {
        POSIX::setpgid(0, 0);
        if ($id) {
            $) = "$id $id";
            POSIX::setgid($id);
            POSIX::setuid($id);
        }
        chdir $directory or die "$directory: $!\n";
        $ENV{TMPDIR} = $directory;
        my $figures = $code->(@arguments);
        write_file("figures", $figures // "");
    }, "$directory/failure");
    my $before = time;
    my $code_of_test = wait_for($test);
    my $took = sprintf "%.1f s", time - $before;
    kill "KILL", -$test;
    if ($code_of_test == 0) {
        $passed++;
        my $figures = read_file("$directory/figures");
        print "ok $name, as $user", ($figures =~ /\d/ ? ": $figures" : ""), " ($took)\n";
    } else {
        $failed++;
        print "FAILED $name, as $user ($took): ", join(" | ", split /\n/, read_file("$directory/failure")), "\n";
        print "    log: $_\n" for split /\n/, read_file("$directory/log");
    }
    # Reap what is left before the next test.
    while (waitpid(-1, POSIX::WNOHANG()) > 0) { }
}

sub both {
    my ($name, $code, @arguments) = @_;
    test($name, $_, $code, @arguments) for "root", "user";
}

# The tests that depend on rights.
sub all_as {
    my ($condition, @users) = @_;
    for my $user (@users) {
        test("$condition: life", $user => \&life);
        test("$condition: --ready=accepting", $user => \&accepting, "epoll_pwait");
        test("$condition: never ready", $user => \&never_ready, "accepting");
        test("$condition: --ready=notify", $user => \&notify);
        test("$condition: --kill-timeout", $user => \&families);
        test("$condition: --upgrade", $user => \&upgrade);
        test("$condition: --take-over", $user => \&take_over)
            if $may_be_taken_over && !($condition =~ /yama/ && $user eq "user");
    }
}

sub fork_with {
    my ($code, $stderr) = @_;
    my $child = fork // die "fork: $!\n";
    return $child if $child;
    if (defined $stderr) {
        open STDERR, ">>", $stderr or POSIX::_exit(99);
    }
    eval { $code->(); 1 } or do {
        print STDERR $@;
        POSIX::_exit(1);
    };
    POSIX::_exit(0);
}

sub start {
    my @command = @_;
    unlink "log";
    $pid = fork_with(sub {
        open STDOUT, ">>", "log" or die "log: $!\n";
        open STDERR, ">&", \*STDOUT or die "log: $!\n";
        exec { $command[0] eq "perl" ? "/usr/bin/perl" : $command[0] } @command or die "$command[0]: $!\n";
    });
}

# Runs a command. Returns its exit code and its output.
sub run {
    my @command = @_;
    my $child = fork_with(sub {
        open STDOUT, ">", "said" or die "said: $!\n";
        open STDERR, ">&", \*STDOUT or die "said: $!\n";
        exec { $command[0] } @command or die "$command[0]: $!\n";
    });
    return (wait_for($child), read_file("said"));
}

sub succeeds {
    my @command = @_;
    my ($code, $said) = run(@command);
    die "@command exits with $code and says: $said\n" if $code;
}

sub stop {
    my ($program) = (@_, $ours);
    succeeds($program, "--stop", "--pid-file=pid");
    is("the end", wait_for($pid), 0);
    is("what is left", join(" ", grep { -e } "pid", "st", "sock"), "");
}

# Waits for a child. Returns its exit code, or 128 and the signal as a shell does.
sub wait_for {
    my $child = shift;
    my $end = time + 10 * $patience;
    until (waitpid($child, POSIX::WNOHANG()) == $child) {
        if (time > $end) {
            kill "KILL", -$child, $child;
            die "process $child does not end\n";
        }
        select undef, undef, undef, 0.01;
    }
    return $? & 127 ? 128 + ($? & 127) : $? >> 8;
}

sub eventually {
    my ($what, $holds) = @_;
    my $end = time + $patience;
    until ($holds->()) {
        die "this never comes: $what\n" if time > $end;
        select undef, undef, undef, 0.01;
    }
}

sub is {
    my ($what, $seen, $expected) = @_;
    die "$what: \"$seen\" and not \"$expected\"\n" if $seen ne $expected;
}

sub generation {
    my $generation = shift;
    eventually("generation $generation", sub { read_file("st") =~ /\A$generation:\d+\n\z/ });
}

sub worker { read_file("st") =~ /:(\d+)\n\z/ ? $1 : die "no worker\n" }
sub said { index(read_file("log"), $_[0]) >= 0 }
sub is_alive { read_file("/proc/$_[0]/stat") =~ /\) ([A-Z])/ && $1 ne "Z" }

# Waits until the superdaemon sleeps, and has not run between two looks.
sub rest {
    my $before = "";
    eventually("rest", sub {
        my @fields = split " ", read_file("/proc/$pid/stat") =~ s/.*\)//sr;
        my ($switches) = read_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s*(\d+)/m;
        my $now = "@fields[0, 11, 12] $switches";
        my $rests = $now eq $before && $fields[0] eq "S";
        $before = $now;
        select undef, undef, undef, 0.02 unless $rests;
        $rests;
    });
}

sub listeners { ("--port=127.0.0.1:$port", "--path=sock", "--port=127.0.0.1:u$port") }

# Waits until each listener gives this answer.
sub answers {
    my $expected = shift;
    for my $address ("127.0.0.1:$port", "sock") {
        eventually("\"$expected\" from $address", sub { (ask($address) // "") =~ /^\Q$expected\E$/m });
    }
    my $udp = IO::Socket::INET->new(Proto => "udp", PeerAddr => "127.0.0.1:$port") or die "UDP: $!\n";
    eventually("\"$expected\" by UDP", sub {
        send $udp, "?", 0;
        vec(my $ready = "", fileno $udp, 1) = 1;
        my $answer = "";
        select($ready, undef, undef, 1) > 0 && defined recv($udp, $answer, 100, 0) && $answer eq "$expected\n";
    });
}

# The answer of an HTTP server; undefined if nobody listens.
sub ask {
    my $address = shift;
    my $socket = $address =~ /:/ ? IO::Socket::INET->new($address) : IO::Socket::UNIX->new($address);
    return unless $socket;
    local $SIG{PIPE} = "IGNORE";
    syswrite $socket, "GET / HTTP/1.0\r\n\r\n";
    my $answer = "";
    while (sysread $socket, $answer, 4096, length $answer) { }
    return $answer;
}

# Asks the listeners again and again. Returns a function that ends this and returns how often nobody listened.
sub load {
    my $file = "refused";
    my $child = fork_with(sub {
        my ($is_over, $refused, $count) = (0, 0, 0);
        local $SIG{TERM} = sub { $is_over = 1 };
        until ($is_over) {
            for my $address ("127.0.0.1:$port", "sock") {
                $count++;
                $refused++ unless defined ask($address) || $! == EINTR;
            }
            write_file("load", $count);
            select undef, undef, undef, 0.005;
        }
        write_file($file, $refused);
    });
    eventually("the load", sub { read_file("load") > 1 });
    return sub {
        kill "TERM", $child;
        wait_for($child);
        return read_file($file);
    };
}

sub set {
    my ($name, $value) = @_;
    write_file("/proc/sys/$name", $value);
}

sub libc { (`/usr/bin/ldd --version 2>/dev/null` =~ /(.*)/)[0] || "no libc" }

sub read_file {
    open my $file, "<", $_[0] or return "";
    local $/;
    return <$file> // "";
}

sub write_file {
    open my $file, ">", $_[0] or die "$_[0]: $!\n";
    print $file $_[1];
    close $file or die "$_[0]: $!\n";
}

# --- the workers

# The number of a system call from this machine's headers; undefined if there is none.
sub number {
    my $name = shift;
    local $SIG{__WARN__} = sub { };
    eval { require "sys/syscall.ph" } or die "sys/syscall.ph: $@";
    my $number = main->can("SYS_$name") || main->can("__NR_$name") or return;
    return eval { $number->() };
}

# The ways in which a server may wait that this kernel has.
sub ways {
    my @ways = qw(accept accept4 select pselect6 poll ppoll epoll_wait epoll_pwait epoll_pwait2 recvfrom recvmsg recvmmsg read);
    return grep { defined number($_) && is_known($_) } @ways;
}

# Headers may be newer than the kernel.
sub is_known {
    my $way = shift;
    return syscall(number($way), -1, -1, 0, 0, 0, 0) != -1 || $! != Errno::ENOSYS();
}

sub wait_by {
    my $way = shift;
    my ($fd) = $ENV{SERVER_STARTER_PORT} =~ /=(\d+)$/;
    my $number = number($way);
    my @zeros = (0) x 5;
    my ($set, $members) = ("\0" x 128, pack "i s s", $fd, 1, 0);
    vec($set, $fd, 1) = 1;
    my $epoll = -1;
    if ($way =~ /^epoll/) {
        $epoll = syscall(number("epoll_create1"), 0);
        # EPOLL_CTL_ADD, EPOLLIN. Only x86_64 has the structure packed.
        my $event = pack $processor eq "x86_64" ? "L Q" : "L x4 Q", 1, $fd;
        syscall(number("epoll_ctl"), $epoll, 1, $fd, $event) == 0 or die "epoll_ctl: $!\n";
    }
    my ($buffer, $events) = ("\0" x 4096, "\0" x 160);
    my $vector = pack "P Q", $buffer, length $buffer;
    my $message = pack "Q Q P Q Q Q Q Q", 0, 0, $vector, 1, 0, 0, 0, 0;
    my %arguments = (
        accept       => [ $fd, 0, 0 ],
        accept4      => [ $fd, 0, 0, 0 ],
        select       => [ $fd + 1, $set, 0, 0, 0 ],
        pselect6     => [ $fd + 1, $set, 0, 0, 0, 0 ],
        poll         => [ $members, 1, -1 ],
        ppoll        => [ $members, 1, 0, 0, 8 ],
        epoll_wait   => [ $epoll, $events, 10, -1 ],
        epoll_pwait  => [ $epoll, $events, 10, -1, 0, 8 ],
        epoll_pwait2 => [ $epoll, $events, 10, 0, 0, 8 ],
        recvfrom     => [ $fd, $buffer, length $buffer, 0, 0, 0 ],
        recvmsg      => [ $fd, $message, 0 ],
        recvmmsg     => [ $fd, $message, 1, 0, 0 ],
        read         => [ $fd, $buffer, length $buffer ],
    );
    while (1) {
        syscall $number, @{ $arguments{$way} };
    }
}

sub family {
    my $generation = $ENV{SERVER_STARTER_GENERATION};
    my @kin = ($$);
    $SIG{TERM} = "IGNORE";
    for my $kind ("child", "session", "orphan") {
        pipe my $reader, my $writer or die "pipe: $!\n";
        my $child = fork // die "fork: $!\n";
        if (!$child) {
            POSIX::setsid() if $kind ne "child";
            POSIX::_exit(0) if $kind eq "orphan" && fork;
            syswrite $writer, "$$\n";
            close $writer;
            sleep 1000 while 1;
        }
        close $writer;
        chomp(my $pid = <$reader>);
        push @kin, $pid;
        waitpid $child, 0 if $kind eq "orphan";
    }
    write_file("family.new", "@kin\n");
    rename "family.new", "family.$generation" or die "rename: $!\n";
    sleep 1000 while 1;
}

# SIOCSIFFLAGS, IFF_UP.
sub loopback {
    socket my $socket, AF_INET, SOCK_DGRAM, 0 or die "socket: $!\n";
    my $request = pack "a16 s x22", "lo", 1;
    ioctl $socket, 0x8914, $request or die "lo: $!\n";
}

# LINUX_REBOOT_CMD_POWER_OFF
sub off {
    require "sys/syscall.ph";
    syscall SYS_reboot(), 0xfee1dead, 0x28121969, 0x4321fedc, 0;
}
