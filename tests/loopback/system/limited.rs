//! A Baton inside the test process, with client limits chosen by the test.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use baton::cli::{Cli, Command};
use baton::proxy::client_limits::ClientLimits;
use baton::proxy::config::AccessLogFormat;
use baton::proxy::run;
use clap::Parser;
use serde_json::Value;
use tokio::sync::watch;

use super::certificate::certificate;
use crate::support::BOUND;
use crate::support::baton::message;
use crate::support::exposition::wait_for_hits;

/// A Baton that runs until the process exits.
pub(crate) struct Limited {
    /// The address of its listener.
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
}

impl Limited {
    /// Starts one worker before these backends with further flags. Each instance listens on its own
    /// loopback address, which identifies its first log line.
    pub(crate) async fn start<Url: AsRef<str>>(
        backends: &[Url],
        flags: &[&str],
        change: impl FnOnce(&mut ClientLimits),
    ) -> Self {
        static NUMBER: AtomicU8 = AtomicU8::new(2);
        let host = format!("127.0.7.{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let listen = format!("{host}:0");
        let authority = certificate().certificate_file.to_str().expect("UTF-8");
        let mut words =
            vec!["baton", "run", "--listen", &listen, "--admin", &listen, "--ca", authority];
        if !flags.contains(&"--workers") {
            words.extend(["--workers", "1"]);
        }
        for backend in backends {
            words.extend(["--backend", backend.as_ref()]);
        }
        words.extend(flags);
        let Command::Run(arguments) = Cli::try_parse_from(words).expect("valid flags").command
        else {
            unreachable!("the arguments are those of run")
        };
        let Ok(mut config) = arguments.load() else { panic!("the flags are valid") };
        // The access log is shared by all instances in this process, and no test here reads it.
        config.access_log.format = AccessLogFormat::Off;
        change(&mut config.client_limits);
        let log = log();
        std::thread::spawn(move || run::run(config));
        let prefix = format!("{host}:");
        let address = address_of(log, "listening", &prefix).await;
        Self { address, admin: address_of(log, "admin listening", &prefix).await }
    }

    /// Waits for a log line about this client with this reason, and for the metric of that limit.
    pub(crate) async fn refusal(&self, client: SocketAddr, reason: &str) -> Value {
        let wanted = |line: &Value| is_about(line, client) && line["reason"] == reason;
        let line = wait_for(log(), reason, wanted).await;
        self.hits(reason).await;
        line
    }

    /// Waits until this limit was hit, by its metric.
    pub(crate) async fn hits(&self, limit: &str) {
        wait_for_hits(self.admin, limit, 1).await;
    }
}

async fn address_of(log: &watch::Sender<Vec<Value>>, listening: &str, prefix: &str) -> SocketAddr {
    let wanted = |line: &Value| {
        let address = line["address"].as_str().unwrap_or_default();
        message(line) == listening && address.starts_with(prefix)
    };
    let line = wait_for(log, listening, wanted).await;
    let address = line["address"].as_str().expect("just looked at").parse();
    address.expect("the address is one")
}

fn is_about(line: &Value, client: SocketAddr) -> bool {
    line["client"] == client.to_string()
}

async fn wait_for(
    log: &watch::Sender<Vec<Value>>,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let mut lines = log.subscribe();
    let found = tokio::time::timeout(BOUND, lines.wait_for(|log| log.iter().any(&wanted))).await;
    match found {
        Ok(lines) => {
            let lines = lines.expect("the log lives as long as the process");
            lines.iter().find(|line| wanted(line)).expect("it was there").clone()
        }
        Err(_) => {
            let log = log.borrow();
            let from = log.len().saturating_sub(40);
            let end: String = log[from..].iter().map(|line| format!("{line}\n")).collect();
            panic!("no such log line: {what}\n{end}")
        }
    }
}

/// The log of all instances in this process.
fn log() -> &'static watch::Sender<Vec<Value>> {
    static LOG: OnceLock<watch::Sender<Vec<Value>>> = OnceLock::new();
    LOG.get_or_init(|| {
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(|| Line);
        subscriber.init();
        watch::Sender::new(Vec::new())
    })
}

/// Parses one log line per write.
struct Line;

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Ok(line) = serde_json::from_slice::<Value>(bytes)
            && line["target"] == "baton"
        {
            log().send_modify(|lines| lines.push(line));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
