//! A Baton with client limits chosen by the test.

use std::net::SocketAddr;

use baton::cli::Command;
use baton::proxy::client_limits::ClientLimits;
use serde_json::Value;

use super::{Process, Proxy, certificate, parse};
use crate::support::Baton;
use crate::support::baton::{arguments, collect};

/// A Baton whose client limits are those of the test.
pub(crate) struct Limited {
    /// The address of its listener.
    pub(crate) address: SocketAddr,
    baton: Baton,
}

impl Limited {
    /// Starts one worker before these backends with further flags.
    pub(crate) async fn start<Url: AsRef<str>>(
        backends: &[Url],
        flags: &[&str],
        change: impl FnOnce(&mut ClientLimits),
    ) -> Self {
        let flags = [&["--admin", "127.0.0.1:0"], flags].concat();
        let arguments = arguments(backends, &certificate::trusting(), &flags);
        let Command::Run(arguments) = parse(&arguments) else {
            unreachable!("the arguments are those of run")
        };
        let Ok(mut config) = arguments.load() else { panic!("the flags are valid") };
        let source = arguments.source();
        change(&mut config.client_limits);
        let start = |log| {
            let proxy = Proxy::start(config, source, move |line| collect(line, &log));
            Process { proxy }
        };
        let baton = Baton::over(start).await;
        Self { address: baton.address, baton }
    }

    /// Waits for a log line about this client with this reason, and for the metric of that limit.
    pub(crate) async fn refusal(&self, client: SocketAddr, reason: &str) -> Value {
        let wanted = |line: &Value| is_about(line, client) && line["reason"] == reason;
        let line = self.baton.wait_for_log(reason, wanted).await;
        self.hits(reason).await;
        line
    }

    /// Waits until this limit was hit, by its metric.
    pub(crate) async fn hits(&self, limit: &str) {
        self.baton.wait_for_hits(limit, 1).await;
    }

    /// All log lines about this client so far, apart from those of the access log.
    pub(crate) fn about(&self, client: SocketAddr) -> Vec<Value> {
        let lines = self.baton.all_lines().into_iter();
        let lines = lines.filter(|line| line["message"] != "request");
        lines.filter(|line| is_about(line, client)).collect()
    }
}

fn is_about(line: &Value, client: SocketAddr) -> bool {
    line["client"] == client.to_string()
}
