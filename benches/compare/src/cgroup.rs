//! Limits each thread of a proxy to a fixed share of a core, with one control group per thread.
//!
//! In version 1, any thread can join any group. In version 2, thread groups are "threaded" and lie
//! below one group with their processes. The system determines which version has the `cpu`
//! controller.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use crate::Outcome;
use crate::process;

/// The share is granted per period, which is short compared with a burst and long compared with a
/// request.
const PERIOD_US: u32 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The control groups of this run, all in one directory.
pub(crate) struct Groups {
    version: Version,
    root: PathBuf,
}

impl Groups {
    /// Creates the directory. The error says why threads cannot be limited here.
    pub(crate) fn make() -> Outcome<Self> {
        let (version, root) = root()?;
        fs::create_dir(&root).map_err(|error| format!("{}: {error}", root.display()))?;
        // From here on, drop removes the directory.
        let groups = Self { version, root };
        if version == Version::Two {
            groups.ask_for_controller()?;
        }
        Ok(groups)
    }

    /// Enables the `cpu` controller; in version 2 a group only has the controllers that its parent
    /// grants.
    fn ask_for_controller(&self) -> Outcome<()> {
        let has = || {
            let text = fs::read_to_string(self.root.join("cgroup.controllers"));
            text.is_ok_and(|text| text.split_whitespace().any(|name| name == "cpu"))
        };
        if has() {
            return Ok(());
        }
        write(&self.root.join("../cgroup.subtree_control"), "+cpu")?;
        match has() {
            true => Ok(()),
            false => Err(format!("{} has no cpu controller", self.root.display()).into()),
        }
    }

    /// Limits each thread of a process and its descendants to a share of one core.
    pub(crate) fn limit(&self, root: u32, share: f64) -> Outcome<()> {
        let quota_us = (f64::from(PERIOD_US) * share) as u32;
        for process in process::tree(root) {
            if self.version == Version::Two {
                write(&self.root.join("cgroup.procs"), process)?;
            }
            for thread in process::threads_of(process) {
                let group = self.root.join(thread.to_string());
                fs::create_dir(&group).map_err(|error| format!("{}: {error}", group.display()))?;
                self.limit_thread(&group, thread, quota_us)?;
            }
        }
        Ok(())
    }

    fn limit_thread(&self, group: &Path, thread: u32, quota_us: u32) -> Outcome<()> {
        match self.version {
            Version::One => {
                write(&group.join("cpu.cfs_period_us"), PERIOD_US)?;
                write(&group.join("cpu.cfs_quota_us"), quota_us)?;
                write(&group.join("tasks"), thread)
            }
            Version::Two => {
                write(&group.join("cgroup.type"), "threaded")?;
                // Only now may the parent group have both processes and a controller for its
                // children.
                write(&self.root.join("cgroup.subtree_control"), "+cpu")?;
                write(&group.join("cpu.max"), format!("{quota_us} {PERIOD_US}"))?;
                write(&group.join("cgroup.threads"), thread)
            }
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        remove();
    }
}

fn write(path: &Path, value: impl ToString) -> Outcome<()> {
    fs::write(path, value.to_string())
        .map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Removes the groups of this process. Retries, because a group can only be removed after its
/// killed threads have ended.
pub(crate) fn remove() {
    let Ok((_, root)) = root() else { return };
    for _ in 0..100 {
        for entry in fs::read_dir(&root).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(entry.path());
        }
        let _ = fs::remove_dir(&root);
        if !root.exists() {
            return;
        }
        sleep(Duration::from_millis(20));
    }
    eprintln!("{} could not be removed", root.display());
}

fn root() -> Outcome<(Version, PathBuf)> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let (version, place) = place(&mounts, &groups).ok_or("no control groups are mounted")?;
    Ok((version, place.join(format!("baton-compare-{}", std::process::id()))))
}

/// The directory for the groups of a run: in version 1 that of this process's own group; in version
/// 2 the root, because a process's group cannot grant controllers.
fn place(mounts: &str, groups: &str) -> Option<(Version, PathBuf)> {
    let mount = |wanted: &str, option: &str| {
        mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (path, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
            let fits = kind == wanted && options.split(',').any(|found| found == option);
            fits.then(|| PathBuf::from(path))
        })
    };
    let Some(first) = mount("cgroup", "cpu") else {
        return Some((Version::Two, mount("cgroup2", "rw")?));
    };
    let own = groups.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|controller| controller == "cpu").then_some(path)
    })?;
    Some((Version::One, first.join(own.trim_start_matches('/'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION_1: &str = "proc /proc proc rw,relatime 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/cpuset cgroup rw,nosuid,cpuset 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
";

    #[test]
    fn version_1_is_used_if_it_has_the_controller() {
        let groups = "3:cpuset:/\n2:cpu,cpuacct:/user.slice\n0::/\n";
        let found = PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/user.slice");
        assert_eq!(place(VERSION_1, groups), Some((Version::One, found)));
        let found = PathBuf::from("/sys/fs/cgroup/cpu,cpuacct");
        assert_eq!(place(VERSION_1, "1:cpu,cpuacct:/\n"), Some((Version::One, found)));
    }

    #[test]
    fn version_2_is_used_otherwise() {
        let mounts = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev 0 0\n";
        let found = Some((Version::Two, PathBuf::from("/sys/fs/cgroup")));
        assert_eq!(place(mounts, "0::/user.slice\n"), found);
        assert_eq!(place("proc /proc proc rw 0 0\n", "0::/\n"), None);
    }
}
