//! Names with several addresses: dialled one after the other (RFC 8305), and no dial is left.

use baton::proxy::limits::{ADDRESSES_TRIED_MAX, CONNECTION_ATTEMPT_DELAY};

use super::case::Case;
use crate::checker::{Invariant, Verdict, require};
use crate::proxy::races::{How, Race, RaceDial};

/// The time by which the shell's timers are late.
const SLACK: u64 = 2_000_000;

/// Judges every dial of a name.
pub(super) fn judge(case: &Case<'_>) -> Verdict {
    case.records.races.iter().try_for_each(race)
}

fn race(race: &Race) -> Verdict {
    let holds = |holds: bool, what: &str| {
        require(holds, Invariant::Addresses, || format!("{what}: {race:?}"))
    };
    let dials = &race.dials;
    let most = race.addresses.len().min(ADDRESSES_TRIED_MAX);
    let in_order = dials.iter().zip(&race.addresses).all(|(dial, address)| dial.to == *address);
    holds(in_order && dials.len() <= most, "its addresses are not dialled once each, in order")?;
    holds(dials.iter().all(|dial| dial.ended.is_some()), "a dial has not ended")?;
    let ended = |how| {
        let ended = dials.iter().filter_map(|dial| dial.ended);
        ended.filter(move |(_, it)| *it == how).map(|(at, _)| at)
    };
    let connected: Vec<u64> = ended(How::Connected).collect();
    holds(connected.len() <= 1, "two of its addresses are connected")?;
    // The winner ends the others; without one the proxy may give up at any time.
    let end = connected.first().copied().or_else(|| ended(How::Abandoned).max());
    let over = |dial: &RaceDial| dial.ended.is_some_and(|(at, _)| end.is_none_or(|end| at <= end));
    holds(dials.iter().all(over), "a dial goes on after the end")?;
    let failed = ended(How::Failed).count();
    holds(end.is_some() || failed == most, "it ended before each address was tried")?;
    on_time(race, most, end.unwrap_or(u64::MAX))
}

/// Each address is dialled when one before it has failed, or after the delay: so one that lives is
/// reached after as many delays as there are addresses before it, at most.
fn on_time(race: &Race, most: usize, end: u64) -> Verdict {
    let delay = CONNECTION_ATTEMPT_DELAY.as_nanos() as u64;
    let failures = race.dials.iter().filter_map(|dial| match dial.ended {
        Some((at, How::Failed)) => Some(at),
        _ => None,
    });
    let mut failures: Vec<u64> = failures.collect();
    failures.sort_unstable();
    let mut failures = failures.into_iter().peekable();
    let within = |from: u64, at: u64| (from..=from + SLACK).contains(&at);
    let mut before = None;
    for place in 0..most {
        let begun = race.dials.get(place).map(|dial| dial.begun);
        let failure = failures.peek().copied();
        let by_failure = before.and_then(|before| failure.map(|failure| failure.max(before)));
        let by_time = before.map_or(race.resolved, |before| before + delay);
        let due = by_failure.map_or(by_time, |by_failure| by_failure.min(by_time));
        let fits = match begun {
            Some(begun) if by_failure.is_some_and(|from| within(from, begun)) => {
                failures.next();
                true
            }
            Some(begun) => begun <= due + SLACK && within(by_time, begun),
            None => end <= due + SLACK,
        };
        require(fits, Invariant::Addresses, || {
            format!("address {place} is dialled at {begun:?} ns, expected at {due} ns: {race:?}")
        })?;
        if begun.is_none() {
            break;
        }
        before = begun;
    }
    Ok(())
}
