//! The queue of requests that have not been acted on.

use std::collections::VecDeque;
use std::time::Duration;

use crate::world::Request;

#[derive(Default)]
pub(super) struct Requests {
    /// Oldest first.
    queue: VecDeque<Request>,
    delay: Delay,
}

/// The state of a delayed shutdown (`--stop-delay`).
#[derive(Default)]
enum Delay {
    /// None was requested.
    #[default]
    Ahead,
    /// This one is requested when it is time.
    Until(Duration, Request),
    /// Another one takes effect at once.
    Over,
}

impl Requests {
    /// Takes out a shutdown until `end`; it only wakes the loop, as an ALRM does. None if there is none to delay.
    pub(super) fn delay_stop(&mut self, end: Duration) -> Option<Request> {
        let index = self.first_stop().filter(|_| matches!(self.delay, Delay::Ahead))?;
        let stop = std::mem::replace(self.queue.get_mut(index)?, Request::Alrm);
        self.delay = Delay::Until(end, stop);
        Some(stop)
    }

    /// An existing shutdown doesn't wait.
    pub(super) fn forgo_delay(&mut self) {
        if self.has_stop() {
            self.delay = Delay::Over;
        }
    }

    /// Puts back a shutdown that has waited until `now`.
    pub(super) fn end_delay(&mut self, now: Duration) {
        if let Delay::Until(end, stop) = self.delay
            && end <= now
        {
            self.delay = Delay::Over;
            self.queue.push_back(stop);
        }
    }

    /// When a shutdown has waited long enough.
    pub(super) fn end_of_delay(&self) -> Option<Duration> {
        if let Delay::Until(end, _) = self.delay { Some(end) } else { None }
    }

    fn first_stop(&self) -> Option<usize> {
        self.queue.iter().position(|request| request.is_stop())
    }

    pub(super) fn add(&mut self, requests: Vec<Request>) {
        self.queue.extend(requests);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Request> {
        self.queue.iter().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether one of them is for a shutdown.
    pub(super) fn has_stop(&self) -> bool {
        self.first_stop().is_some()
    }

    /// Takes the next one to act on: a TERM or INT before any HUP (`term-first`). One restart answers all waiting HUPs
    /// (`whole-interval`). ALRM has done its work by waking the loop.
    pub(super) fn next(&mut self) -> Option<Request> {
        if let Some(index) = self.first_stop() {
            self.delay = Delay::Over;
            return self.queue.remove(index);
        }
        while let Some(request) = self.queue.pop_front() {
            if request == Request::Hup {
                self.queue.retain(|&other| other != Request::Hup);
                return Some(request);
            }
        }
        None
    }

    /// Whether one of them is for a restart.
    pub(super) fn has_hup(&self) -> bool {
        self.queue.contains(&Request::Hup)
    }

    /// Removes all waiting HUPs, which the next start answers. Whether there are any.
    pub(super) fn take_hups(&mut self) -> bool {
        let count = self.queue.len();
        self.queue.retain(|&request| request != Request::Hup);
        self.queue.len() < count
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_comes_before_what_was_there_earlier() {
        let mut requests = Requests::default();
        requests.add(vec![Request::Alrm, Request::Hup, Request::Int, Request::Hup, Request::Term]);
        assert!(requests.has_stop());
        assert_eq!(requests.next(), Some(Request::Int));
        assert_eq!(requests.next(), Some(Request::Term));
        assert!(!requests.has_stop() && !requests.is_empty());
        assert_eq!([requests.next(), requests.next()], [Some(Request::Hup), None]);
        assert!(requests.is_empty());
    }

    #[test]
    fn all_hups_that_wait_are_answered_at_once() {
        let mut requests = Requests::default();
        requests.add(vec![Request::Hup, Request::Alrm, Request::Hup]);
        assert_eq!(requests.next(), Some(Request::Hup));
        assert!(!requests.is_empty());
        requests.add(vec![Request::Hup]);
        assert_eq!([requests.next(), requests.next()], [Some(Request::Hup), None]);
    }
}
