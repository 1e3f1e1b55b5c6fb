//! A request as its HTTP/2 client sends it: its method, and its body in pieces over time; and the
//! patience of a client that stops reading.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::frames::Fields;
use crate::draw::{Domain, Draws};
use crate::plan::{Code, Plan, RequestPlan};
use crate::proxy::content::Body;
use crate::proxy::hub::Hub;
use crate::proxy::ledger::{self, Ledger, TRAILER};

/// The authority of every request.
pub(crate) const AUTHORITY: &str = "front.test";

/// Connections that a client tries for one request, until one takes it.
pub(crate) const CONNECTIONS: u32 = 3;

/// The scheme of every request of a run.
pub(crate) fn scheme(plan: &Plan) -> &'static str {
    if plan.wire.tls { "https" } else { "http" }
}

/// True if a request belongs to the client with this index.
pub(crate) fn is_of(plan: &Plan, request: &RequestPlan, client: u8) -> bool {
    plan.wire.client_of(&request.wire) == usize::from(client)
}

/// Bytes of an answer that is large.
const LARGE_ANSWER_BYTES: u32 = 1 << 20;
/// The windows of a client that expects large answers: those of many are larger than any answer.
pub(crate) const LARGE_WINDOW: u32 = 1 << 30;

/// True if a client has windows that are larger than any answer: half of those do that are to get
/// large ones.
pub(crate) fn has_large_windows(hub: &Hub, client: u8) -> bool {
    let plan = &hub.plan;
    let mut own = plan.requests.iter().filter(|request| is_of(plan, request, client));
    own.any(|request| request.wire.answer_bytes >= LARGE_ANSWER_BYTES)
        && hub.draws.between(Domain::ClientConnections, u64::from(client), u64::MAX, 0, 1) == 1
}

/// The payloads of the frames of at most `most` bytes in which some bytes are written, each with
/// true for the last one. No bytes are one frame without any.
pub(crate) fn crumbs(bytes: &[u8], most: usize) -> impl Iterator<Item = (&[u8], bool)> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let (part, others) = rest.take().map(|rest| rest.split_at(most.min(rest.len())))?;
        rest = (!others.is_empty()).then_some(others);
        Some((part, others.is_empty()))
    })
}

/// The method of a request: whether it is idempotent follows from it (RFC 9110, 9.2.2).
pub(crate) fn method(plan: &RequestPlan) -> &'static str {
    match (plan.idempotent, plan.body_us) {
        (true, None) => "GET",
        (true, Some(_)) => "PUT",
        (false, _) => "POST",
    }
}

/// The code with which a client takes a request back. NO_ERROR and others are no less an end than
/// CANCEL (RFC 9113, 5.4.2).
pub(crate) fn cancel_code(draws: Draws, request: u32) -> Code {
    match draws.between(Domain::ClientRequests, request.into(), 9, 0, 4) {
        0 | 1 => Code::NoError,
        2 => Code::Internal,
        _ => Code::Cancel,
    }
}

/// The body of a request, and when its parts are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Upload {
    request: u32,
    /// Bytes of the body.
    pub(crate) bytes: u64,
    piece: u64,
    over: Duration,
    /// True if it ends with trailers.
    pub(crate) trailers: bool,
}

impl Upload {
    /// The body of a request; `None` if it has none.
    pub(crate) fn of(plan: &RequestPlan) -> Option<Self> {
        let wire = &plan.wire;
        let bytes = u64::from(wire.body_bytes);
        let piece = if wire.piece_bytes == 0 { bytes } else { u64::from(wire.piece_bytes) };
        let over = Duration::from_micros(plan.body_us?);
        Some(Self { request: plan.id, bytes, piece: piece.max(1), over, trailers: wire.trailers })
    }

    fn pieces(&self) -> u64 {
        self.bytes.div_ceil(self.piece).max(1)
    }

    /// For each piece, the time since the head at which it is sent, and the place of its end. The
    /// last one is sent when the time of the body is over.
    pub(crate) fn schedule(self) -> impl Iterator<Item = (Duration, u64)> {
        let (pieces, nanoseconds) = (self.pieces(), self.over.as_nanos());
        (1..=pieces).map(move |number| {
            let after = nanoseconds * u128::from(number) / u128::from(pieces);
            let after = u64::try_from(after).map_or(Duration::MAX, Duration::from_nanos);
            (after, (self.piece * number).min(self.bytes))
        })
    }

    /// True if half of the body is sent once its bytes to `after` are, but not if only those to
    /// `before` are.
    pub(crate) fn crosses_half(&self, before: u64, after: u64) -> bool {
        let half = self.bytes.div_ceil(2);
        (before < half && after >= half) || self.bytes == 0
    }

