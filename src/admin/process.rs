//! Metrics of the process from the operating system, under the names that all exporters use. Only
//! Linux has them; a simulated process has none.

use super::exposition::Text;

#[cfg(any(not(target_os = "linux"), feature = "simulation"))]
pub(super) fn encode(_text: &mut Text) {}

/// Adds the families, without those that the system does not provide.
#[cfg(all(target_os = "linux", not(feature = "simulation")))]
pub(super) fn encode(text: &mut Text) {
    // It fails only if /proc is not mounted or is hidden.
    if let Ok(process) = procfs::process::Process::myself() {
        usage(text, &process);
        files(text, &process);
    }
}

#[cfg(all(target_os = "linux", not(feature = "simulation")))]
fn usage(text: &mut Text, process: &procfs::process::Process) {
    let Ok(stat) = process.stat() else { return };
    let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second() as f64;
    text.counter("process_cpu_seconds_total", "User and system CPU time spent, in seconds.")
        .sample(&[], seconds(stat.utime + stat.stime));
    text.gauge("process_resident_memory_bytes", "Resident memory size, in bytes.")
        .sample(&[], stat.rss * procfs::page_size());
    text.gauge("process_virtual_memory_bytes", "Virtual memory size, in bytes.")
        .sample(&[], stat.vsize);
    text.gauge("process_threads", "Threads of the process.").sample(&[], stat.num_threads);
    if let Ok(boot) = procfs::boot_time_secs() {
        text.gauge("process_start_time_seconds", "Start of the process, in seconds since 1970.")
            .sample(&[], boot as f64 + seconds(stat.starttime));
    }
}

#[cfg(all(target_os = "linux", not(feature = "simulation")))]
fn files(text: &mut Text, process: &procfs::process::Process) {
    use procfs::process::LimitValue;
    if let Ok(open) = process.fd_count() {
        text.gauge("process_open_fds", "Open file descriptors.").sample(&[], open);
    }
    if let Ok(limits) = process.limits()
        && let LimitValue::Value(most) = limits.max_open_files.soft_limit
    {
        text.gauge("process_max_fds", "Limit on open file descriptors.").sample(&[], most);
    }
}
