//! Hosts, their addresses and names, and how they can be reached.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::key::Host;
use crate::plan::{ADDRESSES_MAX, Address, Plan};
use crate::proxy::settings;

/// How an address answers a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The listener decides.
    Open,
    /// Its system refuses.
    Refuses,
    /// There is no answer.
    Silent,
    /// A router says that the host cannot be reached.
    #[cfg(test)]
    Unreachable,
}

/// The state of a host, apart from its connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostState {
    /// Its processes do not run before this.
    pub(crate) asleep_until: u64,
    /// Dials to it end like this before `reach_until`.
    pub(crate) reach: Reach,
    pub(crate) reach_until: u64,
    /// Nothing comes from it and nothing reaches it.
    pub(crate) vanished: bool,
}

/// All hosts.
#[derive(Debug)]
pub(crate) struct Hosts {
    owners: BTreeMap<IpAddr, Host>,
    /// Further addresses of backends, and the one that they listen on.
    aliases: BTreeMap<IpAddr, IpAddr>,
    names: BTreeMap<String, Vec<IpAddr>>,
    reach: BTreeMap<IpAddr, Reach>,
    states: BTreeMap<Host, HostState>,
    pub(crate) resolved: u64,
}

/// The address of a client.
pub(crate) fn client_address(client: u8) -> IpAddr {
    Ipv4Addr::new(10, 2, 0, client).into()
}

impl Hosts {
    /// The hosts of a plan.
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut owners = BTreeMap::new();
        owners.insert(settings::LISTENER.0.into(), Host::Proxy);
        for backend in 0..plan.backends.len() as u16 {
            owners.insert(settings::backend_address(backend).ip(), Host::Backend(backend));
        }
        for client in 0..=u8::MAX {
            owners.insert(client_address(client), Host::Client(client));
        }
        let (aliases, names, reach, states) = Default::default();
        let mut hosts = Self { owners, aliases, names, reach, states, resolved: 0 };
        for (backend, of) in plan.backends.iter().enumerate() {
            hosts.list(backend as u16, of.wire.name);
        }
        hosts
    }

    /// Resolvers list these addresses for the name of a backend from now on.
    pub(crate) fn list(&mut self, backend: u16, addresses: [Address; ADDRESSES_MAX]) {
        let mut listed = Vec::new();
        for (place, address) in addresses.into_iter().enumerate() {
            let reach = match address {
                Address::None => continue,
                Address::Lives => Reach::Open,
                Address::Refuses => Reach::Refuses,
                Address::Silent => Reach::Silent,
            };
            let ip = settings::named_address(backend, place);
            self.owners.insert(ip, Host::Backend(backend));
            self.aliases.insert(ip, settings::backend_address(backend).ip());
            self.reach.insert(ip, reach);
            listed.push(ip);
        }
        if !listed.is_empty() {
            self.names.insert(settings::backend_name(backend), listed);
        }
    }

    /// The address that a host listens on for dials of another one of its addresses.
    pub(crate) fn listens_at(&self, address: IpAddr) -> IpAddr {
        self.aliases.get(&address).copied().unwrap_or(address)
    }

    /// Gives a host a further address.
    #[cfg(test)]
    pub(crate) fn own(&mut self, address: IpAddr, host: Host) {
        self.owners.insert(address, host);
    }

    #[cfg(test)]
    pub(crate) fn name(&mut self, name: &str, addresses: Vec<IpAddr>) {
        self.names.insert(name.to_owned(), addresses);
    }

    pub(crate) fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        self.names.get(name).map(Vec::as_slice)
    }

    /// The host of an address. Addresses without a host, those for the machine itself among them,
    /// are the proxy's.
    pub(crate) fn owner(&self, address: IpAddr) -> Host {
        self.owners.get(&address).copied().unwrap_or(Host::Proxy)
    }

    #[cfg(test)]
    pub(crate) fn set_reach(&mut self, address: IpAddr, reach: Reach) {
        self.reach.insert(address, reach);
    }

    /// How a dial of an address ends now.
    pub(crate) fn reach(&self, address: IpAddr, now: u64) -> Reach {
        let state = self.state(self.owner(address));
        if state.vanished {
            return Reach::Silent;
        }
        if state.reach_until > now {
            return state.reach;
        }
        self.reach.get(&address).copied().unwrap_or(Reach::Open)
    }

    pub(crate) fn state(&self, host: Host) -> HostState {
        let well =
            HostState { asleep_until: 0, reach: Reach::Open, reach_until: 0, vanished: false };
        self.states.get(&host).copied().unwrap_or(well)
    }

    pub(crate) fn change(&mut self, host: Host, change: impl FnOnce(&mut HostState)) {
        let mut state = self.state(host);
        change(&mut state);
        self.states.insert(host, state);
    }
}
