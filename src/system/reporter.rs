//! Puts together what the superdaemon publishes about itself (`report`) from the supervisor's news.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::listeners::Listeners;
use crate::options::Options;
use crate::proc::program_path;
use crate::report::{Board, FailedStart, Report};
use crate::wait_status::in_words;
use crate::world::{Failure, Family, News, Standing};

/// How many failed starts are listed.
const MOST_FAILURES: usize = 5;

/// In bytes, of a worker's output.
const LONGEST_DETAIL: usize = 4096;

/// The writer.
pub(super) struct Reporter {
    /// None if there can be none: a reader then sees what can be seen from outside.
    board: Option<Board>,
    report: Report,
    /// Whether the board's report is outdated.
    is_behind: bool,
}

impl Reporter {
    /// Without a `board` it makes one: after the listeners, whose numbers it must not take.
    pub(super) fn new(options: &Options, listeners: &Listeners, board: Option<Board>) -> Self {
        let report = Report {
            version: env!("CARGO_PKG_VERSION").into(),
            program: program_path().map(Into::into),
            uses_our_own: options.uses_our_own(),
            listeners: listeners.numbers_and_names(),
            ..Report::default()
        };
        // Nothing is published until there is something to publish; a reader waits for it, also when a program replaces
        // another.
        Self { board: board.or_else(Board::new), report, is_behind: false }
    }

    /// What is published stays as it is.
    pub(super) fn into_board(self) -> Option<Board> {
        self.board
    }

    /// `detail`: what is known about the last failure.
    pub(super) fn tell(&mut self, news: News, detail: Option<&[u8]>) {
        let report = &mut self.report;
        match news {
            // A report of the whole follows these.
            News::Workers(_) | News::Died { .. } | News::Standing(Standing::Ready | Standing::Reloading) => return,
            News::Standing(Standing::Leaving | Standing::Stopping) => report.is_stopping = true,
            News::Failed { worker: (generation, _), failure } => {
                report.failures = report.failures.saturating_add(1);
                if report.last_failures.len() == MOST_FAILURES {
                    report.last_failures.remove(0);
                }
                report.last_failures.push(FailedStart { generation, at: now(), reason: reason(failure).into() });
                report.detail = detail.unwrap_or_default().to_vec();
                report.detail.truncate(LONGEST_DETAIL);
                return;
            }
            News::Started => {
                (report.failures, report.given_up) = (0, None);
                report.last_failures.clear();
                report.detail.clear();
                return;
            }
            News::Family(Family { attempts, members, restart }) => {
                (report.attempts, report.workers, report.restart) = (attempts, members, restart);
            }
            News::GivenUp { generation } => report.given_up = Some((generation, now())),
        }
        self.is_behind = true;
    }

    /// Writes what is new. Called before each wait: otherwise, 1,000 simultaneous deaths would be 1,000 writes.
    pub(super) fn publish(&mut self) {
        if std::mem::take(&mut self.is_behind)
            && let Some(board) = &self.board
        {
            board.write(&self.report.to_text());
        }
    }
}

fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

fn reason(failure: &Failure) -> String {
    match failure {
        Failure::NoProcess => "no process, see the log".to_owned(),
        Failure::Ended(status) => in_words(*status),
        Failure::NotReady => "not ready in time".to_owned(),
        Failure::NotApproved(reason) => format!("not approved ({reason})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_until_a_start_succeeds() {
        let options = Options::new(vec!["program".into()]);
        let mut reporter = Reporter::new(&options, &Listeners::default(), None);
        for generation in 1..=7 {
            let news = News::Failed { worker: (generation, 1), failure: &Failure::NotReady };
            reporter.tell(news, Some(&[b'x'; LONGEST_DETAIL + 1]));
        }
        reporter.tell(News::GivenUp { generation: 7 }, None);
        let report = &reporter.report;
        assert_eq!((report.failures, report.detail.len()), (7, LONGEST_DETAIL));
        assert_eq!(report.given_up.map(|(generation, _)| generation), Some(7));
        let told: Vec<u64> = report.last_failures.iter().map(|failure| failure.generation).collect();
        assert_eq!(told, [3, 4, 5, 6, 7]);
        reporter.tell(News::Started, None);
        let report = &reporter.report;
        assert_eq!((report.failures, report.detail.len(), report.given_up), (0, 0, None));
        assert!(report.last_failures.is_empty());
    }
}
