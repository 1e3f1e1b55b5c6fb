//! The outcomes and reasons in the log, for the catalogue of what runs meet.

use super::line::{AccessLine, Line, read};
use crate::coverage::{Backend, Ending, Outcome, ProxyCoverage};
use crate::proxy::records::Records;

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
}

/// The end of a request; `None` if its protocol could not be read.
fn ending(line: &AccessLine) -> Option<Ending> {
    let client_http2 = match &*line.protocol {
        "HTTP/1.1" => false,
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
