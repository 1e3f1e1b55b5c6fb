//! A minimal HTTP/2 server that writes its frames itself, for frames that the h2 crate never sends.
//!
//! It does not decode header blocks: tests tell requests apart by their bodies.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Mutex, mpsc};
use tokio_rustls::server::TlsStream;

use super::certificate::acceptor;
use super::within;
use crate::system::{TcpListener, TcpStream, spawn};

/// RFC 9113, 6: frame types.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0x0;
    pub(crate) const HEADERS: u8 = 0x1;
    pub(crate) const PRIORITY: u8 = 0x2;
    pub(crate) const RST_STREAM: u8 = 0x3;
    pub(crate) const SETTINGS: u8 = 0x4;
    pub(crate) const PING: u8 = 0x6;
    pub(crate) const GOAWAY: u8 = 0x7;
    pub(crate) const WINDOW_UPDATE: u8 = 0x8;
    pub(crate) const CONTINUATION: u8 = 0x9;
}

/// RFC 9113, 6: flags.
pub(crate) mod flag {
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
}

/// RFC 9113, 6.5.2.
const SETTINGS_MAX_CONCURRENT_STREAMS: u16 = 0x3;
/// RFC 7541, appendix A: `:status: 200`, indexed.
pub(crate) const STATUS_200: &[u8] = &[0x88];

/// One frame.
#[derive(Debug)]
pub(crate) struct Frame {
    /// One of [`kind`].
    pub(crate) kind: u8,
    /// A combination of [`flag`]s.
    pub(crate) flags: u8,
    /// The stream id, 0 for the connection.
    pub(crate) stream: u32,
    /// The payload.
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// Returns true if the frame ends its stream.
    pub(crate) fn ends_stream(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & flag::END_STREAM != 0
    }

    /// Returns true if the frame is an acknowledgement of this kind.
    pub(crate) fn acknowledges(&self, kind: u8) -> bool {
        self.kind == kind && self.flags & flag::ACK != 0
    }
}

type Writer = Rc<Mutex<WriteHalf<TlsStream<TcpStream>>>>;

/// A connection of a [`RawBackend`], after the preface and the SETTINGS of both sides.
pub(crate) struct RawConnection {
    /// Index of the connection, from 0.
    pub(crate) number: usize,
    frames: mpsc::UnboundedReceiver<Frame>,
    writer: Writer,
    reader: tokio::task::JoinHandle<()>,
}

impl RawConnection {
    /// Accepts a connection; `None` if its client leaves before it has sent its preface.
    pub(crate) async fn greet(tcp: TcpStream, number: usize, max_streams: u32) -> Option<Self> {
        tcp.set_nodelay(true).expect("a connected socket takes the option");
        let mut tls = acceptor(&["h2"]).accept(tcp).await.ok()?;
        let mut preface = [0; 24];
        tls.read_exact(&mut preface).await.ok()?;
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "RFC 9113, 3.4");
        let (reader, writer) = tokio::io::split(tls);
        let writer = Rc::new(Mutex::new(writer));
        let (sender, frames) = mpsc::unbounded_channel();
        let reader = spawn(read_frames(reader, Rc::clone(&writer), sender));
        let connection = Self { number, frames, writer, reader };
        connection.limit_streams(max_streams).await;
        Some(connection)
    }

    /// The next frame; `None` once the peer has closed the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        within("another frame", self.frames.recv()).await
    }

    /// Every frame that arrives within this time, however long it is. Waits until it has passed,
    /// also if the peer closes the connection.
    pub(crate) async fn all_within(&mut self, time: Duration) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut over = pin!(tokio::time::sleep(time));
        loop {
            tokio::select! {
                () = &mut over => return frames,
                Some(frame) = self.frames.recv() => frames.push(frame),
            }
        }
    }

    /// Every frame up to and including the first for which `wanted` returns true.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            let frame = self.next().await.expect("the connection lives until then");
            let last = wanted(&frame);
            frames.push(frame);
            if last {
                return frames;
            }
        }
    }

    /// The next complete request: its stream and its body.
    pub(crate) async fn request(&mut self, bodies: &mut Bodies) -> Option<(u32, String)> {
        loop {
            let frame = self.next().await?;
            if let Some(request) = bodies.take_in(&frame) {
                return Some(request);
            }
        }
    }

    /// Writes one frame.
    pub(crate) async fn write(&self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        // The peer may have closed already; tests see that as the end of the frames.
        let _ = write_frame(&self.writer, kind, flags, stream, payload).await;
    }

    /// Answers a stream with 200 and this body.
    pub(crate) async fn answer(&self, stream: u32, body: &str) {
        self.write(kind::HEADERS, flag::END_HEADERS, stream, STATUS_200).await;
        self.write(kind::DATA, flag::END_STREAM, stream, body.as_bytes()).await;
    }

    /// Sends SETTINGS with this SETTINGS_MAX_CONCURRENT_STREAMS.
    pub(crate) async fn limit_streams(&self, max_streams: u32) {
        let mut payload = SETTINGS_MAX_CONCURRENT_STREAMS.to_be_bytes().to_vec();
        payload.extend_from_slice(&max_streams.to_be_bytes());
        self.write(kind::SETTINGS, 0, 0, &payload).await;
    }

    /// Sends GOAWAY with this last stream and code.
    pub(crate) async fn go_away(&self, last_stream: u32, code: u32) {
        let mut payload = last_stream.to_be_bytes().to_vec();
        payload.extend_from_slice(&code.to_be_bytes());
        self.write(kind::GOAWAY, 0, 0, &payload).await;
    }

    /// Sends PING; its acknowledgement arrives among the frames.
    pub(crate) async fn ping(&self) {
        self.write(kind::PING, 0, 0, b"a tester").await;
    }

    /// Works for this time, as a server with one thread: it answers nothing meanwhile, no PING
    /// either. Its system takes what arrives.
    pub(crate) async fn work(&self, time: Duration) {
        let _writer = self.writer.lock().await;
        tokio::time::sleep(time).await;
    }

    /// Stops reading and answering, and keeps the connection open: a black hole.
    pub(crate) async fn fall_silent(self) -> ! {
        self.reader.abort();
        let _kept = self;
        std::future::pending().await
    }
}

