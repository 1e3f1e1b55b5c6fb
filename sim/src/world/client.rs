//! The model clients: they send requests and bodies, read responses, and cancel.

use baton::pool::{Handled, Input, Outcome, RequestId};

use super::tables::{Event, NEVER, NONE, Scope};
use super::{DownFrame, UpFrame, World};
use crate::checker::{Invariant, Verdict, require};
use crate::coverage::sometimes;
use crate::plan::{Moment, RequestPlan, When};
use crate::trace::What;

impl World<'_> {
    /// The plan of a request. Recovery requests follow the plan's own and have none of its faults.
    pub(super) fn request_plan(&self, request: u32) -> RequestPlan {
        match self.plan.requests.get(request as usize) {
            Some(plan) => *plan,
            None => RequestPlan {
                idempotent: self.requests[request as usize].idempotent,
                ..RequestPlan::plain(request)
            },
        }
    }

    /// The head of a request is complete.
    pub(super) fn arrive(&mut self, request: u32) -> Verdict {
        let plan = self.request_plan(request);
        let arrived =
            Input::RequestArrived { idempotent: plan.idempotent, has_body: plan.body_us.is_some() };
        self.requests[request as usize].arrived = true;
        self.requests[request as usize].idempotent = plan.idempotent;
        self.note(What::Arrived(request));
        // The orders that follow contain the id, so the arriving request is recorded before they
        // are taken.
        self.arriving = request;
        let handled = self.tell(arrived)?;
        self.arriving = NONE;
        match handled {
            Handled::Accepted(id) => self.note_id(request, id),
            Handled::Rejected(_) => {
                self.requests[request as usize].ended = true;
                if request as usize >= self.plan.requests.len() {
                    self.recovery_request_ended(false);
                }
            }
            Handled::Done | Handled::Stale | Handled::Refused | Handled::Added(_) => {
                unreachable!("the checker verified the answer")
            }
        }
        self.trigger_request(request, Moment::Arrived);
        Ok(())
    }

    fn note_id(&mut self, request: u32, id: RequestId) {
        self.requests[request as usize].id = Some(id);
        self.places[id.index as usize] = request;
    }

    /// Returns the request that an id names, even while the pool handles its arrival.
    pub(super) fn request_of(&mut self, id: RequestId) -> u32 {
        if self.arriving != NONE && self.requests[self.arriving as usize].id.is_none() {
            let known = self.places[id.index as usize];
            let current = known != NONE && self.requests[known as usize].id == Some(id);
            if !current {
                self.note_id(self.arriving, id);
            }
        }
        self.places[id.index as usize]
    }

    /// The client has its response or an error, or has cancelled.
    pub(super) fn request_ended(&mut self, id: RequestId, outcome: Outcome) -> Verdict {
        let request = self.request_of(id);
        let exchange = self.requests[request as usize].exchange;
        let completed = outcome == Outcome::Completed;
        if completed {
            let whole = exchange.is_some_and(|exchange| {
                let exchange = &self.exchanges[exchange as usize];
                exchange.answered && exchange.complete && exchange.request == request
            });
            require(whole, Invariant::TruthfulOutcome, || {
                format!("{id:?} completed without a whole response from a backend")
            })?;
        }
        if let Some(exchange) = exchange {
            let exchange = &self.exchanges[exchange as usize];
            let lost = self.links[exchange.link as usize].over;
            sometimes!(self.coverage, AnswerAfterLoss, completed && lost);
        }
        let state = &mut self.requests[request as usize];
        state.ended = true;
        state.completed = completed;
        if request as usize >= self.plan.requests.len() {
            self.recovery_request_ended(completed);
        }
        Ok(())
    }

    /// Starts sending the body of an exchange.
    pub(super) fn start_upload(&mut self, exchange: u32) {
        let request = self.exchanges[exchange as usize].request;
        let plan = self.request_plan(request);
        if let Some(body_us) = plan.body_us {
            let half = self.now + body_us * 500;
            let exceeded = Input::ReplayBufferExceeded {
                request: self.exchanges[exchange as usize].id,
                stream: self.exchanges[exchange as usize].token,
            };
            let turn = self.guided_turn(exceeded).filter(|_| plan.outgrows_buffer);
            match turn.or_else(|| self.guided_half(exchange)) {
                Some(turn) => self.schedule_in_turn(turn, Event::HalfSent(exchange)),
                None => self.schedule(half, Event::HalfSent(exchange)),
            }
        }
    }

    /// The turn of the middle of an upload, if the guide has its end.
    fn guided_half(&self, exchange: u32) -> Option<(u64, u32)> {
        let stream = self.exchanges[exchange as usize].token;
        let (end, _) = self.guided_turn(Input::RequestSent { stream })?;
        Some((self.now.midpoint(end), 0))
    }

    /// Half of the body was sent.
    pub(super) fn half_sent(&mut self, exchange: u32) -> Verdict {
        if self.is_exceeded_late(exchange) {
            return self.exceed(exchange);
        }
        if self.is_cut_within_upload(exchange) {
            return Ok(());
        }
        if !self.upload_goes_on(exchange, Event::HalfSent(exchange)) {
            return Ok(());
        }
        let request = self.exchanges[exchange as usize].request;
        let plan = self.request_plan(request);
        let state = &mut self.requests[request as usize];
        if plan.outgrows_buffer && !state.buffer_exceeded {
            self.exceed(exchange)?;
        }
        self.tell_progress(exchange);
        self.trigger_exchange(exchange, Moment::HalfSent);
        let rest = self.now + plan.body_us.unwrap_or(0) * 500;
        let stream = self.exchanges[exchange as usize].token;
        match self.guided_turn(Input::RequestSent { stream }) {
            Some(turn) => self.schedule_in_turn(turn, Event::BodySent(exchange)),
            None => self.schedule(rest, Event::BodySent(exchange)),
        }
        Ok(())
    }

    /// The replay buffer is dropped, and in the same step that is reported.
    fn exceed(&mut self, exchange: u32) -> Verdict {
        let request = self.exchanges[exchange as usize].request;
        let state = &mut self.requests[request as usize];
        state.buffer_exceeded = true;
        state.whole_body = Some(exchange);
        let id = state.id.expect("it has a stream");
        let stream = self.exchanges[exchange as usize].token;
        self.tell(Input::ReplayBufferExceeded { request: id, stream }).map(drop)
    }

    /// True if the body would outgrow the buffer now, and the guide says that something ends the
    /// attempt before.
    fn is_cut_within_upload(&self, exchange: u32) -> bool {
        let state = &self.exchanges[exchange as usize];
        let exceeds = self.request_plan(state.request).outgrows_buffer
            && !self.requests[state.request as usize].buffer_exceeded;
        let exceeded = Input::ReplayBufferExceeded { request: state.id, stream: state.token };
        exceeds && self.is_cut_off(exchange, exceeded)
    }

    /// True if the body of an attempt that has just failed outgrows the buffer at this moment, by
    /// the guide.
    fn is_exceeded_late(&self, exchange: u32) -> bool {
        let state = &self.exchanges[exchange as usize];
        let request = &self.requests[state.request as usize];
        let plan = self.request_plan(state.request);
        let is_open = plan.outgrows_buffer && !request.buffer_exceeded && !request.ended;
        let exceeded = Input::ReplayBufferExceeded { request: state.id, stream: state.token };
        let turn = self.guided_turn(exceeded);
        is_open && state.reported && turn.is_some_and(|(at, _)| at == self.now)
    }

    /// The whole body was sent.
    pub(super) fn body_sent(&mut self, exchange: u32) {
        let stream = self.exchanges[exchange as usize].token;
        if self.is_cut_off(exchange, Input::RequestSent { stream }) {
            return;
        }
        if self.upload_goes_on(exchange, Event::BodySent(exchange)) {
            let link = self.exchanges[exchange as usize].link;
            self.write(link, UpFrame::BodyEnd(exchange));
        }
    }

    /// Returns true if the upload can continue now. If it can continue only later, schedules
    /// `event` for that time. The task that sends the body runs beside the task that reports on the
    /// stream, and may be one step ahead of the report.
    fn upload_goes_on(&mut self, exchange: u32, event: Event) -> bool {
        let state = &self.exchanges[exchange as usize];
        let request = &self.requests[state.request as usize];
        let over = (state.reported && self.now > state.tell_at)
            || self.links[state.link as usize].over
            || request.ended
            || request.exchange.is_some_and(|present| {
                present != exchange && self.exchanges[present as usize].opened
            });
        let (from, done) = (state.upload_from, over || state.sent);
        if !done && from == NEVER {
            self.exchanges[exchange as usize].upload_hangs = true;
        } else if !done && from > self.now {
            self.schedule(from, event);
        }
        !done && from <= self.now
    }

    /// Delivers the end of a response to the client, once the client reads.
    pub(super) fn deliver_end(&mut self, exchange: u32) {
        let request = self.exchanges[exchange as usize].request;
        let from = self.requests[request as usize].reads_from;
        if from > self.now {
            self.exchanges[exchange as usize].held = true;
            if from != NEVER {
                self.schedule(from, Event::Down(NONE, DownFrame::End(exchange)));
            }
            return;
        }
        let state = &mut self.exchanges[exchange as usize];
        if state.reported {
            return;
        }
        state.held = false;
        let stream = state.token;
        self.tell_stream(exchange, Input::ResponseEnded { stream });
        self.exchanges[exchange as usize].reported = true;
    }

    pub(super) fn trigger_request(&mut self, request: u32, moment: Moment) {
        if request as usize >= self.plan.requests.len() {
            return;
        }
        let exchange = self.requests[request as usize].exchange.unwrap_or(NONE);
        let link = match exchange {
            NONE => NONE,
            exchange => self.exchanges[exchange as usize].link,
        };
        let id = self.plan.requests[request as usize].id;
        self.trigger(When::Request { request: id, moment }, Scope { link, exchange, request });
    }

    /// Triggers a moment of an exchange, for its stream and its request.
    pub(super) fn trigger_exchange(&mut self, exchange: u32, moment: Moment) {
        let state = &self.exchanges[exchange as usize];
        let (link, request) = (state.link, state.request);
        let stream = state.token.ordinal + 1;
        let (backend, connection) = {
            let link = &self.links[link as usize];
            (link.backend, link.nth)
        };
        let scope = Scope { link, exchange, request };
        self.trigger(When::Stream { backend, connection, stream, moment }, scope);
        self.trigger_request(request, moment);
    }
}
