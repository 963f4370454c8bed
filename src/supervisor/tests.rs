//! Whole lives in virtual time, each compared with its transcript.

use std::fmt::Write;

use crate::stop_signal::StopSignal;
use crate::supervisor::simulation::live;

/// `schedule` and `expected` are indented like the code around them. Compares messages and actions, without the
/// environments of the workers.
#[track_caller]
fn check(schedule: &str, expected: &str) {
    let trace = live(schedule);
    let is_compared = |line: &&str| !line.contains(" fork ") && !line.ends_with(" exit 0");
    let lines: Vec<&str> = trace.lines().filter(is_compared).collect();
    assert_eq!(lines, expected.lines().map(str::trim).collect::<Vec<_>>(), "\n{trace}");
    assert!(trace.ends_with(" exit 0\n"), "{trace}");
}

#[track_caller]
fn check_contains(schedule: &str, parts: &[&str]) {
    let trace = live(schedule);
    for part in parts {
        assert!(trace.contains(part), "{part:?}:\n{trace}");
    }
}

#[test]
fn a_hup_and_a_term() {
    check(
        "interval 1
         status-file
         at 2 HUP
         at 4 TERM
         worker 1 slow 0.5",
        "0 starting new worker 101
         1 status 1:101
         2 received HUP, spawning a new worker
         2 starting new worker 102
         3 status 1:101 2:102
         3 new worker is now running, sending TERM to old workers:101
         3 killing old workers
         3 kill TERM 101
         3.5 old worker 101 died, status:15
         3.5 status 2:102
         4 received TERM, sending TERM to all workers:102
         4 kill TERM 102
         4 worker 102 died, status:15
         4 status
         4 exiting",
    );
}

#[test]
fn each_request_has_its_signal() {
    let signals = "interval 1\nsignal-on-hup usr1\nsignal-on-term QUIT\n";
    check_contains(&format!("{signals}at 2 HUP\nat 4 TERM"), &["kill USR1 101", "kill QUIT 102"]);
    check_contains(&format!("{signals}at 2 INT"), &["received INT, sending TERM to all workers:101", "kill TERM 101"]);
}

#[test]
fn a_failed_start_is_noticed_at_the_end_of_the_interval() {
    check(
        "interval 1
         status-file
         worker 1 dies 0.1 256
         worker 2 dies 0.9 9
         at 3.5 TERM",
        "0 starting new worker 101
         1 new worker 101 seems to have failed to start, exit status:256
         1 starting new worker 102
         2 new worker 102 seems to have failed to start, exit status:9
         2 starting new worker 103
         3 status 3:103
         3.5 received TERM, sending TERM to all workers:103
         3.5 kill TERM 103
         3.5 worker 103 died, status:15
         3.5 status
         3.5 exiting",
    );
}

#[test]
fn a_term_in_the_first_interval_starts_no_other_worker() {
    check(
        "interval 5
         status-file
         worker 1 dies 0.1 256
         at 0.5 TERM",
        "0 starting new worker 101
         0.5 status 1:101
         0.5 received TERM, sending TERM to all workers:101
         0.5 kill TERM 101
         0.5 worker 101 died, status:256
         0.5 status
         0.5 exiting",
    );
}

#[test]
fn a_dead_worker_is_replaced_and_stays_in_the_status_file_until_then() {
    check(
        "interval 1
         status-file
         worker 1 dies 2.5 1792
         at 5 TERM",
        "0 starting new worker 101
         1 status 1:101
         2.5 worker 101 died unexpectedly with status:1792, restarting
         2.5 starting new worker 102
         3.5 status 2:102
         5 received TERM, sending TERM to all workers:102
         5 kill TERM 102
         5 worker 102 died, status:15
         5 status
         5 exiting",
    );
}

#[test]
fn a_dead_worker_is_not_replaced_just_to_be_stopped() {
    check(
        "interval 1
         status-file
         worker 1 dies 2 2
         at 2 INT",
        "0 starting new worker 101
         1 status 1:101
         2 received INT, sending TERM to all workers:101
         2 kill TERM 101
         2 worker 101 died, status:2
         2 status
         2 exiting",
    );
}

