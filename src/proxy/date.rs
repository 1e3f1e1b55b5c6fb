//! The field `Date` (RFC 9110, 6.6.1) of responses that come without one.

use std::cell::{Cell, RefCell};
use std::time::{Duration, UNIX_EPOCH};

use http::header::DATE;
use http::{HeaderMap, HeaderValue};

use super::seams::{self, Clock};
use crate::pool::Instant;

/// Adds dates. Each is formatted once a second at most.
pub struct Dates {
    clock: Clock,
    date: RefCell<HeaderValue>,
    /// The end of the second that `date` names.
    valid_until: Cell<Instant>,
}

impl Dates {
    /// Creates the dates of a worker with this clock.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let date = RefCell::new(HeaderValue::from_static(""));
        Self { clock, date, valid_until: Cell::new(Instant::ZERO) }
    }

    /// Adds the present date unless there is one.
    pub fn add(&self, fields: &mut HeaderMap) {
        if fields.contains_key(DATE) {
            return;
        }
        fields.insert(DATE, self.present());
    }

    /// The present date.
    pub fn present(&self) -> HeaderValue {
        let now = self.clock.now();
        if now >= self.valid_until.get() {
            self.format(now);
        }
        self.date.borrow().clone()
    }

    fn format(&self, now: Instant) {
        let time = seams::wall_clock();
        let date = httpdate::fmt_http_date(time);
        *self.date.borrow_mut() = HeaderValue::try_from(date).expect("plain ASCII");
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = Duration::from_secs(1) - Duration::from_nanos(since.subsec_nanos().into());
        self.valid_until.set(now.after(left));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_without_a_date_gets_the_present_one() {
        let dates = Dates::new(Clock::start());
        let mut fields = HeaderMap::new();
        dates.add(&mut fields);
        let date = fields[DATE].to_str().expect("ASCII");
        let parsed = httpdate::parse_http_date(date).expect("a date of HTTP");
        let age = seams::wall_clock().duration_since(parsed).expect("not in the future");
        assert!(age < Duration::from_secs(60), "{date}");
    }

    #[test]
    fn the_date_of_a_backend_stays() {
        let date = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
        let mut fields = HeaderMap::from_iter([(DATE, date.clone())]);
        Dates::new(Clock::start()).add(&mut fields);
        assert_eq!(fields[DATE], date);
        assert_eq!(fields.len(), 1);
    }
}
