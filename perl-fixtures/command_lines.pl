# Parses command lines as the original does: by the real Getopt::Long with the option list of the installed script, all
# in one process. Reads and writes lines of hexadecimal words.
#
#   command_lines.pl SCRIPT
#
# A line of input is a command line: 1 or 0 for whether POSIXLY_CORRECT is set, then the arguments ("-" for an empty one). A
# line of output is "error MESSAGES" or "ok NAME=VALUE ... -- WORD ...", the options sorted by name.
use strict;
use warnings;
use Getopt::Long;

my $script = do { local (@ARGV, $/) = $ARGV[0]; <> };
my ($list) = $script =~ /\bqw\((port=s[^)]*)\)/ or die "$ARGV[0] has no option list\n";
my @options = split " ", $list;

$| = 1;
while (my $line = <STDIN>) {
    my ($posixly_correct, @arguments) = split " ", $line;
    print parse($posixly_correct, map { unhex($_) } @arguments), "\n";
}

sub parse {
    (my $posixly_correct, local @ARGV) = @_;
    local %ENV = %ENV;
    delete $ENV{POSIXLY_CORRECT};
    $ENV{POSIXLY_CORRECT} = "" if $posixly_correct;
    Getopt::Long::Configure("default");

    my $messages = "";
    local $SIG{__WARN__} = sub { $messages .= join "", @_ };
    my %values = (port => [], path => []);
    my $accepted = GetOptions(map { my ($name) = split /=/; $_ => ref $values{$name} ? $values{$name} : \$values{$name} } @options);
    return "error " . hex_of($messages) unless $accepted;

    my @given = map { my $name = $_; map { "$name=" . hex_of($_) } ref $values{$name} ? @{ $values{$name} } : $values{$name} // () }
        sort keys %values;
    return join " ", "ok", @given, "--", map { hex_of($_) } @ARGV;
}

sub hex_of { length $_[0] ? unpack "H*", $_[0] : "-" }
sub unhex { $_[0] eq "-" ? "" : pack "H*", $_[0] }