    /// So many bytes are sent, or are about to be: notes it if they are all.
    pub(crate) fn note(&self, ledger: &Ledger, sent: u64) {
        if sent == self.bytes {
            ledger.uploaded(self.request);
        }
    }

    /// The bytes from one place to another.
    pub(crate) fn part(&self, from: u64, to: u64) -> Bytes {
        Body::Request(self.request).piece(from, (to - from) as usize)
    }

    /// The `content-length` that the head states: half of the requests state it.
    pub(crate) fn stated(&self, draws: &Draws) -> Option<u64> {
        let stated = draws.between(Domain::ClientRequests, self.request.into(), 0, 0, 1);
        (stated == 1).then_some(self.bytes)
    }

    /// True if the end of a body without trailers is a frame of its own, without payload.
    pub(crate) fn ends_apart(&self, draws: &Draws) -> bool {
        draws.between(Domain::ClientRequests, self.request.into(), 1, 0, 1) == 1
    }

    /// The fields after the body; `None` if there are none.
    pub(crate) fn trailer_fields(&self) -> Option<Fields> {
        let value = ledger::trailer(Body::Request(self.request));
        self.trailers.then(|| Fields::new().with(TRAILER, value))
    }
}

/// The time between the last byte of a body and its trailers, in half of the requests longer than
/// that byte takes to arrive.
pub(crate) fn pause_before_trailers(hub: &Hub, request: u32) -> Duration {
    let draw =
        |ordinal, most| hub.draws.between(Domain::ClientRequests, request.into(), ordinal, 0, most);
    let latency = hub.plan.network.wire.most_us;
    Duration::from_micros(if draw(2, 1) == 1 { latency + draw(3, 3 * latency) } else { 0 })
}

/// The patience of a client: it may stop reading for a while.
pub(crate) struct Patience<'a> {
    hub: &'a Hub,
    /// When it reads on, in nanoseconds.
    until: Cell<u64>,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(hub: &'a Hub) -> Self {
        Self { hub, until: Cell::new(0) }
    }

    /// Stops reading for a while, or until faults stop.
    pub(crate) fn stop(&self, for_us: Option<u64>) {
        let until = match for_us {
            Some(for_us) => self.hub.now().saturating_add(for_us.saturating_mul(1_000)),
            None => self.hub.plan.heal.at_us.saturating_mul(1_000),
        };
        self.until.set(self.until.get().max(until));
    }

    /// Waits until it reads.
    pub(crate) async fn wait(&self) {
        loop {
            let rest = self.until.get().saturating_sub(self.hub.now());
            if rest == 0 {
                return;
            }
            sleep(Duration::from_nanos(rest)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::RequestWire;

    fn upload(body_bytes: u32, piece_bytes: u16, body_us: u64) -> Upload {
        let plan = RequestPlan {
            body_us: Some(body_us),
            wire: RequestWire { body_bytes, piece_bytes, ..RequestWire::default() },
            ..RequestPlan::plain(1)
        };
        Upload::of(&plan).expect("it has a body")
    }

    #[test]
    fn crumbs_are_all_bytes_and_the_last_one_is_marked() {
        let parts = |bytes, most| crumbs(bytes, most).collect::<Vec<_>>();
        assert_eq!(parts(b"abc", 2), [(&b"ab"[..], false), (&b"c"[..], true)]);
        assert_eq!(parts(b"ab", usize::MAX), [(&b"ab"[..], true)]);
        assert_eq!(parts(b"", 1), [(&b""[..], true)]);
    }

    #[test]
    fn pieces_are_spread_over_the_time() {
        let times = |upload: Upload| -> Vec<_> {
            upload.schedule().map(|(after, end)| (after.as_micros(), end)).collect()
        };
        assert_eq!(times(upload(10, 4, 300)), [(100, 4), (200, 8), (300, 10)]);
        assert_eq!(times(upload(10, 0, 300)), [(300, 10)]);
        assert_eq!(times(upload(0, 4, 300)), [(300, 0)]);
        assert_eq!(times(upload(1, 4, u64::MAX)).len(), 1);
    }

    #[test]
    fn half_is_crossed_once() {
        for (bytes, piece) in [(10, 4), (1, 1), (0, 0), (9, 1), (10, 0)] {
            let upload = upload(bytes, piece, 0);
            let mut before = 0;
            let crossed = upload.schedule().filter(|(_, end)| {
                let crossed = upload.crosses_half(before, *end);
                before = *end;
                crossed
            });
            assert_eq!(crossed.count(), 1, "{bytes} bytes in pieces of {piece}");
        }
    }
}
