//! System calls that fail. Nothing else makes these fail, so strace does.

use crate::harness::{Scenario, compare};

scenarios! {
    "injected.rs":
    a_listen_that_fails
    a_listen_to_a_path_that_fails
    a_socket_that_fails
    a_dup_that_fails
}

/// From now on this call of the program fails, always or as `error` says. It stays the process that it is: the tracer is
/// another one.
pub fn inject(s: &mut Scenario, call: &str, error: &str) {
    s.need_tracing();
    s.strace(&format!("-o /dev/null -e trace={call} -e inject={call}:error={error}"));
}

/// S8
fn a_listen_that_fails() {
    compare(|s| {
        inject(s, "listen", "EADDRINUSE");
        s.run(&["--port=$PORT", "--", "$PROBE"]);
    });
}

/// U10: nothing is left of the path.
fn a_listen_to_a_path_that_fails() {
    compare(|s| {
        inject(s, "listen", "EADDRINUSE");
        s.run(&["--path=app.sock", "--", "$PROBE"]);
    });
}

/// S10
fn a_socket_that_fails() {
    compare(|s| {
        inject(s, "socket", "EMFILE");
        s.run(&["--port=$PORT", "--", "$PROBE"]);
    });
}

/// L4: the log can't be put in the place of standard output, and then not of standard error. Nothing stays but the log.
fn a_dup_that_fails() {
    compare(|s| {
        for error in ["EMFILE", "EMFILE:when=2"] {
            inject(s, "?dup2,dup3", error);
            s.run(&["--log-file=log", "--port=$PORT", "--path=app.sock", "--", "$PROBE"]);
            s.ls();
        }
    });
}
