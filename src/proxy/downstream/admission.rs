//! How many connections clients may have: in all, and from one address. Shared by all workers, and
//! touched when a connection is accepted and when it ends, never by a request.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::proxy::client_limits::{ClientLimit, ClientLimits};

/// Who counts as one client: an IPv4 address, or an IPv6 /64, which is what one household gets.
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
    /// Never more entries than connections.
    by_origin: BTreeMap<Origin, usize>,
}

/// The connections that clients have to the process.
#[derive(Debug, Default)]
pub struct Admission {
    open: Mutex<Open>,
}

impl Admission {
    /// Takes in a connection, until the result is dropped.
    ///
    /// # Errors
    /// With the limit that it would exceed.
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

    /// Connections that are open now.
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

/// A connection that was taken in; it counts until this is dropped.
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
    fn one_address_cannot_take_what_is_there_for_all() {
        let admission = Arc::new(Admission::default());
        let limits = limits(3, 2);
        let a = address("192.0.2.1");
        let first = admission.admit(a, &limits).expect("room");
        let _second = admission.admit(address("::ffff:192.0.2.1"), &limits).expect("room");
        let refused = admission.admit(a, &limits).expect_err("the same address, however written");
        assert_eq!(refused, ClientLimit::ConnectionsPerAddress);
        let _other = admission.admit(address("192.0.2.2"), &limits).expect("room for others");
        let refused = admission.admit(address("192.0.2.3"), &limits).expect_err("full");
        assert_eq!(refused, ClientLimit::Connections);
        drop(first);
        assert_eq!(admission.open(), 2);
        let _again = admission.admit(a, &limits).expect("what was given back");
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let admission = Arc::new(Admission::default());
        let limits = limits(10, 1);
        let _one = admission.admit(address("2001:db8::1"), &limits).expect("room");
        assert!(admission.admit(address("2001:db8::ffff:2"), &limits).is_err());
        assert!(admission.admit(address("2001:db8:0:1::1"), &limits).is_ok(), "another network");
    }

    #[test]
    fn nothing_is_left_behind() {
        let admission = Arc::new(Admission::default());
        for host in 0..100 {
            let client = IpAddr::from([192, 0, 2, host]);
            drop(admission.admit(client, &ClientLimits::DEFAULT).expect("room"));
        }
        assert_eq!(admission.open(), 0);
        assert!(admission.open.lock().expect("nobody panicked").by_origin.is_empty());
    }
}
