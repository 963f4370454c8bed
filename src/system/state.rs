//! Everything that a superdaemon knows and its options don't say: one part of each room. `--upgrade` writes it, the
//! rehearsal and the next program read it, and `--take-over` constructs it from what can be seen of another program.

use std::os::fd::RawFd;

use crate::error::Error;
use crate::listeners::ListenersPart;
use crate::readiness::WatchPart;
use crate::succession::{Lines, Part, check_unique};
use crate::system::delivery::UnsentPart;
use crate::system::family::KinPart;
use crate::system::inbox::InboxPart;
use crate::system::own_files::FilesPart;
use crate::system::service_manager::ManagerPart;
use crate::system::signals::LaunchPart;
use crate::system::successor::ProgramPart;
use crate::world::LifePart;

/// The whole. A new field is a compile error wherever a state is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) life: LifePart,
    pub(crate) launch: LaunchPart,
    pub(crate) inbox: InboxPart,
    pub(crate) listeners: ListenersPart,
    pub(crate) files: FilesPart,
    pub(crate) watch: WatchPart,
    pub(crate) kin: KinPart,
    pub(crate) unsent: UnsentPart,
    pub(crate) manager: ManagerPart,
    pub(crate) program: ProgramPart,
}

impl State {
    pub(crate) fn to_lines(&self) -> Lines {
        let Self { life, launch, inbox, listeners, files, watch, kin, unsent, manager, program } = self;
        let mut lines = Lines::default();
        life.write(&mut lines);
        launch.write(&mut lines);
        inbox.write(&mut lines);
        listeners.write(&mut lines);
        files.write(&mut lines);
        watch.write(&mut lines);
        kin.write(&mut lines);
        unsent.write(&mut lines);
        manager.write(&mut lines);
        program.write(&mut lines);
        lines
    }

    /// Reads all of it, so any error is known before anything is done.
    ///
    /// # Errors
    /// If a line can't be read or is missing, or a descriptor is there twice.
    pub(crate) fn read(lines: &Lines) -> Result<Self, Error> {
        let state = Self {
            life: LifePart::read(lines)?,
            launch: LaunchPart::read(lines)?,
            inbox: InboxPart::read(lines)?,
            listeners: ListenersPart::read(lines)?,
            files: FilesPart::read(lines)?,
            watch: WatchPart::read(lines)?,
            kin: KinPart::read(lines)?,
            unsent: UnsentPart::read(lines)?,
            manager: ManagerPart::read(lines)?,
            program: ProgramPart::read(lines)?,
        };
        check_unique(&state.descriptors())?;
        Ok(state)
    }

    /// All descriptors that get owners in the next program.
    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        self.listeners.descriptors().into_iter().chain(self.own_descriptors()).collect()
    }

    /// Those that are closed on exec, and must not be in an upgrade: all except listeners.
    pub(crate) fn own_descriptors(&self) -> impl Iterator<Item = RawFd> {
        [self.inbox.descriptors(), self.files.descriptors(), self.watch.descriptors()].into_iter().flatten()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_text_is() {
        let samples: [&[u8]; 3] = [
            include_bytes!("../../compat-tests/states/1.3-everything.txt"),
            include_bytes!("../../compat-tests/states/1.3-accepting.txt"),
            include_bytes!("../../compat-tests/states/1.0-take-over.txt"),
        ];
        crate::random_texts::each_damaged(&samples, |text| {
            if let Ok(state) = Lines::parse(text).and_then(|lines| State::read(&lines)) {
                // Signals by name are written as numbers, so it is the same from the second time on.
                let again = State::read(&state.to_lines()).unwrap();
                assert_eq!(State::read(&again.to_lines()), Ok(again));
            }
        });
    }
}
