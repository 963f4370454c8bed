# Answers with the content of the file `version` when the app was loaded, and with the pid of the process that answers.
use strict;
use warnings;

open my $file, "<", "version" or die "version: $!";
chomp(my $version = <$file>);

sub { return [ 200, [ "Content-Type" => "text/plain" ], [ "version $version\npid $$\n" ] ] };
