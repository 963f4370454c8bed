# An app to be deployed while it is used. It answers with the version that was in the environment when it was loaded, at
# /slow after two seconds. Loading takes START_UP seconds.
use strict;
use warnings;

my $body = "version $ENV{VERSION}\n";
sleep($ENV{START_UP} || 0);
print STDERR "version $ENV{VERSION} has started\n";

sub {
    sleep 2 if $_[0]{PATH_INFO} eq "/slow";
    return [ 200, [ "Content-Type" => "text/plain", "Content-Length" => length $body ], [$body] ];
};
