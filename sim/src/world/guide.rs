//! The times of facts in another world. A comparison is about what follows from a plan, not about
//! microseconds: so the models wait, for a short time, until the other world reported the same
//! fact. They decide themselves what the facts are and what they say.

use std::collections::BTreeMap;
use std::mem::{Discriminant, discriminant};

use baton::pool::{BackendToken, ConnectionToken, Input, RequestId, StreamFailure, StreamToken};

use super::tables::Event;
use super::{DownFrame, World};
#[cfg(feature = "proxy")]
use crate::trace::{Trace, What};

/// How much later than the models the other world may report a fact.
pub(crate) const LAG_NS: u64 = 12_000_000;
/// The resolution of its timers.
const TIMER_RESOLUTION_NS: u64 = 1_000_000;
/// How much later it may call for a deadline.
const TIMER_LAG_NS: u64 = 2 * TIMER_RESOLUTION_NS;

/// A time, and the place among the events of that time.
pub(super) type Turn = (u64, u32);

/// A task of the shell: its facts keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Link(u32),
    /// The orders about a connection.
    Orders(u32),
    Exchange(u32),
    Client(u32),
    Operator,
}

/// The facts of a run of another world.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guide {
    facts: Vec<Recorded>,
    /// The places of the arrivals of requests, by the requests' ids.
    arrivals: BTreeMap<u32, usize>,
    lanes: BTreeMap<Lane, Turn>,
}

#[derive(Clone, Copy, Debug)]
struct Recorded {
    at: u64,
    key: Key,
    /// The models have reported it too.
    is_met: bool,
}

/// The kind and the subject of a fact, without what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    kind: Discriminant<Input>,
    subject: Subject,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Connection(ConnectionToken),
    Stream(StreamToken),
    Request(RequestId),
    Backend(BackendToken),
    Nothing,
}

impl Key {
    fn of(input: Input) -> Self {
        let subject = match input {
            Input::RequestCancelled { request } => Subject::Request(request),
            Input::Connected { connection, .. }
            | Input::ConnectFailed { connection, .. }
            | Input::MaxStreamsChanged { connection, .. }
            | Input::KeepAliveAnnounced { connection, .. }
            | Input::GoAwayReceived { connection, .. }
            | Input::FrameReceived { connection, .. }
            | Input::Pong { connection }
            | Input::DeliveryChecked { connection, .. }
            | Input::ConnectionClosed { connection, .. } => Subject::Connection(connection),
            Input::ReplayBufferExceeded { stream, .. }
            | Input::StreamOpened { stream, .. }
            | Input::RequestSent { stream }
            | Input::ResponseStarted { stream, .. }
            | Input::ResponseEnded { stream }
            | Input::StreamFailed { stream, .. }
            | Input::ResetSent { stream }
            | Input::BodyProgressed { stream, .. }
            | Input::UploadBlocked { stream } => Subject::Stream(stream),
            Input::BackendRemoved { backend }
            | Input::DrainRequested { backend, .. }
            | Input::DrainCancelled { backend }
            | Input::WeightChanged { backend, .. }
            | Input::HealthCheckFinished { backend, .. } => Subject::Backend(backend),
            Input::RequestArrived { .. }
            | Input::BackendAdded { .. }
            | Input::SettingChanged { .. }
            | Input::ShutdownRequested { .. }
            | Input::Timeout => Subject::Nothing,
        };
        Self { kind: discriminant(&input), subject }
    }
}

impl Guide {
    /// The facts of a trace that was kept.
    #[cfg(feature = "proxy")]
    pub(crate) fn new(trace: &Trace) -> Self {
        let (mut guide, mut asked) = (Self::default(), None);
        for entry in &trace.entries {
            match &entry.what {
                What::Arrived(request) => asked = Some(*request),
                What::TracedFact(fact) => {
                    if let Some(request) = asked.take() {
                        guide.arrivals.insert(request, guide.facts.len());
                    }
                    let key = Key::of(fact.input);
                    guide.facts.push(Recorded { at: entry.at, key, is_met: false });
                }
                _ => {}
            }
        }
        guide
    }

    /// When a request arrived, in nanoseconds, if it did.
    #[cfg(feature = "proxy")]
    pub(crate) fn arrival(&self, request: u32) -> Option<u64> {
        self.arrivals.get(&request).map(|place| self.facts[*place].at)
    }

    fn turn_of_arrival(&self, request: u32) -> Option<Turn> {
        self.arrivals.get(&request).map(|place| self.turn(*place))
    }

