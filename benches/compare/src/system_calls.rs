//! System calls per request, counted by `strace -c` in a separate short burst: tracing slows a
//! process down many times, so nothing else is measured then.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Outcome;
use crate::children::{self, Running};
use crate::process;

/// Maximum time until strace is attached to all threads.
const ATTACH: Duration = Duration::from_secs(10);

/// An attached tracer.
pub(crate) struct Tracer {
    running: Running,
    table: PathBuf,
}

impl Tracer {
    /// Attaches to a process and its descendants. Fails where strace is missing or not permitted.
    pub(crate) fn attach(root: u32, directory: &Path) -> Outcome<Self> {
        let program = children::find("strace").ok_or("apt install strace")?;
        let table = directory.join("strace");
        let processes = process::tree(root);
        let mut command = Command::new(program);
        command.args(["-c", "-f", "-o"]).arg(&table).stdout(Stdio::null()).stderr(Stdio::piped());
        for process in &processes {
            command.args(["-p", &process.to_string()]);
        }
        let mut running = Running::start(&mut command)?;
        let (sender, lines) = mpsc::channel();
        if let Some(stderr) = running.child().stderr.take() {
            // The thread ends with strace.
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        let deadline = Instant::now() + ATTACH;
        let mut attached = 0;
        while attached < processes.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            let line =
                lines.recv_timeout(left).map_err(|_| "strace is not permitted to attach itself")?;
            attached += usize::from(line.contains(" attached"));
        }
        Ok(Self { running, table })
    }

    /// Detaches and returns the number of calls.
    pub(crate) fn finish(mut self) -> Outcome<u64> {
        if let Some(id) = Pid::from_raw(self.running.id() as i32) {
            kill_process(id, Signal::INT)?;
        }
        self.running.child().wait()?;
        let text = fs::read_to_string(&self.table)?;
        total(&text).ok_or_else(|| format!("unexpected output of strace:\n{text}").into())
    }
}

/// The number of calls in the last line of the table.
fn total(table: &str) -> Option<u64> {
    let line = table.lines().rev().find(|line| line.trim_end().ends_with(" total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_of_a_table() {
        let table = "% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 79.11    0.167547           7     23190           writev
 14.20    0.030064           1     23197           recvfrom
  0.01    0.000018           3         6         1 accept4
------ ----------- ----------- --------- --------- ----------------
100.00    0.211791           3     53198         1 total
";
        assert_eq!(total(table), Some(53_198));
        assert_eq!(total(&table.replace("        1 total", "          total")), Some(53_198));
        assert_eq!(total(""), None);
    }
}
