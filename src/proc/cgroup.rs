//! The kernel's counters of this process's control group.

use std::fs;

use crate::proc::Process;

/// Where control groups usually are.
const ROOT: &str = "/sys/fs/cgroup";

/// How many processes have been killed for lack of memory, in this group and below. None if that isn't counted.
pub(crate) fn memory_kills() -> Option<u64> {
    let groups = fs::read_to_string(Process::Own.path("cgroup")).ok()?;
    files(&groups).into_iter().find_map(|path| kills_in(&fs::read_to_string(path).ok()?))
}

/// Where the number may be, from lines like `0::/PATH` of version 2 and `7:memory:/PATH` of version 1. In a container,
/// PATH may be the machine's, whose root is not visible.
fn files(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(kinds), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (roots, file): (&[&str], _) = match kinds {
            "" => (&["", "/unified"], "memory.events"),
            _ if kinds.split(',').any(|kind| kind == "memory") => (&["/memory"], "memory.oom_control"),
            _ => continue,
        };
        for path in [path, ""] {
            files.extend(roots.iter().map(|root| format!("{ROOT}{root}{path}/{file}")));
        }
    }
    files
}

fn kills_in(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions() {
        assert_eq!(
            files("12:cpu,cpuacct:/a\n7:memory:/docker/1\n0::/user:slice\n"),
            [
                "/sys/fs/cgroup/memory/docker/1/memory.oom_control",
                "/sys/fs/cgroup/memory/memory.oom_control",
                "/sys/fs/cgroup/user:slice/memory.events",
                "/sys/fs/cgroup/unified/user:slice/memory.events",
                "/sys/fs/cgroup/memory.events",
                "/sys/fs/cgroup/unified/memory.events",
            ]
        );
        assert_eq!(kills_in("low 0\noom 3\noom_kill 2\noom_group_kill 1\n"), Some(2));
        assert_eq!(kills_in("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"), Some(5));
        assert_eq!(kills_in("oom_kill_disable 0\nunder_oom 0\n"), None);
    }

    #[test]
    fn whatever_the_text_is() {
        crate::random_texts::each_damaged(&[b"0::/a/b\n7:memory:/c\noom_kill 3\n"], |text| {
            let text = String::from_utf8_lossy(text);
            files(&text);
            kills_in(&text);
        });
    }
}
