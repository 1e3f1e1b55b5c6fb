//! The shared parts of all scenarios: certificates, origin, load, proxies, and a directory for
//! their files.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::Outcome;
use crate::certificates::Certificates;
use crate::children::{self, Running};
use crate::load::Load;
use crate::machine::Cores;
use crate::options::Options;
use crate::peers::{Installed, Task};
use crate::ports;
use crate::scenario::BackendProtocol;

pub(crate) struct Stage {
    pub(crate) options: Options,
    pub(crate) cores: Cores,
    pub(crate) peers: Vec<Installed>,
    pub(crate) load: Load,
    pub(crate) origin: Origin,
    pub(crate) certificates: Certificates,
    pub(crate) directory: PathBuf,
}

/// The origin and its addresses.
pub(crate) struct Origin {
    running: Running,
    tls: SocketAddr,
    cleartext: SocketAddr,
    control: SocketAddr,
}

impl Origin {
    pub(crate) fn start(directory: &Path, core: Option<usize>) -> Outcome<Self> {
        let (tls, cleartext, control) = (ports::free()?, ports::free()?, ports::free()?);
        let mut command = children::pinned(&std::env::current_exe()?, core);
        command.arg("origin").args(["--tls", &tls.to_string()]);
        command.args(["--cleartext", &cleartext.to_string()]);
        command.args(["--control", &control.to_string()]);
        command.arg("--certificates").arg(directory);
        let log = directory.join(format!("origin-{}.log", control.port()));
        let mut running = Running::server(&mut command, log)?;
        ports::wait_for(control, Duration::from_secs(10), || running.is_alive())
            .map_err(|error| format!("the origin: {error}\n{}", running.goaway_frame()))?;
        Ok(Self { running, tls, cleartext, control })
    }

    pub(crate) fn address(&self, backend: BackendProtocol) -> SocketAddr {
        match backend {
            BackendProtocol::Tls => self.tls,
            BackendProtocol::Cleartext => self.cleartext,
        }
    }

    /// Number of connections that it has accepted.
    pub(crate) fn connections(&self) -> Outcome<u64> {
        ports::connections(self.control)
    }

    pub(crate) fn id(&self) -> u32 {
        self.running.id()
    }
}

/// The settings of a proxy that differ between scenarios.
#[derive(Clone, Copy)]
pub(crate) struct Role {
    pub(crate) encrypted: bool,
    pub(crate) backend: BackendProtocol,
    pub(crate) workers: u32,
    pub(crate) clients: u32,
    pub(crate) core: Option<usize>,
}

impl Stage {
    /// Starts a proxy and returns its address.
    pub(crate) fn start(
        &self,
        installed: &Installed,
        origin: &Origin,
        role: Role,
    ) -> Outcome<(Running, SocketAddr)> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory = self.directory.join(format!("{}-{number}", installed.peer.name()));
        let task = Task {
            listen: ports::free()?,
            encrypted: role.encrypted,
            origin: origin.address(role.backend),
            backend: role.backend,
            workers: role.workers,
            clients: role.clients,
            certificates: &self.certificates,
            directory: &directory,
        };
        Ok((installed.start(&task, role.core)?, task.listen))
    }
}
