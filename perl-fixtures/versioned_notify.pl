# A server of one process, to be deployed while it is used. It takes START_UP seconds to start, touches no listener
# before that, and tells NOTIFY_SOCKET when it is ready. It answers with the version that was in the environment, one
# request per connection.
use strict;
use warnings;
use IO::Socket::INET;
use IO::Socket::UNIX;
use Server::Starter qw(server_ports);
use Time::HiRes qw(setitimer ITIMER_REAL);

my $body = "version $ENV{VERSION}\n";
sleep($ENV{START_UP} || 0);

my $is_leaving = 0;
$SIG{TERM} = sub { $is_leaving = 1 };
# If TERM arrives just before an accept, Perl doesn't see it until the accept is over, so none is longer than a second.
$SIG{ALRM} = sub { };
setitimer ITIMER_REAL, 1, 1;
my ($fd) = values %{ server_ports() };
my $listener = IO::Socket::INET->new->fdopen($fd, "r") or die "fd $fd: $!";

print STDERR "version $ENV{VERSION} has started\n";
if (my $path = $ENV{NOTIFY_SOCKET}) {
    my $superdaemon = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Peer => $path) or die "$path: $!";
    $superdaemon->send("READY=1\n") or die "$path: $!";
}

until ($is_leaving) {
    my $client = $listener->accept or next;
    while (defined(my $line = <$client>)) {
        last if $line =~ /^\r?\n$/;
    }
    print $client "HTTP/1.0 200 OK\r\nContent-Length: ", length $body, "\r\n\r\n", $body;
}