#[test]
fn a_second_hup_waits_for_the_whole_interval() {
    check(
        "interval 2
         status-file
         worker 2 dies 0.4 256
         at 3 HUP
         at 3.7 HUP
         at 3.8 ALRM
         at 10 TERM",
        "0 starting new worker 101
         2 status 1:101
         3 received HUP, spawning a new worker
         3 starting new worker 102
         5 new worker 102 seems to have failed to start, exit status:256
         5 starting new worker 103
         7 status 1:101 3:103
         7 new worker is now running, sending TERM to old workers:101
         7 killing old workers
         7 kill TERM 101
         7 old worker 101 died, status:15
         7 status 3:103
         7 received HUP, spawning a new worker
         7 starting new worker 104
         9 status 3:103 4:104
         9 new worker is now running, sending TERM to old workers:103
         9 killing old workers
         9 kill TERM 103
         9 old worker 103 died, status:15
         9 status 4:104
        10 received TERM, sending TERM to all workers:104
        10 kill TERM 104
        10 worker 104 died, status:15
        10 status
        10 exiting",
    );
}

#[test]
fn a_term_overtakes_hups_and_ends_the_interval() {
    check(
        "interval 3
         status-file
         at 4 HUP
         at 4.5 HUP
         at 4.6 HUP
         at 5 TERM",
        "0 starting new worker 101
         3 status 1:101
         4 received HUP, spawning a new worker
         4 starting new worker 102
         5 status 1:101 2:102
         5 new worker is now running, sending TERM to old workers:101
         5 killing old workers
         5 kill TERM 101
         5 received TERM, sending TERM to all workers:101,102
         5 kill TERM 101
         5 kill TERM 102
         5 worker 101 died, status:15
         5 status 2:102
         5 worker 102 died, status:15
         5 status
         5 exiting",
    );
}

#[test]
fn a_hup_and_a_term_at_once() {
    for signals in ["at 2 HUP\nat 2 TERM", "at 2 TERM\nat 2 HUP"] {
        let trace = live(signals);
        assert!(!trace.contains("HUP") && trace.ends_with("2 exiting\n2 exit 0\n"), "{trace}");
    }
}

#[test]
fn a_shutdown_waits_for_deaf_workers_and_ignores_signals() {
    check(
        "interval 1
         status-file
         worker 1 deaf
         worker 1 dies 60 9
         at 2 TERM
         at 3 HUP
         at 4 TERM",
        "0 starting new worker 101
         1 status 1:101
         2 received TERM, sending TERM to all workers:101
         2 kill TERM 101
        60 worker 101 died, status:9
        60 status
        60 exiting",
    );
}

#[test]
fn old_workers_go_on_for_the_delay() {
    check(
        "interval 1
         kill-old-delay 3
         status-file
         worker 1 dies 4 768
         at 2 HUP
         at 9 TERM",
        "0 starting new worker 101
         1 status 1:101
         2 received HUP, spawning a new worker
         2 starting new worker 102
         3 status 1:101 2:102
         3 new worker is now running, sending TERM to old workers:101
         3 sleeping 3 secs before killing old workers
         6 killing old workers
         6 kill TERM 101
         6 old worker 101 died, status:768
         6 status 2:102
         9 received TERM, sending TERM to all workers:102
         9 kill TERM 102
         9 worker 102 died, status:15
         9 status
         9 exiting",
    );
}

#[test]
fn a_hup_in_the_delay_is_counted_in_whole_seconds() {
    // Of the 3 seconds, 2 are left after the interruption.
    let schedule = "interval 1\nkill-old-delay 3\nat 2 HUP\nat 4.5 HUP\nat 20 TERM";
    check_contains(schedule, &["\n3 sleeping 3 secs", "\n6.5 killing old workers\n"]);
}

