//! The lines of what is on the wire.

use std::collections::BTreeMap;

use super::line::{Lane, Line};
use super::words::Names;
use crate::trace::{Flow, Glimpse, Kind, OnWire, WireName};

/// A row of frames or bytes of one kind, which is one line.
struct Row {
    /// The index of its line.
    line: usize,
    parts: u64,
    bytes: u64,
    ends: bool,
}

/// The rows that may go on: nothing but other rows has happened since.
#[derive(Default)]
pub(super) struct Rows(BTreeMap<(WireName, bool, bool, Kind), Row>);

impl Rows {
    /// Something else happens: what follows is on new lines.
    pub(super) fn close(&mut self) {
        self.0.clear();
    }

    /// Adds what is on the wire to the lines.
    pub(super) fn add(
        &mut self,
        at_us: f64,
        on_wire: &OnWire,
        names: &Names<'_>,
        lines: &mut Vec<Line>,
    ) {
        let flow = match &on_wire.glimpse {
            Glimpse::Said(text) => {
                self.close();
                return lines.push(line(at_us, on_wire, text, names));
            }
            Glimpse::Flow(flow) => *flow,
        };
        let key = (on_wire.connection, on_wire.from_proxy, on_wire.is_lost, flow.kind);
        let row = self.0.entry(key).or_insert_with(|| {
            lines.push(Line::default());
            Row { line: lines.len() - 1, parts: 0, bytes: 0, ends: false }
        });
        row.parts += 1;
        row.bytes += flow.bytes;
        row.ends |= flow.ends;
        let begun = if row.parts == 1 { at_us } else { lines[row.line].at_us };
        lines[row.line] = line(begun, on_wire, &row.text(flow), names);
        if flow.ends {
            // A row ends with its message: nothing of that follows.
            self.0.remove(&key);
        }
    }
}

impl Row {
    fn text(&self, flow: Flow) -> String {
        let Self { parts, bytes, .. } = *self;
        let times = if parts == 1 { String::new() } else { format!("{parts} × ") };
        let end = if self.ends { ", END_STREAM" } else { "" };
        match flow.kind {
            Kind::Data(stream) => format!("{times}DATA on stream {stream}: {bytes} bytes{end}"),
            Kind::Window(0) => format!("{times}WINDOW_UPDATE of the connection: +{bytes}"),
            Kind::Window(stream) => format!("{times}WINDOW_UPDATE on stream {stream}: +{bytes}"),
            Kind::Content => format!("body: {bytes} bytes"),
            Kind::Chunks => format!("chunks: {bytes} bytes"),
            Kind::Encrypted => format!("TLS: {bytes} bytes"),
        }
    }
}

fn line(at_us: f64, on_wire: &OnWire, text: &str, names: &Names<'_>) -> Line {
    let (peer, peer_name, connection) = match on_wire.connection {
        WireName::Client(client, number) => {
            (Lane::Client, format!("c{client}"), format!("c{client}#{number}"))
        }
        WireName::Backend(backend, number) => {
            (Lane::Backend, format!("b{backend}"), format!("b{backend}#{number}"))
        }
    };
    let mut text = format!("{connection} {text}");
    let mut about = vec![peer_name.clone()];
    if let Some(request) = on_wire.request {
        let name = names.request(request);
        if !text.contains(&format!("/r{request}")) {
            text.push_str(&format!(" ({name})"));
        }
        about.push(name);
    }
    match (on_wire.at_peer, on_wire.from_proxy) {
        (true, true) => text.push_str(&format!(", read by {peer_name}")),
        (true, false) => text.push_str(&format!(", written by {peer_name}")),
        (false, _) => {}
    }
    if on_wire.is_lost {
        text.push_str(", never arrives");
    }
    let (lane, to) =
        if on_wire.from_proxy { (Lane::Connection, peer) } else { (peer, Lane::Connection) };
    Line { at_us, lane, to: Some(to), text, about, ..Line::default() }
}
