//! The state that the connections of one listener on one worker share.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use super::admission::Admission;
use super::buffered::worker::WorkerBuffered;
use crate::proxy::client_limits::{ClientLimits, ClientStats};
use crate::proxy::clusters::Clusters;
use crate::proxy::drain::Drain;
use crate::proxy::seams::Clock;

/// Counts open connections, and notifies when the last one closes.
#[derive(Default)]
pub struct OpenConnections {
    count: Cell<usize>,
    none: Notify,
}

impl OpenConnections {
    /// Waits until no connection is open and no listener has connections left to accept.
    pub async fn none(&self) {
        while self.count.get() > 0 {
            self.none.notified().await;
        }
    }

    pub(super) fn enter(self: &Rc<Self>) -> Entered {
        self.count.set(self.count.get() + 1);
        Entered(Rc::clone(self))
    }
}

pub(super) struct Entered(Rc<OpenConnections>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        if self.0.count.get() == 0 {
            self.0.none.notify_one();
        }
    }
}

/// State shared by the connections of one listener on one worker.
#[derive(Clone)]
pub struct Downstream {
    /// The worker's pools.
    pub clusters: Rc<Clusters>,
    /// The address of the listener.
    pub address: SocketAddr,
    /// TLS towards clients; `None` for cleartext.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// True if clients may use HTTP/2.
    pub http2: bool,
    /// Becomes true once, when the listener is to stop.
    pub draining: Drain,
    /// The open connections of this worker.
    pub open: Rc<OpenConnections>,
    /// The limits of each client.
    pub limits: ClientLimits,
    /// The open connections of the process.
    pub admission: Arc<Admission>,
    /// The bytes of responses that wait for the clients of this worker.
    pub buffered: Rc<WorkerBuffered>,
}

impl Downstream {
    /// The counters of exceeded client limits on this worker.
    pub(super) fn stats(&self) -> &ClientStats {
        self.clusters.telemetry().client_stats()
    }

    /// The worker's clock.
    pub(super) fn clock(&self) -> Clock {
        self.clusters.telemetry().clock()
    }
}
