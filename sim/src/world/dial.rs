//! Dials: the result depends on the backend, the path to it, and the directives.

use baton::pool::{ConnectFailure, ConnectionToken, Input, Protocol};

use super::World;
use super::tables::{DialFate, Event, Link, NEVER, Scope};
use crate::draw::Domain;
use crate::plan::{Stage, When};

impl World<'_> {
    pub(super) fn dial(&mut self, connection: ConnectionToken) {
        let owner = self.owners[usize::from(connection.backend.0)];
        let backend = owner as u16;
        let server = &mut self.servers[owner as usize];
        server.connections += 1;
        let nth = server.connections;
        let index = self.links.len() as u32;
        self.links.push(Link::new(connection, backend, nth));
        self.trace.dialled(connection, backend, nth);
        let place = self.slot_place(connection);
        self.slots[place] = index;
        let scope = Scope { link: index, ..Scope::NOTHING };
        self.trigger(When::Dialled { backend, connection: nth }, scope);
        let took = self.link_delay(index, Domain::Dials, self.plan.network.dial);
        self.links[index as usize].syn_at = self.now + took / 2;
        let stall = match self.links[index as usize].fate {
            DialFate::Stalls(for_ns) => for_ns,
            DialFate::Succeeds | DialFate::Fails(_) | DialFate::BreaksAtPreface => 0,
        };
        if stall != NEVER {
            self.schedule(self.now + took + stall, Event::DialEnds(index));
        }
    }

    pub(super) fn dial_ends(&mut self, index: u32) {
        let link = &self.links[index as usize];
        if link.over || link.up {
            return;
        }
        let server = &self.servers[usize::from(link.backend)];
        let (connection, fate) = (link.token, link.fate);
        // In the proxy's world a system answers the SYN half-way through the dial.
        let judged_at = if self.guide.is_some() { link.syn_at } else { self.now };
        let is_down = judged_at < server.down_until;
        let dropped = link.drops_up || link.drops_down;
        if (is_down && server.hangs) || dropped {
            return;
        }
        let failure = match fate {
            _ if is_down => Some(ConnectFailure::Tcp),
            DialFate::Fails(Stage::Tcp) => Some(ConnectFailure::Tcp),
            DialFate::Fails(Stage::Tls) => Some(ConnectFailure::Tls),
            DialFate::Fails(Stage::Settings) => Some(ConnectFailure::Protocol),
            DialFate::Succeeds | DialFate::Stalls(_) | DialFate::BreaksAtPreface => None,
        };
        if let Some(reason) = failure {
            self.links[index as usize].over = true;
            self.tell_link(index, Input::ConnectFailed { connection, reason });
            return;
        }
        self.connected(index);
    }

    /// All connections are broken. In the proxy's world that fails the dials as well.
    pub(super) fn fail_dials(&mut self) {
        if self.guide.is_none() {
            return;
        }
        for link in self.links.iter_mut().filter(|link| !link.up) {
            link.fate = DialFate::Fails(Stage::Tcp);
        }
    }

    fn connected(&mut self, index: u32) {
        let link = &self.links[index as usize];
        let (connection, backend, nth) = (link.token, link.backend, link.nth);
        let server = &self.servers[usize::from(backend)];
        let http1 = server.http1;
        let late = server.plan.settings_late_us.filter(|_| !http1);
        let allowed = server.max_streams();
        let link = &mut self.links[index as usize];
        link.up = true;
        link.http1 = http1;
        let max_streams = (!http1 && late.is_none()).then_some(allowed);
        if max_streams.is_some() {
            link.allowed = allowed;
            link.acknowledged = allowed;
        }
        let protocol = if http1 { Protocol::Http1 } else { Protocol::Http2 };
        self.tell_link(index, Input::Connected { connection, protocol, max_streams });
        if let Some(late_us) = late {
            self.schedule(self.now + late_us * 1_000, Event::LateSettings(index));
        }
        if self.links[index as usize].fate == DialFate::BreaksAtPreface {
            self.lose(index);
            return;
        }
        let scope = Scope { link: index, ..Scope::NOTHING };
        self.trigger(When::Connected { backend, connection: nth }, scope);
    }
}
