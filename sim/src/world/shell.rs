//! The model shell: carries out orders in sequence and reports what happens. The connection's task
//! and each stream's task report separately; each keeps only its own order.

use baton::pool::{
    CloseReason, ConnectFailure, ConnectionToken, Handled, Input, Output, RequestId, StreamFailure,
    StreamToken,
};

use super::guide::Lane;
use super::tables::{Event, Exchange, HealthResult, NONE, in_turn};
use super::{DownFrame, Link, UpFrame, World};
use crate::checker::{Invariant, Verdict, require};
use crate::draw::Domain;
use crate::plan::Moment;
use crate::retransmission::repetitions;
use crate::trace::What;

/// Bytes of a body between two reports of its progress.
const PART_BYTES: u32 = 4_096;

impl World<'_> {
    /// Accepts an order. It is carried out after earlier orders about the same connection.
    pub(super) fn take(&mut self, order: Output) -> Verdict {
        match order {
            Output::Connect { connection } => self.dial(connection),
            Output::RequestEnded { request, outcome, .. } => {
                return self.request_ended(request, outcome);
            }
            Output::OpenStream { stream, request, .. } => {
                self.order_stream(stream, request);
                self.queue_order(stream.connection, order);
            }
            Output::ResetStream { stream, .. } => self.queue_order(stream.connection, order),
            Output::CheckDelivery { connection } => {
                let index = self.link_of(connection);
                self.links[index as usize].delivery_check = true;
                self.queue_order(connection, order);
            }
            Output::Ping { connection } => self.queue_order(connection, order),
            Output::Close { connection, reason } => {
                self.expect_dead(connection, reason)?;
                self.queue_order(connection, order);
            }
            Output::CheckHealth { backend, number } => self.send_health_check(backend, number),
            Output::HealthCheckJudged { backend, passed } if !self.plan.pool.is_alone() => {
                let server = self.owners[usize::from(backend.backend.0)] as u16;
                let added = self.servers[usize::from(server)].added;
                self.judged.push(HealthResult { server, added, passed });
            }
            Output::AttemptFailed(_)
            | Output::HealthCheckJudged { .. }
            | Output::BackendChanged { .. }
            | Output::BackendGone { .. } => {}
        }
        Ok(())
    }

    /// A connection is closed as silent only if its host is dead, as far as the system knows.
    fn expect_dead(&self, connection: ConnectionToken, reason: CloseReason) -> Verdict {
        let link = &self.links[self.link_of(connection) as usize];
        let is_unknown = self.plan.network.hides_delivery || link.delivery_check;
        let may_be_dead = link.is_dead_path() || is_unknown;
        require(reason != CloseReason::Silent || may_be_dead, Invariant::Silence, || {
            format!("{connection:?} was closed as silent, but its host acknowledges what it gets")
        })
    }

    fn queue_order(&mut self, connection: ConnectionToken, order: Output) {
        let index = self.link_of(connection);
        let (lane, event) = (Lane::Orders(index), Event::Order(order));
        let leads_to = match order {
            Output::OpenStream { stream, .. } => Some(Input::StreamOpened { stream, stream_id: 0 }),
            _ => None,
        };
        if self.schedule_guided(lane, leads_to, event).is_some() {
            return;
        }
        let lag = self.link_delay(index, Domain::Shell, self.plan.network.shell);
        let at = in_turn(&mut self.links[index as usize].order_at, self.now + lag, 1);
        self.schedule(at, event);
    }

    /// Carries out an order on a connection.
    pub(super) fn carry_out(&mut self, order: Output) -> Verdict {
        match order {
            Output::OpenStream { stream, .. } => return self.open_stream(stream),
            Output::ResetStream { stream, .. } => self.reset_stream(stream),
            Output::Ping { connection } => self.write(self.link_of(connection), UpFrame::Ping),
            Output::CheckDelivery { connection } => self.check_delivery(connection),
            Output::Close { connection, .. } => self.close(connection),
            _ => unreachable!("carried out when taken"),
        }
        Ok(())
    }

    /// Asks the system if the backend's host acknowledges what was sent to it.
    fn check_delivery(&mut self, connection: ConnectionToken) {
        let index = self.link_of(connection);
        let link = &self.links[index as usize];
        let patience = self.plan.pool.config.timeouts.suspect.as_nanos() as u64;
        let waited = link.unacknowledged_since.map_or(0, |since| self.now - since);
        // The system knows nothing of a connection that is closed.
        let is_known = !link.over && !self.plan.network.hides_delivery;
        let unanswered = is_known.then(|| repetitions(waited, patience));
        self.tell_link(index, Input::DeliveryChecked { connection, unanswered });
    }

    fn order_stream(&mut self, stream: StreamToken, id: RequestId) {
        let link = self.link_of(stream.connection);
        let request = self.request_of(id);
        let exchange = self.exchanges.len() as u32;
        self.trace.ordered(stream, request);
        let status = 200;
        let state = Exchange { token: stream, link, request, id, status, ..Exchange::default() };
        self.exchanges.push(state);
        let exchanges = &mut self.links[link as usize].exchanges;
        assert_eq!(exchanges.len(), stream.ordinal as usize, "the checker verified the ordinal");
        exchanges.push(exchange);
        self.requests[request as usize].exchange = Some(exchange);
        self.trigger_exchange(exchange, Moment::Ordered);
    }

    /// Reports `StreamOpened` before anything is written. If the answer is `Stale`, nothing is
    /// written.
    fn open_stream(&mut self, stream: StreamToken) -> Verdict {
        let exchange = self.exchange_of(stream);
        let index = self.exchanges[exchange as usize].link;
        let link = &mut self.links[index as usize];
        if link.over {
            // The end of the connection was reported, or is scheduled before this report.
            let at = link.tell_at;
            let state = &mut self.exchanges[exchange as usize];
            state.tell_at = state.tell_at.max(at);
            self.join_guided(exchange, index);
            let failure = StreamFailure::NotSent;
            self.tell_stream(exchange, Input::StreamFailed { stream, failure });
            self.exchanges[exchange as usize].reported = true;
            return Ok(());
        }
        let stream_id = link.next_stream_id;
        if self.tell(Input::StreamOpened { stream, stream_id })? == Handled::Stale {
            self.exchanges[exchange as usize].reported = true;
            return Ok(());
        }
        let link = &mut self.links[index as usize];
        link.next_stream_id += 2;
        let state = &mut self.exchanges[exchange as usize];
        state.stream_id = stream_id;
        state.opened = true;
        let request = state.request;
        let has_body = self.request_plan(request).body_us.is_some();
        self.exchanges[exchange as usize].sent = !has_body;
        self.write(index, UpFrame::Headers(exchange));
        self.start_upload(exchange);
        Ok(())
    }

    fn reset_stream(&mut self, stream: StreamToken) {
        let exchange = self.exchange_of(stream);
        let state = &mut self.exchanges[exchange as usize];
        let finished = !state.opened || (state.sent && state.answered) || state.done;
        state.reported = true;
        let link = state.link;
        if self.links[link as usize].over {
            return;
        }
        if self.links[link as usize].http1 && !finished {
            // HTTP/1.1 has no reset; the connection is closed.
            self.write(link, UpFrame::Close);
            self.lose(link);
        } else if finished {
            self.tell_stream(exchange, Input::ResetSent { stream });
        } else {
            self.write(link, UpFrame::Reset(exchange));
        }
    }

    fn close(&mut self, connection: ConnectionToken) {
        let index = self.link_of(connection);
        if self.links[index as usize].over {
            return;
        }
        self.written(index, UpFrame::Close);
        let ordinal = self.links[index as usize].draws;
        let link = &mut self.links[index as usize];
        link.over = true;
        link.backlog.clear();
        let (key, sent_through) = (link.key(), link.sent_through);
        // The tasks of the connection and its streams may still report its end.
        if self.draws.between(Domain::Shell, key, ordinal, 0, 3) == 0 {
            self.tell_link(index, Input::ConnectionClosed { connection, sent_through });
            self.report_lost_streams(index);
        }
    }

    /// Passes a frame to the connection; it waits there if the backend does not read.
    pub(super) fn write(&mut self, index: u32, frame: UpFrame) {
        let link = &mut self.links[index as usize];
        if link.over {
            return;
        }
        if self.now < link.reads_from && frame != UpFrame::Close {
            link.backlog.push_back(frame);
            return;
        }
        self.written(index, frame);
    }

    /// A frame is in the socket.
    pub(super) fn written(&mut self, index: u32, frame: UpFrame) {
        match frame {
            UpFrame::Headers(exchange) => {
                let id = self.exchanges[exchange as usize].stream_id;
                let link = &mut self.links[index as usize];
                link.sent_through = link.sent_through.max(id);
                self.trigger_exchange(exchange, Moment::Written);
            }
            UpFrame::BodyEnd(exchange) => {
                let state = &mut self.exchanges[exchange as usize];
                state.sent = true;
                let stream = state.token;
                if !state.reported {
                    self.tell_stream(exchange, Input::RequestSent { stream });
                }
                self.trigger_exchange(exchange, Moment::Sent);
            }
            UpFrame::Reset(exchange) => {
                let stream = self.exchanges[exchange as usize].token;
                self.tell_stream(exchange, Input::ResetSent { stream });
            }
            UpFrame::Ping | UpFrame::SettingsAck(_) | UpFrame::Close => {}
        }
        self.note(What::Sent(index, frame));
        let gap = self.gap();
        let delay = self.link_delay(index, Domain::Wire, self.plan.network.wire);
        let now = self.now;
        let link = &mut self.links[index as usize];
        if link.is_dead_path() {
            link.unacknowledged_since.get_or_insert(now);
        }
        if !link.drops_up {
            let at = in_turn(&mut link.up_at, self.now + delay, gap);
            self.schedule(at, Event::Up(index, frame));
        }
    }

    /// A frame arrives from the backend.
    pub(super) fn receive(&mut self, index: u32, frame: DownFrame) {
        if index == NONE {
            if let DownFrame::End(exchange) = frame {
                self.deliver_end(exchange);
            }
            return;
        }
        let link = &self.links[index as usize];
        if link.over || self.is_lost_in_flight(frame) {
            return;
        }
        let link = &self.links[index as usize];
        let (connection, http2) = (link.token, !link.http1);
        self.note(What::Received(index, frame));
        if http2 && frame != DownFrame::Close {
            self.tell_link(
                index,
                Input::FrameReceived { connection, carries_message: frame.carries_message() },
            );
        }
        match frame {
            DownFrame::Settings(max_streams) => {
                self.tell_link(index, Input::MaxStreamsChanged { connection, max_streams });
                self.write(index, UpFrame::SettingsAck(max_streams));
            }
            DownFrame::GoAway(last, _) if self.raises_last_id(index, last) => {
                self.links[index as usize].is_malformed = true;
                self.lose(index);
            }
            DownFrame::GoAway(last_stream_id, code) => {
                self.tell_link(index, Input::GoAwayReceived { connection, last_stream_id, code });
                self.report_unprocessed(index, last_stream_id);
            }
            DownFrame::Informational(_) => {}
            DownFrame::Head(exchange) => {
                let state = &self.exchanges[exchange as usize];
                let stream = state.token;
                if !state.reported {
                    let status = self.status_of(exchange);
                    self.tell_stream(exchange, Input::ResponseStarted { stream, status });
                }
            }
            DownFrame::Data(exchange) => self.tell_progress(exchange),
            DownFrame::End(exchange) => {
                self.exchanges[exchange as usize].answered = true;
                self.deliver_end(exchange);
            }
            DownFrame::Reset(exchange, code) => {
                self.receive_failure(exchange, StreamFailure::Reset { code });
            }
            DownFrame::Malformed(exchange) => {
                self.receive_failure(exchange, StreamFailure::Malformed);
            }
            DownFrame::Pong => self.tell_link(index, Input::Pong { connection }),
            DownFrame::Close => self.lose(index),
        }
    }

    /// The backend has failed a stream.
    fn receive_failure(&mut self, exchange: u32, failure: StreamFailure) {
        let state = &mut self.exchanges[exchange as usize];
        // RFC 9113, 8.1: after a complete response, a reset only ends the upload.
        if state.reported || state.answered {
            return;
        }
        state.reported = true;
        let stream = state.token;
        self.tell_stream(exchange, Input::StreamFailed { stream, failure });
    }

    /// True if a GOAWAY raises the last id of an earlier one, which RFC 9113, 6.8, forbids: the
    /// library of the proxy ends the connection then. The pool accepts it, and the models report it
    /// unless they are compared with the proxy.
    fn raises_last_id(&mut self, index: u32, last: u32) -> bool {
        let before = self.links[index as usize].last_id.replace(last);
        self.guide.is_some() && before.is_some_and(|before| last > before)
    }

    /// The tasks of the streams above a GOAWAY's last id report it separately.
    fn report_unprocessed(&mut self, index: u32, last: u32) {
        for place in 0..self.links[index as usize].exchanges.len() {
            let exchange = self.links[index as usize].exchanges[place];
            let state = &mut self.exchanges[exchange as usize];
            if state.opened && !state.reported && !state.answered && state.stream_id > last {
                state.reported = true;
                let stream = state.token;
                self.join_guided(exchange, index);
                let failure = StreamFailure::Unprocessed;
                self.tell_stream(exchange, Input::StreamFailed { stream, failure });
            }
        }
    }

    /// The shell lost the connection: it reports the connection first, then each lost stream.
    pub(super) fn lose(&mut self, index: u32) {
        let link = &mut self.links[index as usize];
        if link.over {
            return;
        }
        link.over = true;
        link.backlog.clear();
        let (connection, sent_through) = (link.token, link.sent_through);
        self.note(What::Lost(index));
        self.tell_link(index, Input::ConnectionClosed { connection, sent_through });
        self.report_lost_streams(index);
    }

    fn report_lost_streams(&mut self, index: u32) {
        let after = self.links[index as usize].tell_at;
        let Link { sent_through, is_malformed, .. } = self.links[index as usize];
        for place in 0..self.links[index as usize].exchanges.len() {
            let exchange = self.links[index as usize].exchanges[place];
            let state = &mut self.exchanges[exchange as usize];
            state.tell_at = state.tell_at.max(after);
            if !state.opened || state.reported || state.answered {
                continue;
            }
            state.reported = true;
            let stream = state.token;
            let failure = if state.stream_id > sent_through {
                StreamFailure::NotSent
            } else if is_malformed {
                StreamFailure::Malformed
            } else {
                StreamFailure::ConnectionLost
            };
            self.join_guided(exchange, index);
            self.tell_stream(exchange, Input::StreamFailed { stream, failure });
        }
    }

    /// The system gave up the connection.
    pub(super) fn dead_path(&mut self, index: u32) {
        let link = &self.links[index as usize];
        if link.over {
            return;
        }
        if link.up {
            self.lose(index);
            return;
        }
        let connection = link.token;
        self.links[index as usize].over = true;
        let reason = ConnectFailure::Tcp;
        self.tell_link(index, Input::ConnectFailed { connection, reason });
    }

    pub(super) fn resume_reading(&mut self, index: u32) {
        let link = &mut self.links[index as usize];
        if self.now < link.reads_from || link.over {
            return;
        }
        while let Some(frame) = self.links[index as usize].backlog.pop_front() {
            self.written(index, frame);
        }
    }

    /// Schedules a fact from the task of a connection.
    pub(super) fn tell_link(&mut self, index: u32, input: Input) {
        if let Some(at) = self.tell_guided(Lane::Link(index), input) {
            self.links[index as usize].tell_at = at;
            return;
        }
        let lag = self.link_delay(index, Domain::Shell, self.plan.network.shell);
        let at = in_turn(&mut self.links[index as usize].tell_at, self.now + lag, 1);
        self.schedule(at, Event::Tell(input));
    }

    /// Schedules a fact from the task of a stream.
    pub(super) fn tell_stream(&mut self, exchange: u32, input: Input) {
        if let Some(at) = self.tell_guided(Lane::Exchange(exchange), input) {
            self.exchanges[exchange as usize].tell_at = at;
            return;
        }
        let state = &mut self.exchanges[exchange as usize];
        let ordinal = state.draws;
        state.draws += 1;
        let key = self.links[state.link as usize].key() << 16 | u64::from(state.token.ordinal);
        let lag = self.delay(Domain::Shell, self.plan.network.shell, key, ordinal);
        let at = in_turn(&mut self.exchanges[exchange as usize].tell_at, self.now + lag, 1);
        self.schedule(at, Event::Tell(input));
    }

    /// Reports progress of a body.
    pub(super) fn tell_progress(&mut self, exchange: u32) {
        let state = &self.exchanges[exchange as usize];
        let (stream, over) = (state.token, state.reported);
        if !over {
            self.tell_stream(exchange, Input::BodyProgressed { stream, bytes: PART_BYTES });
        }
    }

    /// Schedules a fact from the task of a client.
    pub(super) fn tell_client(&mut self, request: u32, input: Input) {
        if self.tell_guided(Lane::Client(request), input).is_some() {
            return;
        }
        let key = u64::from(self.request_plan(request).id) | 1 << 63;
        let lag = self.delay(Domain::Shell, self.plan.network.shell, key, 0);
        let at = in_turn(&mut self.requests[request as usize].tell_at, self.now + lag, 1);
        self.schedule(at, Event::Tell(input));
    }

    pub(super) fn link_delay(
        &mut self,
        index: u32,
        domain: Domain,
        span: crate::plan::Span,
    ) -> u64 {
        let link = &mut self.links[index as usize];
        let (key, ordinal) = (link.key(), link.draws);
        link.draws += 1;
        self.delay(domain, span, key, ordinal)
    }

    pub(super) fn slot_place(&self, token: ConnectionToken) -> usize {
        let per_backend = self.slots.len() / self.owners.len();
        usize::from(token.backend.0) * per_backend + usize::from(token.slot)
    }

    /// The connection that a token names, even if its slot was used again.
    pub(super) fn link_of(&self, token: ConnectionToken) -> u32 {
        let last = self.slots[self.slot_place(token)];
        if last != NONE && self.links[last as usize].token == token {
            return last;
        }
        let place = self.links.iter().rposition(|link| link.token == token);
        place.expect("orders concern dialled connections") as u32
    }

    fn exchange_of(&self, stream: StreamToken) -> u32 {
        let link = self.link_of(stream.connection);
        self.links[link as usize].exchanges[stream.ordinal as usize]
    }

    /// Checks that the pool ordered the close of every connection that the shell holds.
    pub(super) fn check_leaks(&self) -> Verdict {
        for link in &self.links {
            require(link.over, Invariant::Quiescence, || {
                format!("{:?} leaked: the pool never ordered its close", link.token)
            })?;
        }
        Ok(())
    }
}
