//! The bytes on the wire, as a file for Wireshark: IP and TCP around them, with the time of the
//! run. The format is the classic one (draft-ietf-opsawg-pcap), with nanoseconds.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::outside::EPOCH_S;

/// Marks a file with timestamps in nanoseconds.
const MAGIC: u32 = 0xa1b2_3c4d;
/// Packets begin with the header of IPv4 or IPv6.
const LINKTYPE_RAW: u32 = 101;
/// The longest packet that a reader must expect.
const PACKET_MAX: u32 = 262_144;
/// The most bytes in one packet: those of IPv4 are counted with 16 bits, headers included.
const PAYLOAD_MAX: usize = 65_000;
/// The sequence number before the first byte.
const FIRST_SEQUENCE: u32 = 1_000;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const TCP: u8 = 6;
const HOPS: u8 = 64;
/// Options of a SYN: segments of up to 65 495 bytes, and windows in units of 16 384 bytes
/// (RFC 7323), so that no amount of bytes looks like more than the receiver allows.
const SYN_OPTIONS: [u8; 8] = [2, 4, 0xff, 0xd7, 1, 3, 3, 14];

/// A thing that an end of a connection sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment<'a> {
    /// The request for a connection, or the answer to it.
    Syn,
    /// Bytes.
    Data(&'a [u8]),
    /// The end of the bytes of this direction.
    Fin,
    /// The end of the connection.
    Reset,
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug)]
struct Direction {
    /// The sequence number of the next byte.
    next: u32,
    /// True once the sender has asked for the connection, or answered.
    is_open: bool,
    has_ended: bool,
}

impl Direction {
    const NEW: Self = Self { next: FIRST_SEQUENCE, is_open: false, has_ended: false };
}

/// A file in memory, to which packets are added.
#[derive(Debug)]
pub(crate) struct Capture {
    bytes: Vec<u8>,
    directions: BTreeMap<(SocketAddr, SocketAddr), Direction>,
}

impl Capture {
    /// An empty file.
    pub(crate) fn new() -> Self {
        let mut bytes = Vec::new();
        bytes.extend(MAGIC.to_le_bytes());
        bytes.extend(2_u16.to_le_bytes());
        bytes.extend(4_u16.to_le_bytes());
        // Two fields without use.
        bytes.extend([0; 8]);
        bytes.extend(PACKET_MAX.to_le_bytes());
        bytes.extend(LINKTYPE_RAW.to_le_bytes());
        Self { bytes, directions: BTreeMap::new() }
    }

    /// The content of the file.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Adds what `source` sends to `destination`, `at_ns` after the start of the run. Calls are in
    /// the order of time.
    pub(crate) fn add(
        &mut self,
        at_ns: u64,
        source: SocketAddr,
        destination: SocketAddr,
        segment: Segment<'_>,
    ) {
        match segment {
            Segment::Syn => {
                self.begin(source, destination);
                self.packet(at_ns, source, destination, SYN, &[]);
            }
            Segment::Data(bytes) => {
                for piece in bytes.chunks(PAYLOAD_MAX) {
                    self.packet(at_ns, source, destination, PSH, piece);
                }
            }
            Segment::Fin => {
                self.packet(at_ns, source, destination, FIN, &[]);
                self.direction(source, destination).has_ended = true;
            }
            Segment::Reset => {
                self.packet(at_ns, source, destination, RST, &[]);
                self.direction(source, destination).has_ended = true;
                self.direction(destination, source).has_ended = true;
            }
        }
    }

    fn direction(&mut self, source: SocketAddr, destination: SocketAddr) -> &mut Direction {
        self.directions.entry((source, destination)).or_insert(Direction::NEW)
    }

    /// A SYN sent again has the same number as before; after the end of a connection, it begins
    /// another one between the same ports.
    fn begin(&mut self, source: SocketAddr, destination: SocketAddr) {
        let own = *self.direction(source, destination);
        let peer = self.direction(destination, source);
        if own.has_ended || own.is_open && peer.has_ended {
            *peer = Direction::NEW;
        }
        *self.direction(source, destination) = Direction { is_open: true, ..Direction::NEW };
    }

