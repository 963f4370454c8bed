# What two transcripts of a scenario have in common, in per cent: one grade for each kind of thing that can be observed.
package Grades;
use strict;
use warnings;

# In the order of a report.
our @KINDS = (
    [ exit => "Exit codes" ],
    [ messages => "Messages" ],
    [ worker => "Workers' arguments and environment" ],
    [ descriptors => "Descriptors and their options" ],
    [ numbers => "Numbers of descriptors" ],
    [ signals => "Signals and masks" ],
    [ files => "Files" ],
    [ status => "The status file" ],
    [ life => "Life cycle" ],
    [ options => "Option grammar" ],
    [ control => "Control commands" ],
    [ liveness => "Liveness" ],
);

# Lines of a worker's report, by how they begin.
my @of_workers = (
    [ qr/^fd / => "descriptors" ],
    [ qr/^(?:argv|env|cwd|start generation)/ => "worker" ],
    [ qr/^(?:signals|umask)/ => "signals" ],
    [ qr/./ => "life" ],
);

# The lines of a transcript, as { KIND => [LINE...] }.
sub observed {
    my ($transcript) = @_;
    my %lines;
    my $add = sub { push @{ $lines{ $_[0] } }, $_[1] };
    my ($part, $file) = ("steps", undef);
    for my $line (split /\n/, $transcript) {
        if ($line =~ /^===== (left running|left files|stderr|stdout|worker \S+)/) {
            ($part, $file) = ($1, undef);
            $add->("life", $line) if $part =~ /^worker/;
        }
        elsif ($line =~ /^!!! /) {
            $add->("liveness", $line);
        }
        elsif ($part =~ /^worker/) {
            my ($kind) = map { $_->[1] } grep { $line =~ $_->[0] } @of_workers;
            worker_line($add, $kind // "life", $line);
        }
        elsif ($line =~ /^--- (.+)/) {
            $file = $1;
            $add->(kind_of_file($file), $line);
        }
        elsif ($line eq "---") {
            $file = undef;
        }
        elsif (defined $file) {
            $add->(kind_of_file($file), normal($line));
        }
        elsif ($part eq "left running") {
            $add->("liveness", $line);
        }
        elsif ($part eq "left files") {
            $add->("files", $line) unless $line =~ /^\$ /;
        }
        elsif ($part ne "steps") {
            $add->("messages", normal($line));
        }
        elsif ($line =~ /^-> /) {
            $add->("exit", $line);
        }
        elsif ($line =~ /^wait for (\S+) = /) {
            $add->(kind_of_file($1), $line);
        }
        elsif ($line =~ /^wait for|^signal /) {
            # What was done, and in life that it came to it.
            $add->("life", $line);
        }
        elsif ($line =~ / (?:dir|file|socket|fifo|link) \d{4}$/) {
            $add->("files", $line);
        }
        elsif ($line !~ /^\$ /) {
            $add->("messages", normal($line));
        }
    }
    return \%lines;
}

# The number of a descriptor is graded once, apart from what it is.
sub worker_line {
    my ($add, $kind, $line) = @_;
    if ($kind eq "descriptors" && $line =~ /^fd (\d+) (.*)/) {
        $add->("numbers", "$1 $2");
        return $add->("descriptors", $2);
    }
    $line =~ s/=\d+(?=;|$)/=FD/g if $line =~ /^env SERVER_STARTER_PORT=/;
    $add->($kind, $line);
}

sub kind_of_file {
    return $_[0] =~ m{(?:^|/)(?:st|status)\b} ? "status" : "files";
}

# Pids that the harness didn't learn would make everything different that follows.
sub normal {
    return $_[0] =~ s/\b(worker |workers:|pid:|st\.)\d+(?:,\d+)*/$1PID/gr;
}

# Of each kind that the reference shows: how much of it the candidate shows, from 0 to 1, and nothing else.
sub of_scenario {
    my ($name, $reference, $candidate) = @_;
    my ($theirs, $ours) = (observed($reference), observed($candidate));
    my %grades = map { $_ => likeness($theirs->{$_}, $ours->{$_} // []) } keys %$theirs;
    $grades{liveness} = likeness([ "alive", @{ $theirs->{liveness} // [] } ], [ "alive", @{ $ours->{liveness} // [] } ]);
    $grades{liveness} = 0 if $grades{liveness} < 1;
    my @all = sort values %grades;
    my $mean = 0;
    $mean += $_ / @all for @all;
    $grades{options} = $mean if $name =~ /^command_line::/;
    $grades{control} = $mean if $name =~ /^control::/;
    return \%grades;
}

# Twice what is common, of both. Order counts.
sub likeness {
    my ($left, $right) = @_;
    return 1 unless @$left || @$right;
    return 1 if join("\n", @$left) eq join("\n", @$right);
    my @row = (0) x (@$right + 1);
    for my $line (@$left) {
        my $diagonal = 0;
        for my $j (1 .. @$right) {
            my $above = $row[$j];
            my $best = $row[ $j - 1 ] > $above ? $row[ $j - 1 ] : $above;
            $row[$j] = $line eq $right->[ $j - 1 ] ? $diagonal + 1 : $best;
            $diagonal = $above;
        }
    }
    return 2 * $row[-1] / (@$left + @$right);
}

# Over all scenarios: { KIND => [PER CENT, HOW MANY SCENARIOS] }.
sub of_all {
    my %sum;
    for my $grades (map { $_->{grades} } @_) {
        for my $kind (keys %$grades) {
            $sum{$kind}[0] += $grades->{$kind};
            $sum{$kind}[1]++;
        }
    }
    return { map { $_ => [ 100 * $sum{$_}[0] / $sum{$_}[1], $sum{$_}[1] ] } keys %sum };
}

# One per cent is worth a scenario in a hundred: 99.6 isn't 100.
sub shown {
    my $floor = int($_[0] * 10 + 1e-6) / 10;
    return $floor == 100 ? "100" : sprintf "%.1f", $floor;
}

# --- causes

# The lines that differ and may be met in other scenarios, too: without what is a scenario's own. What wasn't done because of
# another difference is no cause.
sub pieces {
    my ($difference) = @_;
    my %pieces;
    for my $line (split /\n/, $difference) {
        next unless $line =~ /^[-+](?!!!!|wait for |signal |=====|---$|\$ )/ && $line !~ /^--> /;
        $pieces{ $line =~ s/<([A-Z])\d+>/<$1>/gr =~ s/\d{2,}/N/gr } //= $line;
    }
    return \%pieces;
}

# Two differences that are met in the same scenarios are one.
use constant SAME => 0.85;

# The differences that explain most scenarios: each is [LINE as it is in the scenario, HOW MANY, the SCENARIO whose difference is
# smallest].
sub causes {
    my ($most, @different) = @_;
    my (%with, %line);
    for my $scenario (@different) {
        my $pieces = pieces($scenario->{difference});
        for my $piece (keys %$pieces) {
            $with{$piece}{ $scenario->{name} } = $scenario;
            $line{$piece}{ $scenario->{name} } = $pieces->{$piece};
        }
    }
    my (@causes, @chosen);
    # Of as many scenarios, what is missing comes before what is there instead.
    for my $piece (sort { keys %{ $with{$b} } <=> keys %{ $with{$a} } || $b cmp $a } keys %with) {
        last if @causes == $most;
        next if grep { are_same($with{$piece}, $_) } @chosen;
        push @chosen, $with{$piece};
        my ($smallest) = sort { length $a->{difference} <=> length $b->{difference} || $a->{name} cmp $b->{name} }
            values %{ $with{$piece} };
        push @causes, [ $line{$piece}{ $smallest->{name} }, scalar keys %{ $with{$piece} }, $smallest ];
    }
    return @causes;
}

sub are_same {
    my ($one, $other) = @_;
    my $common = grep { exists $other->{$_} } keys %$one;
    return $common > SAME * (keys(%$one) + keys(%$other) - $common);
}

1;