    fn turn(&self, place: usize) -> Turn {
        (self.facts[place].at, place as u32 + 1)
    }

    /// The first fact with this key that the models have not reported, if it comes soon enough.
    fn find(&self, key: Key, earliest: u64, lag: u64) -> Option<usize> {
        let since = self.facts.partition_point(|fact| fact.at < earliest);
        let soon = |fact: &&Recorded| fact.at <= earliest.saturating_add(lag);
        let mut facts = self.facts[since..].iter().take_while(soon);
        facts.position(|fact| fact.key == key && !fact.is_met).map(|place| since + place)
    }

    /// The turn of a fact of a lane, or of something else. Without an example it is `now`.
    fn take(&mut self, lane: Lane, now: u64, input: Option<Input>) -> Turn {
        let last = self.lanes.get(&lane).copied().unwrap_or_default();
        let earliest = last.0.max(now);
        let found = input.and_then(|input| self.find(Key::of(input), earliest, LAG_NS));
        if let Some(place) = found {
            self.facts[place].is_met = true;
        }
        // A stream that is never opened is reset at this moment, before the order is carried out.
        let opens = matches!(input, Some(Input::StreamOpened { .. }));
        let otherwise = (earliest, if opens { u32::MAX } else { 0 });
        let turn = found.map_or(otherwise, |place| self.turn(place)).max(last);
        self.lanes.insert(lane, turn);
        turn
    }

    /// The next fact of a lane comes after the last one of another.
    fn join(&mut self, lane: Lane, after: Lane) {
        let turn = self.lanes.get(&after).copied().unwrap_or_default();
        let last = self.lanes.entry(lane).or_default();
        *last = turn.max(*last);
    }
}

impl World<'_> {
    /// Follows the times of another world from now on.
    pub(crate) fn follow(&mut self, guide: Guide) {
        self.guide = Some(guide);
    }

    /// The least time between two elements of a sequence. With a guide there is none, so that the
    /// models are never later than the other world.
    pub(super) fn gap(&self) -> u64 {
        u64::from(self.guide.is_none())
    }

    /// The turn of a request's arrival, if there is a guide.
    pub(super) fn guided_arrival(&self, request: u32) -> Option<Turn> {
        let id = self.plan.requests[request as usize].id;
        self.guide.as_ref().and_then(|guide| guide.turn_of_arrival(id))
    }

    /// The turn of a deadline. Where the guide has none, a timer of the shell would still come.
    pub(super) fn guided_timeout(&self, deadline: u64) -> Turn {
        let Some(guide) = &self.guide else { return (deadline, 0) };
        let found = guide.find(Key::of(Input::Timeout), deadline.max(self.now), TIMER_LAG_NS);
        let late = (deadline.next_multiple_of(TIMER_RESOLUTION_NS), 0);
        found.map_or(late, |place| guide.turn(place))
    }

    /// A deadline was called for.
    pub(super) fn met_timeout(&mut self, turn: Turn) {
        if let (Some(guide), Some(place)) = (&mut self.guide, turn.1.checked_sub(1)) {
            guide.facts[place as usize].is_met = true;
        }
    }

    /// The turn of a fact that nothing has reported yet, if the guide has it.
    pub(super) fn guided_turn(&self, input: Input) -> Option<Turn> {
        let guide = self.guide.as_ref()?;
        guide.find(Key::of(input), self.now, LAG_NS).map(|place| guide.turn(place))
    }

    /// Schedules a fact when the guide has it, if there is a guide. Returns the time.
    pub(super) fn tell_guided(&mut self, lane: Lane, input: Input) -> Option<u64> {
        // The models merge frames and parts of bodies.
        let is_alike = !matches!(
            input,
            Input::FrameReceived { .. }
                | Input::BodyProgressed { .. }
                | Input::UploadBlocked { .. }
        );
        self.schedule_guided(lane, Some(input).filter(|_| is_alike), Event::Tell(input))
    }

    /// Schedules an event that leads to a fact when the guide has the fact, if there is a guide.
    /// Without such a fact it is now. Returns the time.
    pub(super) fn schedule_guided(
        &mut self,
        lane: Lane,
        input: Option<Input>,
        event: Event,
    ) -> Option<u64> {
        let turn = self.guide.as_mut()?.take(lane, self.now, input);
        self.schedule_in_turn(turn, event);
        Some(turn.0)
    }

    /// True if a part of an answer is one that the other world does not have, right before what
    /// ends the stream there: it was still in flight.
    pub(super) fn is_lost_in_flight(&self, frame: DownFrame) -> bool {
        match frame {
            DownFrame::Head(exchange) => {
                let stream = self.exchanges[exchange as usize].token;
                self.is_cut_off(exchange, Input::ResponseStarted { stream, status: 0 })
            }
            DownFrame::End(exchange) => {
                let stream = self.exchanges[exchange as usize].token;
                self.is_cut_off(exchange, Input::ResponseEnded { stream })
            }
            _ => false,
        }
    }

    /// True if the guide never has this fact about a stream, and has what ends the stream soon.
    pub(super) fn is_cut_off(&self, exchange: u32, input: Input) -> bool {
        let Some(guide) = &self.guide else { return false };
        let state = &self.exchanges[exchange as usize];
        let (stream, request) = (state.token, state.id);
        let connection = stream.connection;
        let ends = [
            Input::ConnectionClosed { connection, sent_through: 0 },
            Input::GoAwayReceived { connection, last_stream_id: 0, code: 0 },
            Input::StreamFailed { stream, failure: StreamFailure::NotSent },
            Input::RequestCancelled { request },
        ];
        ends.iter().any(|end| guide.find(Key::of(*end), self.now, LAG_NS).is_some())
            && guide.find(Key::of(input), self.now, u64::MAX).is_none()
    }

    /// The facts of a stream come after those of its connection so far, if there is a guide.
    pub(super) fn join_guided(&mut self, exchange: u32, link: u32) {
        if let Some(guide) = &mut self.guide {
            guide.join(Lane::Exchange(exchange), Lane::Link(link));
        }
    }
}

