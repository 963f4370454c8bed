//! The automatic restart, and the variables that it goes by.

use std::time::{Duration, Instant};

use crate::harness::{compare, compare_seen};

scenarios! {
    "auto_restart.rs":
    automatic_restart_from_the_environment
    options_overwrite_the_environment
    default_of_the_auto_restart_interval
    zeros_mean_what_perl_says
    only_true_values_enable_it
    while_old_workers_are_left_it_is_forced
    default_of_the_kill_old_delay
    hup_sets_the_clock_back
    auto_restart_whose_worker_fails
    auto_restart_from_the_envdir
    the_time_is_looked_at_every_second
}

/// LIFE-158 LIFE-162
fn automatic_restart_from_the_environment() {
    compare(|s| {
        s.env("ENABLE_AUTO_RESTART", "1");
        s.env("AUTO_RESTART_INTERVAL", "4");
        s.env("KILL_OLD_DELAY", "0");
        s.probe(&["--status-file=st"], &["G1=ign=TERM"]);
        s.wait_line("autorestart triggered (interval=4)");
        s.wait_worker(2);
        s.wait_report(1, "got TERM");
        s.signal_worker(1, "KILL");
        s.wait_line("old worker <W1> died");
        s.term();
    });
}

/// F5 LIFE-010
fn options_overwrite_the_environment() {
    compare(|s| {
        for name in ["ENVDIR", "ENABLE_AUTO_RESTART", "KILL_OLD_DELAY", "AUTO_RESTART_INTERVAL"] {
            s.env(name, "0");
        }
        let options = ["--envdir=.", "--enable-auto-restart", "--kill-old-delay=0_7", "--auto-restart-interval=+90"];
        s.probe(&options, &[]);
        s.term();
    });
}

/// LIFE-011: the default of the interval is in the environment from the first wake-up on.
fn default_of_the_auto_restart_interval() {
    compare(|s| {
        s.serve(&["--enable-auto-restart", "--kill-old-delay=0"], &[]);
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_line("old worker <W1> died");
        s.term();
    });
}

/// LIFE-013 F5: zero is a value.
fn zeros_mean_what_perl_says() {
    compare(|s| {
        s.env("KILL_OLD_DELAY", "2");
        s.env("AUTO_RESTART_INTERVAL", "7");
        s.serve(&["--kill-old-delay=0", "--auto-restart-interval=0"], &[]);
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_line("old worker <W1> died");
        s.term();
    });
}

/// LIFE-162: neither `0` nor nothing enables it. Another superdaemon's failing workers tell the time meanwhile.
fn only_true_values_enable_it() {
    compare(|s| {
        s.env("AUTO_RESTART_INTERVAL", "1");
        s.env("KILL_OLD_DELAY", "0");
        s.env("ENABLE_AUTO_RESTART", "0");
        s.probe(&["--pid-file=pid", "--status-file=first"], &[]);
        s.env("ENABLE_AUTO_RESTART", "");
        s.probe(&["--auto-restart-interval=1"], &[]);
        let clock = "[ $SERVER_STARTER_GENERATION = 4 ] || exit; kill -TERM $PPID; exec sleep 1000";
        s.run_unrecorded(&["--", "sh", "-c", clock]);
        s.term();
        s.run(&["--stop", "--pid-file=pid"]);
        s.wait_no_file("first");
    });
}

/// LIFE-160: while an old worker stays, only after the double time. LIFE-165: an interval that is longer. LIFE-162:
/// `00` is true.
fn while_old_workers_are_left_it_is_forced() {
    compare(|s| {
        s.env("ENABLE_AUTO_RESTART", "00");
        let options = ["--interval=5", "--auto-restart-interval=1", "--kill-old-delay=0", "--signal-on-hup=USR1"];
        s.start(&[&options[..], &["--", "$PROBE", "ign=USR1,TERM"]].concat());
        s.wait_line("autorestart triggered (interval=1)");
        s.wait_worker(2);
        s.wait_report(1, "got USR1");
        s.wait_line("autorestart triggered (forced, interval=1)");
        s.wait_worker(3);
        s.signal("TERM");
        s.wait_line("received TERM, sending TERM to all workers:<W1>,<W2>,<W3>");
        for generation in 1..=3 {
            s.wait_report(generation, "got TERM");
            s.signal_worker(generation, "QUIT");
            s.wait_line(&format!("worker <W{generation}> died, status:0"));
        }
        s.wait_exit();
    });
}

