#!/usr/bin/env perl
# Another implementation of start_server, for the tests of the report: it binds, starts one worker, and starts another
# one when it dies. HUP starts a new one and stops the old one at once; TERM stops everything. It knows --port,
# --interval and --pid-file, spelled in full, and words its messages differently.
use strict;
use warnings;
use Getopt::Long qw(:config no_auto_abbrev no_ignore_case);
use IO::Socket::INET;
use POSIX ();

GetOptions("port=s" => \my @ports, "interval=i" => \my $interval, "pid-file=s" => \my $pid_file) && @ARGV or exit 64;
my (@names, @sockets);
$^F = 1000;
for my $port (@ports) {
    my ($address, $number) = $port =~ /^(?:(.*):)?(\d+)$/ or die "bad port $port\n";
    push @sockets, IO::Socket::INET->new(LocalAddr => $address // "0.0.0.0", LocalPort => $number, Listen => 10, ReuseAddr => 1)
        // die "cannot bind $port: $!\n";
    push @names, "$port=" . fileno $sockets[-1];
}
if (defined $pid_file) {
    open my $file, ">", $pid_file or die "$pid_file: $!\n";
    print $file "$$\n";
    close $file;
}
my ($generation, $worker, $wanted) = (0, 0, "");
$SIG{$_} = sub { $wanted = shift } for qw(HUP TERM INT);
start();
while (1) {
    my $dead = waitpid -1, POSIX::WNOHANG();
    start() if $dead > 0 && $dead == $worker;
    if ($wanted eq "HUP") {
        my $old = $worker;
        start();
        kill TERM => $old;
    }
    elsif ($wanted) {
        kill TERM => $worker;
        waitpid $worker, 0;
        unlink $pid_file if defined $pid_file;
        print STDERR "bye\n";
        exit 0;
    }
    $wanted = "";
    select undef, undef, undef, 0.05;
}

sub start {
    $generation++;
    $worker = fork // die "fork: $!\n";
    if (!$worker) {
        $SIG{$_} = "DEFAULT" for qw(HUP TERM INT);
        @ENV{qw(SERVER_STARTER_PORT SERVER_STARTER_GENERATION)} = (join(";", @names), $generation);
        exec @ARGV or POSIX::_exit(255);
    }
    print STDERR "starting new worker $worker\n";
}
