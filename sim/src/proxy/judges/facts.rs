//! Facts about connections to backends, and orders for them, against the wire: pools decide by
//! these facts.

use baton::pool::StreamFailure;

use super::case::Case;
use crate::checker::{Invariant, Verdict, require};
use crate::plan::Direction::{In, Out};
use crate::proxy::frame_log::{Connection, Sign};
use crate::proxy::network::Key;
use crate::proxy::reported::Reported;

/// Judges every connection that speaks HTTP/2 without TLS.
pub(super) fn judge(case: &Case<'_>) -> Verdict {
    for ((backend, number), reported) in &case.records.reported.connections {
        deliveries(case, Key::Backend(*backend, *number), reported)?;
        let Some(wire) = case.records.wire.get(&Key::Backend(*backend, *number)) else { continue };
        let at = |wanted: fn(&Reported) -> bool| {
            reported.iter().find(|(_, reported)| wanted(reported)).map_or(u64::MAX, |(at, _)| *at)
        };
        let up = at(|reported| matches!(reported, Reported::Connected(_)));
        let closed = at(|reported| *reported == Reported::Closed);
        let ordered = at(|reported| *reported == Reported::CloseOrdered);
        let name = format!("connection {number} of backend {backend}");
        let subject = Subject { name, wire, reported, up, closed, ordered };
        subject.pings()?;
        subject.messages()?;
        subject.go_aways()?;
        subject.limits()?;
        for (at, reported) in reported {
            match *reported {
                Reported::Failed { stream, failure } => subject.failure(*at, stream, failure)?,
                Reported::ResetSent(stream) => subject.reset(*at, stream)?,
                Reported::ResetOrdered(stream) => subject.ended(*at, stream)?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// A pool learns at once what the system knows of a backend's host: by that it tells a busy backend
/// from a dead one.
fn deliveries(case: &Case<'_>, key: Key, reported: &[(u64, Reported)]) -> Verdict {
    for (at, order) in reported {
        let answer = reported.iter().find_map(|(time, answer)| match answer {
            Reported::Delivery(unanswered) if time == at => Some(*unanswered),
            _ => None,
        });
        match (*order, answer) {
            (Reported::DeliveryOrdered, None) => {
                let is_over = reported.iter().any(|(time, end)| {
                    time <= at && matches!(end, Reported::Closed | Reported::CloseOrdered)
                });
                require(is_over, Invariant::Silence, || {
                    format!("{key:?}: a delivery check at {at} ns has no answer")
                })?;
            }
            (Reported::Delivery(unanswered), _) => {
                let is_true = case.records.deliveries.contains(&(key, *at, unanswered));
                require(is_true, Invariant::Silence, || {
                    format!("{key:?}: the system has not said {unanswered:?} at {at} ns")
                })?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A connection to a backend.
struct Subject<'a> {
    name: String,
    wire: &'a Connection,
    reported: &'a [(u64, Reported)],
    /// When the pool learned that it is up, and that it is closed; the end of time if never, as
    /// below.
    up: u64,
    closed: u64,
    /// When the pool has ordered to close it.
    ordered: u64,
}

impl Subject<'_> {
    /// `timeouts.silence`: a connection on which frames arrive is alive and gets no PING.
    fn pings(&self) -> Verdict {
        for (at, reported) in self.reported {
            let Reported::Ping { silence } = reported else { continue };
            let before = self.wire.read_at.partition_point(|read| read < at);
            let Some(read) = before.checked_sub(1).map(|last| self.wire.read_at[last]) else {
                continue;
            };
            let silent = at - read;
            require(u128::from(silent) >= silence.as_nanos(), Invariant::PingBudget, || {
                let name = &self.name;
                format!("{name}: PING {silent} ns after a frame, expected silence of {silence:?}")
            })?;
        }
        Ok(())
    }

    /// The pool spaces its PINGs by what arrives of messages. Each HEADERS and DATA is reported, at
    /// the latest when it is complete, and nothing else is reported as such.
    fn messages(&self) -> Verdict {
        let is_message = |sign| matches!(sign, Sign::Headers(_) | Sign::Data(_));
        let read = self.wire.signs(In).filter(|(_, sign)| is_message(*sign)).map(|(at, _)| at);
        let read: Vec<u64> = read.collect();
        let reported = self.reported.iter().filter(|(_, it)| *it == Reported::Message);
        let reported: Vec<u64> = reported.map(|(at, _)| *at).collect();
        let name = &self.name;
        for (place, at) in reported.iter().enumerate() {
            // One may be incomplete.
            let most = read.partition_point(|read| read <= at) + 1;
            require(place < most, Invariant::PingBudget, || {
                format!("{name}: {} reports of messages by {at} ns, at most {most}", place + 1)
            })?;
        }
        let mut since = 0;
        for at in read.into_iter().filter(|at| self.is_up(*at)) {
            let known = reported.iter().any(|time| (since..=at).contains(time));
            require(known, Invariant::PingBudget, || {
                format!("{name}: HEADERS or DATA at {at} ns, and the pool did not learn it")
            })?;
            since = at;
        }
        Ok(())
    }

    /// True if it is reported to the pool at once.
    fn is_up(&self, at: u64) -> bool {
        self.up < at && at <= self.closed && at < self.ordered
    }

    /// Every GOAWAY decides about streams (RFC 9113, 6.8).
    fn go_aways(&self) -> Verdict {
        for (at, sign) in self.wire.signs(In).filter(|(at, _)| self.is_up(*at)) {
            let Sign::GoAway { last, code } = sign else { continue };
            let known = self.reported.contains(&(at, Reported::GoAway { last, code }));
            require(known, Invariant::GoAway, || {
                let name = &self.name;
                format!("{name}: GOAWAY {last} was read at {at} ns, and the pool did not learn it")
            })?;
        }
        Ok(())
    }

    /// SETTINGS may change the number of streams at any time (RFC 9113, 5.1.2 and 6.5).
    fn limits(&self) -> Verdict {
        let limits = self.wire.signs(In).filter_map(|(at, sign)| match sign {
            Sign::Streams(streams) if self.is_up(at) => Some((at, streams)),
            _ => None,
        });
        let limits: Vec<(u64, u32)> = limits.collect();
        for (place, (at, streams)) in limits.iter().enumerate() {
            if limits.get(place + 1).is_some_and(|(next, _)| next == at) {
                // Another one was read at the same time.
                continue;
            }
            let known = self.reported.iter().rev().find_map(|(time, reported)| match reported {
                Reported::Streams(streams) if time <= at => Some(*streams),
                Reported::Connected(streams) if time <= at => *streams,
                _ => None,
            });
            require(known == Some(*streams), Invariant::Limits, || {
                let name = &self.name;
                format!("{name}: SETTINGS allow {streams} streams, and the pool learned {known:?}")
            })?;
        }
        Ok(())
    }

    /// The reason of a failed attempt is the one that the backend gave, if it gave one: it decides
    /// about a further attempt.
    fn failure(&self, at: u64, stream: u32, failure: StreamFailure) -> Verdict {
        let read = || self.wire.signs(In).take_while(|(read, _)| *read <= at);
        let reset = read().find_map(|(_, sign)| match sign {
            Sign::Reset { stream: of, code } if of == stream => Some(code),
            _ => None,
        });
        let disowned =
            read().any(|(_, sign)| matches!(sign, Sign::GoAway { last, .. } if last < stream));
        let written = self.wire.first(Out, |sign| sign == Sign::Headers(stream));
        let fits = match failure {
            StreamFailure::NotSent => written.is_none_or(|written| written > at),
            // No backend of the models announces a limit.
            StreamFailure::HeadTooLarge => false,
            StreamFailure::Reset { code } => reset == Some(code),
            StreamFailure::Unprocessed => disowned,
            StreamFailure::ConnectionLost => reset.is_none() && !disowned,
            StreamFailure::Malformed => true,
        };
        require(fits, Invariant::TruthfulOutcome, || {
            let (name, go_away) = (&self.name, if disowned { "a GOAWAY" } else { "no GOAWAY" });
            format!("{name}, stream {stream}: {failure:?} after reset {reset:?} and {go_away}")
        })
    }

    /// A stream counts for the backend until its end, or until its reset is on the wire (RFC 9113,
    /// 5.1.2).
    fn reset(&self, at: u64, stream: u32) -> Verdict {
        let until = |time: Option<u64>| time.is_some_and(|time| time <= at);
        let ended = |direction| until(self.wire.first(direction, |it| it == Sign::End(stream)));
        let reset = |direction| {
            let is = |sign| matches!(sign, Sign::Reset { stream: of, .. } if of == stream);
            until(self.wire.first(direction, is))
        };
        let disowned =
            self.wire.first(In, |sign| matches!(sign, Sign::GoAway { last, .. } if last < stream));
        let begun = until(self.wire.first(Out, |sign| sign == Sign::Headers(stream)));
        let over = reset(In) || reset(Out) || ended(In) && ended(Out) || until(disowned);
        require(!begun || over || self.closed <= at, Invariant::Limits, || {
            let name = &self.name;
            format!("{name}, stream {stream}: its reset counts as sent, but is not on the wire")
        })
    }

    /// RFC 9113, 5.1: nothing is sent on a stream that has ended in both directions. A proxy that
    /// resets it after it read the end has not understood what it read.
    fn ended(&self, at: u64, stream: u32) -> Verdict {
        let end = |direction| {
            let end = self.wire.first(direction, |sign| sign == Sign::End(stream));
            end.is_some_and(|end| end < at)
        };
        let is_reset = |sign| matches!(sign, Sign::Reset { stream: of, .. } if of == stream);
        let reset = self.wire.first(Out, is_reset).is_some();
        require(!(end(In) && end(Out) && reset), Invariant::Protocol, || {
            format!("{}, stream {stream}: reset although it had ended", self.name)
        })
    }
}
