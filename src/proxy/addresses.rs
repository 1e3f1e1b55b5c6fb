//! Connects to a host name by whichever of its addresses answers first (RFC 8305, "Happy
//! Eyeballs"): an address that swallows connections costs a quarter of a second, not the time for a
//! dial.

use std::io;
use std::net::SocketAddr;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::limits::{ADDRESSES_TRIED_MAX, CONNECTION_ATTEMPT_DELAY};
use super::seams::{self, NetworkStream};

/// Connects to a host name or address. The addresses of a name are tried one after the other, the
/// next one when the previous one has failed or [`CONNECTION_ATTEMPT_DELAY`] has passed. The first
/// connection that is made ends the others.
///
/// # Errors
/// If the name cannot be resolved or none of its addresses accepts: the last failure.
pub async fn connect(host: &str, port: u16) -> io::Result<NetworkStream> {
    let addresses = in_turns(seams::resolve(host, port).await?);
    let mut left = addresses.into_iter().take(ADDRESSES_TRIED_MAX);
    let mut attempts = FuturesUnordered::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut next = left.next();
    loop {
        if let Some(address) = next.take() {
            attempts.push(seams::connect(address));
        }
        let more = left.len() > 0;
        tokio::select! {
            biased;
            attempt = attempts.next() => match attempt {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => failure = error,
                None => return Err(failure),
            },
            () = seams::sleep(CONNECTION_ATTEMPT_DELAY), if more => {}
        }
        next = left.next();
    }
}

/// The addresses with IPv4 and IPv6 in turns, each family in its order, beginning with the family
/// of the first one (RFC 8305, 4).
fn in_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().copied() else { return addresses };
    let (same, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv4() == first.is_ipv4());
    let mut other = other.into_iter();
    let mut mixed = Vec::new();
    for address in same {
        mixed.push(address);
        mixed.extend(other.next());
    }
    mixed.extend(other);
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_nothing_is_lost() {
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().expect("an address")).collect()
        };
        let (a, b, c) = ("[::1]:1", "[::2]:1", "[::3]:1");
        let (x, y) = ("10.0.0.1:1", "10.0.0.2:1");
        assert_eq!(in_turns(addresses(&[a, b, c, x, y])), addresses(&[a, x, b, y, c]));
        assert_eq!(in_turns(addresses(&[x, a, b])), addresses(&[x, a, b]));
        assert_eq!(in_turns(addresses(&[x, y])), addresses(&[x, y]));
        assert_eq!(in_turns(Vec::new()), Vec::new());
    }
}
