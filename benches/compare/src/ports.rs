//! Free ports, readiness, and the origin's connection count.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Outcome;

/// The ports lie below Linux's range of ephemeral ports, so that a port that is free now is still
/// free when its server binds it.
const FIRST: u16 = 18_000;
const LAST: u16 = 32_000;
static NEXT: AtomicU16 = AtomicU16::new(FIRST);

/// A port on 127.0.0.1 on which nothing listens; a different one for each call.
pub(crate) fn free() -> Outcome<SocketAddr> {
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if port > LAST {
            return Err(format!("no free port between {FIRST} and {LAST}").into());
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
}

/// Waits until the address accepts a connection, while `alive` returns true.
pub(crate) fn wait_for(
    address: SocketAddr,
    limit: Duration,
    mut alive: impl FnMut() -> bool,
) -> Outcome<()> {
    let begin = Instant::now();
    while TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_err() {
        if !alive() {
            return Err(format!("the server ended before it listened on {address}").into());
        }
        if begin.elapsed() > limit {
            return Err(format!("nothing listened on {address} within {limit:?}").into());
        }
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Number of connections that the origin has accepted.
pub(crate) fn connections(control: SocketAddr) -> Outcome<u64> {
    let mut stream = TcpStream::connect(control)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    text.parse().map_err(|_| format!("the origin answered {text:?} instead of a count").into())
}
