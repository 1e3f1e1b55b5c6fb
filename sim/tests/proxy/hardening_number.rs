//! Tests the limits on the number of client connections.

use std::net::SocketAddr;

use tokio::io::AsyncReadExt;

use crate::support::client::connect;
use crate::support::{Backend, Http1, Http2, Limited, within};
use crate::system::{TcpStream, run};

/// Connects from another loopback address.
async fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let connected = TcpStream::connect_from(from.into(), to);
    within("TCP connection to Baton", connected).await.expect("Baton listens")
}

/// Returns true if Baton closes this connection at once.
async fn is_closed(tcp: &mut TcpStream) -> bool {
    let mut byte = [0];
    matches!(within("the end", tcp.read(&mut byte)).await, Ok(0) | Err(_))
}

#[test]
fn one_address_cannot_take_all_connections() {
    run(async {
        let backend = Backend::healthy().await;
        // Two workers: the limits apply to the process.
        let baton = Limited::start(&[backend.url()], &["--workers", "2"], |limits| {
            limits.connections_per_address = 8;
            limits.connections = 10;
        })
        .await;
        let mut clients = Vec::new();
        for _ in 0..8 {
            let client = Http2::connect(baton.address).await;
            assert_eq!(client.get("/").await.expect("it is answered").status, 200);
            clients.push(client);
        }
        let mut ninth = connect(baton.address).await;
        let ninth_address = ninth.local_addr().expect("it is connected");
        assert!(is_closed(&mut ninth).await, "closed at once");
        baton.refusal(ninth_address, "connections_per_address").await;
        // Clients with other addresses are accepted until the process is full.
        let mut others = Vec::new();
        for host in 1..3 {
            let mut other = Http1::over(connect_from([127, 0, 8, host], baton.address).await).await;
            assert_eq!(other.get("/").await.expect("it is answered").status, 200);
            others.push(other);
        }
        let mut last = connect_from([127, 0, 8, 9], baton.address).await;
        assert!(is_closed(&mut last).await, "the process is full");
        baton.hits("connections").await;
        // The open connections still work, and freed capacity is used.
        for client in &clients {
            assert_eq!(client.get("/").await.expect("it is answered").status, 200);
        }
        drop(others);
        within("a connection is accepted again", async {
            loop {
                let tcp = connect_from([127, 0, 8, 9], baton.address).await;
                if let Ok(answer) = Http1::over(tcp).await.get("/").await {
                    return assert_eq!(answer.status, 200);
                }
            }
        })
        .await;
    });
}
