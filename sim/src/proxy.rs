//! The world of the proxy: the whole shell of `baton` on a simulated network, in simulated time, in
//! one thread.
//!
//! | module | contents |
//! |---|---|
//! | `agenda`, `exact` | what happens at which time, to the nanosecond |
//! | `network` | the network of bytes: connections, listeners, and what happens to them |
//! | `hub` | the run as peers see it: moments, directives, what happened |
//! | `content`, `ledger` | the bodies of messages; what peers know of each request |
//! | `settings` | the proxy's configuration that a plan stands for |
//! | `records` | what judges read once a run is over |
//! | `peers` | the clients and backends |
//! | `peers` | clients and backends that speak bytes |

pub(crate) mod agenda;
pub(crate) mod content;
pub(crate) mod exact;
pub(crate) mod hub;
pub(crate) mod ledger;
pub(crate) mod peers;
pub(crate) mod network;
pub(crate) mod records;
pub(crate) mod settings;
