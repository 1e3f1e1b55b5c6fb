//! Sends the body of a request to its backend, as fast as the backend and the client allow.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;
use http_body::Frame;

use super::coalesce::Coalesce;
use super::replay_body::Upload;
use crate::proxy::limits::EARLY_RESPONSE_TIMEOUT;
use crate::proxy::seams;
use crate::proxy::upstream::{Http1Sender, SendError};

/// Sends the body over HTTP/1.1. If the backend takes no more of it, the backend has some time to
/// respond; then its connection ends.
pub(super) async fn over_http1(upload: Upload, mut sender: Http1Sender) {
    let mut upload = Coalesce::new(upload);
    match send_http1(&mut upload, &mut sender).await {
        Ok(()) => upload.tell_sent(),
        Err(SendError) => {
            seams::sleep(EARLY_RESPONSE_TIMEOUT).await;
            sender.give_up();
        }
    }
}

async fn send_http1(upload: &mut Coalesce, sender: &mut Http1Sender) -> Result<(), SendError> {
    // What the client sends beyond the announced length is not waited for.
    while !sender.is_complete() {
        let next = poll_fn(|context| poll_next_or_flush(upload, sender, context));
        match next.await?.map(Frame::into_data) {
            Some(Ok(data)) => sender.send(data)?,
            Some(Err(frame)) => {
                sender.end(&frame.into_trailers().unwrap_or_default())?;
                break;
            }
            None => {
                sender.end(&HeaderMap::new())?;
                break;
            }
        }
        if sender.is_full() {
            flush(upload, sender).await?;
        }
    }
    flush(upload, sender).await
}

/// Waits until the backend has taken what was appended.
async fn flush(upload: &mut Coalesce, sender: &mut Http1Sender) -> Result<(), SendError> {
    poll_fn(|context| {
        let flushed = sender.poll_flush(context);
        upload.note_blocked(flushed.is_pending());
        flushed
    })
    .await
}

/// Polls for the next piece, and writes what is there until it comes.
fn poll_next_or_flush(
    upload: &mut Coalesce,
    sender: &mut Http1Sender,
    context: &mut Context<'_>,
) -> Poll<Result<Option<Frame<Bytes>>, SendError>> {
    if let Poll::Ready(next) = upload.poll_next(context) {
        return Poll::Ready(Ok(next));
    }
    match sender.poll_flush(context) {
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
    }
}

/// Sends the body over HTTP/2.
pub(super) async fn over_http2(upload: Upload, stream: Rc<RefCell<SendStream<Bytes>>>) {
    let mut upload = Coalesce::new(upload);
    loop {
        let Some(frame) = poll_fn(|context| upload.poll_next(context)).await else {
            if stream.borrow_mut().send_data(Bytes::new(), true).is_ok() {
                upload.tell_sent();
            }
            return;
        };
        let sent = match frame.into_data() {
            Ok(data) => {
                let last = upload.is_at_end();
                send_data(&mut upload, &stream, data, last).await.map(|()| last)
            }
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => {
                    stream.borrow_mut().send_trailers(trailers).map(|()| true).map_err(drop)
                }
                Err(_) => Ok(false),
            },
        };
        match sent {
            Ok(false) => {}
            Ok(true) => return upload.tell_sent(),
            // The stream has ended; the response future reports why.
            Err(()) => return,
        }
    }
}

/// Sends one chunk, in as many parts as the flow-control window requires.
async fn send_data(
    upload: &mut Coalesce,
    stream: &RefCell<SendStream<Bytes>>,
    mut data: Bytes,
    last: bool,
) -> Result<(), ()> {
    if data.is_empty() && last {
        return stream.borrow_mut().send_data(data, last).map_err(drop);
    }
    // An empty DATA frame carries nothing, and backends count them: one client's empty frames would
    // use up a budget shared by all.
    while !data.is_empty() {
        stream.borrow_mut().reserve_capacity(data.len());
        let capacity = poll_fn(|context| {
            let mut stream = stream.borrow_mut();
            if stream.poll_reset(context).is_ready() {
                return Poll::Ready(None);
            }
            let capacity = stream.poll_capacity(context);
            drop(stream);
            upload.note_blocked(capacity.is_pending());
            capacity
        });
        let Some(Ok(capacity)) = capacity.await else {
            return Err(());
        };
        let part = data.split_to(capacity.min(data.len()));
        let ends = last && data.is_empty();
        stream.borrow_mut().send_data(part, ends).map_err(drop)?;
    }
    Ok(())
}
