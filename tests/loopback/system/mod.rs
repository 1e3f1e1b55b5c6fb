//! The operating system: sockets, processes, files.

pub(crate) mod certificate;
mod limited;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub(crate) use limited::Limited;
pub(crate) use tokio::net::{TcpListener, TcpStream};
pub(crate) use tokio::task::spawn_local as spawn;

use crate::support::baton::{Baton, Log, arguments, collect};
use crate::support::command::Ran;
use crate::support::{eventually, within};

/// The real binary as a child process. Killed when dropped.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts it with these arguments.
    pub(crate) fn start(arguments: &[String], log: Log) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
        command.args(arguments);
        Self::spawn(command, log)
    }

    fn spawn(mut command: Command, log: Log) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("cargo built the binary");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                collect(&line, &log);
            }
        });
        Self { child }
    }

    /// Sends it SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Sends it SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.signal("-HUP");
    }

    /// Stops the process until [`Process::resume`].
    pub(crate) async fn pause(&self) {
        self.signal("-STOP");
        // Its threads stop one after the other.
        let threads = format!("/proc/{}/task", self.child.id());
        let is_stopped = |thread: std::io::Result<std::fs::DirEntry>| {
            let path = thread.expect("it can be listed").path().join("stat");
            // A thread that has ended meanwhile does nothing either.
            let Ok(stat) = std::fs::read_to_string(path) else { return true };
            let (_, rest) = stat.rsplit_once(')').expect("the name is in parentheses");
            rest.starts_with(" T")
        };
        let all_are_stopped =
            || std::fs::read_dir(&threads).expect("the process lives").all(is_stopped);
        eventually("it is stopped", all_are_stopped).await;
    }

    /// Continues the process.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let process = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &process]).status();
        assert!(status.expect("kill exists").success(), "the process exists");
    }

    /// Waits until it has ended. Returns its exit code; `None` if a signal ended it.
    pub(crate) async fn exit(&mut self) -> Option<i32> {
        let mut status = None;
        let child = &mut self.child;
        eventually("baton exits", || {
            status = child.try_wait().expect("it is our child");
            status.is_some()
        })
        .await;
        status.expect("just seen").code()
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// Peak resident memory in bytes since [`Process::forget_peak`].
    pub(crate) fn peak_resident_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    /// Resets the kernel's high-water mark to the current resident memory (proc(5), clear_refs).
    pub(crate) fn forget_peak(&self) {
        let path = format!("/proc/{}/clear_refs", self.child.id());
        std::fs::write(path, "5").expect("a process may reset the mark of its child");
    }

    fn status_bytes(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("the process lives");
        let line = status.lines().find(|line| line.starts_with(field)).expect("the field exists");
        let kilobytes = line.split_whitespace().nth(1).expect("FIELD: NUMBER kB");
        kilobytes.parse::<u64>().expect("a number") * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts Baton under a limit that a shell sets first, such as `ulimit -n 40`.
pub(crate) async fn start_limited<Url: AsRef<str>>(limit: &str, backends: &[Url]) -> Baton {
    let mut command = Command::new("sh");
    let script = format!("{limit}; exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_baton")]);
    command.args(arguments(backends, &certificate::trusting(), &[]));
    Baton::over(|log| Process::spawn(command, log)).await
}

/// Replaces the text of a file atomically.
pub(crate) fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).expect("target/tmp is writable");
    std::fs::rename(&beside, path).expect("as above");
}

/// Runs `baton` with these arguments until it exits.
pub(crate) async fn run_baton(arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
    command.args(arguments).stdin(Stdio::null());
    let running = tokio::task::spawn_blocking(move || command.output());
    let output =
        within("baton ends", running).await.expect("no panic").expect("cargo built the binary");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}
