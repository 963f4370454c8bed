# The original's life cycle in a simulated world: the installed module, with fork, wait, waitpid, kill, sleep, alarm,
# time and rename replaced, runs whole lives in virtual time. compat-tests/schedules.md has the format of schedules and
# traces.
#
#   simulated_kernel.pl [PATCH ...]
#
# Reads schedules, each ended by an empty line, and prints the trace of each, ended by an empty line. PATCH is the id of
# a difference on purpose, by which the module is changed before it is compiled.
use strict;
use warnings;
use B ();
use Errno qw(EAGAIN ENOSPC);
use File::Temp ();
use POSIX ();

my ($now, $sequence, @events, %pending, %below, $came, $alarm, @dead, %alive, %behaviour, %unforkable, $last_pid, $forks, $is_full, $trace, $line);

BEGIN {
    no warnings 'once';
    *CORE::GLOBAL::fork    = sub ()   { simulated_fork() };
    *CORE::GLOBAL::wait    = sub ()   { simulated_wait() };
    *CORE::GLOBAL::waitpid = sub ($$) { step($now); reap(shift) };
    *CORE::GLOBAL::kill    = sub (@)  { simulated_kill(@_) };
    *CORE::GLOBAL::sleep   = sub (;$) { simulated_sleep(shift) };
    *CORE::GLOBAL::alarm   = sub (;$) { $alarm = $_[0] ? $now + 1000 * $_[0] : undef };
    *CORE::GLOBAL::time    = sub ()   { int($now / 1000) };
    *CORE::GLOBAL::rename  = sub ($$) { simulated_rename(@_) };
}

my %number = (HUP => 1, INT => 2, QUIT => 3, USR1 => POSIX::SIGUSR1(), TERM => 15);

# The queued requests to stop, and all other queued signals.
my $stop     = '(grep { /^(?:TERM|INT)$/ } @signals_received)';
my $not_stop = '(grep { !/^(?:TERM|INT)$/ } @signals_received)';

# Each patch consists of pairs: a text of the module, and its replacement.
my %patches = (
    'never-drop-term' => [
        # A handler leaves wait() by dying, but if several are called at once, only the last one does.
        'if $sighandler_should_die;' => 'if $sighandler_should_die && !main::has_pending();',
    ],
    'term-first' => [
        'my @signals_received;' => 'my (@signals_received, @unburied);',
        # A dead worker is left to the clean-up.
        'my @r = $wait->();' => "my \@r = $stop ? () : \$wait->(); \@unburied = splice \@r if $stop;",
        'if (my @r = _wait3(1)) {' => 'if (my @r = @unburied ? splice @unburied : _wait3(1)) {',
        'while (@signals_received) {' => "\@signals_received = ($stop, $not_stop); while (\@signals_received) {",
        'while ($kill_old_delay > 0) {' => "while (\$kill_old_delay > 0 && !$stop) {",
    ],
    'whole-interval' => [
        'sleep $opts->{interval};' => "main::sleep_through(\$opts->{interval}, sub { $stop });",
        q{if ((grep { $_ ne 'HUP' } @signals_received)} => "if ($stop",
        # One restart answers all HUPs that wait when it begins.
        'print STDERR "received HUP, spawning a new worker\n";' => 'print STDERR "received HUP, spawning a new worker\n";
                @signals_received = grep { $_ ne "HUP" } @signals_received;',
    ],
    'envdir-retry' => [
        # The envdir is read at each wake-up, not at start.
        '# reload env if necessary
        my %loaded_env = _load_env();
        my @loaded_env_keys = keys %loaded_env;
        local @ENV{@loaded_env_keys} = map { $loaded_env{$_} } (@loaded_env_keys);' => 'main::set_layer(_load_env());',
        '# wait for next signal (or when auto-restart becomes necessary)' => 'main::drop_layer();',
        'seems to have failed to start, exit status:$?\n";' => 'seems to have failed to start, exit status:$?\n";
            main::reload(_load_env());',
    ],
    'alive-after-delay' => [
        '$kill_old_delay -= sleep $kill_old_delay || 1;
                }' => '$kill_old_delay -= sleep $kill_old_delay || 1;
                }
                if (!' . $stop . ' && waitpid($current_worker, WNOHANG) > 0) {
                    print STDERR "worker $current_worker died unexpectedly with status:$?, restarting\n";
                    $start_worker->();
                }',
    ],
    'status-errors' => [
        'or die "failed to rename $tmpfn to $opts->{status_file}:$!";' =>
            'or print STDERR "failed to rename $tmpfn to $opts->{status_file}:$!\n";',
    ],
    'fork-failure' => [
        'die "fork(2) failed:$!"
                unless defined $pid;' => 'unless (defined $pid) {
                print STDERR "fork(2) failed:$!\n";
                main::sleep_through($opts->{interval} || 1, sub { ' . $stop . ' });
                return undef $current_worker if ' . $stop . ';
                ' . (grep({ $_ eq 'envdir-retry' } @ARGV) ? 'main::reload(_load_env());' : '') . '
                next;
            }',
        # There is no current worker if the stop comes before the next one.
        '$old_workers{$current_worker} = $ENV{SERVER_STARTER_GENERATION};
        undef $current_worker;' => '$old_workers{$current_worker} = $ENV{SERVER_STARTER_GENERATION}
            if defined $current_worker;
        undef $current_worker;',
        'print STDERR "new worker is now running,' => 'next unless defined $current_worker;
            print STDERR "new worker is now running,',
    ],
);

