use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

/// A byte on the wire, and who sent it.
type Wire = Vec<(&'static str, Vec<u8>)>;

/// Carries bytes between two streams and keeps them.
async fn carry(mut client: DuplexStream, mut server: DuplexStream) -> Wire {
    let mut wire = Wire::new();
    let (mut up, mut down) = (vec![0; 20_000], vec![0; 20_000]);
    loop {
        let (name, count) = tokio::select! {
            biased;
            count = client.read(&mut up) => ("client", count.expect("a duplex does not fail")),
            count = server.read(&mut down) => ("server", count.expect("a duplex does not fail")),
        };
        if count == 0 {
            return wire;
        }
        let (bytes, to) = if name == "client" {
            (&up[..count], &mut server)
        } else {
            (&down[..count], &mut client)
        };
        wire.push((name, bytes.to_vec()));
        // An end that is gone reads nothing.
        let _ = to.write_all(bytes).await;
    }
}

/// A handshake and a message in each direction, as this seed makes them.
async fn exchange(seed: u64, identity: Identity) -> Wire {
    let _seeded = Seeded::new(Draws::new(seed));
    let (client, up) = duplex(20_000);
    let (down, server) = duplex(20_000);
    let mut config = server_config(identity);
    config.alpn_protocols = Protocol::Http2.alpn();
    let talk = async move {
        let serve = async {
            let mut server = TlsAcceptor::from(Arc::new(config)).accept(server).await?;
            let mut message = [0; 4];
            server.read_exact(&mut message).await?;
            server.write_all(&message).await?;
            server.shutdown().await?;
            io::Result::Ok(server)
        };
        let ask = async {
            let mut client = connect(client, Protocol::Http2).await?;
            assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            client.write_all(b"ping").await?;
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await?;
            assert_eq!(answer, b"ping");
            io::Result::Ok(())
        };
        let (served, asked) = tokio::join!(serve, ask);
        let _ = served.expect("the server's side");
        asked.expect("the client's side");
    };
    tokio::join!(talk, carry(up, down)).1
}

#[tokio::test(start_paused = true)]
async fn every_byte_follows_from_the_seed() {
    let wire = exchange(1, FRONT).await;
    assert_eq!(wire, exchange(1, FRONT).await);
    let other = exchange(2, FRONT).await;
    assert_ne!(wire, other);
    let lengths = |wire: &Wire| wire.iter().map(|(_, bytes)| bytes.len()).collect::<Vec<_>>();
    assert_eq!(lengths(&wire), lengths(&other));
    // Four flights: ClientHello, the server's flight, Finished with the message, the answer.
    assert!(wire.len() >= 4, "{:?}", lengths(&wire));
}

#[tokio::test(start_paused = true)]
async fn a_renewed_certificate_is_as_good() {
    assert!(!exchange(1, FRONT_RENEWED).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_certificate_for_another_name_is_refused() {
    let _seeded = Seeded::new(Draws::new(1));
    let (client, server) = duplex(20_000);
    let (served, asked) =
        tokio::join!(accept(server, Protocol::Http2), connect(client, Protocol::Http2));
    let error = asked.expect_err("the name is another").to_string();
    assert!(error.contains("not valid for name"), "{error}");
    assert!(served.is_err());
}

#[tokio::test(start_paused = true)]
async fn ends_without_a_common_protocol_refuse_each_other() {
    let _seeded = Seeded::new(Draws::new(1));
    let (client, server) = duplex(20_000);
    let (served, asked) =
        tokio::join!(accept(server, Protocol::Http1), connect(client, Protocol::Http2));
    assert!(served.is_err() && asked.is_err());
}

#[tokio::test(start_paused = true)]
async fn without_a_seed_there_is_no_randomness() {
    drop(Seeded::new(Draws::new(1)));
    let (client, _server) = duplex(20_000);
    assert!(connect(client, Protocol::Http2).await.is_err());
}

/// The proxy verifies backends by name with an authority from a file, with its own configuration.
#[tokio::test(start_paused = true)]
async fn backends_are_who_they_say() {
    let _seeded = Seeded::new(Draws::new(3));
    let mut config = client_config(Protocol::Http1);
    config.alpn_protocols = [Protocol::Http2.alpn(), Protocol::Http1.alpn()].concat();
    let connector = TlsConnector::from(Arc::new(config));
    for (name, protocol, good) in [
        ("b0.backends.test", Protocol::Http1, true),
        ("backends.test", Protocol::Http2, true),
        ("a.b.backends.test", Protocol::Http2, false),
        ("front.test", Protocol::Http2, false),
    ] {
        let (client, server) = duplex(20_000);
        let name = ServerName::try_from(name).expect("it is a name");
        let (served, dialled) =
            tokio::join!(accept(server, protocol), connector.connect(name, client));
        assert_eq!(dialled.is_ok(), good);
        if let (Ok(served), Ok(dialled)) = (served, dialled) {
            let chosen = dialled.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            assert_eq!(chosen, protocol.alpn().pop());
            drop(served);
        }
    }
}
