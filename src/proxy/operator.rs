//! What an operator asks about a backend while the proxy runs, and what a worker answers: which
//! connections and requests still hold it, and what the deadline of its drain cut.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::backends::Backend;
use super::clusters::Clusters;
use super::driver::Driver;
use crate::pool::{BackendState, BackendToken, Instant, SlotState, StateCause};

/// Cut requests that are kept and logged one by one, of each drain of each worker; further ones are
/// only counted. Each has a line of its own in the access log besides.
pub const CUT_MAX: usize = 100;

/// Which backend is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The name of its cluster; needed only if several clusters have such a backend.
    pub cluster: Option<String>,
    /// Its URL, or host and port.
    pub backend: String,
}

/// What is to be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Nothing: how is it?
    Show,
    /// No new streams; old ones finish.
    Drain {
        /// What is left after that is cut; `timeouts.drain` of the cluster if `None`. A backend that
        /// drains already is cut earlier if this ends earlier, and not later.
        within: Option<Duration>,
    },
    /// Back into service.
    Undrain,
    /// Another share, 1 to 1000.
    Weight(u16),
}

/// What a worker says to an order.
#[derive(Clone, Debug)]
pub enum Found {
    /// The order was carried out.
    One(BackendReport),
    /// There is no such backend; these are there.
    None(Vec<Named>),
    /// All of these are meant; nothing was done.
    Several(Vec<Named>),
}

/// A backend by its names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Named {
    /// Its cluster.
    pub cluster: String,
    /// Its URL.
    pub backend: String,
}

/// One backend of one worker, at one moment.
#[derive(Clone, Debug)]
pub struct BackendReport {
    /// What it is called.
    pub named: Named,
    /// Its state.
    pub state: BackendState,
    /// For how long it has been in it, in milliseconds.
    pub state_ms: u64,
    /// Why.
    pub cause: StateCause,
    /// Its weight.
    pub weight: u16,
    /// Whether the cluster's strategy looks at weights.
    pub weights_count: bool,
    /// How many other backends of the cluster requests may go to.
    pub others: usize,
    /// Whether the order changed anything.
    pub changed: bool,
    /// How long until what is left is cut, in milliseconds, if an operator drains it.
    pub deadline_ms: Option<u64>,
    /// Its connections and dials.
    pub connections: Vec<HeldConnection>,
    /// What the deadline of the present drain cut, at most [`CUT_MAX`] of it.
    pub cut: Vec<CutStream>,
    /// How much that was altogether.
    pub cut_total: u64,
}

/// A connection to a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldConnection {
    /// Its name, as in the log.
    pub connection: String,
    /// Its state, as in `/pools`.
    pub state: String,
    /// The requests that it carries.
    pub streams: Vec<HeldStream>,
    /// Streams that were reset and are not gone yet.
    pub resetting: u32,
}

/// A request on a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldStream {
    /// RFC 9113, 5.1.1; a running number over HTTP/1.1; 0 if it is not sent yet.
    pub stream: u32,
    /// Since the stream was opened, in milliseconds.
    pub age_ms: u64,
    /// The request's method.
    pub method: String,
    /// The request's path and query, shortened if it is long.
    pub path: String,
    /// Whether the response head went to the client.
    pub response_begun: bool,
}

/// A request that a deadline took from its stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutStream {
    /// The name of the connection, as in the log.
    pub connection: String,
    /// How it stood then.
    #[serde(flatten)]
    pub stream: HeldStream,
    /// Whether it goes on elsewhere, unseen by its client.
    pub retried: bool,
}

/// The drain of one backend.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    /// When what is left is cut.
    pub deadline: Instant,
    /// What was cut.
    pub cut: Vec<CutStream>,
    /// How much.
    pub cut_total: u64,
}

impl Drain {
    /// Notes something that was cut.
    pub fn note(&mut self, cut: CutStream) {
        self.cut_total += 1;
        if self.cut.len() < CUT_MAX {
            self.cut.push(cut);
        }
    }
}

/// The drains that an operator began and has not ended.
pub type Drains = BTreeMap<BackendToken, Drain>;

/// Finds the one backend that is meant and carries the order out; does nothing if it is not clear
/// which.
pub fn carry_out(clusters: &Clusters, query: &Query, order: Order) -> Found {
    let drivers = clusters.drivers();
    let asked = |driver: &&Rc<Driver>| {
        query.cluster.as_deref().is_none_or(|cluster| cluster == &**driver.cluster())
    };
    let meant = |configured: bool| -> Vec<_> {
        let drivers = drivers.iter().filter(asked);
        drivers.flat_map(|driver| found(driver, &query.backend, configured)).collect()
    };
    let mut found = meant(true);
    if found.is_empty() && order == Order::Show {
        // One that was removed can still be looked at until it is gone.
        found = meant(false);
    }
    let names = |found: &[(Rc<Driver>, Rc<Backend>)]| {
        let mut names: Vec<_> =
            found.iter().map(|(driver, backend)| named(driver, backend)).collect();
        names.sort();
        names.dedup();
        names
    };
    let Some((driver, first)) = found.first() else {
        let all = drivers.iter().flat_map(|driver| {
            driver.configured().into_iter().map(|backend| (Rc::clone(driver), backend))
        });
        return Found::None(names(&all.collect::<Vec<_>>()));
    };
    let names = names(&found);
    if names.len() > 1 {
        return Found::Several(names);
    }
    // The same URL may be there twice, under different names in TLS: it is one machine.
    let mut changed = false;
    for (_, backend) in &found {
        changed |= driver.carry_out_order(backend.token, order);
    }
    let backends: Vec<_> = found.iter().map(|(_, backend)| Rc::clone(backend)).collect();
    Found::One(driver.report(named(driver, first), &backends, changed))
}

fn found(driver: &Rc<Driver>, text: &str, configured: bool) -> Vec<(Rc<Driver>, Rc<Backend>)> {
    let backends = if configured { driver.configured() } else { driver.all_backends() };
    let meant = backends.into_iter().filter(|backend| backend.url.is_called(text));
    meant.map(|backend| (Rc::clone(driver), backend)).collect()
}

fn named(driver: &Driver, backend: &Backend) -> Named {
    Named { cluster: driver.cluster().to_string(), backend: backend.name.to_string() }
}

/// The state of a connection, as the answers of the admin interface have it.
#[must_use]
pub fn slot_state(state: SlotState) -> &'static str {
    match state {
        SlotState::Empty => "empty",
        SlotState::Connecting => "connecting",
        SlotState::Available => "available",
        SlotState::InUse => "in_use",
        SlotState::Suspect => "suspect",
        SlotState::Draining => "draining",
    }
}
