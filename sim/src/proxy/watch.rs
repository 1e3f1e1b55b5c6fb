//! Watches a run from the outside, if somebody wants to know: for the catalogue of what runs meet,
//! and for the story.

mod glimpse;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use baton::pool::limits::WEIGHT_MAX;

use self::glimpse::{glimpse, name};
use super::host::Machine;
use super::hub::{self, Hub, Order, Target};
use super::network::{Key, Network, Packet, Point};
use super::peers::frames::Frame;
use super::pools::Pools;
use super::traffic::{Part, Sight, Traffic};
use crate::coverage::{CodeUse, Deed, Phase, Phases, ProcessDeed, ProxyCoverage, Side};
use crate::plan::{Act, Direction, Plan};
use crate::trace::What;

/// The outside view of a run.
pub(crate) struct Watch {
    hub: Weak<Hub>,
    network: Weak<Network>,
    machine: Weak<Machine>,
    plan: Rc<Plan>,
    pools: Rc<Pools>,
    traffic: RefCell<Traffic>,
    tells: bool,
    counts: bool,
    stopped: Cell<bool>,
}

impl Watch {
    /// Watches a run from now on, if its coverage or its whole story is wanted.
    pub(crate) fn start(
        hub: &Rc<Hub>,
        network: &Rc<Network>,
        machine: &Rc<Machine>,
        pools: &Rc<Pools>,
    ) -> Option<Rc<Self>> {
        let (mut tells, mut counts) = (false, false);
        pools.with_trace(|trace| tells = trace.is_whole());
        pools.with_coverage(|coverage| counts = coverage.proxy().is_some());
        if !tells && !counts {
            return None;
        }
        let watch = Rc::new(Self {
            hub: Rc::downgrade(hub),
            network: Rc::downgrade(network),
            machine: Rc::downgrade(machine),
            plan: Rc::clone(&hub.plan),
            pools: Rc::clone(pools),
            traffic: RefCell::new(Traffic::new(hub.plan.wire.tls)),
            tells,
            counts,
            stopped: Cell::new(false),
        });
        hub.watch(Rc::clone(&watch) as Rc<_>);
        let observer = Rc::clone(&watch);
        network.observe(Box::new(move |packet| observer.see(packet)));
        Some(watch)
    }

    fn see(&self, packet: &Packet<'_>) {
        if matches!(packet.key, Key::Other(_)) {
            return;
        }
        self.traffic.borrow_mut().see(packet, |point, sight| {
            if self.counts {
                self.count_codes(packet, point, sight);
            }
            if self.tells
                && let Some(on_wire) = glimpse(packet, point, sight)
            {
                let note = What::OnWire(Box::new(on_wire));
                self.pools.with_trace(|trace| trace.note(packet.at, note));
            }
        });
    }

    fn count(&self, count: impl FnOnce(&mut ProxyCoverage)) {
        self.pools.with_coverage(|coverage| coverage.proxy().map(count).unwrap_or_default());
    }

    /// Counts the error codes that the proxy has written, and those that have arrived.
    fn count_codes(&self, packet: &Packet<'_>, point: Point, sight: Sight<'_>) {
        let written = packet.direction == Direction::Out;
        let Sight::Part(placed) = sight else { return };
        if point == (if written { Point::Delivered } else { Point::Written }) {
            return;
        }
        let (go_away, code) = match placed.part {
            Part::Frame(Frame::Reset { code, .. }) => (false, code),
            Part::Frame(Frame::GoAway { code, .. }) => (true, code),
            _ => return,
        };
        if let Some(side) = side_of(packet.key) {
            self.count(|counts| counts.code(CodeUse { side, written, go_away, code }));
        }
    }

