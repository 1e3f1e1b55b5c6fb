//! Counters of frames against the wire, and the codes that the proxy may send.

use super::case::Case;
use crate::checker::{Invariant, Verdict, require};
use crate::plan::{Act, Code, Direction, WireEffect};
use crate::proxy::frame_count::{Counted, Kind, Peer};

/// The families, with what they count.
const FAMILIES: [(&str, Peer, Kind); 4] = [
    ("baton_rst_stream_frames_total", Peer::Backend, Kind::Reset),
    ("baton_goaway_frames_total", Peer::Backend, Kind::GoAway),
    ("baton_client_rst_stream_frames_total", Peer::Client, Kind::Reset),
    ("baton_client_goaway_frames_total", Peer::Client, Kind::GoAway),
];
/// Above the codes of RFC 9113, 7.
const CODES: u32 = 14;

/// Judges the frames until the proxy was asked for its metrics.
pub(super) fn judge(case: &Case<'_>) -> Verdict {
    let Some(samples) = &case.samples else { return Ok(()) };
    if case.plan.wire.tls {
        // The frames are in ciphertext.
        return Ok(());
    }
    let [before, after] = &case.records.frames;
    // Such a reset looks like an orderly end: only the pool knows that the answer is complete.
    let code = Code::NoError.number();
    let (peer, kind) = (Peer::Backend, Kind::Reset);
    let seen = after.of(Counted { peer, direction: Direction::Out, kind, code });
    let ordered = case.records.resets_without_error;
    require(seen <= ordered, Invariant::Protocol, || {
        format!("{seen} requests to backends were reset with NO_ERROR, ordered were {ordered}")
    })?;
    // A worker that has ended, or answers late, is left out.
    let workers = f64::from(case.plan.wire.workers.max(1));
    let complete = samples.sum("baton_worker_up", &[]) == workers;
    for (name, peer, kind) in FAMILIES {
        for (direction, label) in [(Direction::In, "received"), (Direction::Out, "sent")] {
            for code in 0..CODES {
                let counted = Counted { peer, direction, kind, code };
                let code = baton::proxy::metrics::code_name(code);
                let value = samples.sum(name, &[("direction", label), ("code", code)]);
                let seen = after.of(counted) + cut_off(case, counted);
                // Counters of a replaced pool or a removed backend are gone.
                let (least, most) = match (peer, direction) {
                    (Peer::Client, Direction::Out) if complete => (before.of(counted), seen),
                    _ => (0, seen),
                };
                require((least as f64..=most as f64).contains(&value), Invariant::Metrics, || {
                    format!("{name}, {label} with {code}: {value}, expected {least} to {most}")
                })?;
            }
        }
    }
    Ok(())
}

/// The most GOAWAY frames that are not whole on the wire: a socket without room may cut one within
/// its debug data (RFC 9113, 6.8), and it counts as soon as its code is written.
fn cut_off(case: &Case<'_>, counted: Counted) -> u64 {
    if (counted.kind, counted.direction) != (Kind::GoAway, Direction::Out) {
        return 0;
    }
    let narrow = |act: &Act| matches!(act, Act::Wire { effect: WireEffect::Room(_), .. });
    case.injected.iter().filter(|(_, _, act)| narrow(act)).count() as u64
}
