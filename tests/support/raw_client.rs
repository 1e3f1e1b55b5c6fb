//! An HTTP/2 client that writes its frames itself, for frames that no honest client sends.

use std::net::SocketAddr;

use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use super::client::connect;
use super::raw::{Frame, kind, read_frame};
use super::within;
use crate::system::{TcpStream, spawn};

/// RFC 9113, 3.4.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// ENHANCE_YOUR_CALM (RFC 9113, 7).
pub(crate) const CALM: u32 = 0xb;

/// One connection to Baton. Received frames are read at once, but not answered.
pub(crate) struct RawClient {
    /// The local address, which names the client in the log.
    pub(crate) address: SocketAddr,
    writer: WriteHalf<TcpStream>,
    frames: mpsc::UnboundedReceiver<Frame>,
    reader: tokio::task::JoinHandle<()>,
}

impl Drop for RawClient {
    /// Closes the connection: the reader task holds its other half.
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl RawClient {
    /// Connects without sending anything.
    pub(crate) async fn silent(baton: SocketAddr) -> Self {
        let tcp = connect(baton).await;
        let address = tcp.local_addr().expect("it is connected");
        let (reader, writer) = tokio::io::split(tcp);
        let (sender, frames) = mpsc::unbounded_channel();
        let reader = spawn(read_frames(reader, sender));
        Self { address, writer, frames, reader }
    }

    /// Connects and sends the preface and SETTINGS.
    pub(crate) async fn connect(baton: SocketAddr) -> Self {
        let mut client = Self::silent(baton).await;
        client.write(PREFACE).await;
        client.write(&frame(kind::SETTINGS, 0, 0, &[])).await;
        client
    }

    /// Sends bytes. Returns false if Baton has closed the connection.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> bool {
        within("room to send", self.writer.write_all(bytes)).await.is_ok()
    }

    /// The next frame; `None` once Baton has closed.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        within("another frame", self.frames.recv()).await
    }

    /// The next frame of this kind.
    pub(crate) async fn next_of(&mut self, wanted: u8) -> Frame {
        loop {
            let frame = self.next().await.expect("the connection lives until then");
            if frame.kind == wanted {
                return frame;
            }
        }
    }

    /// Every frame until Baton closes.
    pub(crate) async fn all(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// Waits until Baton closes. Returns the last stream and the code of the last GOAWAY.
    pub(crate) async fn goaway_code(&mut self) -> (u32, u32) {
        let frames = self.all().await;
        let mut errors = frames.iter().filter(|frame| frame.kind == kind::GOAWAY).map(|frame| {
            let word = |from: usize| {
                let bytes = frame.payload[from..from + 4].try_into().expect("four bytes");
                u32::from_be_bytes(bytes)
            };
            (word(0), word(4))
        });
        errors.next_back().unwrap_or_else(|| panic!("closed without GOAWAY: {frames:?}"))
    }

    /// Sends a small GET on a stream and waits for the end of its answer.
    pub(crate) async fn get(&mut self, stream: u32) -> Option<Frame> {
        self.write(&get(stream)).await;
        let mut head = None;
        loop {
            let frame = self.next().await?;
            if frame.stream == stream {
                let ends = frame.ends_stream() || frame.kind == kind::RST_STREAM;
                if ends {
                    return head.or(Some(frame));
                }
                head.get_or_insert(frame);
            }
        }
    }
}

/// Encodes a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("frames are under 16 MiB");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The header block of a request with this method and further fields (RFC 7541).
pub(crate) fn block(method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    // `:scheme: http` and `:path: /` are in the static table.
    let mut block = literal(":method", method);
    block.extend_from_slice(&[0x86, 0x84]);
    block.extend(literal(":authority", "front.test"));
    for (name, value) in more {
        block.extend(literal(name, value));
    }
    block
}

/// A literal field without indexing (RFC 7541, 6.2.2).
pub(crate) fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        length(&mut bytes, text.len());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// Encodes a length with a prefix of seven bits (RFC 7541, 5.1).
fn length(bytes: &mut Vec<u8>, length: usize) {
    let byte = |value: usize| u8::try_from(value).expect("masked");
    if length < 127 {
        return bytes.push(byte(length));
    }
    bytes.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        bytes.push(byte(rest % 128 + 128));
        rest /= 128;
    }
    bytes.push(byte(rest));
}

/// A HEADERS frame with a complete GET.
pub(crate) fn get(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, 0x5, stream, &block("GET", &[]))
}

async fn read_frames(mut reader: ReadHalf<TcpStream>, frames: mpsc::UnboundedSender<Frame>) {
    while let Some(frame) = read_frame(&mut reader).await {
        if frames.send(frame).is_err() {
            return;
        }
    }
}
