//! Load: `wrk` over HTTP/1.1, because it uses the least of the core shared with the origin and
//! accepts a status line without a reason, which h2load counts as a failure; `h2load` over HTTP/2.
//! A burst of wrk has a duration, one of h2load a number of requests; completed requests count.

mod h2load;
mod wrk;

pub(crate) use h2load::responses;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::children;
use crate::scenario::{Client, Relay, Transfer};

/// The result of a burst, as its client measured it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Burst {
    pub(crate) completed: u64,
    /// Responses other than 2xx, and requests without a response.
    pub(crate) failed: u64,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// The programs, their core and their files.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    wrk: PathBuf,
    h2load: PathBuf,
    core: Option<usize>,
    log: PathBuf,
    upload: PathBuf,
    upload_script: PathBuf,
}

/// A wrk script for the same upload.
const SCRIPT: &str = "wrk.method = 'POST'\nwrk.body = string.rep('a', 65536)\n";

impl Load {
    /// Finds the programs. The error says what to install.
    pub(crate) fn find(directory: &Path, core: Option<usize>) -> Outcome<Self> {
        let need = |program: &str, package: &str| {
            let missing = || format!("{program} is not installed: apt install {package}");
            children::find(program).ok_or_else(missing)
        };
        need("taskset", "util-linux")?;
        let upload = directory.join("upload");
        fs::write(&upload, [b'a'; 64 * 1024])?;
        let upload_script = directory.join("upload.lua");
        fs::write(&upload_script, SCRIPT)?;
        Ok(Self {
            wrk: need("wrk", "wrk")?,
            h2load: need("h2load", "nghttp2-client")?,
            core,
            log: directory.join("h2load.log"),
            upload,
            upload_script,
        })
    }

    /// The same load without pinning.
    pub(crate) fn unpinned(&self) -> Self {
        Self { core: None, ..self.clone() }
    }

    /// Runs a burst of about this many seconds.
    pub(crate) fn burst(&self, relay: &Relay, to: SocketAddr, seconds: u32) -> Outcome<Burst> {
        match relay.client {
            Client::Http1 => self.wrk(relay, to, seconds),
            Client::Http2 { streams, .. } => {
                let count = seconds * relay.transfer.requests_per_second();
                self.h2load(relay, to, streams, count)
            }
        }
    }

    fn wrk(&self, relay: &Relay, to: SocketAddr, seconds: u32) -> Outcome<Burst> {
        let mut command = children::pinned(&self.wrk, self.core);
        command.args(["--threads", "1", "--latency", "--timeout", "10s"]);
        command.args(["--connections", &relay.client.connections().to_string()]);
        command.args(["--duration", &format!("{seconds}s")]);
        if relay.transfer == Transfer::Upload {
            command.arg("--script").arg(&self.upload_script);
        }
        command.arg(format!("http://{to}{}", relay.transfer.path()));
        let text = children::output(&mut command)?;
        wrk::parse(&text).ok_or_else(|| format!("unexpected output of wrk:\n{text}").into())
    }

    fn h2load(&self, relay: &Relay, to: SocketAddr, streams: u32, count: u32) -> Outcome<Burst> {
        let mut command = children::pinned(&self.h2load, self.core);
        command.args(["--requests", &count.to_string()]);
        command.args(["--clients", &relay.client.connections().to_string()]);
        command.args(["--max-concurrent-streams", &streams.to_string()]);
        if relay.transfer == Transfer::Upload {
            command.arg("--data").arg(&self.upload);
        }
        // h2load appends to an existing file.
        let _ = fs::remove_file(&self.log);
        command.arg("--log-file").arg(&self.log);
        command.arg(format!("https://{to}{}", relay.transfer.path()));
        let text = children::output(&mut command)?;
        let log = fs::read_to_string(&self.log)?;
        h2load::parse(&text, &log)
            .ok_or_else(|| format!("unexpected output of h2load:\n{text}").into())
    }
}
