//! The proxy's dials of names with several addresses (RFC 8305).

use std::io::ErrorKind;

use baton::proxy::addresses::connect;
use baton::proxy::limits::CONNECTION_ATTEMPT_DELAY;
use baton::proxy::seams::simulated::install;

use super::super::Reach;
use super::*;
use crate::proxy::host::Machine;
use crate::proxy::pools::Pools;

const NAME: &str = "backend.test";

/// A name whose first address is backend 0's and answers dials in this way, and whose second one is
/// backend 1's. Both listen. Returns how a dial of the name ends, and after how many nanoseconds.
async fn dial(
    network: Rc<Network>,
    hub: Rc<Hub>,
    reach: [Reach; 2],
) -> (Result<(), ErrorKind>, u64) {
    let addresses = [0, 1].map(backend_address);
    let _listening = addresses.map(|address| network.listen(address).expect("it is free"));
    for (address, reach) in addresses.iter().zip(reach) {
        network.set_reach(address.ip(), reach);
    }
    network.name(NAME, addresses.map(|address| address.ip()).into());
    let pools = Pools::new(None, Default::default(), Default::default());
    let _installed = install(Machine::new(&hub, &network, proxy(), &pools));
    let connected = connect(NAME, addresses[0].port()).await;
    (connected.map(drop).map_err(|error| error.kind()), hub.now())
}

fn dialled(reach: [Reach; 2]) -> (Result<(), ErrorKind>, u64) {
    play(plan(1, (10, 10)), |network, hub| dial(network, hub, reach))
}

#[test]
fn an_address_without_an_answer_costs_one_attempt_delay() {
    let delay = CONNECTION_ATTEMPT_DELAY.as_nanos() as u64;
    let (at_once, calm) = dialled([Reach::Open; 2]);
    assert_eq!(at_once, Ok(()));
    assert!(calm < SECOND / 1_000, "{calm} ns");
    let (connected, nanos) = dialled([Reach::Silent, Reach::Open]);
    assert_eq!(connected, Ok(()));
    // The shell's timers are late by up to a millisecond.
    assert!((delay..=delay + SECOND / 1_000).contains(&(nanos - calm)), "{nanos} ns");
}

#[test]
fn an_address_that_refuses_costs_no_delay() {
    for refusing in [Reach::Refuses, Reach::Unreachable] {
        let (connected, nanos) = dialled([refusing, Reach::Open]);
        assert_eq!(connected, Ok(()));
        assert!(nanos < SECOND / 1_000, "{nanos} ns");
    }
}

#[test]
fn a_dial_fails_with_the_last_failure_once_no_address_is_left() {
    let (refused, nanos) = dialled([Reach::Unreachable, Reach::Refuses]);
    assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
    assert!(nanos < SECOND / 1_000, "{nanos} ns");
    let (silent, _) = dialled([Reach::Silent, Reach::Refuses]);
    assert_eq!(silent, Err(ErrorKind::TimedOut));
}
