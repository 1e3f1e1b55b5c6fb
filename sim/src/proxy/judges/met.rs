//! The outcomes and reasons in the log and the metrics, for the catalogue of what runs meet.

use super::exposition::Samples;
use super::line::{AccessLine, Line, read};
use crate::coverage::{Backend, Ending, Outcome, ProxyCoverage};
use crate::proxy::records::Records;

/// Clients that reached a limit, by its name.
const LIMIT_HITS: &str = "baton_client_limit_hits_total";

/// Counts them.
pub(super) fn count(records: &Records, counts: &mut ProxyCoverage) {
    for (at, text) in &records.lines {
        match read(*at, text) {
            Ok(Line::Access(line)) => {
                counts.reason(&line.reason);
                if let Some(ending) = ending(&line) {
                    counts.ending(ending);
                }
            }
            Ok(Line::Log(line)) => counts.reason(line.text("reason")),
            // It is a violation.
            Err(_) => {}
        }
    }
    // The log has no lines for some of these.
    let metrics = records.metrics.as_deref().unwrap_or_default();
    let samples = Samples::read_only(metrics, &[LIMIT_HITS]);
    for (labels, value) in samples.iter().flat_map(|samples| samples.of(LIMIT_HITS)) {
        if value > 0.0 {
            counts.reason(labels.get("limit").unwrap_or_default());
        }
    }
}

/// The end of a request; `None` if its protocol could not be read.
fn ending(line: &AccessLine) -> Option<Ending> {
    let client_http2 = match &*line.protocol {
        "HTTP/1.0" | "HTTP/1.1" => false,
        "HTTP/2" => true,
        _ => return None,
    };
    let backend = match line.backend.split_once(':') {
        Some(("h2c", _)) => Backend::Http2,
        Some(("http", _)) => Backend::Http1,
        // What was negotiated is not in the line.
        Some(_) => return None,
        None => Backend::None,
    };
    Some(Ending { outcome: line.outcome.parse::<Outcome>().ok()?, client_http2, backend })
}
