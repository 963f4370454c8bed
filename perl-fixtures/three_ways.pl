# A worker that serves TCP, unix and UDP listeners at the same time. It answers "version GENERATION" by HTTP or by a
# datagram. On TERM it finishes its current request and ends.
use strict;
use warnings;
use IO::Socket;
use Socket qw(SOL_SOCKET SO_TYPE SOCK_DGRAM);
use Time::HiRes qw(setitimer ITIMER_REAL);

my $body = "version $ENV{SERVER_STARTER_GENERATION}\n";
my $answer = "HTTP/1.0 200 OK\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
my (%listeners, $wanted);
for my $fd (map { /=(\d+)$/ ? $1 : () } split /;/, $ENV{SERVER_STARTER_PORT}) {
    my $socket = IO::Socket->new_from_fd($fd, "+<") or die "cannot use fd $fd: $!\n";
    $socket->blocking(0);
    $listeners{$fd} = [ $socket, unpack("i", getsockopt($socket, SOL_SOCKET, SO_TYPE)) == SOCK_DGRAM ];
    vec($wanted, $fd, 1) = 1;
}

my $leaving = 0;
$SIG{TERM} = sub { $leaving = 1 };
# If TERM arrives just before a wait, Perl doesn't see it until the wait is over, so no wait is longer than a second.
$SIG{ALRM} = sub { };
setitimer ITIMER_REAL, 1, 1;

until ($leaving) {
    next if select(my $ready = $wanted, undef, undef, undef) <= 0;
    for my $fd (grep { vec $ready, $_, 1 } keys %listeners) {
        my ($socket, $is_udp) = @{ $listeners{$fd} };
        if ($is_udp) {
            my $peer = recv $socket, my $question, 100, 0;
            send $socket, $body, 0, $peer if defined $peer;
        } elsif (accept my $client, $socket) {
            # The client doesn't inherit O_NONBLOCK from the listener.
            while (defined(my $line = <$client>)) {
                last if $line =~ /^\r?\n$/;
            }
            print $client $answer;
            close $client;
        }
    }
}
# Perl removes its handlers before it ends, and the timer would end it by a signal.
setitimer ITIMER_REAL, 0;