#[test]
fn a_term_ends_the_delay() {
    check(
        "interval 1
         kill-old-delay 30
         status-file
         at 2 HUP
         at 4.5 TERM",
        "0 starting new worker 101
         1 status 1:101
         2 received HUP, spawning a new worker
         2 starting new worker 102
         3 status 1:101 2:102
         3 new worker is now running, sending TERM to old workers:101
         3 sleeping 30 secs before killing old workers
         4.5 killing old workers
         4.5 kill TERM 101
         4.5 received TERM, sending TERM to all workers:101,102
         4.5 kill TERM 101
         4.5 kill TERM 102
         4.5 worker 101 died, status:15
         4.5 status 2:102
         4.5 worker 102 died, status:15
         4.5 status
         4.5 exiting",
    );
}

#[test]
fn a_new_worker_that_dies_in_the_delay_is_replaced_before_the_old_ones_are_killed() {
    check(
        "interval 1
         kill-old-delay 3
         status-file
         worker 2 dies 2 768
         at 2 HUP
         at 9 TERM",
        "0 starting new worker 101
         1 status 1:101
         2 received HUP, spawning a new worker
         2 starting new worker 102
         3 status 1:101 2:102
         3 new worker is now running, sending TERM to old workers:101
         3 sleeping 3 secs before killing old workers
         6 worker 102 died unexpectedly with status:768, restarting
         6 starting new worker 103
         7 status 1:101 3:103
         7 killing old workers
         7 kill TERM 101
         7 old worker 101 died, status:15
         7 status 3:103
         9 received TERM, sending TERM to all workers:103
         9 kill TERM 103
         9 worker 103 died, status:15
         9 status
         9 exiting",
    );
}

#[test]
fn odd_delays() {
    // KILL_OLD_DELAY, whether there is a line about it, when the old worker is killed
    let table = [
        ("0", false, "3"),
        ("0.0", false, "3"),
        ("abc", false, "3"),
        ("", false, "3"),
        ("0x2", false, "3"),
        ("0.5", true, "3"),
        ("2.5", true, "5"),
        ("1e0", true, "4"),
        ("3x", true, "6"),
        ("-1", true, "3"),
    ];
    for (value, is_shown, killed) in table {
        let trace = live(&format!("interval 1\nenvdir\nat 1.5 envdir KILL_OLD_DELAY={value}\nat 2 HUP\nat 20 TERM"));
        let line = format!("\n3 sleeping {value} secs before killing old workers\n");
        assert_eq!(trace.contains(&line), is_shown, "{value:?}:\n{trace}");
        assert!(trace.contains(&format!("\n{killed} killing old workers\n")), "{value:?}:\n{trace}");
    }
}

#[test]
fn an_automatic_restart_after_360_seconds() {
    let parts =
        ["\n361 autorestart triggered (interval=360)\n361 fork 102 AUTO_RESTART_INTERVAL=360 ENABLE_AUTO_RESTART=1 "];
    check_contains("interval 1\nenable-auto-restart\nat 400 TERM", &parts);
    let parts = ["\n362 sleeping 5 secs before killing old workers\n367 killing old workers\n"];
    check_contains("interval 1\nenable-auto-restart\nat 400 TERM", &parts);
}

#[test]
fn an_automatic_restart_counts_from_the_last_start_and_waits_for_old_workers() {
    check(
        "interval 1
         enable-auto-restart
         auto-restart-interval 2
         kill-old-delay 0
         status-file
         worker 1 deaf
         worker 1 dies 20 9
         at 2.5 HUP
         at 9 TERM",
        "0 starting new worker 101
         1 status 1:101
         2.5 received HUP, spawning a new worker
         2.5 starting new worker 102
         3.5 status 1:101 2:102
         3.5 new worker is now running, sending TERM to old workers:101
         3.5 killing old workers
         3.5 kill TERM 101
         7.5 autorestart triggered (forced, interval=2)
         7.5 starting new worker 103
         8.5 status 1:101 2:102 3:103
         8.5 new worker is now running, sending TERM to old workers:101,102
         8.5 killing old workers
         8.5 kill TERM 101
         8.5 kill TERM 102
         8.5 old worker 102 died, status:15
         8.5 status 1:101 3:103
         9 received TERM, sending TERM to all workers:101,103
         9 kill TERM 101
         9 kill TERM 103
         9 worker 103 died, status:15
         9 status 1:101
        20 worker 101 died, status:9
        20 status
        20 exiting",
    );
}