my ($file) = grep { -e } map { "$_/Server/Starter.pm" } @INC or die "Server::Starter is not installed\n";
my $module = do { local (@ARGV, $/) = $file; <> };
for my $id (@ARGV) {
    my @lines = @{ $patches{$id} or die "no patch $id\n" };
    while (my ($from, $to) = splice @lines, 0, 2) {
        my $position = index $module, $from;
        die "patch $id: the module does not say $from\n" if $position < 0;
        substr $module, $position, length $from, $to;
    }
}
eval "$module; 1" or die $@;

my $signals_received = captured(\&Server::Starter::start_server, '@signals_received');
my $directory = File::Temp->newdir;
chdir $directory or die $!;
$| = 1;
tie *STDERR, 'Said';
{
    local $/ = "";
    while (my $schedule = <STDIN>) {
        local $/ = "\n";
        print live($schedule), "\n";
    }
}
untie *STDERR;
chdir "/";

sub live {
    my %options = begin(shift);
    no warnings 'exiting';
    LIFE: {
        my $ended = eval { Server::Starter::start_server(%options, exec => ['worker']); 1 };
        note($ended ? "exit 0" : "dies: " . ($@ =~ s/ at (?:\S+|\(eval \d+\)) line \d+.*\n//r));
    }
    return $trace;
}

# Ends the life from anywhere.
sub end {
    note(shift);
    no warnings 'exiting';
    last LIFE;
}

sub begin {
    ($now, $sequence, $came, $last_pid, $forks, $is_full, $trace, $line) = (0, 0, 0, 100, 0, 0, "", "");
    (@events, @dead) = ();
    $alarm = undef;
    %$_ = () for \%pending, \%below, \%alive, \%behaviour, \%unforkable;
    @$signals_received = ();
    %ENV = ();
    unlink glob "e/*";
    mkdir "e";
    my %options;
    for (split /\n/, shift) {
        next if /^\s*(?:#|$)/;
        if (/^(interval|kill-old-delay|auto-restart-interval|signal-on-hup|signal-on-term) (\S+)$/) { $options{ $1 =~ tr/-/_/r } = $2 }
        elsif (/^enable-auto-restart$/)           { $options{enable_auto_restart} = 1 }
        elsif (/^status-file$/)                   { $options{status_file} = "st" }
        elsif (/^envdir(.*)$/)                    { $options{envdir} = "e"; fill($1) }
        elsif (/^last-pid (\d+)$/)                { $last_pid = $1 }
        elsif (/^worker (\d+) (dies) (\S+) (\d+)$/) { $behaviour{$1}{$2} = [ ms($3), $4 ] }
        elsif (/^worker (\d+) (deaf)$/)           { $behaviour{$1}{$2} = 1 }
        elsif (/^worker (\d+) (slow) (\S+)$/)     { $behaviour{$1}{$2} = ms($3) }
        elsif (/^no-fork (\d+)$/)                 { $unforkable{$1} = 1 }
        elsif (/^at (\S+) child (\d+) (\d+)$/)    { $alive{$2} = {}; schedule(ms($1), death => $2, $3) }
        elsif (/^at (\S+) envdir(.*)$/)           { schedule(ms($1), envdir => $2) }
        elsif (/^at (\S+) disk (full|free)$/)     { schedule(ms($1), disk => $2 eq "full") }
        elsif (/^at (\S+) (HUP|INT|TERM|ALRM)$/)  { schedule(ms($1), signal => $2) }
        else                                      { die "no line of a schedule: $_\n" }
    }
    return %options;
}

sub fill {
    unlink glob "e/*";
    for (split " ", shift) {
        my ($name, $value) = split /=/, $_, 2;
        open my $file, ">", "e/$name" or die $!;
        print $file "$value\n";
    }
}

sub ms { int(1000 * shift() + 0.5) }

sub schedule { push @events, [ shift, $sequence++, @_ ]; @events = sort { $a->[0] <=> $b->[0] || $a->[1] <=> $b->[1] } @events }

sub note { $trace .= $now / 1000 . " $_[0]\n" }

# --- time

# Does what is due at the next moment, but not after $end. False if there is nothing.
sub step {
    my $end = shift;
    my ($next) = sort { $a <=> $b } grep { defined } @events ? $events[0][0] : undef, $alarm;
    return 0 if !defined $next || defined $end && $next > $end;
    $now = $next if $next > $now;
    while (@events && $events[0][0] <= $now) {
        my (undef, undef, $kind, @what) = @{ shift @events };
        if    ($kind eq 'signal') { $pending{ $what[0] } = $came = 1 }
        elsif ($kind eq 'envdir') { fill($what[0]) }
        elsif ($kind eq 'disk')   { $is_full = $what[0] }
        elsif (delete $alive{ $what[0] }) { push @dead, [@what] }
    }
    if (defined $alarm && $alarm <= $now) {
        $alarm = undef;
        $pending{ALRM} = $came = 1;
    }
    return 1;
}

# As in perl: in ascending order, and if a handler dies, the rest waits for the next signal.
sub deliver {
    $came = 0;
    for my $name (grep { $pending{$_} } qw(HUP INT ALRM TERM)) {
        delete $pending{$name};
        $SIG{$name}->($name);
    }
}

sub has_pending { %pending ? 1 : 0 }

# Until $end or until a signal comes.
sub sleep_until {
    my $end = shift;
    while (step($end)) {
        return deliver() if $came;
    }
    $now = $end;
}

# Returns what sleep does: the difference of the clock's whole seconds.
sub simulated_sleep {
    my $seconds = int shift;
    my $begin = int($now / 1000);
    sleep_until($now + 1000 * $seconds) if $seconds >= 0;
    return int($now / 1000) - $begin;
}

# For the patches: sleeps the whole time, unless $is_over is true earlier.
sub sleep_through {
    my ($seconds, $is_over) = @_;
    my $end = $now + 1000 * $seconds;
    sleep_until($end) while !$is_over->() && $now < $end;
}

# For the patches: works like `local`, but can be undone at any time.
sub set_layer {
    my %variables = @_;
    %below = map { $_ => $ENV{$_} } keys %variables;
    @ENV{ keys %variables } = values %variables;
}

sub drop_layer {
    for my $name (keys %below) {
        if (defined $below{$name}) { $ENV{$name} = $below{$name} }
        else                       { delete $ENV{$name} }
    }
    %below = ();
}

sub reload {
    drop_layer();
    set_layer(@_);
    $ENV{AUTO_RESTART_INTERVAL} ||= 360 if $ENV{ENABLE_AUTO_RESTART};
}

# --- processes

sub simulated_fork {
    end("forks for ever") if ++$forks > 300;
    my $generation = $ENV{SERVER_STARTER_GENERATION};
    if ($unforkable{$generation}) {
        $! = EAGAIN;
        return undef;
    }
    my $pid = ++$last_pid;
    my $worker = $alive{$pid} = $behaviour{$generation} || {};
    note(join " ", "fork $pid", map { "$_=$ENV{$_}" } sort keys %ENV);
    schedule($now + $worker->{dies}[0], death => $pid, $worker->{dies}[1]) if $worker->{dies};
    return $pid;
}

sub simulated_kill {
    my ($signal, @pids) = @_;
    for my $pid (@pids) {
        note("kill $signal $pid");
        my $worker = $alive{$pid} or next;
        schedule($now + ($worker->{slow} || 0), death => $pid, $number{$signal}) unless $worker->{deaf};
    }
    return scalar @pids;
}

sub reap {
    my $which = shift;
    for my $index (0 .. $#dead) {
        next if $which != -1 && $dead[$index][0] != $which;
        (my $pid, $?) = @{ splice @dead, $index, 1 };
        return $pid;
    }
    return 0;
}

sub simulated_wait {
    while (1) {
        my $happened = step($now);
        if (@dead) {
            # The signals that came with the death are handled when wait has returned, still in its eval.
            eval { deliver() } if $came;
            return reap(-1);
        }
        if ($came) { deliver() }
        elsif (!$happened) { step() or end("waits for ever") }
    }
}

# The status file.
sub simulated_rename {
    my ($from, $to) = @_;
    if ($is_full) {
        $! = ENOSPC;
        return 0;
    }
    open my $file, "<", $from or die $!;
    note(join " ", "status", map { chomp; $_ } <$file>);
    return 1;
}

# --- perl

# Finds a variable that a function has captured.
sub captured {
    my ($names, $values) = B::svref_2object(shift)->PADLIST->ARRAY;
    my @names = $names->ARRAY;
    my ($index) = grep { $names[$_]->can('PV') && ($names[$_]->PV // "") eq $_[0] } 0 .. $#names;
    return ($values->ARRAY)[$index]->object_2svref;
}

# A line on STDERR may come in several pieces.
package Said;

sub TIEHANDLE { bless {} }

sub PRINT {
    shift;
    $line .= join "", @_;
    while ($line =~ s/^(.*)\n//) {
        my $said = $1;
        $said =~ s/\bst\.$$\b/st.S/g;
        main::note($said) unless $said =~ /^start_server \(pid/;
    }
}
