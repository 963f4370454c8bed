//! Whether a shutdown is requested and not yet acted on: for whatever takes time outside the loop.

use std::sync::atomic::{AtomicBool, Ordering};

static IS_WAITING: AtomicBool = AtomicBool::new(false);

/// Async-signal-safe.
pub(crate) fn set_waiting(is_waiting: bool) {
    IS_WAITING.store(is_waiting, Ordering::Relaxed);
}

pub(crate) fn is_waiting() -> bool {
    IS_WAITING.load(Ordering::Relaxed)
}
