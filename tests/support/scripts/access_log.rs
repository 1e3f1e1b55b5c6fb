//! A backend whose requests end in every way, and clients that send any bytes.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::Reason;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::connect;
use crate::support::{Exchange, within};

/// Behaves according to the path.
pub(crate) async fn serve(mut exchange: Exchange) {
    let path = exchange.head.uri().path().to_owned();
    match path.as_str() {
        "/hang" => exchange.wait_for_reset().await,
        "/reset" => exchange.reset(Reason::INTERNAL_ERROR),
        "/cut" => {
            let Some(mut stream) = exchange.start(200) else { return };
            exchange.send(&mut stream, Bytes::from_static(b"begun"), false).await;
            // The client ends its request after receiving this.
            if exchange.read().await.is_err() {
                return;
            }
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
        _ if exchange.head.method() == Method::HEAD => exchange.answer(200, "").await,
        _ => exchange.answer(200, "fine").await,
    }
}

/// Sends raw bytes and returns everything received until the other side closes.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut tcp = connect(address).await;
    // Baton may refuse the request before all of it is written.
    let _ = tcp.write_all(bytes).await;
    let mut answer = Vec::new();
    // A reset after the answer is fine.
    let _ = within("the end of the answer", tcp.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}
