//! The memory that the process may use: that of the machine or of its control group, whichever is
//! less.

/// The memory if neither is known.
const UNKNOWN_BYTES: u64 = 4 << 30;

/// Bytes of memory that the process may use. A simulated process has a fixed number.
#[cfg(any(not(target_os = "linux"), feature = "simulation"))]
pub(super) fn bytes() -> u64 {
    UNKNOWN_BYTES
}

/// Bytes of memory that the process may use.
#[cfg(all(target_os = "linux", not(feature = "simulation")))]
pub(super) fn bytes() -> u64 {
    use procfs::Current as _;

    let machine = procfs::Meminfo::current().ok().map(|memory| memory.mem_total);
    let groups = procfs::process::Process::myself().and_then(|process| process.cgroups());
    // The hierarchy 0 is that of version 2.
    let unified = groups.into_iter().flatten().find(|group| group.hierarchy == 0);
    let path = unified.map_or_else(String::new, |group| group.pathname);
    let group = of_group(&path, |path| std::fs::read_to_string(path).ok());
    machine.into_iter().chain(group).min().unwrap_or(UNKNOWN_BYTES)
}

/// Returns the lowest limit of a control group and of those that it is part of; `None` without
/// one. Within a container the path may be that of the host, so the root is asked in any case.
#[cfg(any(test, all(target_os = "linux", not(feature = "simulation"))))]
fn of_group(path: &str, read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let limit = |path: String| read(&path)?.trim().parse::<u64>().ok();
    let mut path = path.trim_end_matches('/');
    let mut lowest = limit("/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned());
    loop {
        let found = limit(format!("/sys/fs/cgroup{path}/memory.max"));
        lowest = lowest.into_iter().chain(found).min();
        let Some(end) = path.rfind('/') else { return lowest };
        path = &path[..end];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_of_the_enclosing_groups_counts() {
        let read = |path: &str| match path {
            "/sys/fs/cgroup/a/b/memory.max" => Some("max\n".to_owned()),
            "/sys/fs/cgroup/a/memory.max" => Some("2000\n".to_owned()),
            "/sys/fs/cgroup/memory.max" => Some("3000\n".to_owned()),
            _ => None,
        };
        assert_eq!(of_group("/a/b", read), Some(2000));
        assert_eq!(of_group("/elsewhere", read), Some(3000));
        assert_eq!(of_group("/", read), Some(3000));
        assert_eq!(of_group("", read), Some(3000));
        assert_eq!(of_group("/a/b", |_| None), None);
    }

    #[test]
    fn the_limit_of_the_older_interface_counts_too() {
        let path = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
        let read = |asked: &str| (asked == path).then(|| "1000\n".to_owned());
        assert_eq!(of_group("", read), Some(1000));
    }
}
