//! Reads bytes as HTTP/1.1 messages. The result must not depend on where the bytes are cut, and a
//! head that is accepted must mean the same to another parser.
#![no_main]

use baton::wire::http1::{Decoder, Event, Expected, Framing, Head, HeadLimits, Role, Version};
use libfuzzer_sys::fuzz_target;

#[path = "../../src/wire/http1/compared.rs"]
mod compared;

const LIMITS: HeadLimits = HeadLimits { bytes: 1024, fields: 16 };

/// The heads, the content and the end of what was read, whatever its pieces.
#[derive(Debug, Default, PartialEq)]
struct Read {
    heads: Vec<(bool, u16, Framing, Vec<u8>)>,
    content: Vec<u8>,
    ends: usize,
    is_wrong: bool,
}

fn read(role: Role, bytes: &[u8], piece: usize) -> Read {
    let mut decoder = Decoder::new(role, LIMITS);
    if role == Role::Client {
        decoder.expect(Expected::Other);
    }
    let mut read = Read::default();
    for piece in bytes.chunks(piece) {
        decoder.buffer().extend_from_slice(piece);
        loop {
            let event = match decoder.next_event() {
                Ok(None) => break,
                Ok(Some(event)) => event,
                Err(_) => {
                    read.is_wrong = true;
                    return read;
                }
            };
            match event {
                Event::Data(data) => read.content.extend_from_slice(&data),
                Event::End => read.ends += 1,
                Event::Head | Event::Interim | Event::Trailers => {
                    let head: &Head = decoder.head();
                    let is_old = head.version() == Version::Http10;
                    let fields: Vec<u8> = head
                        .fields()
                        .flat_map(|(name, value)| [name, b":", &value[..], b"\n"].concat())
                        .collect();
                    read.heads.push((is_old, head.status(), head.framing(), fields));
                }
            }
        }
    }
    read
}

fuzz_target!(|bytes: &[u8]| {
    for role in [Role::Server, Role::Client] {
        let whole = read(role, bytes, bytes.len().max(1));
        for piece in [1, 3] {
            assert_eq!(read(role, bytes, piece), whole);
        }
    }
    compared::request(bytes, LIMITS);
    compared::response(bytes, LIMITS);
});