    fn packet(
        &mut self,
        at_ns: u64,
        source: SocketAddr,
        destination: SocketAddr,
        flags: u8,
        payload: &[u8],
    ) {
        let peer = *self.direction(destination, source);
        let own = self.direction(source, destination);
        let sequence = own.next;
        // SYN and FIN take a place among the bytes.
        let places = payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
        own.next = own.next.wrapping_add(places);
        // Only the first packet of a connection acknowledges nothing.
        let (flags, acknowledged) =
            if peer.is_open || flags & SYN == 0 { (flags | ACK, peer.next) } else { (flags, 0) };
        let options: &[u8] = if flags & SYN == 0 { &[] } else { &SYN_OPTIONS };

        let mut tcp = Vec::with_capacity(20 + options.len() + payload.len());
        tcp.extend(source.port().to_be_bytes());
        tcp.extend(destination.port().to_be_bytes());
        tcp.extend(sequence.to_be_bytes());
        tcp.extend(acknowledged.to_be_bytes());
        tcp.extend([((20 + options.len() as u8) / 4) << 4, flags]);
        tcp.extend(u16::MAX.to_be_bytes());
        // The checksum, and the urgent pointer.
        tcp.extend([0; 4]);
        tcp.extend(options);
        tcp.extend(payload);
        let packet = match (source.ip(), destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => over_ipv4(from.octets(), to.octets(), tcp),
            (from, to) => over_ipv6(in_ipv6(from).octets(), in_ipv6(to).octets(), tcp),
        };

        let at_s = EPOCH_S + at_ns / 1_000_000_000;
        self.bytes.extend((at_s as u32).to_le_bytes());
        self.bytes.extend(((at_ns % 1_000_000_000) as u32).to_le_bytes());
        // Nothing of the packet is left out.
        self.bytes.extend((packet.len() as u32).to_le_bytes());
        self.bytes.extend((packet.len() as u32).to_le_bytes());
        self.bytes.extend(packet);
    }
}

