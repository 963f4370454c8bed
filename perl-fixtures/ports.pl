# Parses texts of --port as the original does: by the two patterns of the installed module. Reads and writes lines of
# hexadecimal words.
#
#   ports.pl MODULE
#
# A line of input is a text ("-" for an empty one). A line of output is "u NAME HOST PORT FD" or "t NAME HOST PORT FD",
# with "none" for missing parts, the bytes of the address for an IPv6 host, and the port as a number; or one of
# "invalid", "no-ipv6" and, where ours differs on purpose, "high" (a port that is truncated) and "no-fd" (a descriptor
# that doesn't fit into an int).
use strict;
use warnings;
use Socket qw(inet_pton AF_INET6);

my $module = do { local (@ARGV, $/) = $ARGV[0]; <> };
my ($bare, $with_host) = map { qr/$_/ } $module =~ m{if \(\$hostport =~ /(\^.*\$)/\)}g;
die "$ARGV[0] has no patterns\n" unless $with_host;

$| = 1;
while (my $line = <STDIN>) {
    chomp $line;
    print parse($line eq "-" ? "" : pack "H*", $line), "\n";
}

sub parse {
    my $text = shift;
    my ($udp, $host, $port, $fd);
    if ($text =~ $bare) {
        ($udp, $port, $fd) = ($1, $2, $3);
    } elsif ($text =~ $with_host) {
        ($host, $udp, $port, $fd) = ($1, $2, $3, $4);
    } else {
        return "invalid";
    }
    return "high" if $port > 65535;
    my $is_ipv6 = defined $host && $host =~ /:/;
    my $name = !defined $host ? $port : $is_ipv6 ? "[$host]:$port" : "$host:$port";
    $host = inet_pton(AF_INET6, $host) or return "no-ipv6" if $is_ipv6;
    return "no-fd" if defined $fd && $fd > 0x7fffffff;
    return join " ", $udp ? "u" : "t", hex_of($name), hex_of($host), $port + 0, hex_of($fd);
}

sub hex_of { my $text = shift; !defined $text ? "none" : length $text ? unpack "H*", $text : "-" }
