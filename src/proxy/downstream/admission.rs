//! Limits the number of client connections, of the process and of each client address. Shared by
//! all workers; locked when a connection is accepted and when it closes, never for a request.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::proxy::client_limits::{ClientLimit, ClientLimits};

/// The unit that counts as one client: an IPv4 address or an IPv6 /64, which one household gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Origin {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    /// Never has more entries than there are connections.
    by_origin: BTreeMap<Origin, usize>,
}

/// The client connections of the process.
#[derive(Debug, Default)]
pub struct Admission {
    open: Mutex<Open>,
}

impl Admission {
    /// Admits a connection, which counts until the result is dropped.
    ///
    /// # Errors
    /// The limit that the connection would exceed.
    pub fn admit(
        self: &Arc<Self>,
        client: IpAddr,
        limits: &ClientLimits,
    ) -> Result<Admitted, ClientLimit> {
        let origin = Origin::of(client);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= limits.connections {
            return Err(ClientLimit::Connections);
        }
        let of_origin = open.by_origin.entry(origin).or_default();
        if *of_origin >= limits.connections_per_address {
            return Err(ClientLimit::ConnectionsPerAddress);
        }
        *of_origin += 1;
        open.total += 1;
        Ok(Admitted { admission: Arc::clone(self), origin })
    }

    /// The number of open connections.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    fn release(&self, origin: Origin) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total -= 1;
        if let Some(of_origin) = open.by_origin.get_mut(&origin) {
            *of_origin -= 1;
            if *of_origin == 0 {
                open.by_origin.remove(&origin);
            }
        }
    }
}

/// An admitted connection; it counts until this is dropped.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    origin: Origin,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.release(self.origin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connections: usize, connections_per_address: usize) -> ClientLimits {
        ClientLimits { connections, connections_per_address, ..ClientLimits::DEFAULT }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_address_cannot_use_up_the_limit_of_all() {
        let admission = Arc::new(Admission::default());
        let limits = limits(3, 2);
        let a = address("192.0.2.1");
        let first = admission.admit(a, &limits).expect("capacity");
        let _second = admission.admit(address("::ffff:192.0.2.1"), &limits).expect("capacity");
        let refused = admission.admit(a, &limits).expect_err("the same address, however written");
        assert_eq!(refused, ClientLimit::ConnectionsPerAddress);
        let _other = admission.admit(address("192.0.2.2"), &limits).expect("capacity for others");
        let refused = admission.admit(address("192.0.2.3"), &limits).expect_err("full");
        assert_eq!(refused, ClientLimit::Connections);
        drop(first);
        assert_eq!(admission.open(), 2);
        let _again = admission.admit(a, &limits).expect("capacity that was released");
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let admission = Arc::new(Admission::default());
        let limits = limits(10, 1);
        let _one = admission.admit(address("2001:db8::1"), &limits).expect("capacity");
        assert!(admission.admit(address("2001:db8::ffff:2"), &limits).is_err());
        assert!(admission.admit(address("2001:db8:0:1::1"), &limits).is_ok(), "another network");
    }

    #[test]
    fn closed_connections_leave_no_entries() {
        let admission = Arc::new(Admission::default());
        for host in 0..100 {
            let client = IpAddr::from([192, 0, 2, host]);
            drop(admission.admit(client, &ClientLimits::DEFAULT).expect("capacity"));
        }
        assert_eq!(admission.open(), 0);
        assert!(admission.open.lock().expect("no thread panicked").by_origin.is_empty());
    }
}
