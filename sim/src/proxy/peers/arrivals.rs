//! The responses on one HTTP/2 connection of a client, as they arrive on the wire: every frame of
//! the proxy is judged, and each response is kept as judges want it.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::conduct::{Conduct, Side};
use super::frames::{Fault, Fields, Frame};
use crate::proxy::content::{Body, Seen};
use crate::proxy::hub::Hub;
use crate::proxy::ledger::{EXECUTION, End, GoneAway, Received, TRAILER};

/// All that arrives on a connection of a client.
pub(crate) struct Arrivals {
    hub: Rc<Hub>,
    client: u8,
    connection: u32,
    /// The state of the connection. This client enters what it does.
    pub(crate) conduct: Conduct,
    answers: BTreeMap<u32, Answer>,
}

/// All that has arrived on a stream.
struct Answer {
    received: Received,
    /// True once the proxy has ended or reset the stream.
    over: bool,
}

impl Answer {
    fn new() -> Self {
        let received = Received {
            status: None,
            execution: None,
            informational: 0,
            body: Seen::NOTHING,
            trailer: None,
            proxy_status: None,
            date: None,
            end: End::Broken,
            at: 0,
        };
        Self { received, over: false }
    }

    fn head(&mut self, fields: &Fields) {
        let text = |name: &str| fields.get(name).map(str::to_owned);
        match fields.status() {
            Some(status) if status < 200 => self.received.informational += 1,
            status if self.received.status.is_none() => {
                self.received.status = status;
                self.received.execution =
                    fields.get(EXECUTION).and_then(|execution| execution.parse().ok());
                self.received.proxy_status = text("proxy-status");
                self.received.date = text("date");
            }
            _ => self.received.trailer = text(TRAILER),
        }
    }

    fn body(&mut self, bytes: &[u8]) {
        match self.received.execution {
            Some(execution) => self.received.body.read(Body::Response(execution), bytes),
            // An answer of the proxy itself: only its length counts.
            None => self.received.body.length += bytes.len() as u64,
        }
    }

    fn end(&mut self, end: End, at: u64) {
        if !self.over {
            self.over = true;
            self.received.end = end;
            self.received.at = at;
        }
    }
}

impl Arrivals {
    pub(crate) fn new(hub: Rc<Hub>, client: u8, connection: u32) -> Self {
        let (conduct, answers) = (Conduct::new(Side::Server), BTreeMap::new());
        Self { hub, client, connection, conduct, answers }
    }

    /// The number of the connection at its client.
    pub(crate) fn connection(&self) -> u32 {
        self.connection
    }

    /// This client sends the head of a request.
    pub(crate) fn open(&mut self, stream: u32, method: &str) {
        self.conduct.open(stream, method);
        self.answers.insert(stream, Answer::new());
    }

    /// This client sends the end of a request.
    pub(crate) fn sent(&mut self, stream: u32) {
        self.conduct.end(stream);
    }

    /// Judges a frame of the proxy and keeps what it says. A frame that is forbidden has no other
    /// effect.
    pub(crate) fn read(&mut self, frame: &Frame) {
        if let Err(fault) = self.conduct.read(frame) {
            return self.fault(&fault);
        }
        let at = self.hub.now();
        match frame {
            Frame::Headers { stream, fields, end } => self.change(*stream, |answer| {
                answer.head(fields);
                if *end {
                    answer.end(End::Complete, at);
                }
            }),
            Frame::Data { stream, data, end, .. } => self.change(*stream, |answer| {
                answer.body(data);
                if *end {
                    answer.end(End::Complete, at);
                }
            }),
            Frame::Reset { stream, code } => {
                self.change(*stream, |answer| answer.end(End::Reset(*code), at));
            }
            Frame::GoAway { last, code } => {
                let (client, connection) = (self.client, self.connection);
                let go_away = GoneAway { client, connection, last: *last, code: *code, at };
                self.hub.ledger.gone_away(go_away);
            }
            _ => {}
        }
    }

    fn change(&mut self, stream: u32, change: impl FnOnce(&mut Answer)) {
        if let Some(answer) = self.answers.get_mut(&stream) {
            change(answer);
        }
    }

    /// Notes that the proxy sent what it may not send.
    pub(crate) fn fault(&self, fault: &Fault) {
        let Self { client, connection, .. } = self;
        let what = &fault.what;
        self.hub.ledger.fault(format!("client {client}, connection {connection}: {what}"));
    }

    /// True once the proxy has ended or reset a stream, or has disowned it.
    pub(crate) fn is_over(&self, stream: u32) -> bool {
        self.answers.get(&stream).is_none_or(|answer| answer.over) || self.is_disowned(stream)
    }

    /// True if a stream is above the last one that the proxy has processed or will process.
    fn is_disowned(&self, stream: u32) -> bool {
        self.conduct.last_id().is_some_and(|last| stream > last)
    }

    /// How the request of a stream has ended, now that nothing more arrives for it: because the
    /// stream or the connection is over, or because the client has cancelled it.
    pub(crate) fn received(&self, stream: u32, cancelled: bool) -> Received {
        let answer = self.answers.get(&stream);
        let mut received = answer.map_or_else(|| Answer::new().received, |it| it.received.clone());
        if answer.is_some_and(|answer| answer.over) {
            return received;
        }
        received.at = self.hub.now();
        received.end = if cancelled {
            End::Cancelled
        } else if answer.is_none() || self.is_disowned(stream) {
            End::Unprocessed
        } else {
            End::Broken
        };
        received
    }

    /// How a request has ended that was given to no connection, because there was none.
    pub(crate) fn unprocessed(hub: &Hub) -> Received {
        Received { end: End::Unprocessed, at: hub.now(), ..Answer::new().received }
    }
}
