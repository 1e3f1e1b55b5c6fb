//! Load: `wrk` for GETs over HTTP/1.1, since it costs the core that it shares with the origin least,
//! and `h2load` for HTTP/2 and for uploads. A burst of wrk lasts a time, one of h2load a number of
//! requests; what counts is what was completed.

mod h2load;
mod wrk;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::children;
use crate::scenario::{Client, Relay, Transfer};

/// What a burst brought, as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Burst {
    pub(crate) completed: u64,
    /// Answers other than 2xx, and requests without one.
    pub(crate) failed: u64,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// The programs, and where they run and write.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    wrk: PathBuf,
    h2load: PathBuf,
    core: Option<usize>,
    log: PathBuf,
    upload: PathBuf,
}

impl Load {
    /// An error says what is to be installed.
    pub(crate) fn find(directory: &Path, core: Option<usize>) -> Outcome<Self> {
        let need = |program: &str, package: &str| {
            let missing = || format!("{program} is not installed: apt install {package}");
            children::find(program).ok_or_else(missing)
        };
        need("taskset", "util-linux")?;
        let upload = directory.join("upload");
        fs::write(&upload, [b'a'; 64 * 1024])?;
        Ok(Self {
            wrk: need("wrk", "wrk")?,
            h2load: need("h2load", "nghttp2-client")?,
            core,
            log: directory.join("h2load.log"),
            upload,
        })
    }

    /// The same load from any core.
    pub(crate) fn unpinned(&self) -> Self {
        Self { core: None, ..self.clone() }
    }

    /// A burst of about so many seconds.
    pub(crate) fn burst(&self, relay: &Relay, to: SocketAddr, seconds: u32) -> Outcome<Burst> {
        match (relay.client, relay.transfer) {
            (Client::Http1, Transfer::Small | Transfer::Large) => self.wrk(relay, to, seconds),
            (Client::Http1, Transfer::Upload) | (Client::Http2 { .. }, _) => {
                self.requests(relay, to, seconds * relay.transfer.requests_per_second())
            }
        }
    }

    fn wrk(&self, relay: &Relay, to: SocketAddr, seconds: u32) -> Outcome<Burst> {
        let mut command = children::pinned(&self.wrk, self.core);
        command.args(["--threads", "1", "--latency", "--timeout", "10s"]);
        command.args(["--connections", &relay.client.connections().to_string()]);
        command.args(["--duration", &format!("{seconds}s")]);
        command.arg(format!("http://{to}{}", relay.transfer.path()));
        let text = children::output(&mut command)?;
        wrk::parse(&text).ok_or_else(|| format!("wrk said what is not understood:\n{text}").into())
    }

    /// Exactly so many requests.
    pub(crate) fn requests(&self, relay: &Relay, to: SocketAddr, count: u32) -> Outcome<Burst> {
        let mut command = children::pinned(&self.h2load, self.core);
        command.args(["--requests", &count.to_string()]);
        command.args(["--clients", &relay.client.connections().to_string()]);
        let scheme = match relay.client {
            Client::Http1 => {
                command.arg("--h1");
                "http"
            }
            Client::Http2 { streams, .. } => {
                command.args(["--max-concurrent-streams", &streams.to_string()]);
                "https"
            }
        };
        if relay.transfer == Transfer::Upload {
            command.arg("--data").arg(&self.upload);
        }
        // It appends to what is there.
        let _ = fs::remove_file(&self.log);
        command.arg("--log-file").arg(&self.log);
        command.arg(format!("{scheme}://{to}{}", relay.transfer.path()));
        let text = children::output(&mut command)?;
        let log = fs::read_to_string(&self.log)?;
        h2load::parse(&text, &log)
            .ok_or_else(|| format!("h2load said what is not understood:\n{text}").into())
    }
}
