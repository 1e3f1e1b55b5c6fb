//! A backend that speaks HTTP/2: it accepts connections, and does to all of them what concerns the
//! backend as a whole.
//!
//! By default it writes its own frames, so that it can do what a library refuses to do; with
//! `by_library` each connection is served by `h2`.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::frames::FrameReader;
use super::http2_library_backend;
use super::service::{Admission, Command, Incoming, NEVER, Service};
use crate::plan::{Code, Health};
use crate::proxy::exact::sleep;
use crate::proxy::exact::spawn;
use crate::proxy::hub::Hub;

mod answer;
mod connection;
mod output;
mod session;
#[cfg(test)]
mod tests;

/// A backend that speaks HTTP/2.
pub(crate) struct Http2Backend {
    service: Rc<Service>,
}

impl Http2Backend {
    /// The backend with this index in the plan.
    pub(crate) fn new(hub: &Rc<Hub>, backend: u16) -> Self {
        Self { service: Rc::new(Service::new(hub, backend)) }
    }

    /// The number of its connections.
    #[cfg(test)]
    pub(crate) fn connections(&self) -> usize {
        self.service.connections()
    }

    /// Accepts a connection: a task serves it until it ends.
    pub(crate) fn accept<Io>(&self, incoming: Incoming<Io>)
    where
        Io: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        match self.service.admission() {
            Admission::Refuses => return incoming.break_off(),
            Admission::Hangs => {
                let silent = FrameReader::new(incoming.io).discard();
                spawn(silent);
                return;
            }
            Admission::Accepts => {}
        }
        let commands = self.service.join(incoming.number);
        let service = Rc::clone(&self.service);
        if service.plan.wire.by_library {
            spawn(http2_library_backend::serve(service, incoming, commands));
        } else {
            spawn(connection::serve(service, incoming, commands));
        }
    }

    /// Restarts: connections break, after GOAWAY and some time if it is graceful, and new ones are
    /// refused for a while.
    pub(crate) fn restart(&self, graceful: bool, down_us: u64) {
        self.service.refuse_until(self.service.hub.now() + down_us * 1_000);
        if !graceful {
            self.break_all();
            return;
        }
        self.service.command(Command::GoAway(Code::NoError));
        let service = Rc::clone(&self.service);
        spawn(async move {
            sleep(Duration::from_micros(down_us / 2)).await;
            service.command(Command::Break);
        });
    }

    /// Breaks all connections.
    pub(crate) fn break_all(&self) {
        self.service.command(Command::Break);
    }

    /// Will speak HTTP/1.1 on new connections: open streams are reset accordingly.
    pub(crate) fn switch_to_http1(&self) {
        self.service.command(Command::ResetAll(Code::Http11Required));
    }

    /// Gives health checks another result for a while; none if `None`.
    pub(crate) fn override_health_checks(&self, passed: Option<bool>, for_us: u64) {
        self.service.override_health_checks(passed, self.service.hub.now() + for_us * 1_000);
    }

    /// Faults stop.
    pub(crate) fn heal(&self, health: Health) {
        let until = if health == Health::Well { 0 } else { NEVER };
        self.service.unreachable_until(until, health == Health::Hangs);
        self.service.command(Command::Heal { well: health == Health::Well });
    }
}
