//! A running Baton, with its log.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use super::BOUND;
use super::certificate::trusting;
use super::client::ask;
use super::exposition::{Exposition, metrics_until, wait_for_hits};
use crate::system::Process;

/// Where the process puts the lines of its log.
pub(crate) type Log = Arc<watch::Sender<Vec<Value>>>;

/// A running Baton. Killed when dropped.
pub(crate) struct Baton {
    /// The process.
    pub(crate) process: Process,
    /// The address of the first listener.
    pub(crate) address: SocketAddr,
    log: Log,
}

impl Baton {
    /// Starts one worker before these backends with further flags, on a port chosen by the system.
    /// Backends' certificates are verified. Fails the test unless Baton listens in time.
    pub(crate) async fn start<Url: AsRef<str>>(backends: &[Url], flags: &[&str]) -> Self {
        Self::start_trusting(backends, &trusting(), flags).await
    }

    /// The same with other flags about the certificates of backends.
    pub(crate) async fn start_trusting<Url: AsRef<str>>(
        backends: &[Url],
        trusting: &[&str],
        flags: &[&str],
    ) -> Self {
        let arguments = arguments(backends, trusting, flags);
        Self::over(|log| Process::start(&arguments, log)).await
    }

    /// Starts Baton with a configuration file and further flags. Fails the test unless it listens
    /// in time. [`Baton::address`] is that of the first listener.
    pub(crate) async fn start_with_file(file: &Path, flags: &[&str]) -> Self {
        let mut arguments = vec!["run".to_owned(), "--config".to_owned()];
        arguments.push(file.to_str().expect("UTF-8").to_owned());
        arguments.extend(flags.iter().map(ToString::to_string));
        Self::over(|log| Process::start(&arguments, log)).await
    }

    /// A Baton in this process, once it listens.
    pub(crate) async fn over(start: impl FnOnce(Log) -> Process) -> Self {
        let log = Arc::new(watch::Sender::new(Vec::new()));
        let process = start(Arc::clone(&log));
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut baton = Self { process, address: unknown, log };
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

    /// All log lines so far.
    pub(crate) fn all_lines(&self) -> Vec<Value> {
        self.log.borrow().clone()
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
        self.process.terminate();
    }

    /// Sends it SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.process.hang_up();
    }

    /// Waits until the process has ended. Returns its exit code; `None` if a signal ended it.
    pub(crate) async fn exit(&mut self) -> Option<i32> {
        self.process.exit().await
    }
}

impl Drop for Baton {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of Baton's log:\n{}", self.text());
        }
    }
}

/// Adds a line to a log.
pub(crate) fn collect(line: &str, log: &Log) {
    // Lines that are not JSON (a panic's text) are kept, so that a failed test shows them.
    let value = serde_json::from_str(line).unwrap_or_else(|_| Value::String(line.to_owned()));
    log.send_modify(|lines| lines.push(value));
}

/// The arguments that start one worker before these backends.
pub(crate) fn arguments<Url: AsRef<str>>(
    backends: &[Url],
    trusting: &[&str],
    flags: &[&str],
) -> Vec<String> {
    let mut arguments = vec!["run", "--listen", "127.0.0.1:0", "--log-level", "info"];
    if !flags.contains(&"--workers") {
        arguments.extend(["--workers", "1"]);
    }
    if !flags.contains(&"--insecure") {
        arguments.extend(trusting);
    }
    for backend in backends {
        arguments.extend(["--backend", backend.as_ref()]);
    }
    arguments.extend(flags);
    arguments.into_iter().map(str::to_owned).collect()
}

/// The message of a log line.
pub(crate) fn message(line: &Value) -> &str {
    line["message"].as_str().unwrap_or_default()
}
