//! The beginning of a connection to an HTTP/2 backend, and the faults that belong there.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::frames::{Fault, FrameReader, FrameWriter, PREFACE, ReadError};
use super::service::{Command, LINGER, NEVER, Service};
use crate::plan::{Act, Stage};
use crate::proxy::exact::sleep;
use crate::proxy::hub::{Order, Target};

/// How a connection has begun.
pub(crate) enum Started<Io> {
    /// The proxy has sent its preface, and the backend nothing.
    Up {
        io: Io,
        /// The bytes that were read, the preface included.
        read: Bytes,
        /// Orders that take effect later.
        early: Vec<Order>,
    },
    /// The backend breaks it.
    Breaks,
    /// It has ended.
    Gone,
    /// The proxy did not begin with the preface.
    Fault(Fault),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Succeeds,
    FailsAtSettings,
    BreaksAtPreface,
}

/// Waits for the preface and for the end of a stall.
pub(crate) async fn start<Io: AsyncRead + AsyncWrite + Unpin>(
    service: &Service,
    io: Io,
    orders: &mut UnboundedReceiver<Order>,
    commands: &mut UnboundedReceiver<Command>,
) -> Started<Io> {
    let mut reader = FrameReader::new(io);
    let mut early = Vec::new();
    let mut fate = Fate::Succeeds;
    let mut stalled_until = 0;
    loop {
        let now = service.hub.now();
        let whole = reader.unused().len() >= PREFACE.len();
        if !PREFACE.starts_with(&reader.unused()[..reader.unused().len().min(PREFACE.len())]) {
            return Started::Fault(Fault::protocol("no connection preface"));
        }
        // Orders that are there count, even if everything else is there as well.
        if whole && now >= stalled_until && orders.is_empty() {
            break;
        }
        let stall = stalled_until.saturating_sub(now);
        tokio::select! {
            biased;
            Some(Order { act, target }) = orders.recv() => match act {
                Act::Break => return Started::Breaks,
                Act::FailDial { stage: Stage::Tcp | Stage::Tls } => return Started::Breaks,
                Act::FailDial { stage: Stage::Settings } => fate = Fate::FailsAtSettings,
                Act::BreakAtPreface => fate = Fate::BreaksAtPreface,
                Act::StallDial { for_us, .. } => {
                    stalled_until = for_us.map_or(NEVER, |time| now + time * 1_000);
                }
                // These act on a connection that is up.
                Act::GoAway { .. } | Act::Settings { .. }
                    if matches!(target, Target::Backend(..)) => {}
                act => early.push(Order { act, target }),
            },
            Some(command) = commands.recv() => {
                if command == Command::Break {
                    return Started::Breaks;
                }
            }
            () = sleep(Duration::from_nanos(stall)), if stall > 0 && stalled_until != NEVER => {}
            more = reader.more() => match more {
                Ok(true) => {}
                Ok(false) | Err(ReadError::Broken | ReadError::EndedInside) => {
                    return Started::Gone;
                }
                Err(ReadError::Fault(fault)) => return Started::Fault(fault),
            },
        }
    }
    match fate {
        Fate::Succeeds => {
            let (io, read) = reader.into_inner();
            Started::Up { io, read, early }
        }
        Fate::BreaksAtPreface => Started::Breaks,
        Fate::FailsAtSettings => {
            fail(reader).await;
            Started::Gone
        }
    }
}

/// Sends PING where SETTINGS must be (RFC 9113, 3.4), and closes.
async fn fail<Io: AsyncRead + AsyncWrite + Unpin>(reader: FrameReader<Io>) {
    let (mut io, _) = reader.into_inner();
    let mut writer = FrameWriter::new();
    writer.ping([0; 8]);
    let written = async {
        io.write_all(&writer.take()).await?;
        io.shutdown().await
    };
    // The proxy may be gone.
    let _ = timeout(LINGER, written).await;
    let _ = timeout(LINGER, FrameReader::new(io).discard()).await;
}