#[cfg(all(test, feature = "proxy"))]
mod tests {
    use baton::pool::{BackendId, Handled, Pool};

    use super::*;
    use crate::plan::PoolPlan;

    const MILLISECOND: u64 = 1_000_000;

    fn stream(ordinal: u32) -> StreamToken {
        let backend = BackendId(0);
        let connection = ConnectionToken { backend, slot: 0, generation: 1 };
        StreamToken { connection, stream: 0, ordinal }
    }

    fn opened(ordinal: u32, stream_id: u32) -> Input {
        Input::StreamOpened { stream: stream(ordinal), stream_id }
    }

    /// A guide with these facts.
    fn guide(facts: &[(u64, Input)]) -> Guide {
        let (pool, _): (Pool, _) = PoolPlan::DEFAULT.build(1, 1, false);
        let mut trace = Trace::of_facts();
        for (at, input) in facts {
            let now = baton::pool::Instant(*at);
            trace.record(*at, now, *input, Handled::Done, &[], &pool);
        }
        Guide::new(&trace)
    }

    #[test]
    fn a_fact_waits_for_the_same_fact_whatever_that_says() {
        let mut guide = guide(&[(5, Input::Timeout), (7, opened(2, 3)), (9, opened(1, 3))]);
        assert_eq!(guide.take(Lane::Exchange(0), 4, Some(opened(1, 1))), (9, 3));
        assert_eq!(guide.take(Lane::Exchange(1), 4, Some(opened(2, 1))), (7, 2));
    }

    #[test]
    fn a_fact_is_met_once_and_only_soon() {
        let sent = Input::RequestSent { stream: stream(1) };
        let late = 20 * MILLISECOND;
        let mut guide = guide(&[(3, sent), (late, sent)]);
        assert_eq!(guide.take(Lane::Exchange(0), 2, Some(sent)), (3, 1));
        assert_eq!(guide.take(Lane::Exchange(1), 2, Some(sent)), (2, 0), "the next is too late");
        let soon = late - LAG_NS;
        assert_eq!(guide.take(Lane::Exchange(2), soon, Some(sent)), (late, 2));
        assert_eq!(guide.take(Lane::Exchange(3), late + 1, Some(sent)), (late + 1, 0));
    }

    #[test]
    fn the_facts_of_a_lane_keep_their_order() {
        let (first, second) = (opened(1, 1), Input::RequestSent { stream: stream(1) });
        let mut guide = guide(&[(5, second), (8, first)]);
        assert_eq!(guide.take(Lane::Exchange(0), 4, Some(first)), (8, 2));
        assert_eq!(guide.take(Lane::Exchange(0), 4, Some(second)), (8, 2), "not before the first");
        guide.join(Lane::Link(0), Lane::Exchange(0));
        assert_eq!(guide.take(Lane::Link(0), 1, None), (8, 2));
    }
}