fn in_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// A packet of IPv4 (RFC 791, 3.1).
fn over_ipv4(from: [u8; 4], to: [u8; 4], mut tcp: Vec<u8>) -> Vec<u8> {
    seal(&from, &to, &mut tcp);
    let length = 20 + tcp.len() as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    // No identification, and not to be fragmented.
    packet.extend([0, 0, 0x40, 0, HOPS, TCP, 0, 0]);
    packet.extend(from);
    packet.extend(to);
    let sum = checksum(0, &packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(tcp);
    packet
}

/// A packet of IPv6 (RFC 8200, 3).
fn over_ipv6(from: [u8; 16], to: [u8; 16], mut tcp: Vec<u8>) -> Vec<u8> {
    seal(&from, &to, &mut tcp);
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((tcp.len() as u16).to_be_bytes());
    packet.extend([TCP, HOPS]);
    packet.extend(from);
    packet.extend(to);
    packet.extend(tcp);
    packet
}

/// Writes the checksum of TCP, which covers the addresses as well (RFC 9293, 3.1). The sum is the
/// same for both versions of IP.
fn seal(from: &[u8], to: &[u8], tcp: &mut [u8]) {
    let addresses = add(add(0, from), to);
    let sum = checksum(addresses + u32::from(TCP) + tcp.len() as u32, tcp);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
}

/// The checksum of the internet (RFC 1071), with what was added up before.
fn checksum(before: u32, bytes: &[u8]) -> u16 {
    let mut sum = add(before, bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Adds words of 16 bits. At most 65 535 bytes are added up, so that nothing is carried out.
fn add(before: u32, bytes: &[u8]) -> u32 {
    bytes.chunks(2).fold(before, |sum, word| {
        let low = word.get(1).copied().unwrap_or_default();
        sum + u32::from(u16::from_be_bytes([word[0], low]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet as a reader sees it.
    #[derive(Debug, PartialEq)]
    struct Packet {
        at_ns: u64,
        source: SocketAddr,
        destination: SocketAddr,
        flags: u8,
        sequence: u32,
        acknowledged: u32,
        payload: Vec<u8>,
    }

    fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
        bytes[at..at + N].try_into().expect("that many bytes")
    }

    /// Reads a file, by the format's description and not by the code above; checks the checksums.
    fn read(file: &[u8]) -> Vec<Packet> {
        assert_eq!(file[..4], [0x4d, 0x3c, 0xb2, 0xa1], "nanoseconds, little-endian");
        assert_eq!(file[4..8], [2, 0, 4, 0], "version 2.4");
        assert_eq!(u32::from_le_bytes(number(file, 20)), 101, "packets of IP");
        let mut packets = Vec::new();
        let mut rest = &file[24..];
        while !rest.is_empty() {
            let fields: Vec<u32> =
                (0..4).map(|field| u32::from_le_bytes(number(rest, 4 * field))).collect();
            let [seconds, nanoseconds, kept, length] = fields[..] else { unreachable!() };
            assert!(kept == length && nanoseconds < 1_000_000_000);
            let (packet, after) = rest[16..].split_at(kept as usize);
            let at_ns = (u64::from(seconds) - EPOCH_S) * 1_000_000_000 + u64::from(nanoseconds);
            packets.push(read_packet(at_ns, packet));
            rest = after;
        }
        packets
    }

    fn read_packet(at_ns: u64, packet: &[u8]) -> Packet {
        let (source, destination, tcp, mut pseudo) = match packet[0] >> 4 {
            4 => {
                assert_eq!(sum(&packet[..20]), 0xffff, "the header's checksum");
                assert_eq!(usize::from(u16::from_be_bytes(number(packet, 2))), packet.len());
                assert_eq!(packet[9], 6);
                let address = |at| IpAddr::from(number::<4>(packet, at));
                (address(12), address(16), &packet[20..], packet[12..20].to_vec())
            }
            6 => {
                let length = usize::from(u16::from_be_bytes(number(packet, 4)));
                assert_eq!(length + 40, packet.len());
                assert_eq!(packet[6], 6);
                let address = |at| IpAddr::from(number::<16>(packet, at));
                (address(8), address(24), &packet[40..], packet[8..40].to_vec())
            }
            version => panic!("version {version} of IP"),
        };
        pseudo.extend([0, 6]);
        pseudo.extend((tcp.len() as u16).to_be_bytes());
        pseudo.extend(tcp);
        assert_eq!(sum(&pseudo), 0xffff, "the checksum of TCP");
        let port = |at| u16::from_be_bytes(number(tcp, at));
        Packet {
            at_ns,
            source: SocketAddr::new(source, port(0)),
            destination: SocketAddr::new(destination, port(2)),
            flags: tcp[13],
            sequence: u32::from_be_bytes(number(tcp, 4)),
            acknowledged: u32::from_be_bytes(number(tcp, 8)),
            payload: tcp[usize::from(tcp[12] >> 4) * 4..].to_vec(),
        }
    }

    /// The sum of words in ones' complement, end-around carry at each step.
    fn sum(bytes: &[u8]) -> u16 {
        bytes.chunks(2).fold(0, |sum: u16, word| {
            let word = u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]);
            let (sum, carried) = sum.overflowing_add(word);
            sum + u16::from(carried)
        })
    }

    fn addresses(version: u8) -> (SocketAddr, SocketAddr) {
        let texts = match version {
            4 => ("10.1.0.1:40001", "10.2.0.1:8443"),
            _ => ("[fd00::1]:40001", "[fd00::2]:8443"),
        };
        (texts.0.parse().expect("an address"), texts.1.parse().expect("an address"))
    }

    /// Two connections, one after the other, between the same ports.
    fn scene(version: u8) -> Vec<u8> {
        let (client, server) = addresses(version);
        let mut capture = Capture::new();
        capture.add(0, client, server, Segment::Syn);
        capture.add(1_000_000_000, client, server, Segment::Syn);
        capture.add(1_000_000_500, server, client, Segment::Syn);
        capture.add(1_000_001_000, client, server, Segment::Data(b"PRI * HTTP/2.0\r\n\r\n"));
        let long: Vec<u8> = (0..140_001_u32).map(|place| (place / 7) as u8).collect();
        capture.add(1_000_002_000, server, client, Segment::Data(&long));
        capture.add(2_999_999_999, server, client, Segment::Fin);
        capture.add(3_000_000_000, client, server, Segment::Data(b"odd"));
        capture.add(3_000_000_001, client, server, Segment::Fin);
        capture.add(4_000_000_000, client, server, Segment::Syn);
        capture.add(4_000_000_001, server, client, Segment::Syn);
        capture.add(4_000_000_002, server, client, Segment::Reset);
        capture.into_bytes()
    }

    #[test]
    fn a_reader_finds_bytes_numbers_and_checksums_as_they_must_be() {
        for version in [4, 6] {
            let (client, server) = addresses(version);
            let packets = read(&scene(version));
            let first = FIRST_SEQUENCE;
            let heads: Vec<_> = packets
                .iter()
                .map(|packet| {
                    assert!([client, server].contains(&packet.source));
                    assert_ne!(packet.source, packet.destination);
                    let Packet { flags, sequence, acknowledged, .. } = *packet;
                    let to_server = packet.source == client;
                    let relative = |number: u32| number.wrapping_sub(first);
                    (to_server, flags, relative(sequence), relative(acknowledged))
                })
                .collect();
            let none = 0_u32.wrapping_sub(first);
            let expected = [
                (true, SYN, 0, none),
                (true, SYN, 0, none),
                (false, SYN | ACK, 0, 1),
                (true, PSH | ACK, 1, 1),
                (false, PSH | ACK, 1, 19),
                (false, PSH | ACK, 65_001, 19),
                (false, PSH | ACK, 130_001, 19),
                (false, FIN | ACK, 140_002, 19),
                (true, PSH | ACK, 19, 140_003),
                (true, FIN | ACK, 22, 140_003),
                (true, SYN, 0, none),
                (false, SYN | ACK, 0, 1),
                (false, RST | ACK, 1, 1),
            ];
            assert_eq!(heads, expected);
            let answer: Vec<u8> = packets[4..7].iter().flat_map(|p| p.payload.clone()).collect();
            assert_eq!(answer.len(), 140_001);
            assert!((0..140_001_u32).all(|place| answer[place as usize] == (place / 7) as u8));
            assert_eq!(packets[8].payload, b"odd");
            assert_eq!(packets[7].at_ns, 2_999_999_999);
        }
    }

    #[test]
    fn addresses_of_different_versions_are_written_as_ipv6() {
        let ((client, _), (_, server)) = (addresses(4), addresses(6));
        let mut capture = Capture::new();
        capture.add(7, client, server, Segment::Syn);
        let packets = read(&capture.into_bytes());
        assert_eq!(packets[0].source.ip().to_string(), "::ffff:10.1.0.1");
        assert_eq!(packets[0].destination, server);
    }

    #[test]
    fn numbers_wrap_as_those_of_tcp_do() {
        let (client, server) = addresses(4);
        let mut capture = Capture::new();
        capture.add(0, client, server, Segment::Syn);
        capture.direction(client, server).next = u32::MAX - 1;
        capture.add(1, client, server, Segment::Data(b"12345"));
        capture.add(2, server, client, Segment::Data(b"1"));
        assert_eq!(read(&capture.into_bytes())[2].acknowledged, 3);
    }
}
