//! The options that the original doesn't have, with real processes. `lives.rs` has their life cycle in virtual time.

mod approve;
mod attack;
mod command_line;
mod failures;
mod families;
mod from_systemd;
mod limits;
mod listen_fds;
mod lost_lines;
mod neglect;
mod readiness;
mod rehearsal;
mod rounds;
mod sd_notify;
mod shortage;
mod shutdown;
mod socket_files;
mod status;
mod succession;
mod take_over;
mod take_over_odd;
mod updates;
mod upgrade;

use crate::harness::Scenario;

/// Stops the superdaemon, which has to end with code 0.
fn stop(s: &mut Scenario) {
    s.signal("TERM");
    assert_eq!(s.wait_exit(), "exit 0");
}
