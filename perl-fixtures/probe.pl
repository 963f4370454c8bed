# The probe worker: appends what it finds around itself, and what happens to it, to a file of the test harness.
#
#   probe.pl REPORTS [BEHAVIOUR ...]
#
#     exit=N        ends at once with code N, as a worker that fails to start
#     code=N        ends with code N (instead of 0) when it gets a signal
#     ign=SIG,...   reports these signals, and keeps running
#     say=TEXT      prints TEXT to stdout and stderr when it gets USR2, and keeps running
#     notify=TEXT   sends TEXT to its NOTIFY_SOCKET when it gets USR2, and keeps running
#     chat=N        sends N unimportant messages before that
#     accept        accepts connections and answers with its generation from USR2 on, and keeps running
#     child         a child does what USR2 asks for
#     now           does what USR2 asks for at once, too
#     G2=...        the behaviour is for generation 2 only; G2+=... for generation 2 and later
#
# Each line of a report is "PID TEXT". The lines about a start are one write, so that reports of two workers don't mix.
use strict;
use warnings;
use Cwd ();
use POSIX ();
use Socket qw(:all);

# This comes first, as everything that perl does may change it.
my %status = map { /^(\w+):\s*(.*)/ ? ($1 => $2) : () } read_lines("/proc/self/status");
my @fds = map { [ $_, readlink "/proc/self/fd/$_" ] } grep { -l "/proc/self/fd/$_" } list("/proc/self/fd");
my $umask = umask;
my @kept;    # handles, each of which would close its descriptor at its end

my $reports = shift @ARGV;
my $generation = $ENV{SERVER_STARTER_GENERATION};
my @behaviours = map { /^G(\d+)(\+?)=(.*)/s ? (($2 ? $generation >= $1 : $generation == $1) ? $3 : ()) : $_ } @ARGV;
my %behaviour = map { /^(\w+)=(.*)/s ? ($1 => $2) : ($_ => 1) } @behaviours;
my %ignored = map { $_ => 1 } split /,/, $behaviour{ign} || '';

# Signals are only delivered while the probe waits for them, so none is lost just before, and none interrupts another.
my $before = POSIX::SigSet->new;
POSIX::sigprocmask(POSIX::SIG_BLOCK(), POSIX::SigSet->new(1 .. 31), $before);
for my $name (qw(HUP INT QUIT USR1 USR2 TERM WINCH)) {
    $SIG{$name} = sub {
        report("got $name");
        return say_it() if $name eq "USR2" && exists $behaviour{say};
        return get_ready() if $name eq "USR2" && grep { exists $behaviour{$_} } qw(notify accept);
        leave($behaviour{code} || 0) unless $ignored{$name};
    };
}
report(
    "start generation=" . (defined $generation ? $generation : "none"),
    "process ppid=" . getppid . " pgid=" . getpgrp . " sid=" . session(),
    "argv " . join(" ", map { "[$_]" } @ARGV),
    "cwd " . Cwd::getcwd(),
    sprintf("umask %03o", $umask),
    "signals ignored=$status{SigIgn} blocked=$status{SigBlk}",
    (map { "env $_=$ENV{$_}" } sort keys %ENV),
    (map { "fd $_->[0] " . describe(@$_) } @fds),
);
leave($behaviour{exit}) if exists $behaviour{exit};
get_ready() if $behaviour{now};
report("ready");
POSIX::sigsuspend($before) while 1;

sub leave {
    my $code = shift;
    report("exit $code");
    POSIX::_exit($code);
}

# On request, because text written at the start could come before or after the superdaemon's own.
sub say_it {
    syswrite STDOUT, "$behaviour{say}\n";
    syswrite STDERR, "$behaviour{say}\n";
}

sub get_ready {
    in_child(\&serve) if $behaviour{accept};
    return unless exists $behaviour{notify};
    return in_child(\&notify) if $behaviour{child};
    notify();
    report("said $behaviour{notify}");
}

sub notify {
    my $path = $ENV{NOTIFY_SOCKET};
    socket my $socket, AF_UNIX, SOCK_DGRAM, 0 or die "socket: $!";
    for my $text (("STATUS=still here") x ($behaviour{chat} || 0), $behaviour{notify}) {
        defined send $socket, $text, 0, pack_sockaddr_un($path) or die "$path: $!";
    }
}

