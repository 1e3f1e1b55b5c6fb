//! CPU time and memory of a process and all its descendants, from `/proc`.

use std::collections::BTreeMap;
use std::fs;

use crate::Outcome;

/// A process and its descendants, the process first.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        if let Some(parent) = stat_field(&stat, PARENT) {
            children.entry(parent as u32).or_default().push(process);
        }
    }
    let mut tree = vec![root];
    let mut next = 0;
    while next < tree.len() {
        tree.extend(children.remove(&tree[next]).unwrap_or_default());
        next += 1;
    }
    tree
}

/// The ids of the threads of one process.
pub(crate) fn threads_of(process: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// CPU time of a process and its descendants so far, in nanoseconds.
///
/// The scheduler's count is exact to the nanosecond but omits threads that have ended. Where it is
/// missing, the count in clock ticks is used.
pub(crate) fn cpu_time_ns(root: u32) -> Outcome<u64> {
    let mut total = 0;
    for process in tree(root) {
        match scheduled_ns(process) {
            Some(time) => total += time,
            None => total += ticks_ns(process).unwrap_or(0),
        }
    }
    match total {
        0 => Err(format!("process {root} has no CPU time: it ended").into()),
        time => Ok(time),
    }
}

fn scheduled_ns(process: u32) -> Option<u64> {
    let times = threads_of(process).into_iter().filter_map(|thread| {
        let path = format!("/proc/{process}/task/{thread}/schedstat");
        parse_schedstat(&fs::read_to_string(path).ok()?)
    });
    Some(times.sum::<u64>()).filter(|time| *time > 0)
}

fn ticks_ns(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let ticks = stat_field(&stat, USER_TIME)? + stat_field(&stat, SYSTEM_TIME)?;
    Some(ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second()))
}

/// Peak resident memory of a process and its descendants, in KiB.
pub(crate) fn peak_memory_kib(root: u32) -> u64 {
    memory(root, "VmHWM:")
}

/// Resident memory of a process and its descendants now, in KiB.
pub(crate) fn memory_kib(root: u32) -> u64 {
    memory(root, "VmRSS:")
}

fn memory(root: u32, field: &str) -> u64 {
    let of_one = |process: u32| {
        let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        parse_status(&text, field)
    };
    tree(root).into_iter().filter_map(of_one).sum()
}

/// The first of three numbers is the CPU time in nanoseconds.
fn parse_schedstat(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

fn parse_status(text: &str, field: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(field))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Indices of fields in `/proc/PID/stat`, counted after the name.
const PARENT: usize = 1;
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;

/// A field after the process name, which may itself contain parentheses.
fn stat_field(text: &str, field: usize) -> Option<u64> {
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_whitespace().nth(field)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedstat_begins_with_time_on_cpu() {
        assert_eq!(parse_schedstat("52828 1293 1\n"), Some(52_828));
        assert_eq!(parse_schedstat(""), None);
    }

    #[test]
    fn stat_survives_a_name_with_parentheses() {
        let text =
            "4021 (a) b (c)) S 17 4021 4021 0 -1 4194560 1170 0 0 0 25 13 0 0 20 0 1 0 9 0\n";
        assert_eq!(stat_field(text, PARENT), Some(17));
        assert_eq!(stat_field(text, USER_TIME), Some(25));
        assert_eq!(stat_field(text, SYSTEM_TIME), Some(13));
    }

    #[test]
    fn status_has_memory_in_kib() {
        let text = "Name:\tbaton\nVmPeak:\t  9000 kB\nVmHWM:\t    5120 kB\nVmRSS:\t    4096 kB\n";
        assert_eq!(parse_status(text, "VmHWM:"), Some(5_120));
        assert_eq!(parse_status(text, "VmRSS:"), Some(4_096));
        assert_eq!(parse_status(text, "VmSwap:"), None);
    }

    #[test]
    fn this_process_has_cpu_time_and_memory() {
        let id = std::process::id();
        assert_eq!(tree(id).first(), Some(&id));
        assert!(threads_of(id).contains(&id));
        assert!(cpu_time_ns(id).is_ok_and(|time| time > 0));
        assert!(memory_kib(id) > 0 && peak_memory_kib(id) >= memory_kib(id) / 2);
    }
}
