//! Pairs of protocols, towards clients and towards the origin, for the two parts that run Baton
//! alone: `crates` and `train`. The scenarios with other proxies have their own, which all of those
//! proxies can do.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Outcome;
use crate::certificates::{Certificates, NAME};
use crate::children::{self, Running};
use crate::load;
use crate::ports;
use crate::scenario::{BackendProtocol, Transfer};
use crate::stage::Origin;

/// Time until Baton listens. Valgrind makes its start fifty times slower.
const START: Duration = Duration::from_secs(60);

/// The protocol of one side of Baton.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    /// HTTP/2 in cleartext, by prior knowledge.
    Http2,
    TlsHttp2,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Pairing {
    pub(crate) name: &'static str,
    pub(crate) client: Protocol,
    pub(crate) backend: Protocol,
}

use Protocol::{Http1, Http2, TlsHttp2};

pub(crate) const ALL: [Pairing; 6] = [
    Pairing { name: "h1-h1", client: Http1, backend: Http1 },
    Pairing { name: "h2-h1", client: Http2, backend: Http1 },
    Pairing { name: "h1-h2c", client: Http1, backend: Http2 },
    Pairing { name: "h2-h2c", client: Http2, backend: Http2 },
    Pairing { name: "h1-tls", client: Http1, backend: TlsHttp2 },
    Pairing { name: "tls-tls", client: TlsHttp2, backend: TlsHttp2 },
];

/// Selects the pairings with one of these names, or all without names.
pub(crate) fn select(names: &[String]) -> Result<Vec<Pairing>, String> {
    let find = |name: &String| ALL.into_iter().find(|pairing| pairing.name == *name);
    match names {
        [] => Ok(ALL.to_vec()),
        names => names
            .iter()
            .map(|name| {
                let known = ALL.map(|pairing| pairing.name).join(", ");
                find(name).ok_or_else(|| format!("'{name}' is none of {known}"))
            })
            .collect(),
    }
}

/// How much load to send.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Amount {
    Requests(u32),
    Seconds(u32),
}

/// An origin, certificates and h2load: all that Baton needs apart from its binary.
pub(crate) struct Surroundings {
    directory: PathBuf,
    origin: Origin,
    certificates: Certificates,
    h2load: PathBuf,
    upload: PathBuf,
}

impl Surroundings {
    pub(crate) fn prepare(directory: &Path, h2load: PathBuf) -> Outcome<Self> {
        let certificates = Certificates::write(directory)?;
        let upload = directory.join("upload");
        fs::write(&upload, [b'a'; 64 * 1024])?;
        let origin = Origin::start(directory, None)?;
        Ok(Self { directory: directory.to_owned(), origin, certificates, h2load, upload })
    }

    /// Starts Baton with one worker. `program` is its binary, or something that runs it.
    pub(crate) fn start(
        &self,
        mut program: Command,
        pairing: Pairing,
        access_log: &str,
    ) -> Outcome<(Running, SocketAddr)> {
        let listen = ports::free()?;
        let (scheme, origin) = match pairing.backend {
            Http1 => ("http", self.origin.address(BackendProtocol::Cleartext)),
            Http2 => ("h2c", self.origin.address(BackendProtocol::Cleartext)),
            TlsHttp2 => ("https", self.origin.address(BackendProtocol::Tls)),
        };
        let files = &self.certificates;
        program.args(["run", "--log-level", "warn", "--workers", "1"]);
        program.args(["--access-log", access_log, "--access-log-file", "/dev/null"]);
        program.args(["--listen", &listen.to_string()]);
        program.args(["--backend", &format!("{scheme}://{origin}")]);
        if pairing.backend == TlsHttp2 {
            program.arg("--ca").arg(&files.authority).args(["--tls-name", NAME]);
        }
        if pairing.client == TlsHttp2 {
            program.arg("--tls-cert").arg(&files.certificate).arg("--tls-key").arg(&files.key);
        }
        let log = self.directory.join(format!("baton-{}.log", listen.port()));
        let mut running = Running::server(&mut program, log)?;
        ports::wait_for(listen, START, || running.is_alive())
            .map_err(|error| format!("baton: {error}\n{}", running.goaway_frame()))?;
        Ok((running, listen))
    }

    /// Sends load: 64 requests at a time, over 64 connections with HTTP/1.1 and 8 with HTTP/2.
    /// Returns the number of good responses, and fails if there was another one.
    pub(crate) fn send(
        &self,
        pairing: Pairing,
        transfer: Transfer,
        to: SocketAddr,
        amount: Amount,
    ) -> Outcome<u64> {
        let mut command = Command::new(&self.h2load);
        match amount {
            Amount::Requests(count) => command.args(["--requests", &count.to_string()]),
            Amount::Seconds(seconds) => command.args(["--duration", &seconds.to_string()]),
        };
        match pairing.client {
            Http1 => command.args(["--h1", "--clients", "64"]),
            Http2 | TlsHttp2 => command.args(["--clients", "8", "--max-concurrent-streams", "8"]),
        };
        if transfer == Transfer::Upload {
            command.arg("--data").arg(&self.upload);
        }
        let scheme = if pairing.client == TlsHttp2 { "https" } else { "http" };
        command.arg(format!("{scheme}://{to}{}", transfer.path()));
        let text = children::output(&mut command)?;
        let (good, others) = load::responses(&text).unwrap_or_default();
        let is_complete = match amount {
            Amount::Requests(count) => good == u64::from(count),
            Amount::Seconds(_) => good > 0,
        };
        if !is_complete || others > 0 {
            return Err(format!("not only good responses, says h2load:\n{text}").into());
        }
        Ok(good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_select() {
        let names = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            select(&words).map(|found| found.iter().map(|one| one.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).map(|names| names.len()), Ok(ALL.len()));
        assert_eq!(names(&["h2-h2c", "h1-h1"]), Ok(vec!["h2-h2c", "h1-h1"]));
        assert!(names(&["h2"]).is_err_and(|error| error.contains("tls-tls")));
    }
}
