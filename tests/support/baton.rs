//! The real binary as a child process, with its log.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use super::certificate::certificate;
use super::client::ask;
use super::exposition::{Exposition, metrics_until, wait_for_hits};
use super::{BOUND, eventually};

/// A running Baton. Killed when dropped.
pub(crate) struct Baton {
    child: Child,
    /// The address of the first listener.
    pub(crate) address: SocketAddr,
    log: Arc<watch::Sender<Vec<Value>>>,
}

impl Baton {
    /// Starts one worker before these backends with further flags, on a port chosen by the system.
    /// Backends' certificates are verified. Fails the test unless Baton listens in time.
    pub(crate) async fn start<Url: AsRef<str>>(backends: &[Url], flags: &[&str]) -> Self {
        let authority = certificate().certificate_file.to_str().expect("UTF-8");
        Self::start_trusting(backends, authority, flags).await
    }

    /// The same with another authority for backends' certificates.
    pub(crate) async fn start_trusting<Url: AsRef<str>>(
        backends: &[Url],
        authority: &str,
        flags: &[&str],
    ) -> Self {
        let command = Command::new(env!("CARGO_BIN_EXE_baton"));
        Self::start_command(command, backends, authority, flags).await
    }

    /// The same under a limit that a shell sets first, such as `ulimit -n 40`.
    pub(crate) async fn start_limited<Url: AsRef<str>>(limit: &str, backends: &[Url]) -> Self {
        let authority = certificate().certificate_file.to_str().expect("UTF-8");
        let mut command = Command::new("sh");
        let script = format!("{limit}; exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_baton")]);
        Self::start_command(command, backends, authority, &[]).await
    }

    async fn start_command<Url: AsRef<str>>(
        mut command: Command,
        backends: &[Url],
        authority: &str,
        flags: &[&str],
    ) -> Self {
        command.args(["run", "--listen", "127.0.0.1:0", "--log-level", "info"]);
        if !flags.contains(&"--workers") {
            command.args(["--workers", "1"]);
        }
        if !flags.contains(&"--insecure") {
            command.args(["--ca", authority]);
        }
        for backend in backends {
            command.args(["--backend", backend.as_ref()]);
        }
        command.args(flags);
        Self::spawn(command).await
    }

    /// Starts Baton with a configuration file and further flags. Fails the test unless it listens
    /// in time. [`Baton::address`] is that of the first listener.
    pub(crate) async fn start_with_file(file: &Path, flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
        command.arg("run").arg("--config").arg(file).args(flags);
        Self::spawn(command).await
    }

    async fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("cargo built the binary");
        let stderr = child.stderr.take().expect("it is piped");
        let log = Arc::new(watch::Sender::new(Vec::new()));
        let lines = Arc::clone(&log);
        std::thread::spawn(move || collect(BufReader::new(stderr), &lines));

        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut baton = Self { child, address: unknown, log };
        let line = baton.wait_for_log("listening", |line| message(line) == "listening").await;
        let address = line["address"].as_str().expect("the listening line has an address");
        baton.address = address.parse().expect("the address is one");
        assert_ne!(baton.address.port(), 0, "the log names the port that the system chose");
        baton
    }

    /// Waits for the first log line, past or future, for which `wanted` returns true.
    pub(crate) async fn wait_for_log(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut lines = self.log.subscribe();
        let found = tokio::time::timeout(BOUND, lines.wait_for(|log| log.iter().any(&wanted)));
        match found.await {
            Ok(log) => {
                let log = log.expect("the sender lives as long as self");
                log.iter().find(|line| wanted(line)).expect("it was there").clone()
            }
            Err(_) => panic!("no such log line: {what}\n{}", self.text()),
        }
    }

    /// Waits until `count` requests were logged. Returns their lines.
    pub(crate) async fn wait_for_requests(&self, count: usize) -> Vec<Value> {
        self.wait_for_lines("request", count).await
    }

    /// Waits until there are `count` lines with this message. Returns them.
    pub(crate) async fn wait_for_lines(&self, wanted: &str, count: usize) -> Vec<Value> {
        let mut lines = self.log.subscribe();
        let enough =
            |log: &Vec<Value>| log.iter().filter(|line| message(line) == wanted).count() >= count;
        if tokio::time::timeout(BOUND, lines.wait_for(enough)).await.is_err() {
            panic!("fewer than {count} lines with the message {wanted:?}\n{}", self.text());
        }
        self.lines(wanted)
    }

    /// The log lines with this message so far.
    pub(crate) fn lines(&self, wanted: &str) -> Vec<Value> {
        self.log.borrow().iter().filter(|line| message(line) == wanted).cloned().collect()
    }

    /// The address of the admin interface. Requires the flag `--admin 127.0.0.1:0`.
    pub(crate) async fn admin(&self) -> SocketAddr {
        let wanted = |line: &Value| message(line) == "admin listening";
        let line = self.wait_for_log("admin listening", wanted).await;
        let address = line["address"].as_str().expect("the line has an address");
        address.parse().expect("the address is one")
    }

    /// The admin interface's answer to a `GET` of this path, which must be a 200.
    pub(crate) async fn ask(&self, path: &str) -> String {
        ask(self.admin().await, path).await
    }

    /// The current metrics, parsed strictly.
    pub(crate) async fn metrics(&self) -> Exposition {
        Exposition::parse(&self.ask("/metrics").await)
    }

    /// Waits until the metrics satisfy a condition. Returns them.
    pub(crate) async fn metrics_until(
        &self,
        what: &str,
        holds: impl Fn(&Exposition) -> bool,
    ) -> Exposition {
        metrics_until(self.admin().await, what, holds).await
    }

    /// Waits until this client limit was hit at least `count` times, by its metric. Requires the
    /// flag `--admin 127.0.0.1:0`.
    pub(crate) async fn wait_for_hits(&self, limit: &str, count: usize) {
        wait_for_hits(self.admin().await, limit, count).await;
    }

    /// The last log lines, for the message of a failed test.
    pub(crate) fn text(&self) -> String {
        let log = self.log.borrow();
        let from = log.len().saturating_sub(40);
        log[from..].iter().map(|line| format!("{line}\n")).collect()
    }

    /// Sends it SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Sends it SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.signal("-HUP");
    }

    /// Stops the process until [`Baton::resume`].
    pub(crate) async fn pause(&self) {
        self.signal("-STOP");
        let path = format!("/proc/{}/stat", self.child.id());
        let is_stopped = || {
            let stat = std::fs::read_to_string(&path).expect("the process lives");
            let (_, rest) = stat.rsplit_once(')').expect("the name is in parentheses");
            rest.starts_with(" T")
        };
        eventually("it is stopped", is_stopped).await;
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

    /// Waits until the process has ended.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        let mut status = None;
        let child = &mut self.child;
        eventually("baton exits", || {
            status = child.try_wait().expect("it is our child");
            status.is_some()
        })
        .await;
        status.expect("just seen")
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// Peak resident memory in bytes since [`Baton::forget_peak`].
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

impl Drop for Baton {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of Baton's log:\n{}", self.text());
        }
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(stderr: impl BufRead, log: &watch::Sender<Vec<Value>>) {
    for line in stderr.lines() {
        let Ok(line) = line else { return };
        // Lines that are not JSON (a panic's text) are kept, so that a failed test shows them.
        let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
        log.send_modify(|lines| lines.push(value));
    }
}

/// The message of a log line.
pub(crate) fn message(line: &Value) -> &str {
    line["message"].as_str().unwrap_or_default()
}

/// Runs `baton` with these arguments until it exits. Returns its exit code and stderr.
pub(crate) async fn run_to_end(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("cargo built the binary");
    let mut stderr = child.stderr.take().expect("it is piped");
    let reading = std::thread::spawn(move || std::io::read_to_string(&mut stderr));
    let mut status = None;
    eventually("baton ends", || {
        status = child.try_wait().expect("it is our child");
        status.is_some()
    })
    .await;
    let text = reading.join().expect("reading does not panic").expect("stderr is readable");
    (status.expect("just seen").code(), text)
}
