//! Stale or misplaced inputs (F18). Each is checked against the shell's knowledge when it is given,
//! so that none falsely claims that something was not sent or was answered.

use std::time::Duration;

use baton::pool::{
    ConnectFailure, ConnectionToken, Input, Protocol, SlotState, StreamFailure, StreamToken,
};

use super::World;
use super::tables::{NONE, Scope};
use crate::checker::Verdict;
use crate::plan::StaleInput;

impl World<'_> {
    /// Gives a stale or misplaced input, unless it would misreport what was sent or executed.
    pub(super) fn send_stale_input(&mut self, fact: StaleInput, scope: Scope) -> Verdict {
        let about_stream = self.stale_stream_input(fact, scope.exchange);
        match about_stream.or_else(|| self.stale_connection_input(fact, scope.link)) {
            Some(input) => self.tell(input).map(drop),
            None => Ok(()),
        }
    }

    fn stale_connection_input(&mut self, fact: StaleInput, index: u32) -> Option<Input> {
        if index == NONE {
            return None;
        }
        let link = &self.links[index as usize];
        let connection = link.token;
        let dialling = self.is_dialling(connection);
        match fact {
            StaleInput::Connected if !dialling => {
                let max_streams = Some(link.allowed);
                Some(Input::Connected { connection, protocol: Protocol::Http2, max_streams })
            }
            StaleInput::ConnectFailed if !dialling => {
                Some(Input::ConnectFailed { connection, reason: ConnectFailure::Tcp })
            }
            StaleInput::ConnectionClosed if dialling && !link.up => {
                self.links[index as usize].over = true;
                Some(Input::ConnectionClosed { connection, sent_through: 0 })
            }
            StaleInput::ConnectionClosed if link.over => {
                let sent_through = link.sent_through;
                (self.now > link.tell_at)
                    .then_some(Input::ConnectionClosed { connection, sent_through })
            }
            StaleInput::GoAway => {
                let last_stream_id = u32::MAX >> 1;
                Some(Input::GoAwayReceived { connection, last_stream_id, code: 0 })
            }
            StaleInput::MaxStreams => {
                Some(Input::MaxStreamsChanged { connection, max_streams: link.allowed })
            }
            StaleInput::KeepAlive => {
                Some(Input::KeepAliveAnnounced { connection, timeout: Duration::from_secs(3) })
            }
            StaleInput::Frame => Some(Input::FrameReceived { connection, carries_message: false }),
            StaleInput::Pong => Some(Input::Pong { connection }),
            // While a check is unanswered it would be a lie.
            StaleInput::DeliveryChecked if !link.delivery_check => {
                Some(Input::DeliveryChecked { connection, unanswered: Some(9) })
            }
            _ => None,
        }
    }

    fn stale_stream_input(&mut self, fact: StaleInput, exchange: u32) -> Option<Input> {
        if exchange == NONE {
            return None;
        }
        let state = &mut self.exchanges[exchange as usize];
        let stream: StreamToken = state.token;
        let stream_id = state.stream_id;
        match fact {
            StaleInput::StreamOpened if state.opened => {
                Some(Input::StreamOpened { stream, stream_id })
            }
            StaleInput::RequestSent => Some(Input::RequestSent { stream }),
            StaleInput::BodyProgressed => Some(Input::BodyProgressed { stream, bytes: 1 }),
            StaleInput::UploadBlocked => Some(Input::UploadBlocked { stream }),
            // Repeated, or too early; the true fact still follows.
            StaleInput::ResponseStarted => {
                state.response_start_reported = true;
                Some(Input::ResponseStarted { stream, status: 200 })
            }
            StaleInput::ResponseEnded if !state.head_sent && !state.response_start_reported => {
                Some(Input::ResponseEnded { stream })
            }
            StaleInput::NotSent if !state.opened && !state.reported => {
                state.reported = true;
                let failure = StreamFailure::NotSent;
                Some(Input::StreamFailed { stream, failure })
            }
            // A reset order may be in flight, and must be carried out first.
            StaleInput::ResetSent if !state.reported => {
                let idle = self.links[state.link as usize].order_at < self.now;
                let request = &self.requests[state.request as usize];
                let ordered = !state.opened && !request.ended && request.exchange == Some(exchange);
                (idle || ordered).then_some(Input::ResetSent { stream })
            }
            _ => None,
        }
    }

    /// Returns true if the pool still waits for the end of the dial.
    fn is_dialling(&self, connection: ConnectionToken) -> bool {
        let last = self.slots[self.slot_place(connection)];
        self.links[last as usize].token == connection
            && self.pool.slot_state(connection.backend, connection.slot)
                == Some(SlotState::Connecting)
    }
}
