//! Rules about frames on the wire.

use super::all_are_found;
use crate::checker::Invariant::{Metrics, Protocol};
use crate::plan::Direction;
use crate::proxy::frame_count::{Counted, Kind, Peer};

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_counters_agree_with_the_wire() {
    all_are_found(&[
        (Protocol, "1 requests to backends were reset with NO_ERROR", |scene| {
            let (peer, direction, kind) = (Peer::Backend, Direction::Out, Kind::Reset);
            for frames in &mut scene.frames {
                frames.add(Counted { peer, direction, kind, code: 0 }, 1);
            }
        }),
        (Metrics, "sent with CANCEL: 0, expected 1 to 1", |scene| {
            let (peer, direction, kind) = (Peer::Client, Direction::Out, Kind::Reset);
            for frames in &mut scene.frames {
                frames.add(Counted { peer, direction, kind, code: 8 }, 1);
            }
        }),
    ]);
}
