//! A fixed share of a core for each thread of a proxy, by one control group for each thread.
//!
//! Threads can be limited one by one in version 1 of control groups, where its `cpu` controller is
//! mounted and writable. Where the controller belongs to version 2 this is not implemented.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use crate::Outcome;

/// The share is granted in periods, short beside a burst and long beside a request.
const PERIOD_US: u32 = 10_000;

/// All groups of this run are in one directory.
pub(crate) struct Groups {
    root: PathBuf,
}

impl Groups {
    /// An error says why threads cannot be limited here.
    pub(crate) fn make() -> Outcome<Self> {
        let root = root()?;
        fs::create_dir(&root).map_err(|error| format!("{}: {error}", root.display()))?;
        let groups = Self { root };
        fs::metadata(groups.root.join("cpu.cfs_quota_us"))
            .map_err(|error| format!("no limit on CPU time in control groups: {error}"))?;
        Ok(groups)
    }

    /// Limits each of the threads to a share of one core.
    pub(crate) fn limit(&self, threads: &[u32], share: f64) -> Outcome<()> {
        for thread in threads {
            let group = self.root.join(thread.to_string());
            fs::create_dir(&group).map_err(|error| format!("{}: {error}", group.display()))?;
            write(&group.join("cpu.cfs_period_us"), PERIOD_US)?;
            write(&group.join("cpu.cfs_quota_us"), (f64::from(PERIOD_US) * share) as u32)?;
            write(&group.join("tasks"), *thread)?;
        }
        Ok(())
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        remove();
    }
}

fn write(path: &Path, value: u32) -> Outcome<()> {
    fs::write(path, value.to_string()).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Removes the groups of this process. A group can be removed once its threads are gone, which follows
/// their being killed by a little.
pub(crate) fn remove() {
    let Ok(root) = root() else { return };
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

fn root() -> Outcome<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let place = place(&mounts, &groups)
        .ok_or("the cpu controller is not mounted as version 1 of control groups")?;
    Ok(place.join(format!("baton-compare-{}", std::process::id())))
}

/// The group that this process is in, as a directory.
fn place(mounts: &str, groups: &str) -> Option<PathBuf> {
    let mount = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (path, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        let is_cpu = kind == "cgroup" && options.split(',').any(|option| option == "cpu");
        is_cpu.then_some(path)
    })?;
    let own = groups.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|controller| controller == "cpu").then_some(path)
    })?;
    Some(Path::new(mount).join(own.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION_1: &str = "proc /proc proc rw,relatime 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/cpuset cgroup rw,nosuid,cpuset 0 0
";

    #[test]
    fn place_is_below_the_mount() {
        let groups = "3:cpuset:/\n2:cpu,cpuacct:/user.slice\n0::/\n";
        let found = place(VERSION_1, groups);
        assert_eq!(found, Some(PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/user.slice")));
        let found = place(VERSION_1, "1:cpu:/\n");
        assert_eq!(found, Some(PathBuf::from("/sys/fs/cgroup/cpu,cpuacct")));
    }

    #[test]
    fn no_place_in_version_2() {
        let mounts = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        assert_eq!(place(mounts, "0::/user.slice\n"), None);
    }
}
