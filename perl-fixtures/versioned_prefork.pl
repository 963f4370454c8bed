# A Net::Server::SS::PreFork of several processes, to be deployed while it is used. It answers with the version that was
# in the environment when it was started, one request per connection. Its start takes START_UP seconds.
use strict;
use warnings;
use base "Net::Server::SS::PreFork";

my $body = "version $ENV{VERSION}\n";
sleep($ENV{START_UP} || 0);
print STDERR "version $ENV{VERSION} has started\n";

sub process_request {
    while (defined(my $line = <STDIN>)) {
        last if $line =~ /^\r?\n$/;
    }
    print "HTTP/1.0 200 OK\r\nContent-Length: ", length $body, "\r\n\r\n", $body;
}

__PACKAGE__->run(min_servers => 4, min_spare_servers => 1, max_spare_servers => 4, max_servers => 8, log_level => 0);
