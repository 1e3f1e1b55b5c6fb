//! The wire in the words of the story.

use crate::coverage::code_name;
use crate::plan::Direction;
use crate::proxy::network::{Key, Packet, Point};
use crate::proxy::peers::frames::{Fields, Frame, setting};
use crate::proxy::traffic::{Part, Placed, Sight};
use crate::trace::{Flow, Glimpse, Kind, OnWire, WireName};

/// The name of a connection; `None` for those of the operator.
pub(super) fn name(key: Key) -> Option<WireName> {
    match key {
        Key::Client(client, number) => Some(WireName::Client(client, number)),
        Key::Backend(backend, number) => Some(WireName::Backend(backend, number)),
        Key::Other(_) => None,
    }
}

/// The story of a packet, if it has one: bytes that the proxy writes, when it writes them, and
/// bytes that it reads, when they arrive.
pub(super) fn glimpse(packet: &Packet<'_>, point: Point, sight: Sight<'_>) -> Option<OnWire> {
    let from_proxy = packet.direction == Direction::Out;
    let at_peer = point == Point::Decrypted;
    let at_proxy = point == if from_proxy { Point::Written } else { Point::Delivered };
    if !at_peer && !at_proxy {
        return None;
    }
    let said = |text: &str| Some(Glimpse::Said(text.to_owned()));
    let (glimpse, request, end) = match sight {
        Sight::Syn => match (packet.key.is_dialled_by_proxy(), from_proxy) {
            (true, true) => (said("SYN"), None, 0),
            (true, false) | (false, true) => (said("SYN ACK"), None, 0),
            (false, false) => (said("SYN"), None, 0),
        },
        Sight::End => (said("FIN"), None, 0),
        Sight::Reset => (said("RST"), None, 0),
        Sight::Encrypted(bytes) => {
            let bytes = bytes as u64;
            let flow = Flow { kind: Kind::Encrypted, bytes, ends: false };
            (Some(Glimpse::Flow(flow)), None, 0)
        }
        Sight::Part(placed) => (words(&placed.part), placed.request, placed.end),
    };
    let connection = name(packet.key)?;
    let glimpse = glimpse?;
    Some(OnWire { connection, from_proxy, glimpse, request, at_peer, end, is_lost: false })
}

/// The story of a part that was sent to the proxy and never arrived.
pub(super) fn lost(connection: WireName, placed: &Placed) -> OnWire {
    OnWire {
        connection,
        from_proxy: false,
        glimpse: words(&placed.part).unwrap_or_else(|| Glimpse::Said("the end".to_owned())),
        request: placed.request,
        at_peer: false,
        end: placed.end,
        is_lost: true,
    }
}

fn words(part: &Part) -> Option<Glimpse> {
    let flow = |kind, bytes, ends| Some(Glimpse::Flow(Flow { kind, bytes, ends }));
    let text = match part {
        Part::Content { bytes, chunk } => {
            return flow(if *chunk { Kind::Chunks } else { Kind::Content }, *bytes, false);
        }
        Part::Frame(Frame::Data { stream, data, end, .. }) => {
            return flow(Kind::Data(*stream), data.len() as u64, *end);
        }
        Part::Frame(Frame::WindowUpdate { stream, by }) => {
            return flow(Kind::Window(*stream), u64::from(*by), false);
        }
        Part::Preface => "preface of HTTP/2".to_owned(),
        Part::Request { method, target, .. } => format!("{method} {target} HTTP/1.1"),
        Part::Response { status, .. } => format!("HTTP/1.1 {status}"),
        Part::End { trailers: true } => "last chunk and trailers".to_owned(),
        Part::End { trailers: false } => "end of the body".to_owned(),
        Part::Unreadable(what) => format!("unreadable bytes: {what}"),
        Part::Frame(frame) => frame_words(frame),
    };
    Some(Glimpse::Said(text))
}

fn frame_words(frame: &Frame) -> String {
    match frame {
        Frame::Headers { stream, fields, end } => {
            let end = if *end { ", END_STREAM" } else { "" };
            format!("HEADERS on stream {stream}: {}{end}", fields_words(fields))
        }
        Frame::Priority { stream } => format!("PRIORITY on stream {stream}"),
        Frame::Reset { stream, code } => {
            format!("RST_STREAM on stream {stream}: {}", code_name(*code))
        }
        Frame::Settings(settings) if settings.is_empty() => "SETTINGS".to_owned(),
        Frame::Settings(settings) => {
            let settings =
                settings.iter().map(|(identifier, value)| setting_words(*identifier, *value));
            format!("SETTINGS {}", settings.collect::<Vec<_>>().join(" "))
        }
        Frame::SettingsAck => "SETTINGS ack".to_owned(),
        Frame::PushPromise { stream } => format!("PUSH_PROMISE on stream {stream}"),
        Frame::Ping(_) => "PING".to_owned(),
        Frame::Pong(_) => "PING ack".to_owned(),
        Frame::GoAway { last, code } => {
            format!("GOAWAY, last stream {last}: {}", code_name(*code))
        }
        Frame::Unknown { kind, stream } => format!("frame of type {kind} on stream {stream}"),
        Frame::Data { .. } | Frame::WindowUpdate { .. } => unreachable!("they are rows"),
    }
}

/// The start line of a head, or the names of trailers.
fn fields_words(fields: &Fields) -> String {
    if let (Some(method), Some(path)) = (fields.get(":method"), fields.get(":path")) {
        return format!("{method} {path}");
    }
    if let Some(status) = fields.get(":status") {
        return status.to_owned();
    }
    let names = fields.iter().map(|(name, _)| String::from_utf8_lossy(name));
    format!("trailers {}", names.collect::<Vec<_>>().join(" "))
}

fn setting_words(identifier: u16, value: u32) -> String {
    let name = match identifier {
        setting::HEADER_TABLE_SIZE => "header_table_size",
        setting::ENABLE_PUSH => "enable_push",
        setting::MAX_CONCURRENT_STREAMS => "max_concurrent_streams",
        setting::INITIAL_WINDOW_SIZE => "initial_window_size",
        setting::MAX_FRAME_SIZE => "max_frame_size",
        setting::MAX_HEADER_LIST_SIZE => "max_header_list_size",
        other => return format!("{other:#x}={value}"),
    };
    format!("{name}={value}")
}
