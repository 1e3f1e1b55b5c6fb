//! The body of an answer, piece by piece over its time.

use std::time::Duration;

use bytes::Bytes;

use super::exchange::{Choice, Exchange, Script};
use super::frames::Fields;
use crate::proxy::exact::sleep;
use crate::proxy::hub::Hub;

/// Pieces of an answer that an empty DATA may precede: `h2` tolerates 100 on a connection.
const EMPTY_DATA_MAX: u64 = 8;

/// The stream of an answer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// The writing side of a stream.
pub(crate) trait Sink {
    /// Waits while the answer does not go on.
    async fn goes_on(&mut self);
    /// Writes DATA, as the windows allow.
    async fn data(&mut self, data: Bytes, end: bool) -> Result<(), Gone>;
    /// Writes the end.
    async fn trailers(&mut self, trailers: &Fields) -> Result<(), Gone>;
}

/// Writes the body of an answer whose head was written at `begin`, and the end.
pub(crate) async fn write_body(
    hub: &Hub,
    exchange: &Exchange,
    script: &Script,
    begin: u64,
    sink: &mut impl Sink,
) -> Result<(), Gone> {
    let Script { length, piece, trailers, .. } = script;
    let alone = exchange.chance(Choice::EndAlone, 0, 2) || *length == 0;
    let with_last = trailers.is_none() && !alone;
    let pieces = if *length == 0 { 0 } else { length.div_ceil(*piece) };
    for number in 0..pieces {
        let last = with_last && number + 1 == pieces;
        wait(hub, script, begin, if last { pieces } else { number }, pieces).await;
        sink.goes_on().await;
        if number < EMPTY_DATA_MAX && exchange.chance(Choice::EmptyData, number, 16) {
            sink.data(Bytes::new(), false).await?;
        }
        let from = number * piece;
        let size = (length - from).min(*piece) as usize;
        sink.data(script.body.piece(from, size), last).await?;
    }
    if with_last {
        return Ok(());
    }
    wait(hub, script, begin, 1, 1).await;
    if trailers.is_some() && exchange.chance(Choice::TrailersLate, 0, 2) {
        sleep(Duration::from_micros(2 * hub.plan.network.wire.most_us)).await;
    }
    sink.goes_on().await;
    match trailers {
        Some(trailers) => sink.trailers(trailers).await,
        None => sink.data(Bytes::new(), true).await,
    }
}

/// Waits until a share of the time has passed.
async fn wait(hub: &Hub, script: &Script, begin: u64, part: u64, of: u64) {
    let time = script.time.as_nanos() * u128::from(part) / u128::from(of);
    let at = begin + time as u64;
    let now = hub.now();
    if at > now {
        sleep(Duration::from_nanos(at - now)).await;
    }
}
