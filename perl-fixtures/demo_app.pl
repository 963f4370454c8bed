#!/usr/bin/perl
# A typical web application: it takes some time to load, and serves one request after the other. A broken version fails
# after it has loaded. demo_app.pl DIRECTORY [PORT]: the version is in the file "version"; without a PORT, the listener
# comes from start_server.
use strict;
use warnings;
use IO::Socket::INET;
use Time::HiRes qw(setitimer sleep ITIMER_REAL);

use constant LOADING => 1.5;

my ($directory, $port) = @ARGV;
my $leaving = 0;
open my $file, "<", "$directory/version" or die "version: $!\n";
chomp(my $version = <$file>);
sleep LOADING;
die "version $version is broken\n" if $version eq "broken";

my $listener;
if ($port) {
    $listener = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$port", Listen => 1024, ReuseAddr => 1) or die "$port: $!\n";
} else {
    my ($fd) = $ENV{SERVER_STARTER_PORT} =~ /=(\d+)/ or die "no listener\n";
    $listener = IO::Socket::INET->new_from_fd($fd, "+<") or die "$fd: $!\n";
}
$SIG{TERM} = sub { $leaving = 1 };
# If a signal arrives just before accept(), Perl doesn't see it, so a timer interrupts accept().
$SIG{ALRM} = sub { };
setitimer ITIMER_REAL, 0.1, 0.1;
until ($leaving) {
    my $client = $listener->accept or next;
    sysread $client, my $request, 4096;
    my $body = "version $version\n";
    syswrite $client, "HTTP/1.0 200 OK\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
}