/// LIFE-159: five seconds, if nothing is said; the next restart is due then.
fn default_of_the_kill_old_delay() {
    compare(|s| {
        s.probe(&["--enable-auto-restart", "--auto-restart-interval=4", "--status-file=st"], &[]);
        s.wait_line("autorestart triggered (interval=4)");
        s.wait_line("sleeping 5 secs before killing old workers");
        let delay = Instant::now();
        s.wait_worker(2);
        s.wait_line("killing old workers");
        assert!(delay.elapsed() >= Duration::from_secs(4), "five seconds of the clock");
        s.wait_line("old worker <W1> died, status:0");
        s.wait_line("autorestart triggered (interval=4)");
        s.wait_worker(3);
        s.wait_line("sleeping 5 secs before killing old workers");
        s.signal("KILL");
        s.wait_exit();
    });
}

/// LIFE-161: a HUP sets the clock back. Another superdaemon's failing workers tell the time before it.
fn hup_sets_the_clock_back() {
    compare(|s| {
        let clock = "[ $SERVER_STARTER_GENERATION = 3 ] || exit; kill -TERM $PPID; exec sleep 1000";
        let options = ["--enable-auto-restart", "--auto-restart-interval=10", "--kill-old-delay=0", "--status-file=st"];
        s.probe(&options, &[]);
        s.wait_file("st", "1:<W1>\n");
        s.run_unrecorded(&["--", "sh", "-c", clock]);
        let hup = Instant::now();
        s.signal("HUP");
        s.wait_worker(2);
        s.wait_line("old worker <W1> died");
        s.wait_line("autorestart triggered (interval=10)");
        assert!(hup.elapsed() >= Duration::from_secs(10), "an interval and ten seconds of the clock");
        s.wait_worker(3);
        s.wait_line("old worker <W2> died");
        s.wait_file("st", "3:<W3>\n");
        s.term();
    });
}

/// LIFE-158 LIFE-164: the new worker fails, and the old one keeps running. LIFE-142: enabled by the envdir's files of the
/// start.
fn auto_restart_whose_worker_fails() {
    compare(|s| {
        s.mkdir("env");
        for (name, value) in [("ENABLE_AUTO_RESTART", "false"), ("AUTO_RESTART_INTERVAL", "8"), ("KILL_OLD_DELAY", "0")]
        {
            s.write(&format!("env/{name}"), &format!("{value}\n"));
        }
        let worker = "[ $SERVER_STARTER_GENERATION = 2 ] && exit 1; exec \"$@\"";
        s.start(&["--envdir=env", "--status-file=st", "--", "sh", "-c", worker, "sh", "$PROBE"]);
        s.wait_worker(1);
        s.wait_line("autorestart triggered (interval=8)");
        s.wait_line("new worker <W2> seems to have failed to start, exit status:256");
        s.wait_file("st", "1:<W1>\n");
        s.wait_worker(3);
        s.wait_line("old worker <W1> died, status:0");
        s.wait_file("st", "3:<W3>\n");
        s.term();
    });
}

/// LIFE-142: enabled by a file that comes later, it needs something else to wake it. `0.0` is true, and a number.
fn auto_restart_from_the_envdir() {
    compare(|s| {
        s.mkdir("env");
        s.env("KILL_OLD_DELAY", "0");
        s.serve(&["--envdir=env"], &["G1=ign=TERM"]);
        s.write("env/AUTO_RESTART_INTERVAL", "0.0\n");
        s.write("env/ENABLE_AUTO_RESTART", "1\n");
        s.signal("ALRM");
        s.wait_line("autorestart triggered (interval=0.0)");
        s.wait_worker(2);
        s.wait_report(1, "got TERM");
        s.wait_file("st", "1:<W1>\n2:<W2>\n");
        s.remove("env/ENABLE_AUTO_RESTART");
        s.signal_worker(1, "USR1");
        s.wait_line("old worker <W1> died");
        s.wait_file("st", "2:<W2>\n");
        s.term();
    });
}

/// LIFE-158: the restart comes after a second, and so before the end of a worker that lives for two.
fn the_time_is_looked_at_every_second() {
    compare_seen(|s| {
        let worker =
            "[ $SERVER_STARTER_GENERATION != 1 ] || exec perl -e 'select undef, undef, undef, 2; exit 1'; exec \"$@\"";
        let options =
            ["--enable-auto-restart", "--auto-restart-interval=1", "--interval=0", "--kill-old-delay=0", "--"];
        s.start(&[&options[..], &["sh", "-c", worker, "sh", "$PROBE"]].concat());
        let reason = |said: &str| {
            let is_reason = |line: &&str| line.contains("autorestart triggered") || line.contains("died unexpectedly");
            said.lines().find(is_reason).map(str::to_owned)
        };
        // Later there are more restarts.
        s.wait("a reason to restart", |s| reason(&s.said()).is_some());
        reason(&s.said()).unwrap_or_default()
    });
}
