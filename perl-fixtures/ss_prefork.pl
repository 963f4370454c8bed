# A Net::Server under start_server: its listeners come from SERVER_STARTER_PORT, by Net::Server::SS::PreFork.
use strict;
use warnings;
use base "Net::Server::SS::PreFork";

open my $file, "<", "version" or die "version: $!";
chomp(my $version = <$file>);

sub process_request {
    while (defined(my $line = <STDIN>)) {
        last if $line =~ /^\r?\n$/;
    }
    print "HTTP/1.0 200 OK\r\n\r\nversion $version\n";
}

__PACKAGE__->run(min_servers => 1, min_spare_servers => 1, max_spare_servers => 1, max_servers => 2, log_level => 0);
