//! Whole lives in virtual time, each compared with its transcript.

mod world;

use super::*;
use crate::options::Options;
use Received::{Alrm, Hup, Int, Term};
use world::{Worker, World};

const DEAF: Worker = Worker { dies: None, is_deaf: true, slow: 0.0 };

fn dies(after: f64, status: WaitStatus) -> Worker {
    Worker { dies: Some((after, status)), ..Worker::default() }
}

fn slow(seconds: f64) -> Worker {
    Worker { slow: seconds, ..Worker::default() }
}

/// A life with these options, from the first start to `exiting`.
fn live(options: &Options, world: World) -> World {
    let life_cycle = LifeCycle {
        interval: Duration::from_secs(options.interval.into()),
        signal_on_hup: options.signal_on_hup.clone(),
        signal_on_term: options.signal_on_term.clone(),
    };
    let world = Supervisor::new(world, life_cycle, Environment::inherited(options)).run();
    assert!(world.trace.ends_with(" exiting\n"), "{}", world.trace);
    world
}

fn options(interval: u32) -> Options {
    Options { interval, ..Options::new(vec!["worker".into()]) }
}

fn delayed(seconds: i32) -> Options {
    Options { kill_old_delay: Some(seconds), ..options(1) }
}

fn automatic(interval: Option<i32>, kill_old_delay: Option<i32>) -> Options {
    Options { enable_auto_restart: true, auto_restart_interval: interval, kill_old_delay, ..options(1) }
}

/// `expected` is indented as the code around it is.
#[track_caller]
fn check(options: &Options, world: World, expected: &str) {
    let trace = live(options, world).trace;
    let lines = |text: &str| text.trim().lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    assert_eq!(lines(&trace), lines(expected), "\n{trace}");
}

#[test]
fn a_hup_and_a_term() {
    check(
        &options(1),
        World::new(100).signal(2.0, Hup).signal(4.0, Term).worker(1, slow(0.5)),
        "0.0 starting new worker 101
         1.0 status: 1:101
         2.0 received HUP, spawning a new worker
         2.0 starting new worker 102
         3.0 status: 1:101 2:102
         3.0 new worker is now running, sending TERM to old workers:101
         3.0 killing old workers
         3.0 kill TERM 101
         3.5 old worker 101 died, status:15
         3.5 status: 2:102
         4.0 received TERM, sending TERM to all workers:102
         4.0 kill TERM 102
         4.0 worker 102 died, status:15
         4.0 status:
         4.0 exiting",
    );
}

#[test]
fn each_request_has_its_signal() {
    let signal = |text: &[u8]| StopSignal::parse(text).unwrap();
    let options = Options { signal_on_hup: signal(b"usr1"), signal_on_term: signal(b"QUIT"), ..options(1) };
    let trace = live(&options, World::new(100).signal(2.0, Hup).signal(4.0, Term)).trace;
    assert!(trace.contains("kill USR1 101") && trace.contains("kill QUIT 102"), "{trace}");
    let trace = live(&options, World::new(100).signal(2.0, Int)).trace;
    assert!(trace.contains("received INT, sending TERM to all workers:101"), "{trace}");
}

#[test]
fn a_failed_start_is_noticed_at_the_end_of_the_interval() {
    check(
        &options(1),
        World::new(100).worker(1, dies(0.1, 256)).worker(2, dies(0.9, 9)).signal(3.5, Term),
        "0.0 starting new worker 101
         1.0 new worker 101 seems to have failed to start, exit status:256
         1.0 starting new worker 102
         2.0 new worker 102 seems to have failed to start, exit status:9
         2.0 starting new worker 103
         3.0 status: 3:103
         3.5 received TERM, sending TERM to all workers:103
         3.5 kill TERM 103
         3.5 worker 103 died, status:15
         3.5 status:
         3.5 exiting",
    );
}

#[test]
fn a_term_in_the_first_interval_starts_no_other_worker() {
    check(
        &options(5),
        World::new(100).worker(1, dies(0.1, 256)).signal(0.5, Term),
        "0.0 starting new worker 101
         0.5 status: 1:101
         0.5 received TERM, sending TERM to all workers:101
         0.5 kill TERM 101
         0.5 worker 101 died, status:256
         0.5 status:
         0.5 exiting",
    );
}