#[test]
fn an_envdir_that_asks_for_automatic_restarts_later_is_heard_at_the_next_wake_up_only() {
    let variables = "ENABLE_AUTO_RESTART=1 AUTO_RESTART_INTERVAL=2 KILL_OLD_DELAY=0";
    let trace = live(&format!("interval 1\nenvdir\nat 1.5 envdir {variables}\nat 6 ALRM\nat 8 TERM"));
    assert!(trace.contains("\n6 autorestart triggered (interval=2)\n"), "{trace}");
    assert_eq!(trace.matches("triggered").count(), 1, "{trace}");
}

#[test]
fn pids_and_generations_are_sorted_as_strings() {
    let mut schedule = "interval 0\nstatus-file\nlast-pid 0\nat 13 TERM\n".to_owned();
    for number in 1..=11 {
        write!(schedule, "worker {number} deaf\nworker {number} dies 50 9\n").unwrap();
    }
    for time in 2..=11 {
        writeln!(schedule, "at {time} HUP").unwrap();
    }
    let parts = [
        "\n13 received TERM, sending TERM to all workers:1,10,11,2,3,4,5,6,7,8,9\n",
        "\n11 status 1:1 10:10 11:11 2:2 3:3 4:4 5:5 6:6 7:7 8:8 9:9\n",
    ];
    check_contains(&schedule, &parts);
}

#[test]
fn a_child_of_somebody_else_is_called_an_old_worker() {
    check(
        "interval 1
         status-file
         at 0.5 child 7 1792
         at 3.5 child 8 0
         worker 1 slow 1
         at 3 TERM",
        "0 starting new worker 101
         1 status 1:101
         1 old worker 7 died, status:1792
         1 status 1:101
         3 received TERM, sending TERM to all workers:101
         3 kill TERM 101
         3.5 worker 8 died, status:0
         3.5 status 1:101
         4 worker 101 died, status:15
         4 status
         4 exiting",
    );
}

#[test]
fn a_fork_that_fails_is_tried_again_and_leaves_the_old_worker_alone() {
    check(
        "interval 0
         status-file
         no-fork 2
         no-fork 3
         at 2 HUP
         at 6 TERM",
        "0 starting new worker 101
         0 status 1:101
         2 received HUP, spawning a new worker
         2 fork(2) failed:Resource temporarily unavailable
         3 fork(2) failed:Resource temporarily unavailable
         4 starting new worker 102
         4 status 1:101 4:102
         4 new worker is now running, sending TERM to old workers:101
         4 killing old workers
         4 kill TERM 101
         4 old worker 101 died, status:15
         4 status 4:102
         6 received TERM, sending TERM to all workers:102
         6 kill TERM 102
         6 worker 102 died, status:15
         6 status
         6 exiting",
    );
}

#[test]
fn a_shutdown_while_fork_keeps_failing() {
    let trace = live("interval 1\nno-fork 2\nno-fork 3\nno-fork 4\nno-fork 5\nat 2 HUP\nat 4.5 TERM");
    assert!(trace.contains("\n4.5 received TERM, sending TERM to all workers:101\n"), "{trace}");
    assert!(!trace.contains("now running"), "{trace}");
}

#[test]
fn a_status_file_that_cannot_be_written_is_reported() {
    let parts = ["\n1 failed to rename st.S to st:No space left on device\n", "\n2 exiting\n"];
    check_contains("interval 1\nstatus-file\nat 0.5 disk full\nat 2 TERM", &parts);
}

// --- options that the original doesn't have

#[test]
fn a_worker_that_is_ready_takes_over_at_once() {
    check(
        "interval 5
         ready notify
         status-file
         worker 1 ready 0.2
         worker 2 ready 8
         at 1 HUP
         at 10 TERM",
        "0 starting new worker 101
         0.2 status 1:101
         1 received HUP, spawning a new worker
         1 starting new worker 102
         9 status 1:101 2:102
         9 new worker is now running, sending TERM to old workers:101
         9 killing old workers
         9 kill TERM 101
         9 old worker 101 died, status:15
         9 status 2:102
         10 received TERM, sending TERM to all workers:102
         10 kill TERM 102
         10 worker 102 died, status:15
         10 status
         10 exiting",
    );
}

