//! Backends that are names with several addresses, and how these change.

use super::Family;
use crate::draw::{Domain, Draws, RandomStream};
use crate::plan::{ADDRESSES_MAX, Act, Address, Directive, Plan, ProcessAct, When};

/// The name of a backend, in one of eight plans with faults. One of its addresses lives.
pub(super) fn name(draws: &Draws, backend: u64, calm: bool) -> [Address; ADDRESSES_MAX] {
    let mut stream = draws.stream(Domain::WirePlan, 100_000_000 + backend);
    if calm || !stream.chance(12) {
        return Default::default();
    }
    let mut addresses = list(&mut stream);
    let listed = addresses.iter().filter(|address| **address != Address::None).count() as u64;
    addresses[stream.below(listed) as usize] = Address::Lives;
    addresses
}

/// Two to four addresses, of which each may be dead.
fn list(stream: &mut RandomStream) -> [Address; ADDRESSES_MAX] {
    let mut addresses = [Address::None; ADDRESSES_MAX];
    let count = stream.between(2, ADDRESSES_MAX as u64) as usize;
    for address in &mut addresses[..count] {
        *address = stream.pick(&[Address::Lives, Address::Refuses, Address::Silent]);
    }
    addresses
}

/// Changes names, in half of the plans that have some.
pub(super) fn add(plan: &mut Plan, stream: &mut RandomStream) {
    let named = |backend: &usize| plan.backends[*backend].wire.has_name();
    let named: Vec<u16> =
        (0..plan.backends.len()).filter(named).map(|backend| backend as u16).collect();
    if named.is_empty() || !stream.chance(50) {
        return;
    }
    let family = Family::Addresses;
    plan.origin.push_str(&format!(" {}", family.code()));
    for _ in 0..stream.between(1, 4) {
        let (backend, addresses) = (stream.pick(&named), list(stream));
        let after_us = stream.below(plan.heal.at_us.max(1));
        let act = Act::Process { act: ProcessAct::Name { backend, addresses } };
        plan.directives.push(Directive { family, when: When::Start, after_us, act });
    }
}