    /// Counts a directive that takes effect.
    fn count_deed(&self, order: Order, addressee: Target) {
        let traffic = self.traffic.borrow();
        let act = order.act;
        if let Some(operation) = ProcessDeed::of(act, self.stopped.get()).filter(|_| is_valid(act))
        {
            self.stopped.set(self.stopped.get() || act == Act::Shutdown);
            return self.count(|counts| counts.operation(operation, traffic.is_in_flight()));
        }
        let Some(deed) = Deed::of(act) else { return };
        if deed.needs_tls() && !self.plan.wire.tls {
            return;
        }
        let touched = match (act, addressee) {
            (Act::DisconnectAll, _) => return self.count_all(deed, None),
            (Act::Restart { backend, .. } | Act::Unreachable { backend, .. }, _) => {
                return self.count_all(deed, Some(backend));
            }
            (_, Target::Request(request)) => {
                let phases = traffic.phases_at_client(request);
                return self.count(|counts| counts.deed(Side::Client, deed, phases));
            }
            (_, Target::Stream(backend, connection, number)) if deed.is_about_a_stream() => {
                let mut phases = traffic.phases_of(Key::Backend(backend, connection), number);
                if deed == Deed::Status {
                    // It comes too late if another one was sent.
                    phases.remove(Phase::BodyDown);
                }
                return self.count(|counts| counts.deed(Side::Backend, deed, phases));
            }
            (_, Target::Process) => Key::of(order.target),
            _ => Key::of(addressee),
        };
        let Some(key) = touched.filter(|key| self.is_known(*key)) else { return };
        if let Some(side) = side_of(key).filter(|side| deed.is_at(*side)) {
            if deed.needs_http2() && traffic.is_http2(key) == Some(false) {
                return;
            }
            let phases = if deed.is_about_a_stream() { Phases::NONE } else { traffic.phases(key) };
            self.count(|counts| counts.deed(side, deed, phases));
        }
    }

    /// Counts an act on all connections to a backend, or to all backends.
    fn count_all(&self, deed: Deed, backend: Option<u16>) {
        let traffic = self.traffic.borrow();
        for key in traffic.to_backend(backend).filter(|key| self.is_known(*key)) {
            self.count(|counts| counts.deed(Side::Backend, deed, traffic.phases(key)));
        }
    }

    fn is_known(&self, key: Key) -> bool {
        self.network.upgrade().is_some_and(|network| network.is_known(key))
    }

    fn now(&self) -> u64 {
        self.hub.upgrade().map_or(0, |hub| hub.now())
    }

    /// Completes the story with what never arrived.
    pub(crate) fn finish(&self) {
        if !self.tells {
            return;
        }
        let traffic = self.traffic.borrow();
        self.pools.with_trace(|trace| {
            for (key, direction, placed) in traffic.lost() {
                let Some(connection) = name(key) else { continue };
                if direction == Direction::In {
                    let lost = glimpse::lost(connection, placed);
                    trace.note(placed.at, What::OnWire(Box::new(lost)));
                } else {
                    trace.lose(connection, placed.end);
                }
            }
            trace.sort();
        });
    }
}

impl hub::Watch for Watch {
    fn dialled(&self, backend: u16, connection: u32) {
        let dials = self.machine.upgrade().and_then(|machine| machine.dials());
        if let Some((pool, token)) = dials.filter(|_| self.tells) {
            self.pools.with_trace(|trace| {
                trace.enter_pool(pool as usize);
                trace.dialled(token, backend, connection);
            });
        }
    }

    fn injected(&self, directive: usize, order: Order, addressee: Target) {
        if self.counts {
            self.count_deed(order, addressee);
        }
        let at = self.now();
        self.pools.with_trace(|trace| trace.note(at, What::Injected(directive as u32)));
    }

    fn healed(&self) {
        let at = self.now();
        self.pools.with_trace(|trace| trace.note(at, What::Healed));
    }
}

fn side_of(key: Key) -> Option<Side> {
    match key {
        Key::Client(..) => Some(Side::Client),
        Key::Backend(..) => Some(Side::Backend),
        Key::Other(_) => None,
    }
}

/// True unless the operator of this world knows that a reload would refuse it.
fn is_valid(act: Act) -> bool {
    match act {
        Act::Add { weight, .. } | Act::Weight { weight, .. } => (1..=WEIGHT_MAX).contains(&weight),
        _ => true,
    }
}