#[test]
fn a_worker_that_is_not_ready_in_time_is_stopped_and_the_old_one_continues() {
    check(
        "interval 1
         ready accepting
         ready-timeout 3
         signal-on-hup QUIT
         status-file
         worker 2 ready never
         worker 2 slow 1
         at 1 HUP
         at 10 TERM",
        "0 starting new worker 101
         0 status 1:101
         1 received HUP, spawning a new worker
         1 starting new worker 102
         4 new worker 102 is not ready in time, sending QUIT
         4 kill QUIT 102
         4 status 1:101 2:102
         5 old worker 102 died, status:3
         5 status 1:101
         5 starting new worker 103
         5 status 1:101 3:103
         5 new worker is now running, sending QUIT to old workers:101
         5 killing old workers
         5 kill QUIT 101
         5 old worker 101 died, status:3
         5 status 3:103
         10 received TERM, sending TERM to all workers:103
         10 kill TERM 103
         10 worker 103 died, status:15
         10 status
         10 exiting",
    );
}

#[test]
fn a_worker_that_dies_before_it_is_ready_is_noticed_at_once_and_replaced_after_the_interval() {
    check(
        "interval 2
         ready notify
         worker 1 ready never
         worker 1 dies 0.5 256
         at 5 TERM",
        "0 starting new worker 101
         0.5 new worker 101 seems to have failed to start, exit status:256
         2 starting new worker 102
         5 received TERM, sending TERM to all workers:102
         5 kill TERM 102
         5 worker 102 died, status:15
         5 exiting",
    );
}

#[test]
fn only_a_shutdown_ends_the_wait_for_readiness() {
    let schedule = "interval 1\nready notify\nworker 1 ready never\nat 1 HUP\nat 2 ALRM\nat 3 TERM";
    check(
        schedule,
        "0 starting new worker 101
         3 received TERM, sending TERM to all workers:101
         3 kill TERM 101
         3 worker 101 died, status:15
         3 exiting",
    );
}

#[test]
fn a_shutdown_between_two_attempts_starts_no_other_worker() {
    check(
        "interval 5
         ready notify
         worker 1 ready never
         worker 1 dies 0.5 256
         at 1 TERM",
        "0 starting new worker 101
         0.5 new worker 101 seems to have failed to start, exit status:256
         1 received TERM, sending TERM to all workers:
         1 exiting",
    );
}

#[test]
fn a_restart_is_given_up_after_so_many_failures() {
    check(
        "interval 1
         max-start-failures 2
         status-file
         worker 2 dies 0.5 256
         no-fork 3
         at 2 HUP
         at 10 HUP
         at 15 TERM",
        "0 starting new worker 101
         1 status 1:101
         2 received HUP, spawning a new worker
         2 starting new worker 102
         3 new worker 102 seems to have failed to start, exit status:256
         3 fork(2) failed:Resource temporarily unavailable
         3 giving up the restart, the old worker keeps running
         3 status 1:101
         3 given up 3
         10 received HUP, spawning a new worker
         10 starting new worker 103
         11 status 1:101 4:103
         11 not given up any more
         11 new worker is now running, sending TERM to old workers:101
         11 killing old workers
         11 kill TERM 101
         11 old worker 101 died, status:15
         11 status 4:103
         15 received TERM, sending TERM to all workers:103
         15 kill TERM 103
         15 worker 103 died, status:15
         15 status
         15 exiting",
    );
}

#[test]
fn an_automatic_restart_that_was_given_up_waits_for_its_time() {
    check_contains(
        "interval 1
         enable-auto-restart
         auto-restart-interval 10
         max-start-failures 1
         worker 2 dies 0 256
         at 40 TERM",
        &[
            "11 autorestart triggered (interval=10)\n",
            "12 giving up the restart, the old worker keeps running\n12 given up 2\n22 autorestart triggered",
        ],
    );
}

