# Ends what the scenarios of a process have started, when that process has ended for whatever reason: a superdaemon
# whose workers die at once would start others for ever. Standard input has the scenarios' directories, a line each, and
# ends with the process. The directories are removed, too.
use strict;
use warnings;
use File::Path ();
use POSIX ();

# Neither a closed terminal nor the signal that ends the tests ends this, too.
$SIG{$_} = "IGNORE" for qw(HUP INT QUIT TERM);
POSIX::setsid();

chomp(my @directories = <STDIN>);
my %is_directory = map { $_ => 1 } @directories;
my %stopped;

sub is_there {
    my $path = "";
    for my $name (split m{/}, $_[0] =~ s/ \(deleted\)$//r) {
        $path .= $path eq "/" ? $name : "/$name" if length $name;
        return 1 if $is_directory{$path};
    }
    return 0;
}

# Whoever works there, has a file of it open, or was told of one: a daemon works elsewhere.
sub is_ours {
    my $process = "/proc/$_[0]";
    return 0 if $_[0] == $$;
    return 1 if grep { is_there(readlink // "") } "$process/cwd", glob "$process/fd/*";
    open my $file, "<", "$process/cmdline" or return 0;
    local $/;
    return !!grep { is_there($_) } (<$file> // "") =~ m{(/[^\0\s'":;,=]+)}g;
}

# All are stopped first, until nobody is new: what forks all the time would be ahead of a look otherwise.
for (1 .. 1000) {
    my @new = grep { !$stopped{$_} && is_ours($_) } map { m{(\d+)$} } glob "/proc/[0-9]*" or last;
    kill STOP => @new;
    @stopped{@new} = (1) x @new;
}
kill KILL => grep { is_ours($_) } keys %stopped;
File::Path::remove_tree(grep { -d } @directories);
