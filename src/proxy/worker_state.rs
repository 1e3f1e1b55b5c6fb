//! The state of one worker: its clusters and its listeners. A reload may change both.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::client_limits::ClientLimits;
use super::clusters::Clusters;
use super::config::{ListenerConfig, ProxyConfig};
use super::downstream;
use super::downstream::admission::Admission;
use super::downstream::buffered::worker::WorkerBuffered;
use super::downstream::listener::{Downstream, OpenConnections};
use super::drain::Drain;
use super::reload::sockets::Socket;
use super::seams::{self, Listener};
use super::tls::Certificates;
use crate::config::difference::Difference;

/// A listener that is open on this worker.
struct Open {
    /// The state shared by the listener's future connections.
    downstream: Rc<RefCell<Rc<Downstream>>>,
    /// Sends the drain order to the listener and its connections.
    drain: Drain,
}

/// The clusters and listeners of one worker.
pub struct WorkerState {
    clusters: Rc<Clusters>,
    listeners: RefCell<Vec<Open>>,
    connections: Rc<OpenConnections>,
    admission: Arc<Admission>,
    buffered: Rc<WorkerBuffered>,
    stopping: Cell<bool>,
}

impl WorkerState {
    /// Creates the state without listeners.
    #[must_use]
    pub fn new(
        clusters: Rc<Clusters>,
        admission: Arc<Admission>,
        buffered: Rc<WorkerBuffered>,
    ) -> Rc<Self> {
        Rc::new(Self {
            clusters,
            listeners: RefCell::default(),
            connections: Rc::default(),
            admission,
            buffered,
            stopping: Cell::new(false),
        })
    }

    /// The worker's clusters.
    pub fn clusters(&self) -> &Rc<Clusters> {
        &self.clusters
    }

    /// The most bytes of responses that may wait for the worker's clients.
    pub fn buffered_bytes(&self) -> u64 {
        self.buffered.at_most()
    }

    /// Starts to accept. `sockets` has a new socket for each listener of the configuration.
    ///
    /// # Errors
    /// An error of one line if the system refuses a socket.
    pub fn listen(
        &self,
        config: &ProxyConfig,
        certificates: &Certificates,
        sockets: Vec<Socket>,
    ) -> Result<(), String> {
        self.change_listeners(config, certificates, adopt(sockets)?);
        Ok(())
    }

    /// Applies another configuration, already checked. Open connections and requests keep the
    /// settings that they started with.
    ///
    /// # Errors
    /// The reason in one line; then the listeners have not changed.
    pub fn reconfigure(
        &self,
        config: &ProxyConfig,
        certificates: &Certificates,
        difference: &Difference,
        sockets: Vec<Socket>,
    ) -> Result<(), String> {
        if self.stopping.get() {
            return Err("the proxy is about to stop".to_owned());
        }
        // First, and in any case: the next difference starts from this configuration.
        self.clusters.reconfigure(config, certificates, difference);
        self.buffered.configure(config.buffered_bytes);
        self.change_listeners(config, certificates, adopt(sockets)?);
        Ok(())
    }

    fn change_listeners(
        &self,
        config: &ProxyConfig,
        certificates: &Certificates,
        sockets: Vec<Adopted>,
    ) {
        let mut before: Vec<_> = self.listeners.take().into_iter().map(Some).collect();
        let mut after = Vec::new();
        let settings = config.listeners.iter().zip(&certificates.listeners);
        for (socket, (settings, tls)) in sockets.into_iter().zip(settings) {
            let limits = config.client_limits;
            after.push(match socket {
                Adopted::Kept(place) => {
                    let open = before[place].take().expect("a listener is kept once");
                    let mut shared = open.downstream.borrow_mut();
                    // Open connections keep the settings that they were accepted with.
                    let downstream = Rc::make_mut(&mut *shared);
                    downstream.tls.clone_from(tls);
                    downstream.http2 = settings.http2;
                    downstream.limits = limits;
                    drop(shared);
                    open
                }
                Adopted::New(listener) => self.open(listener, settings, tls.clone(), limits),
            });
        }
        for gone in before.into_iter().flatten() {
            gone.drain.order();
        }
        self.listeners.replace(after);
    }

    fn open(
        &self,
        listener: Listener,
        settings: &ListenerConfig,
        tls: Option<Arc<rustls::ServerConfig>>,
        limits: ClientLimits,
    ) -> Open {
        let drain = Drain::default();
        let downstream = Rc::new(RefCell::new(Rc::new(Downstream {
            clusters: Rc::clone(&self.clusters),
            address: listener.local_addr().unwrap_or(settings.address),
            tls,
            http2: settings.http2,
            draining: drain.clone(),
            open: Rc::clone(&self.connections),
            limits,
            admission: Arc::clone(&self.admission),
            buffered: Rc::clone(&self.buffered),
        })));
        seams::spawn(downstream::accept(Rc::clone(&downstream), listener));
        Open { downstream, drain }
    }

    /// Accepts nothing more and finishes the requests in flight. Returns the time until the last
    /// deadline.
    pub fn shut_down(&self) -> Duration {
        self.stopping.set(true);
        for listener in &*self.listeners.borrow() {
            listener.drain.order();
        }
        self.clusters.shut_down()
    }

    /// Waits until no client is connected.
    pub async fn no_connections(&self) {
        self.connections.none().await;
    }
}

/// A listener's socket on this worker's runtime.
enum Adopted {
    Kept(usize),
    New(Listener),
}

/// Adopts all sockets, or fails without adopting any.
fn adopt(sockets: Vec<Socket>) -> Result<Vec<Adopted>, String> {
    let adopt = |socket| match socket {
        Socket::Kept(place) => Ok(Adopted::Kept(place)),
        Socket::New(socket) => {
            let listener = seams::adopt(socket);
            listener.map(Adopted::New).map_err(|error| format!("cannot listen: {error}"))
        }
    };
    sockets.into_iter().map(adopt).collect()
}