#[test]
fn a_worker_that_died_while_its_restart_failed_is_replaced_without_a_limit() {
    check(
        "interval 1
         max-start-failures 1
         worker 1 dies 2.5 9
         worker 2 dies 0.5 256
         worker 3 dies 0.5 256
         at 2 HUP
         at 6 TERM",
        "0 starting new worker 101
         2 received HUP, spawning a new worker
         2 starting new worker 102
         3 new worker 102 seems to have failed to start, exit status:256
         3 giving up the restart, the old worker keeps running
         3 given up 2
         3 worker 101 died unexpectedly with status:9, restarting
         3 starting new worker 103
         4 new worker 103 seems to have failed to start, exit status:256
         4 starting new worker 104
         5 not given up any more
         6 received TERM, sending TERM to all workers:104
         6 kill TERM 104
         6 worker 104 died, status:15
         6 exiting",
    );
}

#[test]
fn a_restart_is_given_up_in_the_delay() {
    check_contains(
        "interval 1
         max-start-failures 1
         kill-old-delay 2
         status-file
         worker 2 dies 2 256
         worker 3 dies 0 256
         at 2 HUP
         at 10 TERM",
        &[
            "5 worker 102 died unexpectedly with status:256, restarting\n",
            "6 giving up the restart, the old worker keeps running\n6 status 1:101\n6 given up 3\n",
            "10 kill TERM 101\n",
        ],
    );
}

#[test]
fn without_a_first_worker_it_ends() {
    let schedule = "interval 1
         ready notify
         ready-timeout 3
         max-start-failures 2
         worker 1 dies 0 256
         worker 1 ready never
         worker 2 ready never
         worker 2 slow 2";
    assert_eq!(
        live(schedule).lines().filter(|line| !line.contains(" fork ")).collect::<Vec<_>>(),
        [
            "0 starting new worker 101",
            "0 new worker 101 seems to have failed to start, exit status:256",
            "1 starting new worker 102",
            "4 new worker 102 is not ready in time, sending TERM",
            "4 kill TERM 102",
            "4 no worker has started, waiting until these have exited:102",
            "6 worker 102 died, status:15",
            "6 giving up, no worker has started, exit 125",
        ]
    );
}

#[test]
fn a_shutdown_while_what_is_left_of_a_first_start_ends() {
    let trace = live(
        "interval 1
         ready notify
         ready-timeout 3
         max-start-failures 1
         signal-on-hup USR1
         kill-timeout 9
         worker 1 ready never
         worker 1 deaf
         at 5 HUP
         at 6 TERM",
    );
    let (_, end) = trace.split_once("3 no worker has started, ").unwrap();
    let expected = [
        "waiting until these have exited:101",
        "6 received TERM, sending TERM to all workers:101",
        "6 kill TERM 101",
        "12 old worker 101 has not ended in time, sending KILL",
        "12 kill KILL 101",
        "12 worker 101 died, status:9",
        "12 exiting",
        "12 giving up, no worker has started, exit 125",
    ];
    assert_eq!(end.lines().collect::<Vec<_>>(), expected, "{trace}");
}

/// One that dies later is replaced at once.
#[test]
fn a_worker_that_dies_right_after_it_was_ready_is_replaced_after_the_interval() {
    check(
        "interval 5
         ready notify
         worker 1 ready 1
         worker 1 dies 2 256
         worker 2 ready 0
         worker 2 dies 6 256
         worker 3 dies 1 256
         worker 3 ready 0
         at 14 TERM",
        "0 starting new worker 101
         2 worker 101 died unexpectedly with status:256, restarting
         6 starting new worker 102
         12 worker 102 died unexpectedly with status:256, restarting
         12 starting new worker 103
         13 worker 103 died unexpectedly with status:256, restarting
         14 received TERM, sending TERM to all workers:
         14 exiting",
    );
}

