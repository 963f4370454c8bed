# A service manager that keeps descriptors: it receives FDSTORE=1, starts the program with what it keeps, and starts it
# again when it is killed by KILL. If the program ends otherwise, this ends, too.
#
#   store.pl DIRECTORY PROGRAM ARGUMENT ...
#
# DIRECTORY gets the socket "notify", the file "pid" of the running program, and the "log" of its messages.
use strict;
use warnings;
use Cwd qw(abs_path);
use Fcntl qw(F_DUPFD);
use IO::Socket::UNIX;
use POSIX ();
use Socket qw(:all);

my ($directory, @program) = @ARGV;
my $path = abs_path($directory) . "/notify";
unlink $path;
my $socket = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $path) or die "$path: $!\n";
open my $log, ">>", "$directory/log" or die "$directory/log: $!\n";
$log->autoflush;
my @kept;    # [ name, descriptor ]

# recvmsg(2) with SCM_RIGHTS, which Perl lacks. All 64-bit processors have the same structures, and newer ones the same
# number.
my $recvmsg = (POSIX::uname())[4] eq "x86_64" ? 47 : 212;
sub receive {
    my ($text, $control) = ("\0" x 4096, "\0" x 64);
    my $vector = pack "PQ", $text, length $text;
    my $header = pack "Q Q P Q P Q i x4", 0, 0, $vector, 1, $control, length $control, 0;
    my $length = syscall $recvmsg, fileno $socket, $header, 0x40;
    return if $length < 0;
    my $controls = (unpack "Q6", $header)[5];
    my (undef, $level, $type, $fd) = unpack "Q i i i", $control;
    return substr($text, 0, $length), $controls ? $fd : undef;
}

sub hear {
    my ($text, $fd) = receive() or return 0;
    my ($name) = $text =~ /^FDNAME=(.*)/m;
    print $log $text =~ s/\n(?=.)/ /gr;
    push @kept, [ $name, $fd ] if $text =~ /^FDSTORE=1/m && !grep { $_->[0] eq $name } @kept;
    if ($text =~ /^FDSTOREREMOVE=1/m) {
        POSIX::close($_->[1]) for grep { $_->[0] eq $name } @kept;
        @kept = grep { $_->[0] ne $name } @kept;
    }
    return 1;
}

while (1) {
    my $pid = fork // die "fork: $!\n";
    if (!$pid) {
        my @high = map { fcntl(IO::Handle->new_from_fd($_->[1], "r"), F_DUPFD, 60) } @kept;
        POSIX::dup2($high[$_], 3 + $_) for 0 .. $#high;
        %ENV = (%ENV, NOTIFY_SOCKET => $path);
        %ENV = (%ENV, LISTEN_PID => $$, LISTEN_FDS => scalar @kept, LISTEN_FDNAMES => join ":", map { $_->[0] } @kept) if @kept;
        exec { $program[0] } @program or die "$program[0]: $!\n";
    }
    open my $file, ">", "$directory/new" or die "$directory/new: $!\n";
    print $file "$pid\n";
    close $file;
    rename "$directory/new", "$directory/pid" or die "$directory/pid: $!\n";
    my $waited;
    until ($waited = waitpid $pid, POSIX::WNOHANG()) {
        vec(my $ready = "", fileno $socket, 1) = 1;
        next if select($ready, undef, undef, 0.05) <= 0;
        hear();
    }
    # As in systemd, messages count even if their sender is dead.
    1 while hear();
    exit($? >> 8) if $? != 9;
}
