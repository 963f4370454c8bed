#!/usr/bin/perl
# A minimal web server for start_server: it serves with the listener that it is given, and on SIGTERM it finishes its
# current request before it ends. Restart it as often as you like: no request is lost.
#
#   start_server --port=8000 --pid-file=pid --status-file=status -- perl httpd.pl
#   curl http://127.0.0.1:8000/
#   start_server --restart --pid-file=pid --status-file=status
use strict;
use warnings;
use IO::Socket::INET;
use Time::HiRes qw(setitimer ITIMER_REAL);

# SERVER_STARTER_PORT is "8000=4", or "127.0.0.1:8000=4;app.sock=5": names of listeners, and their descriptors.
my ($fd) = ($ENV{SERVER_STARTER_PORT} || "") =~ /=(\d+)/ or die "run me under start_server --port=...\n";
my $listener = IO::Socket::INET->new_from_fd($fd, "+<") or die "cannot use fd $fd: $!\n";

# A signal interrupts accept(). But if it arrives just before accept(), Perl doesn't see it until that is over, so a
# timer interrupts accept() every second.
my $leaving = 0;
$SIG{TERM} = sub { $leaving = 1 };
$SIG{ALRM} = sub { };
setitimer ITIMER_REAL, 1, 1;

until ($leaving) {
    my $client = $listener->accept or next;
    answer($client);
    close $client;
}
# Perl removes its handlers before it ends, and the timer would end it by a signal.
setitimer ITIMER_REAL, 0;

sub answer {
    my $client = shift;
    my $request = <$client>;
    return unless defined $request;
    while (defined(my $header = <$client>)) {
        last if $header =~ /^\r?\n$/;
    }
    my ($status, $body) = ("200 OK", "hello from generation $ENV{SERVER_STARTER_GENERATION} (pid $$)\n");
    ($status, $body) = ("404 Not Found", "there is only /\n") unless $request =~ m{^GET / };
    print $client "HTTP/1.0 $status\r\nContent-Type: text/plain\r\nContent-Length: ", length $body, "\r\n\r\n", $body;
}
