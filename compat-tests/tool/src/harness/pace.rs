//! How long waits may take. If two programs run side by side, the time that the reference took says how fast the
//! machine is.

use std::fs;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// For one wait, on a machine that isn't busy. A whole scenario may take much longer.
const DEADLINE: Duration = Duration::from_secs(120);
/// The candidate may take this many times as long as the reference, in addition to the time that every wait has.
const TIMES: u32 = 10;

/// The waits of the reference so far.
#[derive(Default)]
pub struct Progress {
    waits: Vec<Duration>,
    has_ended: bool,
}

/// One side's view.
#[derive(Clone, Default)]
pub enum Pace {
    #[default]
    Alone,
    Reference(Arc<Mutex<Progress>>),
    /// With the least time that every wait has.
    Candidate(Arc<Mutex<Progress>>, Duration),
}

impl Pace {
    /// The pace of the reference, and that of the candidate.
    pub fn pair(at_least: Option<Duration>) -> (Self, Self) {
        let progress = Arc::<Mutex<Progress>>::default();
        let candidate = at_least.map_or(Self::Alone, |at_least| Self::Candidate(Arc::clone(&progress), at_least));
        (Self::Reference(progress), candidate)
    }

    /// How long the wait of this number may take, as far as is known now.
    pub fn patience(&self, number: usize) -> Duration {
        let Self::Candidate(progress, at_least) = self else {
            return DEADLINE.mul_f64(slowness());
        };
        let progress = progress.lock().expect("nobody panics with it");
        let took = match progress.waits.get(number) {
            Some(&took) => took,
            None if progress.has_ended => progress.waits.iter().max().copied().unwrap_or_default(),
            None => return DEADLINE.mul_f64(slowness()),
        };
        at_least.mul_f64(slowness()) + took * TIMES
    }

    /// To be called at the end of each wait.
    pub fn has_waited(&self, took: Duration) {
        if let Self::Reference(progress) = self {
            progress.lock().expect("nobody panics with it").waits.push(took);
        }
    }

    pub fn end(&self) {
        if let Self::Reference(progress) = self {
            progress.lock().expect("nobody panics with it").has_ended = true;
        }
    }
}

/// How many times longer everything takes at the current load: 1 for a load that the scenarios themselves cause.
fn slowness() -> f64 {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    (load / (8.0 * f64::from(u16::try_from(cores).unwrap_or(u16::MAX)))).max(1.0)
}
