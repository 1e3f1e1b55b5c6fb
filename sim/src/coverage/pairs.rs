//! Pairs: a fault beside what the operator has done with the backend, in each state of the
//! connection; and a fault after another one on the same connection. None must be met, since many
//! cannot be; a report says how many were.

use super::counts::{Counts, Entry};
use super::tables::{BackendAs, ConnectionAs};
use crate::faults::Family;

/// Counts of pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pairs {
    /// By family, state of the connection, and service of its backend.
    services: Counts,
    /// By the family before, and the family.
    sequences: Counts,
}

impl Pairs {
    /// Counts a fault on a connection that exists.
    pub(super) fn add(
        &mut self,
        family: Family,
        met: ConnectionAs,
        service: BackendAs,
        before: Option<Family>,
    ) {
        self.services.add(beside(family, met, service), 1);
        if let Some(before) = before {
            self.sequences.add(after(before, family), 1);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.services.merge(&other.services);
        self.sequences.merge(&other.sequences);
    }

    pub(super) fn tables(&self) -> [&Counts; 2] {
        [&self.services, &self.sequences]
    }

    pub(super) fn list(&self, entries: &mut Vec<Entry>) {
        let mut list = |name, count| {
            entries.push(Entry { table: "pair", name, count, required: false, never: None });
        };
        let families = || Family::ALL.iter().filter(|family| !family.is_about_bytes());
        for family in families() {
            let code = family.code();
            for met in ConnectionAs::ALL.iter().filter(|met| **met != ConnectionAs::Gone) {
                for service in BackendAs::ALL {
                    let name = format!("{code} on a connection in state {met}, backend {service}");
                    list(name, self.services.get(beside(*family, *met, *service)));
                }
            }
            for before in families() {
                let name = format!("{} before {code} on one connection", before.code());
                list(name, self.sequences.get(after(*before, *family)));
            }
        }
    }
}

/// The place of a fault beside the state of its connection and the service of the backend.
fn beside(family: Family, met: ConnectionAs, service: BackendAs) -> usize {
    let place = family as usize * ConnectionAs::ALL.len() + met as usize;
    place * BackendAs::ALL.len() + service as usize
}

/// The place of a fault after another one.
fn after(before: Family, family: Family) -> usize {
    before as usize * Family::ALL.len() + family as usize
}