#[test]
fn a_dead_worker_is_replaced_and_stays_in_the_status_file_until_then() {
    check(
        &options(1),
        World::new(100).worker(1, dies(2.5, 1792)).signal(5.0, Term),
        "0.0 starting new worker 101
         1.0 status: 1:101
         2.5 worker 101 died unexpectedly with status:1792, restarting
         2.5 starting new worker 102
         3.5 status: 2:102
         5.0 received TERM, sending TERM to all workers:102
         5.0 kill TERM 102
         5.0 worker 102 died, status:15
         5.0 status:
         5.0 exiting",
    );
}

#[test]
fn a_dead_worker_is_not_replaced_just_to_be_stopped() {
    check(
        &options(1),
        World::new(100).worker(1, dies(2.0, 2)).signal(2.0, Int),
        "0.0 starting new worker 101
         1.0 status: 1:101
         2.0 received INT, sending TERM to all workers:101
         2.0 kill TERM 101
         2.0 worker 101 died, status:2
         2.0 status:
         2.0 exiting",
    );
}

#[test]
fn a_second_hup_waits_for_the_whole_interval() {
    check(
        &options(2),
        World::new(100)
            .worker(2, dies(0.4, 256))
            .signal(3.0, Hup)
            .signal(3.7, Hup)
            .signal(3.8, Alrm)
            .signal(10.0, Term),
        "0.0 starting new worker 101
         2.0 status: 1:101
         3.0 received HUP, spawning a new worker
         3.0 starting new worker 102
         5.0 new worker 102 seems to have failed to start, exit status:256
         5.0 starting new worker 103
         7.0 status: 1:101 3:103
         7.0 new worker is now running, sending TERM to old workers:101
         7.0 killing old workers
         7.0 kill TERM 101
         7.0 old worker 101 died, status:15
         7.0 status: 3:103
         7.0 received HUP, spawning a new worker
         7.0 starting new worker 104
         9.0 status: 3:103 4:104
         9.0 new worker is now running, sending TERM to old workers:103
         9.0 killing old workers
         9.0 kill TERM 103
         9.0 old worker 103 died, status:15
         9.0 status: 4:104
        10.0 received TERM, sending TERM to all workers:104
        10.0 kill TERM 104
        10.0 worker 104 died, status:15
        10.0 status:
        10.0 exiting",
    );
}

#[test]
fn a_term_overtakes_hups_and_ends_the_interval() {
    check(
        &options(3),
        World::new(100).signal(4.0, Hup).signal(4.5, Hup).signal(4.6, Hup).signal(5.0, Term),
        "0.0 starting new worker 101
         3.0 status: 1:101
         4.0 received HUP, spawning a new worker
         4.0 starting new worker 102
         5.0 status: 1:101 2:102
         5.0 new worker is now running, sending TERM to old workers:101
         5.0 killing old workers
         5.0 kill TERM 101
         5.0 received TERM, sending TERM to all workers:101,102
         5.0 kill TERM 101
         5.0 kill TERM 102
         5.0 worker 101 died, status:15
         5.0 status: 2:102
         5.0 worker 102 died, status:15
         5.0 status:
         5.0 exiting",
    );
}

#[test]
fn a_hup_and_a_term_at_once() {
    for signals in [[Hup, Term], [Term, Hup]] {
        let world = World::new(100).signal(2.0, signals[0]).signal(2.0, signals[1]);
        assert!(!live(&options(1), world).trace.contains("HUP"));
    }
}

#[test]
fn a_shutdown_waits_for_deaf_workers_and_ignores_signals() {
    check(
        &options(1),
        World::new(100)
            .worker(1, Worker { dies: Some((60.0, 9)), ..DEAF })
            .signal(2.0, Term)
            .signal(3.0, Hup)
            .signal(4.0, Term),
        "0.0 starting new worker 101
         1.0 status: 1:101
         2.0 received TERM, sending TERM to all workers:101
         2.0 kill TERM 101
        60.0 worker 101 died, status:9
        60.0 status:
        60.0 exiting",
    );
}

#[test]
fn old_workers_go_on_for_the_delay() {
    check(
        &delayed(3),
        World::new(100).worker(1, dies(4.0, 768)).signal(2.0, Hup).signal(9.0, Term),
        "0.0 starting new worker 101
         1.0 status: 1:101
         2.0 received HUP, spawning a new worker
         2.0 starting new worker 102
         3.0 status: 1:101 2:102
         3.0 new worker is now running, sending TERM to old workers:101
         3.0 sleeping 3 secs before killing old workers
         6.0 killing old workers
         6.0 kill TERM 101
         6.0 old worker 101 died, status:768
         6.0 status: 2:102
         9.0 received TERM, sending TERM to all workers:102
         9.0 kill TERM 102
         9.0 worker 102 died, status:15
         9.0 status:
         9.0 exiting",
    );
}