impl Drop for RawConnection {
    /// Closes the connection: the reader task holds its other half.
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Collects the bodies of requests, by stream.
#[derive(Default)]
pub(crate) struct Bodies(std::collections::BTreeMap<u32, Vec<u8>>);

impl Bodies {
    /// Adds a frame. Returns the request that it completes.
    pub(crate) fn take_in(&mut self, frame: &Frame) -> Option<(u32, String)> {
        let body = match frame.kind {
            kind::HEADERS => self.0.entry(frame.stream).or_default(),
            kind::DATA => {
                let body = self.0.get_mut(&frame.stream).expect("HEADERS come first");
                body.extend_from_slice(&frame.payload);
                body
            }
            _ => return None,
        };
        let text = String::from_utf8(body.clone()).expect("tests send text");
        frame.ends_stream().then_some((frame.stream, text))
    }
}

/// A running server that passes every connection to a script.
pub(crate) struct RawBackend {
    /// The address it listens on.
    pub(crate) address: SocketAddr,
}

impl RawBackend {
    /// Starts a server that announces `max_streams` on every connection, then passes it to
    /// `script`.
    pub(crate) async fn start<Script, Running>(max_streams: u32, script: Script) -> Self
    where
        Script: Fn(RawConnection) -> Running + 'static,
        Running: Future<Output = ()> + 'static,
    {
        let script = Rc::new(script);
        Self::accepting(move |tcp, number| {
            let script = Rc::clone(&script);
            Box::pin(async move {
                if let Some(connection) = RawConnection::greet(tcp, number, max_streams).await {
                    script(connection).await;
                }
            })
        })
        .await
    }

    /// Starts a server that passes every TCP connection to `script`, with its index.
    pub(crate) async fn accepting<Script>(script: Script) -> Self
    where
        Script: Fn(TcpStream, usize) -> Pin<Box<dyn Future<Output = ()>>> + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the system has a port");
        let address = listener.local_addr().expect("it is bound");
        spawn(async move {
            let mut number = 0;
            loop {
                let Ok((tcp, _)) = listener.accept().await else { continue };
                spawn(script(tcp, number));
                number += 1;
            }
        });
        Self { address }
    }

    /// The URL for `--backend`.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

/// Reads the next frame (RFC 9113, 4.1). Returns `None` if no complete frame follows.
pub(crate) async fn read_frame(reader: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let mut head = [0; 9];
    reader.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
    let mut payload = vec![0; length as usize];
    reader.read_exact(&mut payload).await.ok()?;
    Some(Frame { kind: head[3], flags: head[4], stream, payload })
}

async fn read_frames(
    mut reader: ReadHalf<TlsStream<TcpStream>>,
    writer: Writer,
    frames: mpsc::UnboundedSender<Frame>,
) {
    while let Some(frame) = read_frame(&mut reader).await {
        keep_house(&frame, &writer).await;
        if frames.send(frame).is_err() {
            return;
        }
    }
}

/// Does what every HTTP/2 server does: acknowledges SETTINGS and PING, and releases flow control.
async fn keep_house(frame: &Frame, writer: &Writer) {
    // If the peer has closed, the reader detects it.
    match frame.kind {
        kind::SETTINGS if frame.flags & flag::ACK == 0 => {
            let _ = write_frame(writer, kind::SETTINGS, flag::ACK, 0, &[]).await;
        }
        kind::PING if frame.flags & flag::ACK == 0 => {
            let _ = write_frame(writer, kind::PING, flag::ACK, 0, &frame.payload).await;
        }
        kind::DATA if !frame.payload.is_empty() => {
            let length = u32::try_from(frame.payload.len()).expect("frames are under 16 MiB");
            let update = length.to_be_bytes();
            let _ = write_frame(writer, kind::WINDOW_UPDATE, 0, 0, &update).await;
        }
        _ => {}
    }
}

async fn write_frame(
    writer: &Writer,
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &[u8],
) -> std::io::Result<()> {
    let length = u32::try_from(payload.len()).expect("frames are under 16 MiB");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    let mut writer = writer.lock().await;
    writer.write_all(&frame).await?;
    writer.flush().await
}
