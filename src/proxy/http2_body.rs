//! The content of a message over HTTP/2.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::Frame;

/// The content of a message over HTTP/2: data, then trailers. The peer may send more as soon as
/// data is polled for: the caller sets the pace.
#[derive(Debug)]
pub struct Http2Body {
    stream: RecvStream,
    /// True once all data was read; trailers may follow.
    data_done: bool,
}

impl Http2Body {
    /// Starts before the first byte.
    #[must_use]
    pub fn new(stream: RecvStream) -> Self {
        Self { stream, data_done: false }
    }

    /// Polls for the next frame: data that is not empty, or the trailers. `None` at the end.
    ///
    /// # Errors
    /// If the stream or its connection ended before that.
    pub fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        while !self.data_done {
            match ready!(self.stream.poll_data(context)) {
                None => self.data_done = true,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(data)) => {
                    // It fails only if the stream is gone, which the next poll reports.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
            }
        }
        let trailers = ready!(self.stream.poll_trailers(context));
        Poll::Ready(trailers.transpose().map(|trailers| trailers.map(Frame::trailers)))
    }

    /// Bytes that the peer has sent and that were not polled for yet.
    pub fn unread(&mut self) -> usize {
        self.stream.flow_control().used_capacity()
    }

    /// True if the peer has ended its side of the stream and everything was read.
    #[must_use]
    pub fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}
