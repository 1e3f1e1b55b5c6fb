//! The listeners' sockets, as the main thread knows them: each worker has its own socket for every
//! listener. A listener is identified by its configured address.

use std::io;
use std::net::SocketAddr;

use crate::config::difference::{places, same_address};
use crate::proxy::config::ListenerConfig;
use crate::proxy::seams::{self, ListeningSocket};

/// An open listener.
#[derive(Clone, Debug)]
struct Open {
    config: ListenerConfig,
    /// The address it is bound to, with the port that the system chose.
    address: SocketAddr,
}

/// All open listeners.
#[derive(Clone, Debug, Default)]
pub struct Sockets(Vec<Open>);

/// A worker's socket for a listener.
#[derive(Debug)]
pub enum Socket {
    /// The socket that the worker already has for the previous listener with this number.
    Kept(usize),
    /// A new socket.
    New(ListeningSocket),
}

/// A change to another set of listeners.
#[derive(Debug)]
pub struct Change {
    after: Vec<Open>,
    /// For each listener of `after`, its previous number; `None` if it is new.
    places: Vec<Option<usize>>,
    /// For each worker, the sockets of the new listeners, in order.
    sockets: Vec<Vec<ListeningSocket>>,
}

impl Sockets {
    /// Opens the sockets that `wanted` needs in addition to the open ones. On an error nothing has
    /// changed.
    ///
    /// # Errors
    /// One line for each address that cannot be listened on.
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

    /// Makes the new listeners the present ones, and logs which were added and removed.
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
    /// Takes the sockets of one worker, one for each listener. Call once for each worker.
    pub fn of_worker(&mut self, worker: usize) -> Vec<Socket> {
        let mut new = std::mem::take(&mut self.sockets[worker]).into_iter();
        let socket = |place: &Option<usize>| match place {
            Some(place) => Socket::Kept(*place),
            None => Socket::New(new.next().expect("one for each new listener")),
        };
        self.places.iter().map(socket).collect()
    }
}

/// Opens a socket for every worker, and returns the bound address. `going` are Baton's own
/// listeners that this change removes: one of them may still own the port, perhaps on more or fewer
/// addresses.
fn bind(
    wanted: SocketAddr,
    going: &[SocketAddr],
    sockets: &mut [Vec<ListeningSocket>],
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
    fn listeners_that_stay_keep_their_sockets_in_any_order() {
        let runtime = runtime();
        let _context = runtime.enter();
        let (one, other) = (listener("127.0.0.1:0"), listener("[::1]:0"));
        let mut sockets = Sockets::default();
        let mut change =
            sockets.change(std::slice::from_ref(&one), 2).expect("ports from the system");
        assert!(matches!(change.of_worker(0)[..], [Socket::New(_)]));
        assert!(matches!(change.of_worker(1)[..], [Socket::New(_)]));
        sockets.adopt(change);
        let mut change = sockets.change(&[other, one.clone()], 1).expect("as above");
        assert!(matches!(change.of_worker(0)[..], [Socket::New(_), Socket::Kept(0)]));
        let twice = sockets.change(&[one.clone(), one], 1).expect("as above");
        assert_eq!(twice.places, [Some(0), None], "two listeners are not one");
    }

    #[test]
    fn each_address_in_use_is_named() {
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
    fn a_removed_listener_does_not_block_its_address() {
        let runtime = runtime();
        let _context = runtime.enter();
        // Another process may use the port at another address, so it is tried several times.
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
