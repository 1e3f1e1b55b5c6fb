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
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| of_machine(&text));
    let group = read("/proc/self/cgroup").and_then(|text| of_group(&text, read));
    machine.into_iter().chain(group).min().unwrap_or(UNKNOWN_BYTES)
}

/// Reads the memory of the machine from `/proc/meminfo`.
#[cfg(any(test, all(target_os = "linux", not(feature = "simulation"))))]
fn of_machine(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Returns the lowest limit of a control group and of those that it is part of; `None` without
/// one. `groups` is `/proc/self/cgroup`. Within a container the path may be that of the host, so
/// the root is asked in any case.
#[cfg(any(test, all(target_os = "linux", not(feature = "simulation"))))]
fn of_group(groups: &str, read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let limit = |path: String| read(&path)?.trim().parse::<u64>().ok();
    let unified = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let mut path = unified.unwrap_or("/").trim_end_matches('/');
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
    fn the_memory_of_the_machine_is_read() {
        let text = "MemTotal:       24684544 kB\nMemFree:         1000 kB\n";
        assert_eq!(of_machine(text), Some(24_684_544 * 1024));
        assert_eq!(of_machine("MemFree: 1 kB\n"), None);
        assert_eq!(of_machine("MemTotal: many kB\n"), None);
    }

    #[test]
    fn the_lowest_limit_of_the_enclosing_groups_counts() {
        let read = |path: &str| match path {
            "/sys/fs/cgroup/a/b/memory.max" => Some("max\n".to_owned()),
            "/sys/fs/cgroup/a/memory.max" => Some("2000\n".to_owned()),
            "/sys/fs/cgroup/memory.max" => Some("3000\n".to_owned()),
            _ => None,
        };
        assert_eq!(of_group("1:name=x:/other\n0::/a/b\n", read), Some(2000));
        assert_eq!(of_group("0::/elsewhere\n", read), Some(3000));
        assert_eq!(of_group("0::/\n", read), Some(3000));
        assert_eq!(of_group("", read), Some(3000));
        assert_eq!(of_group("0::/a/b\n", |_| None), None);
    }

    #[test]
    fn the_limit_of_the_older_interface_counts_too() {
        let path = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
        let read = |asked: &str| (asked == path).then(|| "1000\n".to_owned());
        assert_eq!(of_group("4:memory:/a\n", read), Some(1000));
    }
}
