# A service manager's part in socket activation: opens listeners at the descriptors from 3 on, and executes the program.
#
#   manager.pl LISTENER ... -- PROGRAM ARGUMENT ...
#
#     tcp:HOST:PORT, udp:HOST:PORT, unix:PATH   a socket that listens, or for UDP one that is bound
#     file:PATH                                 a file, which isn't a listener
#     NAME@LISTENER                             a name for LISTEN_FDNAMES, which is set if there are names
#
# Variables of the environment that begin with LISTEN_ stay as they are.
use strict;
use warnings;
use Fcntl qw(F_DUPFD);
use IO::File;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();

my (@names, @handles);
while (defined(my $listener = shift @ARGV)) {
    last if $listener eq "--";
    push @names, $1 if $listener =~ s/^(\w+)@//;
    my ($kind, $address) = split /:/, $listener, 2;
    my %options = (LocalAddr => $address, Proto => $kind, ReuseAddr => 1, $kind eq "tcp" ? (Listen => 5) : ());
    my $handle =
          $kind eq "unix" ? IO::Socket::UNIX->new(Local => $address, Listen => 5)
        : $kind eq "file" ? IO::File->new($address, "r")
        :                   IO::Socket::INET->new(%options);
    die "$listener: $!\n" unless $handle;
    push @handles, $handle;
}
# Move them out of the way first.
my @high = map { fcntl $_, F_DUPFD, 50 } @handles;
for my $number (3 .. 2 + @high) {
    POSIX::dup2($high[$number - 3], $number);
    POSIX::close($high[$number - 3]);
}

my %variables = (LISTEN_PID => $$, LISTEN_FDS => scalar @handles, @names ? (LISTEN_FDNAMES => join ":", @names) : ());
%ENV = (%variables, %ENV);
exec { $ARGV[0] } @ARGV or die "$ARGV[0]: $!\n";