# The child ends with this process, however that ends.
sub in_child {
    my $work = shift;
    pipe(my $ours, my $theirs) or die "pipe: $!";
    my $pid = fork;
    die "fork: $!" unless defined $pid;
    return push @kept, $theirs if $pid;
    close $theirs;
    $work->($ours);
    sysread $ours, my $nothing, 1;
    POSIX::_exit(0);
}

# Answers requests at all listeners, until there is something to read from $end.
sub serve {
    my $end = shift;
    my @listeners;
    for my $fd ($ENV{SERVER_STARTER_PORT} =~ /=(\d+)(?:;|$)/g) {
        open my $listener, "+<&=", $fd or die "fd $fd: $!";
        push @listeners, $listener;
    }
    # Another process may take the connection that woke this one, which would then wait in accept.
    $SIG{ALRM} = sub { };
    POSIX::sigprocmask(POSIX::SIG_UNBLOCK(), POSIX::SigSet->new(POSIX::SIGALRM()));
    while (1) {
        my $bits = "";
        vec($bits, fileno $_, 1) = 1 for $end, @listeners;
        next if 0 > select $bits, undef, undef, undef;
        return if vec $bits, fileno $end, 1;
        for my $listener (grep { vec $bits, fileno $_, 1 } @listeners) {
            alarm 1;
            my $is_accepted = accept(my $client, $listener);
            alarm 0;
            next unless $is_accepted;
            sysread $client, my $request, 4096;
            syswrite $client, "HTTP/1.0 200 OK\r\n\r\ngeneration $generation\n";
        }
    }
}

sub report {
    my $lines = join "", map { my $line = $_; $line =~ s/\n/\\n/g; "$$ $line\n" } @_;
    open my $file, ">>", $reports or die "$reports: $!";
    syswrite $file, $lines;
}

# Describes a descriptor; for a socket, with everything that can differ between listeners.
sub describe {
    my ($fd, $target) = @_;
    my ($flags) = map { /^flags:\s*(\d+)/ ? oct $1 : () } read_lines("/proc/self/fdinfo/$fd");
    my $text = $flags & POSIX::O_NONBLOCK() ? " nonblocking" : "";
    return $target =~ /^pipe:/ ? "pipe$text" : "$target$text" unless $target =~ /^socket:/;

    open my $socket, "+<&=", $fd or return "socket: $!";
    push @kept, $socket;
    my $is = sub { my $value = getsockopt $socket, $_[0], $_[1]; $value ? unpack "i", $value : 0 };
    my $name = getsockname $socket;
    my $family = sockaddr_family($name);
    my $type = { SOCK_STREAM, "stream", SOCK_DGRAM, "dgram" }->{ $is->(SOL_SOCKET, SO_TYPE) };
    $text .= " listening" if $is->(SOL_SOCKET, SO_ACCEPTCONN);
    $text .= " reuseaddr" if $is->(SOL_SOCKET, SO_REUSEADDR);
    $text .= " reuseport" if $is->(SOL_SOCKET, SO_REUSEPORT);
    return "unix $type " . (unpack_sockaddr_un($name))[0] . $text if $family == AF_UNIX;

    # In a listening socket's TCP_INFO the field "sacked" is the backlog.
    $text .= " backlog=" . unpack "x28 L", getsockopt $socket, IPPROTO_TCP, 11 if $type eq "stream";
    if ($family == AF_INET6) {
        my ($port, $address) = unpack_sockaddr_in6($name);
        $text .= " v6only" if $is->(IPPROTO_IPV6, IPV6_V6ONLY);
        return "inet6 $type [" . Socket::inet_ntop(AF_INET6, $address) . "]:$port$text";
    }
    my ($port, $address) = unpack_sockaddr_in($name);
    return "inet $type " . inet_ntoa($address) . ":$port$text";
}

sub session { (split " ", (join "", read_lines("/proc/self/stat")) =~ s/.*\)//sr)[3] }

sub read_lines {
    open my $file, "<", $_[0] or return;
    return <$file>;
}

sub list {
    opendir my $dir, $_[0] or die "$_[0]: $!";
    return sort { $a <=> $b } grep /^\d+$/, readdir $dir;
}
