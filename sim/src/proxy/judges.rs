//! The judges of a run: properties of what peers saw and of what operators read. They are written
//! from the manual and the RFCs, not from the code of Baton.
//!
//! | module | contents |
//! |---|---|
//! | `client` | what clients and backends received of each other's messages |
//! | `date` | the date of answers |
//! | `frames` | counters of frames against the wire |
//! | `facts` | what pools learn of connections to backends against the wire |
//! | `standstill` | responses that were cut because they stood still |
//! | `own_answer` | the answers that the proxy makes itself |
//! | `end` | what is left once the proxy has ended |
//! | `open` | connections and tasks while the proxy serves |
//! | `service` | backends that are to get no new requests |
//! | `log_lines`, `attempts` | the access log against what happened |
//! | `log` | the other lines of the log |
//! | `metrics` | counters and gauges against a recount |
//! | `operation` | reloads, listeners, certificates, the order to stop |
//! | `addresses` | dials of names with several addresses |
//! | `gauges` | gauges at moments of the run against what there was |
//! | `met` | the outcomes and reasons in the log, for the catalogue |
//! | `workers` | the results of health checks at all workers |
//! | `closes` | how clients' connections are closed |
//! | `reasons` | the acts that may be the reason for what happened to a request |
//! | `case` | the records of a run, by request |
//! | `accounts` | what became of each request, for a comparison with the world of the pool |
//! | `line`, `fields`, `exposition` | readers of the log and of the metrics |

use super::records::Records;
use crate::checker::Verdict;
use crate::coverage::ProxyCoverage;
pub(crate) use accounts::accounts;
use case::Case;

mod accounts;
mod addresses;
mod attempts;
mod case;
mod client;
mod closes;
mod date;
mod end;
mod exposition;
mod facts;
mod fields;
mod frames;
mod gauges;
mod line;
mod log;
mod log_lines;
mod met;
mod metrics;
mod open;
mod operation;
mod own_answer;
mod reasons;
mod service;
mod standstill;
#[cfg(test)]
mod tests;
mod workers;

/// Judges a run.
///
/// # Errors
/// The first invariant that does not hold, in a fixed order.
pub(crate) fn judge(records: &Records) -> Verdict {
    let case = Case::read(records)?;
    client::judge(&case)?;
    end::judge(&case)?;
    open::judge(&case)?;
    service::judge(&case)?;
    workers::judge(&case)?;
    closes::judge(&case)?;
    log_lines::judge(&case)?;
    log::judge(&case)?;
    gauges::judge(&case)?;
    metrics::judge(&case)?;
    frames::judge(&case)?;
    facts::judge(&case)?;
    standstill::judge(&case)?;
    operation::judge(&case)?;
    addresses::judge(&case)
}

/// Counts what the log shows.
pub(crate) fn count(records: &Records, counts: &mut ProxyCoverage) {
    met::count(records, counts);
}