#[test]
fn a_hup_in_the_delay_is_counted_in_whole_seconds() {
    let world = World::new(100).signal(2.0, Hup).signal(4.5, Hup).signal(20.0, Term);
    let trace = live(&delayed(3), world).trace;
    // 3 - 1 = 2 are left after the interruption at 4.5.
    assert!(trace.contains("  6.5 killing old workers\n"), "{trace}");
}

#[test]
fn a_term_ends_the_delay() {
    check(
        &delayed(30),
        World::new(100).signal(2.0, Hup).signal(4.5, Term),
        "0.0 starting new worker 101
         1.0 status: 1:101
         2.0 received HUP, spawning a new worker
         2.0 starting new worker 102
         3.0 status: 1:101 2:102
         3.0 new worker is now running, sending TERM to old workers:101
         3.0 sleeping 30 secs before killing old workers
         4.5 killing old workers
         4.5 kill TERM 101
         4.5 received TERM, sending TERM to all workers:101,102
         4.5 kill TERM 101
         4.5 kill TERM 102
         4.5 worker 101 died, status:15
         4.5 status: 2:102
         4.5 worker 102 died, status:15
         4.5 status:
         4.5 exiting",
    );
}

#[test]
fn a_new_worker_that_dies_in_the_delay_is_replaced_before_the_old_ones_are_killed() {
    check(
        &delayed(3),
        World::new(100).worker(2, dies(2.0, 768)).signal(2.0, Hup).signal(9.0, Term),
        "0.0 starting new worker 101
         1.0 status: 1:101
         2.0 received HUP, spawning a new worker
         2.0 starting new worker 102
         3.0 status: 1:101 2:102
         3.0 new worker is now running, sending TERM to old workers:101
         3.0 sleeping 3 secs before killing old workers
         6.0 worker 102 died unexpectedly with status:768, restarting
         6.0 starting new worker 103
         7.0 status: 1:101 3:103
         7.0 killing old workers
         7.0 kill TERM 101
         7.0 old worker 101 died, status:15
         7.0 status: 3:103
         9.0 received TERM, sending TERM to all workers:103
         9.0 kill TERM 103
         9.0 worker 103 died, status:15
         9.0 status:
         9.0 exiting",
    );
}

#[test]
fn odd_delays() {
    // KILL_OLD_DELAY, what the line shows, when the old worker is killed
    let table = [
        ("0", None, 3.0),
        ("0.0", None, 3.0),
        ("abc", None, 3.0),
        ("", None, 3.0),
        ("0x2", None, 3.0),
        ("0.5", Some("0.5"), 3.0),
        ("2.5", Some("2.5"), 5.0),
        ("1e0", Some("1e0"), 4.0),
        (" 2", Some(" 2"), 5.0),
        ("3x", Some("3x"), 6.0),
        ("-1", Some("-1"), 3.0),
    ];
    for (value, shown, killed) in table {
        let options = Options { envdir: Some("e".into()), ..options(1) };
        let world = World::new(100).envdir(1.5, &[("KILL_OLD_DELAY", value)]).signal(2.0, Hup).signal(20.0, Term);
        let trace = live(&options, world).trace;
        let line = shown.map(|shown| format!("  3.0 sleeping {shown} secs before killing old workers\n"));
        assert_eq!(trace.contains("sleeping"), line.is_some(), "{value:?}: {trace}");
        assert!(trace.contains(&line.unwrap_or_default()), "{value:?}: {trace}");
        assert!(trace.contains(&format!("{killed:5.1} killing old workers\n")), "{value:?}: {trace}");
    }
}

#[test]
fn an_automatic_restart_after_360_seconds() {
    let trace = live(&automatic(None, None), World::new(100).signal(400.0, Term)).trace;
    assert!(trace.contains("361.0 autorestart triggered (interval=360)\n361.0 starting new worker 102\n"), "{trace}");
    assert!(trace.contains("362.0 sleeping 5 secs before killing old workers\n367.0 killing old workers\n"), "{trace}");
}

