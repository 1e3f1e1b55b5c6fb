//! The proxy's dials of names with several addresses, as its system sees them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use super::hub::Hub;

/// A dial of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RaceDial {
    pub(crate) to: SocketAddr,
    /// When it began, in nanoseconds.
    pub(crate) begun: u64,
    /// When it ended, and how; `None` while it is open.
    pub(crate) ended: Option<(u64, How)>,
}

/// How a dial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Connected,
    Failed,
    /// The proxy no longer waited for it.
    Abandoned,
}

/// The dial of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Race {
    pub(crate) name: String,
    /// When the addresses were known, in nanoseconds.
    pub(crate) resolved: u64,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) dials: Vec<RaceDial>,
}

/// All dials of names.
#[derive(Debug, Default)]
pub(crate) struct Races {
    all: Vec<Race>,
    /// The last one of each task.
    of_tasks: BTreeMap<u64, usize>,
}

impl Races {
    /// A task has resolved a name.
    pub(crate) fn resolved(&mut self, task: u64, race: Race) {
        self.of_tasks.insert(task, self.all.len());
        self.all.push(race);
    }

    /// A task has ended.
    pub(crate) fn task_ends(&mut self, task: u64) {
        self.of_tasks.remove(&task);
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Race> {
        self.all.clone()
    }
}

/// A dial that a task waits for. Dropping it notes that it is abandoned.
pub(crate) struct Dialling {
    hub: Rc<Hub>,
    races: Rc<RefCell<Races>>,
    /// The race, and the place in it; `None` if the dial is in none.
    place: Option<(usize, usize)>,
}

impl Dialling {
    /// A task begins to dial an address.
    pub(crate) fn begin(
        hub: &Rc<Hub>,
        races: &Rc<RefCell<Races>>,
        task: u64,
        to: SocketAddr,
    ) -> Self {
        let mut known = races.borrow_mut();
        let race = known.of_tasks.get(&task).copied();
        let race = race.filter(|race| known.all[*race].addresses.contains(&to));
        let place = race.map(|race| {
            let dials = &mut known.all[race].dials;
            dials.push(RaceDial { to, begun: hub.now(), ended: None });
            (race, dials.len() - 1)
        });
        drop(known);
        Self { hub: Rc::clone(hub), races: Rc::clone(races), place }
    }

    /// The dial ends.
    pub(crate) fn end(mut self, connected: bool) {
        self.note(if connected { How::Connected } else { How::Failed });
    }

    fn note(&mut self, how: How) {
        if let Some((race, dial)) = self.place.take() {
            let ended = Some((self.hub.now(), how));
            self.races.borrow_mut().all[race].dials[dial].ended = ended;
        }
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        self.note(How::Abandoned);
    }
}
