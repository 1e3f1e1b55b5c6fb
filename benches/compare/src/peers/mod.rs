//! The proxies: one module each, which writes the configuration and the command line.
//!
//! All get the same task: as many workers as `workers` says, persistent connections on both sides,
//! no access log unless the name says so, the origin's certificate verified with the run's
//! authority, and limits and timeouts that a measurement does not reach.

mod baton;
mod caddy;
mod envoy;
mod floor;
mod haproxy;
mod nghttpx;
mod nginx;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;

use crate::Outcome;
use crate::certificates::Certificates;
use crate::children::{self, Running};
use crate::ports;
use crate::scenario::BackendProtocol;

/// Maximum time until a proxy listens.
const START: Duration = Duration::from_secs(20);

/// A proxy, in the order of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Peer {
    Baton,
    BatonProfileGuided,
    BatonAccessLog,
    Floor,
    Haproxy,
    Nghttpx,
    Nginx,
    Caddy,
    Envoy,
}

/// The task of a proxy.
pub(crate) struct Task<'a> {
    pub(crate) listen: SocketAddr,
    /// TLS with HTTP/2 from clients; cleartext HTTP/1.1 otherwise.
    pub(crate) encrypted: bool,
    pub(crate) origin: SocketAddr,
    pub(crate) backend: BackendProtocol,
    pub(crate) workers: u32,
    /// Concurrent clients.
    pub(crate) clients: u32,
    pub(crate) certificates: &'a Certificates,
    /// An empty directory for this proxy.
    pub(crate) directory: &'a Path,
}

impl Task<'_> {
    fn write(&self, name: &str, text: &str) -> Outcome<PathBuf> {
        let path = self.directory.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }
}

impl Peer {
    /// The name in tables and for `--peer`.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value().expect("no variant is skipped");
        value.get_name().to_owned()
    }

    /// Returns true for alternatives to Baton that do the same task. nginx has no HTTP/2 to the
    /// origin, which is a cheaper task.
    pub(crate) fn is_rival(self) -> bool {
        !self.is_baton() && !matches!(self, Self::Floor | Self::Nginx)
    }

    /// Returns true for all builds and configurations of Baton.
    fn is_baton(self) -> bool {
        matches!(self, Self::Baton | Self::BatonProfileGuided | Self::BatonAccessLog)
    }

    /// Returns true if the scaling scenario includes it. Go's scheduler moves work between threads,
    /// so a limit per thread is no limit per worker; the floor and the variants of Baton add
    /// nothing about workers.
    pub(crate) fn has_workers(self) -> bool {
        self == Self::Baton || !self.is_baton() && !matches!(self, Self::Floor | Self::Caddy)
    }

    /// The footnote of its rows.
    pub(crate) fn footnote(self) -> Option<&'static str> {
        let note = "speaks HTTP/1.1 with keep-alive to the origin, so it does not count as a peer";
        (self == Self::Nginx).then_some(note)
    }

    /// Returns the value of a result, or adds its error to the notes.
    pub(crate) fn noting<T>(self, notes: &mut Vec<String>, result: Outcome<T>) -> Option<T> {
        result.map_err(|error| notes.push(format!("{}: {error}", self.name()))).ok()
    }

    /// The command or package that installs it.
    fn package(self) -> &'static str {
        match self {
            Self::Baton | Self::BatonAccessLog | Self::Floor => {
                "cargo build --release --package baton"
            }
            Self::BatonProfileGuided => "benches/profile-guided",
            Self::Haproxy => "apt install haproxy",
            Self::Nghttpx => "apt install nghttp2-proxy",
            Self::Nginx => "apt install nginx",
            Self::Caddy => "apt install caddy",
            Self::Envoy => {
                "a binary of Envoy in PATH, or its path in the variable ENVOY; see README"
            }
        }
    }

    fn find(self, baton: &Path) -> Option<PathBuf> {
        match self {
            Self::Baton | Self::BatonAccessLog => children::find(baton),
            Self::BatonProfileGuided => {
                let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
                children::find(Path::new(root).join("target/profile-guided/baton"))
            }
            Self::Floor => std::env::current_exe().ok(),
            Self::Envoy => match std::env::var_os("ENVOY") {
                Some(path) => children::find(path),
                None => children::find("envoy"),
            },
            Self::Haproxy | Self::Nghttpx | Self::Nginx | Self::Caddy => {
                children::find(self.name())
            }
        }
    }

    fn version(self, program: &Path) -> Outcome<String> {
        let argument = match self {
            Self::Haproxy | Self::Nginx => "-v",
            Self::Caddy => "version",
            _ => "--version",
        };
        let text = children::output(Command::new(program).arg(argument))?;
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("-").trim();
        Ok(line.rsplit_once("version: ").map_or(line, |(_, version)| version).to_owned())
    }

    fn command(self, program: &Path, task: &Task<'_>, core: Option<usize>) -> Outcome<Command> {
        let mut command = children::pinned(program, core);
        match self {
            Self::Baton | Self::BatonProfileGuided => baton::prepare(&mut command, task, false),
            Self::BatonAccessLog => baton::prepare(&mut command, task, true),
            Self::Floor => floor::prepare(&mut command, task),
            Self::Haproxy => haproxy::prepare(&mut command, task)?,
            Self::Nghttpx => nghttpx::prepare(&mut command, task),
            Self::Nginx => nginx::prepare(&mut command, task)?,
            Self::Caddy => caddy::prepare(&mut command, task)?,
            Self::Envoy => envoy::prepare(&mut command, task)?,
        }
        Ok(command)
    }
}

/// An installed proxy.
#[derive(Clone, Debug)]
pub(crate) struct Installed {
    pub(crate) peer: Peer,
    pub(crate) program: PathBuf,
    pub(crate) version: String,
}

/// Returns the wanted and installed proxies; prints the missing ones on standard error.
pub(crate) fn installed(wanted: &[Peer], baton: &Path) -> Outcome<Vec<Installed>> {
    let mut found = Vec::new();
    for peer in Peer::value_variants() {
        if !wanted.is_empty() && !wanted.contains(peer) {
            continue;
        }
        let Some(program) = peer.find(baton) else {
            eprintln!("skipped: {} is not installed ({})", peer.name(), peer.package());
            continue;
        };
        let version = peer.version(&program).unwrap_or_else(|error| format!("unknown ({error})"));
        found.push(Installed { peer: *peer, program, version });
    }
    match found.is_empty() {
        true => Err("none of the proxies is installed".into()),
        false => Ok(found),
    }
}

impl Installed {
    /// Starts the proxy and waits until it listens.
    pub(crate) fn start(&self, task: &Task<'_>, core: Option<usize>) -> Outcome<Running> {
        fs::create_dir_all(task.directory)?;
        let mut command = self.peer.command(&self.program, task, core)?;
        let mut running = Running::server(&mut command, task.directory.join("log"))?;
        let listens = ports::wait_for(task.listen, START, || running.is_alive());
        match listens {
            Ok(()) => Ok(running),
            Err(error) => {
                let words = running.goaway_frame();
                Err(format!("{} did not start: {error}\n{words}", self.peer.name()).into())
            }
        }
    }
}