#[test]
fn an_automatic_restart_counts_from_the_last_start_and_waits_for_old_workers() {
    check(
        &automatic(Some(2), Some(0)),
        World::new(100).worker(1, Worker { dies: Some((20.0, 9)), ..DEAF }).signal(2.5, Hup).signal(9.0, Term),
        "0.0 starting new worker 101
         1.0 status: 1:101
         2.5 received HUP, spawning a new worker
         2.5 starting new worker 102
         3.5 status: 1:101 2:102
         3.5 new worker is now running, sending TERM to old workers:101
         3.5 killing old workers
         3.5 kill TERM 101
         7.5 autorestart triggered (forced, interval=2)
         7.5 starting new worker 103
         8.5 status: 1:101 2:102 3:103
         8.5 new worker is now running, sending TERM to old workers:101,102
         8.5 killing old workers
         8.5 kill TERM 101
         8.5 kill TERM 102
         8.5 old worker 102 died, status:15
         8.5 status: 1:101 3:103
         9.0 received TERM, sending TERM to all workers:101,103
         9.0 kill TERM 101
         9.0 kill TERM 103
         9.0 worker 103 died, status:15
         9.0 status: 1:101
        20.0 worker 101 died, status:9
        20.0 status:
        20.0 exiting",
    );
}

#[test]
fn an_envdir_that_asks_for_automatic_restarts_later_is_heard_at_the_next_wake_up_only() {
    let variables = [("ENABLE_AUTO_RESTART", "1"), ("AUTO_RESTART_INTERVAL", "2"), ("KILL_OLD_DELAY", "0")];
    let options = Options { envdir: Some("e".into()), ..options(1) };
    let world = World::new(100).envdir(1.5, &variables).signal(6.0, Alrm).signal(8.0, Term);
    let trace = live(&options, world).trace;
    assert!(trace.contains("  6.0 autorestart triggered (interval=2)\n"), "{trace}");
    assert_eq!(trace.matches("triggered").count(), 1, "{trace}");
}

#[test]
fn pids_and_generations_are_sorted_as_strings() {
    let mut world = World::new(0);
    for generation in 1..=10 {
        world = world.worker(generation, DEAF).signal(2.0, Hup);
    }
    for pid in 1..=11 {
        world = world.worker(pid, Worker { dies: Some((50.0, 9)), ..DEAF });
    }
    let trace = live(&options(0), world.signal(3.0, Term)).trace;
    assert!(trace.contains("received TERM, sending TERM to all workers:1,10,11,2,3,4,5,6,7,8,9\n"), "{trace}");
    assert!(trace.contains("status: 1:1 10:10 11:11 2:2 3:3 4:4 5:5 6:6 7:7 8:8 9:9\n"), "{trace}");
}

#[test]
fn a_child_of_somebody_else_is_called_an_old_worker() {
    check(
        &options(1),
        World::new(100).stranger(0.5, 7, 1792).stranger(3.5, 8, 0).worker(1, slow(1.0)).signal(3.0, Term),
        "0.0 starting new worker 101
         1.0 status: 1:101
         1.0 old worker 7 died, status:1792
         1.0 status: 1:101
         3.0 received TERM, sending TERM to all workers:101
         3.0 kill TERM 101
         3.5 worker 8 died, status:0
         3.5 status: 1:101
         4.0 worker 101 died, status:15
         4.0 status:
         4.0 exiting",
    );
}

#[test]
fn a_fork_that_fails_is_tried_again_and_leaves_the_old_worker_alone() {
    let mut world = World::new(100).signal(2.0, Hup).signal(6.0, Term);
    world.unforkable = [2, 3].into();
    check(
        &options(0),
        world,
        "0.0 starting new worker 101
         0.0 status: 1:101
         2.0 received HUP, spawning a new worker
         2.0 fork(2) failed:Resource temporarily unavailable
         3.0 fork(2) failed:Resource temporarily unavailable
         4.0 starting new worker 102
         4.0 status: 1:101 4:102
         4.0 new worker is now running, sending TERM to old workers:101
         4.0 killing old workers
         4.0 kill TERM 101
         4.0 old worker 101 died, status:15
         4.0 status: 4:102
         6.0 received TERM, sending TERM to all workers:102
         6.0 kill TERM 102
         6.0 worker 102 died, status:15
         6.0 status:
         6.0 exiting",
    );
}

#[test]
fn a_shutdown_while_fork_keeps_failing() {
    let mut world = World::new(100).signal(2.0, Hup).signal(4.5, Term);
    world.unforkable = (2..10).collect();
    let trace = live(&options(1), world).trace;
    assert!(trace.contains("  4.5 received TERM, sending TERM to all workers:101\n"), "{trace}");
    assert!(!trace.contains("now running"), "{trace}");
}

#[test]
fn a_status_file_that_cannot_be_written_is_reported() {
    let mut world = World::new(100).signal(2.0, Term);
    world.is_full = true;
    let trace = live(&options(1), world).trace;
    assert_eq!(trace.matches("failed to write temporary file:st:No space left on device").count(), 2, "{trace}");
}
