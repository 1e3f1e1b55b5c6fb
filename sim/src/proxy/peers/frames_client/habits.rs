//! The habits of a client that writes its own frames: all of them are allowed by RFC 9113, and none
//! is frequent enough to be an attack.

use std::time::Duration;

use super::super::frames::{GREATEST, TABLE, setting};
use crate::draw::{Domain, Draws, RandomStream};
use crate::proxy::peers::sending::LARGE_WINDOW;

/// The identifier of a setting that no RFC defines (RFC 9113, 6.5.2: it is ignored).
const UNKNOWN_SETTING: u16 = 0x0a0a;
/// Windows of a stream that are announced.
const WINDOWS: [u32; 8] = [65_535, 65_535, 1 << 20, 20_000, 1_000, 10, 1, 0];

/// The frames of a body that is written in very many: more than the empty ones that the proxy
/// tolerates.
const CRUMBS: u64 = 150;

/// The habits of one connection.
#[derive(Clone, Debug)]
pub(super) struct Habits {
    /// The first SETTINGS.
    pub(super) settings: Vec<(u16, u32)>,
    /// Added to the connection's window at once.
    pub(super) wider_by: u32,
    /// True if the first request waits for the proxy's SETTINGS.
    pub(super) waits: bool,
    /// Requests until it sends GOAWAY and opens no further stream.
    pub(super) requests: u32,
    /// True if it ends with GOAWAY rather than by closing alone.
    pub(super) says_goaway: bool,
}

impl Habits {
    pub(super) fn new(draws: Draws, client: u8, connection: u32) -> Self {
        let entity = u64::from(client) << 32 | u64::from(connection);
        let mut draws = draws.stream(Domain::ClientConnections, entity);
        let mut settings = change(&mut draws);
        if draws.chance(70) {
            settings.push((setting::ENABLE_PUSH, 0));
        }
        if draws.chance(30) {
            settings.push((setting::MAX_FRAME_SIZE, draws.pick(&[16_384, 16_385, (1 << 24) - 1])));
        }
        if draws.chance(30) {
            settings.push((setting::MAX_HEADER_LIST_SIZE, 1 << 20));
        }
        if draws.chance(30) {
            settings.push((setting::MAX_CONCURRENT_STREAMS, draws.pick(&[0, 1, 100])));
        }
        Self {
            settings,
            wider_by: draws.pick(&[0, 1, 1 << 20]),
            waits: draws.chance(50),
            requests: if draws.chance(20) { draws.between(1, 4) as u32 } else { GREATEST },
            says_goaway: draws.chance(50),
        }
    }

    /// The windows are larger than any answer.
    pub(super) fn widen(&mut self) {
        self.settings.retain(|(identifier, _)| *identifier != setting::INITIAL_WINDOW_SIZE);
        self.settings.push((setting::INITIAL_WINDOW_SIZE, LARGE_WINDOW));
        self.wider_by = LARGE_WINDOW;
    }
}

/// Settings that may change at any time.
fn change(draws: &mut RandomStream) -> Vec<(u16, u32)> {
    let mut settings = Vec::new();
    if draws.chance(70) {
        settings.push((setting::INITIAL_WINDOW_SIZE, draws.pick(&WINDOWS)));
    }
    if draws.chance(30) {
        let size = draws.pick(&[0, 100, TABLE as u32, 65_536]);
        settings.push((setting::HEADER_TABLE_SIZE, size));
    }
    if draws.chance(20) {
        settings.push((UNKNOWN_SETTING, draws.below(1 << 32) as u32));
    }
    settings
}

/// How a client returns what it has read to the windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Granting {
    /// At once.
    AtOnce,
    /// At once, the first bytes one by one.
    ByteByByte,
    /// Once half of the window is used.
    Late,
}

/// How a request is written.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    /// CONTINUATION frames of the head, at most 4: `h2` takes more of them for an attack.
    pub(super) continuations: usize,
    /// Padding of HEADERS.
    pub(super) head_padding: Option<u8>,
    /// Padding of each DATA frame.
    pub(super) padding: Option<u8>,
    /// True if HEADERS has the fields of priority.
    pub(super) prioritised: bool,
    /// PRIORITY frames: for the stream while it is idle, and once it is open.
    pub(super) priorities: [bool; 2],
    /// An unknown frame type before the head.
    pub(super) unknown_frame: bool,
    /// Places in the list of pseudo-header fields that are exchanged.
    pub(super) exchanged: (usize, usize),
    /// Cookies, each a field of its own.
    pub(super) crumbs: u32,
    /// True if the head has `te: trailers`.
    pub(super) te: bool,
    /// Frames without payload before the body.
    pub(super) empty: u32,
    /// The first bytes of the head are sent this much earlier than the rest; their share.
    pub(super) head_pause: Option<(Duration, u64)>,
    /// The same of each DATA frame.
    pub(super) pause: Option<(Duration, u64)>,
    /// SETTINGS after the head.
    pub(super) settings: Option<Vec<(u16, u32)>>,
    /// A PING after the head.
    pub(super) ping: Option<[u8; 8]>,
    pub(super) granting: Granting,
    /// How the pieces of the body are cut into frames.
    cut: u64,
}

impl Manner {
    pub(super) fn new(draws: Draws, request: u32) -> Self {
        let mut draws = draws.stream(Domain::ClientRequests, request.into());
        let draws = &mut draws;
        Self {
            continuations: if draws.chance(50) { draws.between(1, 4) as usize } else { 0 },
            head_padding: padding(draws),
            padding: padding(draws),
            prioritised: draws.chance(30),
            priorities: [draws.chance(20), draws.chance(20)],
            unknown_frame: draws.chance(20),
            exchanged: (draws.below(4) as usize, draws.below(4) as usize),
            crumbs: if draws.chance(30) { draws.between(1, 3) as u32 } else { 0 },
            te: draws.chance(30),
            empty: if draws.chance(20) { draws.between(1, 3) as u32 } else { 0 },
            head_pause: pause(draws),
            pause: pause(draws),
            settings: draws.chance(25).then(|| change(draws)),
            ping: draws.chance(25).then(|| draws.below(u64::MAX).to_be_bytes()),
            granting: draws.pick(&[Granting::AtOnce, Granting::ByteByByte, Granting::Late]),
            cut: draws.below(128),
        }
    }

    /// The largest payload of the frames in which a part of a body is written: sometimes a part is
    /// two frames, and rarely a body is very many.
    pub(super) fn crumb(&self, body: u64, part: usize) -> usize {
        match self.cut {
            0..=3 if body >= CRUMBS => (body / CRUMBS) as usize,
            4..=35 => part.div_ceil(2),
            _ => usize::MAX,
        }
    }
}

fn padding(draws: &mut RandomStream) -> Option<u8> {
    draws.chance(30).then(|| draws.pick(&[0, 1, 100, 255]))
}

/// How long a frame stays incomplete, and the permille of it that is sent before.
fn pause(draws: &mut RandomStream) -> Option<(Duration, u64)> {
    draws.chance(20).then(|| (Duration::from_millis(draws.between(0, 30)), draws.below(1_001)))
}
