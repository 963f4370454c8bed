//! How often a client checks whether what it waits for has happened.

use std::ops::RangeInclusive;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The time between two looks at the status file: a quarter of the wait so far, within these limits.
const LOOK_AFTER: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_millis(10);

/// Before the next look.
pub(super) fn pause(begin: Instant) {
    sleep((begin.elapsed() / 4).clamp(*LOOK_AFTER.start(), *LOOK_AFTER.end()));
}
