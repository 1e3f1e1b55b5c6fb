//! The sockets that listen, and the queues of connections that wait to be accepted.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::task::Waker;

/// The first port that the system chooses.
const FIRST_PORT: u16 = 32_768;

/// A socket that listens.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    shared: bool,
    /// Connections that may wait.
    backlog: usize,
    /// Connections whose handshake is not complete.
    pub(crate) incomplete: usize,
    /// Connections that wait to be accepted, by their indices.
    pub(crate) queue: VecDeque<usize>,
    pub(crate) waker: Option<Waker>,
}

/// The sockets that share an address.
#[derive(Debug, Default)]
struct Group {
    members: Vec<usize>,
    dials: usize,
}

/// All sockets that listen.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    /// An index is never used again.
    pub(crate) all: Vec<Option<Listener>>,
    groups: BTreeMap<SocketAddr, Group>,
    ports: BTreeMap<IpAddr, u16>,
}

impl Listeners {
    /// A port that the system chooses.
    pub(crate) fn choose_port(&mut self, address: IpAddr) -> u16 {
        let next = self.ports.entry(address).or_insert(FIRST_PORT);
        let port = *next;
        *next = next.checked_add(1).unwrap_or(FIRST_PORT);
        port
    }

    /// True if a socket can listen on an address.
    pub(crate) fn is_free(&self, address: SocketAddr, shared: bool) -> bool {
        self.all.iter().flatten().all(|other| {
            let (ip, other_ip) = (address.ip(), other.address.ip());
            let overlaps = ip == other_ip || ip.is_unspecified() || other_ip.is_unspecified();
            other.address.port() != address.port() || !overlaps || shared && other.shared
        })
    }

    /// Opens a socket that listens. Returns its index.
    pub(crate) fn open(&mut self, address: SocketAddr, shared: bool, backlog: usize) -> usize {
        let index = self.all.len();
        self.all.push(Some(Listener {
            address,
            shared,
            backlog,
            incomplete: 0,
            queue: VecDeque::new(),
            waker: None,
        }));
        self.groups.entry(address).or_default().members.push(index);
        index
    }

    pub(crate) fn close(&mut self, index: usize) -> Option<Listener> {
        let listener = self.all[index].take()?;
        if let Some(group) = self.groups.get_mut(&listener.address) {
            group.members.retain(|member| *member != index);
            if group.members.is_empty() {
                self.groups.remove(&listener.address);
            }
        }
        Some(listener)
    }

    /// The socket whose turn it is at an address; `is_host` says which wildcard addresses cover it.
    pub(crate) fn turn(
        &mut self,
        address: SocketAddr,
        is_host: impl Fn(IpAddr) -> bool,
    ) -> Option<usize> {
        let covers = |known: &SocketAddr| {
            let ip = known.ip();
            known.port() == address.port() && ip.is_unspecified() && is_host(ip)
        };
        let exact = self.groups.contains_key(&address).then_some(address);
        let address = exact.or_else(|| self.groups.keys().copied().find(covers))?;
        let group = self.groups.get_mut(&address)?;
        let member = group.members[group.dials % group.members.len()];
        group.dials += 1;
        Some(member)
    }

    /// Reserves a place in the queue of a socket. Returns false if it is full.
    pub(crate) fn reserve(&mut self, index: usize) -> bool {
        let Some(listener) = &mut self.all[index] else { return false };
        let has_room = listener.queue.len() + listener.incomplete < listener.backlog;
        listener.incomplete += usize::from(has_room);
        has_room
    }

    /// Gives a reserved place back.
    pub(crate) fn release(&mut self, index: usize) {
        if let Some(listener) = &mut self.all[index] {
            listener.incomplete -= 1;
        }
    }
}
