//! Everything that judges read once a run is over.

use std::collections::BTreeMap;
use std::rc::Rc;

use baton::proxy::seams::Signal;

use super::frame_count::FrameCounts;
use super::frame_log;
use super::hub::Hub;
use super::idle::IdleClient;
use super::network::{AtProxy, ClientReset, Delivery, Key};
use super::races::Race;
use super::reported::Conversation;
use super::scrapes::Scrape;
use super::situation::Situations;

/// Things that the proxy has open at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Open {
    /// Connections to clients, as the network knows them.
    pub(crate) clients: usize,
    /// Connections and dials to backends, as the network knows them.
    pub(crate) backends: usize,
    /// The names of its tasks.
    pub(crate) tasks: Vec<&'static str>,
}

/// A time in which a backend gets no new requests, because an operator says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Withdrawn {
    pub(crate) backend: u16,
    pub(crate) why: Why,
    pub(crate) since: u64,
    pub(crate) until: u64,
}

/// Why a backend gets no new requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The proxy has agreed to drain it.
    Drained,
    /// It is not in the configuration, and the proxy is to read that.
    Removed,
}

/// The records of a run.
pub(crate) struct Records {
    /// The plan, the ledger of the peers, the directives that took effect.
    pub(crate) hub: Rc<Hub>,
    /// The lines of the log and the access log, as JSON, each with its time in nanoseconds.
    pub(crate) lines: Vec<(u64, String)>,
    /// The metrics just before the proxy was ordered to stop; `None` if it was stopped before by a
    /// directive.
    pub(crate) metrics: Option<String>,
    /// When the proxy was asked for them, in nanoseconds.
    pub(crate) metrics_asked_at: u64,
    /// The metrics at moments of the run, the last ones among them.
    pub(crate) scrapes: Vec<Scrape>,
    /// The things that were open just before and just after the proxy was asked.
    pub(crate) open: [Open; 2],
    /// The frames with an error code on the wire until then; without TLS.
    pub(crate) frames: [FrameCounts; 2],
    /// The frames on connections that speak HTTP/2; without TLS.
    pub(crate) wire: BTreeMap<Key, frame_log::Connection>,
    /// The facts that were reported to pools.
    pub(crate) reported: Conversation,
    /// How often pools have ordered a reset with NO_ERROR.
    pub(crate) resets_without_error: u64,
    /// The answer of `/pools` at the same time.
    pub(crate) pools: Option<String>,
    /// True if the proxy ended by itself after the order to stop, within its bound.
    pub(crate) ended_in_time: bool,
    /// When it ended, in nanoseconds, if it did.
    pub(crate) ended_at: Option<u64>,
    /// The signals that were sent to it, with their times.
    pub(crate) signals: Vec<(u64, Signal)>,
    /// The state that the operator wanted it to have.
    pub(crate) situations: Situations,
    /// Its dials of names.
    pub(crate) races: Vec<Race>,
    /// Tasks of the proxy that had not ended when it had.
    pub(crate) tasks_left: Vec<&'static str>,
    /// Pools that had not ended when it had.
    pub(crate) pools_left: u64,
    /// The listeners and connections that the proxy had open when it had ended.
    pub(crate) network_left: Vec<String>,
    /// When the connections of idle clients ended after the order to stop; the end of time for one
    /// that has not.
    pub(crate) idle_ended_at: Vec<(IdleClient, u64)>,
    /// Events of the connections of the proxy.
    pub(crate) at_proxy: AtProxy,
    /// The connections of clients that its system has reset.
    pub(crate) client_resets: Vec<ClientReset>,
    /// The answers of the proxy's system about the delivery of what was sent, and their times.
    pub(crate) deliveries: Vec<Delivery>,
    /// The times in which backends get no new requests.
    pub(crate) withdrawn: Vec<Withdrawn>,
    /// When faults stopped, in nanoseconds.
    pub(crate) healed_at: u64,
    /// Recovery requests after faults stopped: their ids (from
    /// [`RECOVERY`](super::ledger::RECOVERY) on) are in the ledger too. True if three in a row
    /// succeeded; `None` if none were sent because no backend could serve them.
    pub(crate) recovered: Option<bool>,
}