#[test]
fn who_was_not_ready_is_asked_to_end_before_all_ends() {
    let trace = live(
        "interval 1
         ready notify
         ready-timeout 3
         max-start-failures 1
         signal-on-hup USR1
         signal-on-term QUIT
         worker 1 ready never
         worker 1 slow 2",
    );
    assert!(
        trace.contains(
            "3 kill USR1 101\n3 kill QUIT 101\n3 no worker has started, waiting until these have exited:101\n5 "
        ),
        "{trace}"
    );
}

#[test]
fn a_shutdown_ends_with_a_death_at_the_time_of_its_kill() {
    check_contains(
        "interval 1
         kill-timeout 1
         kill-old-delay 5
         worker 1 slow 1
         worker 2 slow 1
         at 2 HUP
         at 4 TERM",
        &["5 worker 101 died, status:15\n5 old worker 102 died, status:15\n5 exiting\n5 exit 0\n"],
    );
}

#[test]
fn who_has_not_ended_in_time_is_killed() {
    check(
        "interval 1
         kill-timeout 3
         worker 1 deaf
         worker 2 deaf
         at 2 HUP
         at 7 TERM",
        "0 starting new worker 101
         2 received HUP, spawning a new worker
         2 starting new worker 102
         3 new worker is now running, sending TERM to old workers:101
         3 killing old workers
         3 kill TERM 101
         6 old worker 101 has not ended in time, sending KILL
         6 kill KILL 101
         6 old worker 101 died, status:9
         7 received TERM, sending TERM to all workers:102
         7 kill TERM 102
         10 old worker 102 has not ended in time, sending KILL
         10 kill KILL 102
         10 worker 102 died, status:9
         10 exiting",
    );
}

/// In an interval, in a wait for readiness, and in a delay, which keeps its length.
#[test]
fn a_kill_comes_in_time_whatever_is_waited_for() {
    let schedule = "kill-timeout 3\nworker 1 deaf\nat 2 HUP\nat 4 HUP\nat 30 TERM\n";
    for options in ["interval 2\n", "interval 1\nready notify\nworker 3 ready 9\n"] {
        let trace = live(&[options, schedule].concat());
        let stopped = trace.lines().find_map(|line| line.strip_suffix(" kill TERM 101")).expect("it is stopped");
        let killed = stopped.parse::<u64>().unwrap() + 3;
        assert!(trace.contains(&format!("\n{killed} kill KILL 101\n")), "{trace}");
    }
    check_contains(
        "interval 1\nkill-old-delay 5\nkill-timeout 1\nworker 1 deaf\nat 2 HUP\nat 8 HUP\nat 30 TERM",
        &[
            "8 kill TERM 101\n",
            "9 kill KILL 101\n",
            "9 sleeping 5 secs before killing old workers\n",
            "14 kill TERM 102\n",
        ],
    );
}

#[test]
fn who_has_ended_in_time_but_was_not_reaped_is_not_killed() {
    let trace = live("interval 9\nkill-timeout 3\nworker 1 slow 1\nat 10 HUP\nat 12 HUP\nat 40 TERM\n");
    assert!(trace.contains("\n22 old worker 101 died, status:15\n") && !trace.contains("KILL"), "{trace}");
}

#[test]
fn the_group_is_killed_if_the_group_was_to_stop() {
    let signal = StopSignal::parse(b"-QUIT").unwrap().to_kill();
    assert!(signal.is_for_process_group() && signal.number() == libc::SIGKILL);
}

#[test]
fn the_service_manager_is_told() {
    check_contains(
        "interval 1\nsd-notify\nat 2 HUP\nat 5 TERM",
        &[
            "1 manager Ready\n2 received HUP, spawning a new worker\n2 manager Reloading\n",
            "3 kill TERM 101\n3 manager Ready\n",
            "5 manager Stopping\n",
        ],
    );
}

