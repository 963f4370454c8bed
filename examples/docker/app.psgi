use strict;
use warnings;

my $generation = $ENV{SERVER_STARTER_GENERATION};

sub { [200, ["Content-Type" => "text/plain"], ["hello from generation $generation\n"]] };
