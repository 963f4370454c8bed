//! The queue of requests that have not been acted on.

use std::collections::VecDeque;

use crate::world::Request;

/// Oldest first.
#[derive(Default)]
pub(super) struct Requests(VecDeque<Request>);

impl Requests {
    pub(super) fn add(&mut self, requests: Vec<Request>) {
        self.0.extend(requests);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Request> {
        self.0.iter().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them asks for the end of all workers.
    pub(super) fn has_stop(&self) -> bool {
        self.0.iter().any(|request| request.is_stop())
    }

    /// Takes the next one to act on: a TERM or INT before any HUP (`term-first`). All HUPs that wait are answered by
    /// the one restart that follows (`whole-interval`). ALRM has done its work by waking the loop.
    pub(super) fn next(&mut self) -> Option<Request> {
        if let Some(index) = self.0.iter().position(|request| request.is_stop()) {
            return self.0.remove(index);
        }
        while let Some(request) = self.0.pop_front() {
            if request == Request::Hup {
                self.0.retain(|&other| other != Request::Hup);
                return Some(request);
            }
        }
        None
    }

    /// Whether one of them asks for new workers.
    pub(super) fn has_hup(&self) -> bool {
        self.0.contains(&Request::Hup)
    }

    /// A start that follows answers all HUPs that wait. Whether there are any.
    pub(super) fn take_hups(&mut self) -> bool {
        let count = self.0.len();
        self.0.retain(|&request| request != Request::Hup);
        self.0.len() < count
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
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
