# Ends what the scenarios of a test process have started, when that process has ended, however that came about: a superdaemon
# whose workers die at once would start others for ever. Standard input has the scenarios' directories, a line each, and its
# end is the end of the test process.
use strict;
use warnings;

chomp(my @directories = <STDIN>);
my %stopped;

sub runs_here {
    my $cwd = readlink "/proc/$_[0]/cwd" // return;
    return grep { $cwd =~ m{^\Q$_\E(?:/| \(deleted\)$|$)} } @directories;
}

# All are stopped first, until nobody is new: what forks all the time would be ahead of a look otherwise.
for (1 .. 1000) {
    my @new = grep { !$stopped{$_} && runs_here($_) } map { m{(\d+)$} } glob "/proc/[0-9]*" or last;
    kill STOP => @new;
    @stopped{@new} = ();
}
kill KILL => grep { runs_here($_) } keys %stopped;
