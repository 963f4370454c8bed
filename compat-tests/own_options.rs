//! What only ours can do: the options that the original doesn't have, with real processes. Their life cycle in virtual
//! time is in `lives.rs`.

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

/// Ends the superdaemon, and makes sure that it ends as it should.
fn stop(s: &mut Scenario) {
    s.signal("TERM");
    assert_eq!(s.wait_exit(), "exit 0");
}
