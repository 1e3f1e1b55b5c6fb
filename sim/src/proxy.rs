//! The world of the proxy: the whole shell of `baton` on a simulated network, in simulated time, in
//! one thread.
//!
//! | module | contents |
//! |---|---|
//! | `run` | one run: from a plan to a verdict |
//! | `settings`, `host`, `operator` | the proxy's configuration, its machine, its operator |
//! | `situation` | what the operator wants of the process, at each time |
//! | `races` | the proxy's dials of names |
//! | `short` | sockets of the proxy that read and write less than they could |
//! | `orders` | the plan's names of what pools order |
//! | `pools` | the proxy's pools, each judged at every fact |
//! | `bounds` | the bounds of the proxy's memory |
//! | `cast`, `peers` | the clients and backends of a plan |
//! | `network` | the network of bytes: connections, listeners, and what happens to them |
//! | `agenda`, `exact` | simulated time, to the nanosecond |
//! | `scrapes` | the metrics at moments of a run |
//! | `hub` | the run as peers see it: moments, directives, what happened |
//! | `frame_bytes`, `frame_log` | the frames in bytes; what they say of streams and connections |
//! | `frame_count` | counts of RST_STREAM and GOAWAY on the wire |
//! | `reported` | what pools learn and order about connections to backends |
//! | `capture` | what was on the wire, as a file for Wireshark |
//! | `content`, `ledger` | the bodies of messages; what peers know of each request |
//! | `records`, `judges` | what is left once a run is over, and its judgement |
//! | `traffic` | what is on the wire, message by message |
//! | `watch` | what it shows, for the catalogue of what runs meet and for the story |
//! | [`stage`] | tests by hand: the proxy between peers that the test writes |
//! | `ask` | single requests: to the admin interface, and after faults have stopped |
//! | `idle` | a client that is idle when the proxy is ordered to stop |

pub(crate) mod agenda;
mod ask;
mod bounds;
pub(crate) mod capture;
mod cast;
pub(crate) mod content;
pub(crate) mod exact;
pub(crate) mod frame_bytes;
pub(crate) mod frame_count;
pub(crate) mod frame_log;
mod host;
pub(crate) mod hub;
pub(crate) mod idle;
pub(crate) mod judges;
pub(crate) mod ledger;
pub(crate) mod network;
mod operator;
mod orders;
pub(crate) mod peers;
mod pools;
mod races;
pub(crate) mod records;
pub(crate) mod reported;
pub(crate) mod run;
mod scrapes;
pub(crate) mod settings;
mod short;
mod situation;
pub mod stage;
pub(crate) mod traffic;
mod watch;
