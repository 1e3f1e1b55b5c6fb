//! The sockets of listeners, as the main thread knows them: each worker has one of its own for every
//! listener. A listener is known by the address that is configured.

use std::io;
use std::net::{SocketAddr, TcpListener};

use crate::config::difference::{places, same_address};
use crate::proxy::config::ListenerConfig;
use crate::proxy::seams;

/// A listener that is open.
#[derive(Clone, Debug)]
struct Open {
    config: ListenerConfig,
    /// Where it listens, with the port that the system chose.
    address: SocketAddr,
}

/// All listeners that are open.
#[derive(Clone, Debug, Default)]
pub struct Sockets(Vec<Open>);

/// Where a worker has a listener's socket from.
#[derive(Debug)]
pub enum Socket {
    /// It has it already: that of the listener with this number so far.
    Kept(usize),
    /// A new one.
    New(TcpListener),
}

/// Other listeners.
#[derive(Debug)]
pub struct Change {
    after: Vec<Open>,
    /// For each of them, its number so far.
    places: Vec<Option<usize>>,
    /// For each worker the sockets of those that are new, in their order.
    sockets: Vec<Vec<TcpListener>>,
}

impl Sockets {
    /// What it takes to listen as `wanted` says. Nothing has changed if it fails.
    ///
    /// # Errors
    /// Every address that cannot be listened on, in a line each.
    pub fn change(&self, wanted: &[ListenerConfig], workers: usize) -> Result<Change, Vec<String>> {
        let before: Vec<_> = self.0.iter().map(|open| open.config.clone()).collect();
        let places = places(&before, wanted, same_address);
        let going = self.0.iter().enumerate().filter(|(place, _)| !places.contains(&Some(*place)));
        let going: Vec<_> = going.map(|(_, open)| open.address).collect();
        let mut sockets: Vec<_> = (0..workers).map(|_| Vec::new()).collect();
        let mut after = Vec::new();
        let mut errors = Vec::new();
        for (config, place) in wanted.iter().zip(&places) {
            let address = match place {
                Some(place) => Ok(self.0[*place].address),
                None => bind(config.address, &going, &mut sockets),
            };
            match address {
                Ok(address) => after.push(Open { config: config.clone(), address }),
                Err(error) => {
                    errors.push(format!("cannot listen on {}: {error}", config.address));
                }
            }
        }
        if errors.is_empty() { Ok(Change { after, places, sockets }) } else { Err(errors) }
    }

    /// Goes over to other listeners, and says in the log which begin and which end.
    pub fn adopt(&mut self, change: Change) {
        for (place, Open { address, .. }) in self.0.iter().enumerate() {
            if !change.places.contains(&Some(place)) {
                tracing::info!(target: "baton", %address, "listener removed");
            }
        }
        for (Open { config, address }, place) in change.after.iter().zip(&change.places) {
            if place.is_none() {
                let (tls, http2) = (config.tls.is_some(), config.http2);
                tracing::info!(target: "baton", %address, tls, http2, "listening");
            }
        }
        self.0 = change.after;
    }
}

impl Change {
    /// The sockets of one worker, one for each listener. To be asked once for each.
    pub fn of_worker(&mut self, worker: usize) -> Vec<Socket> {
        let mut new = std::mem::take(&mut self.sockets[worker]).into_iter();
        let socket = |place: &Option<usize>| match place {
            Some(place) => Socket::Kept(*place),
            None => Socket::New(new.next().expect("one for each that is new")),
        };
        self.places.iter().map(socket).collect()
    }
}

/// Listens for every worker, and returns where. `going` are our own listeners that end as this one
/// begins: one of them may have had the port, perhaps on more addresses or fewer.
fn bind(
    wanted: SocketAddr,
    going: &[SocketAddr],
    sockets: &mut [Vec<TcpListener>],
) -> io::Result<SocketAddr> {
    if wanted.port() != 0 && !going.iter().any(|address| address.port() == wanted.port()) {
        seams::check_unused(wanted)?;
    }
    let mut address = wanted;
    for sockets in sockets {
        let socket = seams::listen(address)?;
        address = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(address: &str) -> ListenerConfig {
        ListenerConfig {
            address: address.parse().expect("an address"),
            ..ListenerConfig::default()
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime")
    }

    #[test]
    fn listeners_that_stay_keep_their_sockets_whatever_their_order() {
        let runtime = runtime();
        let _context = runtime.enter();
        let (one, other) = (listener("127.0.0.1:0"), listener("[::1]:0"));
        let mut sockets = Sockets::default();
        let mut change =
            sockets.change(std::slice::from_ref(&one), 2).expect("ports of the system's");
        assert!(matches!(change.of_worker(0)[..], [Socket::New(_)]));
        assert!(matches!(change.of_worker(1)[..], [Socket::New(_)]));
        sockets.adopt(change);
        let mut change = sockets.change(&[other, one.clone()], 1).expect("as above");
        assert!(matches!(change.of_worker(0)[..], [Socket::New(_), Socket::Kept(0)]));
        let twice = sockets.change(&[one.clone(), one], 1).expect("as above");
        assert_eq!(twice.places, [Some(0), None], "two listeners are not one");
    }

    #[test]
    fn each_address_that_is_taken_is_named() {
        let runtime = runtime();
        let _context = runtime.enter();
        let mut sockets = Sockets::default();
        let change = sockets.change(&[listener("127.0.0.1:0")], 1).expect("a port");
        sockets.adopt(change);
        let foreign = seams::listen("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let taken = foreign.local_addr().expect("it is bound").to_string();
        let wanted = [listener(&taken), listener("192.0.2.1:1"), listener("127.0.0.1:0")];
        let errors = sockets.change(&wanted, 1).expect_err("two cannot be had");
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[0].starts_with(&format!("cannot listen on {taken}: ")), "{errors:?}");
        assert!(errors[1].starts_with("cannot listen on 192.0.2.1:1: "), "{errors:?}");
    }

    #[test]
    fn an_address_is_not_taken_by_a_listener_that_ends() {
        let runtime = runtime();
        let _context = runtime.enter();
        // Somebody else may have the port at another address, so one of several must do.
        let widens = |_| {
            let mut sockets = Sockets::default();
            let change = sockets.change(&[listener("127.0.0.1:0")], 1).expect("a port");
            sockets.adopt(change);
            let same_port = format!("0.0.0.0:{}", sockets.0[0].address.port());
            sockets.change(&[listener(&same_port)], 1).is_ok()
        };
        assert!((0..10).any(widens));
    }
}
