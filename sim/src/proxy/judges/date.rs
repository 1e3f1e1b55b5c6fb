//! The date of answers (RFC 9110, 6.6.1). The backends of a run send none, so it is the proxy's.

use super::case::Request;
use crate::checker::{Invariant, Verdict, require};
use crate::proxy::ledger::Received;

const SECOND: u64 = 1_000_000_000;
/// Each run starts at the begin of this day, and is over before its end.
const DAY: &str = "Thu, 01 Jan 2026 ";

/// An answer was made, by its date, between the begin of the request and the answer's end.
pub(super) fn judge(request: &Request, received: &Received) -> Verdict {
    let (from, to) = (request.since() / SECOND, received.at / SECOND);
    let date = received.date.as_deref();
    let within = date.and_then(second).is_some_and(|second| (from..=to).contains(&second));
    require(within, Invariant::FaithfulResponse, || {
        let id = request.id;
        format!("request {id}: an answer of {date:?}, begun in second {from}, ended in {to}")
    })
}

/// The second of the run that a date names.
fn second(date: &str) -> Option<u64> {
    let time = date.strip_prefix(DAY)?.strip_suffix(" GMT")?;
    let mut parts = time.split(':').map(|part| part.parse::<u64>().ok());
    let [hours, minutes, seconds] = [parts.next()??, parts.next()??, parts.next()??];
    let fits = parts.next().is_none() && time.len() == 8;
    fits.then_some((hours * 60 + minutes) * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::second;

    #[test]
    fn dates_are_read() {
        assert_eq!(second("Thu, 01 Jan 2026 01:02:03 GMT"), Some(3_723));
        for wrong in ["", "Fri, 02 Jan 2026 01:02:03 GMT", "Thu, 01 Jan 2026 1:02:03 GMT"] {
            assert_eq!(second(wrong), None, "{wrong}");
        }
    }
}