/// An upgrade and its rehearsal, however long that takes.
#[test]
fn what_comes_while_a_program_is_rehearsed_is_acted_on_as_at_any_other_time() {
    let schedule = "interval 1
         status-file
         enable-auto-restart
         auto-restart-interval 9
         kill-timeout 2
         worker 1 dies 3 9
         worker 2 deaf
         at 6 HUP
         at 30 TERM
         ";
    let expected = live(schedule);
    for part in ["3 worker 101 died", "6 received HUP", "14 kill KILL 102", "autorestart triggered", "30 exiting"] {
        assert!(expected.contains(part), "{part:?}:\n{expected}");
    }
    for time in ["0", "0.3", "3.5", "4", "7", "20", "50"] {
        assert_eq!(live(&format!("{schedule}at 2.5 upgrade {time}\nat 5 upgrade 0.3")), expected, "{time}");
    }
}

/// While they fail for a reason of ours, they are reaped, and tried less and less often. Without options of ours, the
/// pause is always the original's.
#[test]
fn failed_starts_are_reaped_and_pauses_grow() {
    let trace = live(
        "interval 1
         ready notify
         ready-timeout 3
         status-file
         worker 2 ready never
         worker 3 ready never
         worker 4 ready never
         worker 4 slow 0.5
         worker 5 ready never
         at 1 HUP
         at 30 TERM",
    );
    let lines = |words: &str| trace.lines().filter(|line| line.contains(words)).collect::<Vec<_>>().join("\n");
    let starts = "0 starting new worker 101\n1 starting new worker 102\n5 starting new worker 103\n\
                  10 starting new worker 104\n17 starting new worker 105\n28 starting new worker 106";
    assert_eq!(lines("starting new worker"), starts, "{trace}");
    let deaths = "4 old worker 102 died, status:15\n8 old worker 103 died, status:15\n\
                  13.5 old worker 104 died, status:15\n20 old worker 105 died, status:15";
    assert!(lines("old worker ").starts_with(deaths), "{trace}");
    assert!(trace.contains("status 1:101 6:106\n28 new worker is now running"), "{trace}");
}

#[test]
fn a_hup_ends_the_pause_and_is_answered_by_the_next_start() {
    let trace = live(
        "interval 1
         ready notify
         ready-timeout 100
         approve
         worker 2 unapproved 0
         worker 1 unapproved 0
         worker 3 unapproved 0
         worker 4 unapproved 0
         worker 5 unapproved 0
         at 9 HUP
         at 20 TERM",
    );
    let starts: Vec<_> = trace.lines().filter(|line| line.contains("starting new worker")).collect();
    let expected = ["0", "1", "3", "7", "9", "10"].into_iter().zip(101..);
    let expected: Vec<_> = expected.map(|(time, pid)| format!("{time} starting new worker {pid}")).collect();
    assert_eq!(starts, expected, "{trace}");
    assert!(!trace.contains("received HUP"), "{trace}");
}

/// Nothing would serve any more.
#[test]
fn a_worker_stays_that_is_not_approved_when_the_old_one_is_dead() {
    check(
        "interval 1
         approve
         status-file
         worker 1 dies 4 9
         worker 2 unapproved 5
         at 2 HUP
         at 10 TERM",
        "0 starting new worker 101
         1 approve 1:101 nobody
         1 status 1:101
         2 received HUP, spawning a new worker
         2 starting new worker 102
         3 approve 2:102 1:101
         8 new worker 102 is not approved (exit 1), but keeps running, because the old worker is dead
         8 old worker 101 died, status:9
         8 status 2:102
         10 received TERM, sending TERM to all workers:102
         10 kill TERM 102
         10 worker 102 died, status:15
         10 status
         10 exiting",
    );
}

#[test]
fn who_was_not_approved_before_a_shutdown_is_not_said_to_run() {
    check(
        "interval 1
         approve
         status-file
         worker 2 unanswered
         at 2 HUP
         at 5 TERM",
        "0 starting new worker 101
         1 approve 1:101 nobody
         1 status 1:101
         2 received HUP, spawning a new worker
         2 starting new worker 102
         3 approve 2:102 1:101
         5 status 1:101 2:102
         5 received TERM, sending TERM to all workers:101,102
         5 kill TERM 101
         5 kill TERM 102
         5 worker 101 died, status:15
         5 status 2:102
         5 worker 102 died, status:15
         5 status
         5 exiting",
    );
}
