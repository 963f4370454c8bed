//! The text of a report: lines as in the state of an upgrade. Unknown keys are ignored, and missing fields are none, so
//! programs of different versions understand each other.

use crate::report::{FailedStart, Member, Post, Report};
use crate::succession::{Field, Lines};

impl Report {
    pub(crate) fn to_text(&self) -> String {
        let mut lines = Lines::default();
        lines.add("version", &(self.version.clone(),));
        lines.add_all("program", self.program.clone().map(|path| (path,)));
        lines.add("own", &(self.uses_our_own,));
        lines.add("attempts", &(self.attempts,));
        for Member { generation, pid, post, since, signal, kill } in &self.workers {
            // A place is left for what may come.
            lines.add("worker", &(*generation, *pid, *post, *since, signal.clone(), *kill, None::<u64>));
        }
        lines.add_all("listener", self.listeners.iter().cloned());
        lines.add("failures", &(self.failures,));
        for FailedStart { generation, at, reason } in &self.last_failures {
            lines.add("failure", &(*generation, *at, reason.clone()));
        }
        lines.add("detail", &(self.detail.clone(),));
        lines.add_all("restart", self.restart.map(|begin| (begin,)));
        lines.add_all("given-up", self.given_up);
        lines.add("stopping", &(self.is_stopping,));
        let mut text = String::new();
        lines.write_body(&mut text);
        text
    }

    /// None if it is not such a text.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let lines = Lines::parse_body(str::from_utf8(text).ok()?.lines()).ok()?;
        let member = |(generation, pid, post, since, signal, kill, _): (_, _, _, _, _, _, Option<Vec<u8>>)| Member {
            generation,
            pid,
            post,
            since,
            signal,
            kill,
        };
        let failure = |(generation, at, reason)| FailedStart { generation, at, reason };
        let one = |key| lines.get::<(Option<Vec<u8>>,)>(key).ok().map(|line| line.and_then(|(value,)| value));
        Some(Self {
            version: one("version")??,
            program: one("program")?,
            uses_our_own: lines.get("own").ok()?.is_some_and(|(own,)| own),
            attempts: lines.require("attempts").ok().map(|(attempts,)| attempts)?,
            workers: lines.all("worker").ok()?.into_iter().map(member).collect(),
            listeners: lines.all("listener").ok()?,
            failures: lines.get("failures").ok()?.map_or(0, |(failures,)| failures),
            last_failures: lines.all("failure").ok()?.into_iter().map(failure).collect(),
            detail: one("detail")?.unwrap_or_default(),
            restart: lines.get("restart").ok()?.map(|(begin,)| begin),
            given_up: lines.get("given-up").ok()?,
            is_stopping: lines.get("stopping").ok()?.is_some_and(|(is_stopping,)| is_stopping),
        })
    }
}

impl Field for Post {
    fn to_bytes(&self) -> Option<Vec<u8>> {
        let name: &[u8] = match self {
            Self::Starting => b"starting",
            Self::Current => b"current",
            Self::Stopping => b"stopping",
            Self::Rejected => b"rejected",
        };
        Some(name.to_vec())
    }

    fn from_bytes(bytes: Option<&[u8]>) -> Option<Self> {
        let all = [Self::Starting, Self::Current, Self::Stopping, Self::Rejected];
        all.into_iter().find(|post| post.to_bytes().as_deref() == bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let second = Duration::from_secs(1);
        let member = |generation, post, signal: Option<&[u8]>, kill| Member {
            generation,
            pid: 7,
            post,
            since: Some(second),
            signal: signal.map(<[u8]>::to_vec),
            kill,
        };
        let full = Report {
            version: b"0.1.0".to_vec(),
            program: Some(b"/usr/bin/start server".to_vec()),
            uses_our_own: true,
            attempts: 4,
            workers: vec![
                member(1, Post::Stopping, Some(b"-TERM"), Some(second)),
                member(2, Post::Current, None, None),
                member(3, Post::Rejected, Some(b"QUIT"), None),
                member(4, Post::Starting, None, None),
            ],
            listeners: vec![(4, b"127.0.0.1:80".to_vec()), (5, b"/run/a b\n".to_vec())],
            failures: 1,
            last_failures: vec![FailedStart { generation: 3, at: second, reason: b"exit 1".to_vec() }],
            detail: b"it has failed: exit 1\nno database\n".to_vec(),
            restart: Some(second),
            given_up: Some((3, second)),
            is_stopping: true,
        };
        let empty = Report { version: b"0".to_vec(), ..Report::default() };
        for report in [full, empty] {
            assert_eq!(Report::parse(report.to_text().as_bytes()), Some(report));
        }
    }

    #[test]
    fn more_is_left_alone_and_what_is_none_is_refused() {
        let more = b"version 9.0\nattempts 2\nnew 1 2\nworker 2 7 current 5 - - - more\n";
        let report = Report::parse(more).unwrap();
        assert_eq!((report.attempts, report.workers.len(), report.current().map(|worker| worker.pid)), (2, 1, Some(7)));
        for text in
            ["", "attempts 1\n", "version 1\n", "version 1\nattempts x\n", "version 1\nattempts 1\nworker 1 2 odd\n"]
        {
            assert_eq!(Report::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn whatever_the_text_is() {
        crate::random_texts::each_damaged(
            &[b"start_server report\n", Report::default().to_text().as_bytes()],
            |text| {
                if let Some(report) = Report::parse(text) {
                    assert_eq!(Report::parse(report.to_text().as_bytes()), Some(report));
                }
            },
        );
    }
}
