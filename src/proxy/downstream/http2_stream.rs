//! One request of a client over HTTP/2, in a task of its own.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body as _, Frame};

use super::buffered::{Buffered, Piece, ResponseWaits};
use super::client::{Answering, Client};
use super::deadlines::Tracked;
use crate::proxy::exchange::response_body::CutShort;
use crate::proxy::headers::{self, ContentLength};
use crate::proxy::request_body::{RequestBody, Wanted};
use crate::proxy::seams;

/// A frame of a body; `None` at its end.
type NextFrame = Option<Result<Frame<Bytes>, CutShort>>;

/// Starts to answer a request.
pub(super) fn start(
    client: &Client,
    buffered: &Rc<Buffered>,
    request: Request<RecvStream>,
    respond: SendResponse<Piece>,
) {
    let (parts, stream) = request.into_parts();
    let wanted: Option<Rc<Wanted>> = headers::expects_continue(&parts).then(Rc::default);
    let to_head = parts.method == Method::HEAD;
    let body = RequestBody::http2(stream, wanted.clone());
    let answering = client.answer(Request::from_parts(parts, body));
    seams::spawn(serve(answering, respond, to_head, wanted, Rc::clone(buffered)));
}

/// Sends the response. Dropping it before its end cancels the request: the client is gone.
async fn serve(
    mut answering: Answering,
    mut respond: SendResponse<Piece>,
    to_head: bool,
    wanted: Option<Rc<Wanted>>,
    buffered: Rc<Buffered>,
) {
    let response =
        poll_fn(|context| poll_response(&mut answering, &mut respond, wanted.as_deref(), context));
    let Some(response) = response.await else { return };
    drop(answering);
    let (mut head, body) = response.into_parts();
    let length = headers::set_length(&mut head, to_head, body.size_hint().exact());
    // A response of Baton's own has a text also where none may be sent.
    let has_text = length == ContentLength::NoContent && body.size_hint().lower() > 0;
    let is_over = body.is_end_stream() || has_text;
    // It fails only if the stream has ended.
    let Ok(stream) = respond.send_response(Response::from_parts(head, ()), is_over) else { return };
    if !is_over {
        send_body(stream, body, &buffered).await;
    }
}

/// Waits for the response; `None` if the client has reset the stream. Tells a client that waits for
/// it to send the body.
fn poll_response(
    answering: &mut Answering,
    respond: &mut SendResponse<Piece>,
    wanted: Option<&Wanted>,
    context: &mut Context<'_>,
) -> Poll<Option<Response<Tracked>>> {
    if let Poll::Ready(response) = Pin::new(answering).poll(context) {
        return Poll::Ready(Some(response));
    }
    if wanted.is_some_and(|wanted| wanted.take(context)) {
        let mut interim = Response::new(());
        *interim.status_mut() = StatusCode::CONTINUE;
        // It fails only if the stream has ended.
        let _ = respond.send_informational(interim);
    }
    respond.poll_reset(context).map(|_| None)
}

/// Sends the body of a response as fast as the client takes it.
async fn send_body(mut stream: SendStream<Piece>, mut body: Tracked, buffered: &Rc<Buffered>) {
    let mut waits = None;
    loop {
        let frame =
            poll_fn(|context| poll_frame(&mut stream, &mut body, buffered, &mut waits, context))
                .await;
        let Some(frame) = frame else { return };
        let sent = match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => {
                let is_over = body.is_end_stream();
                stream.send_data(buffered.piece(data), is_over).map(|()| is_over)
            }
            Some(Ok(Err(frame))) => {
                // No more data follows: the window is for other streams.
                stream.reserve_capacity(0);
                stream.send_trailers(frame.into_trailers().unwrap_or_default()).map(|()| true)
            }
            None => stream.send_data(Piece::empty(), true).map(|()| true),
            Some(Err(CutShort)) => {
                stream.send_reset(Reason::INTERNAL_ERROR);
                return;
            }
        };
        // It fails only if the stream has ended.
        if !matches!(sent, Ok(false)) {
            return;
        }
    }
}

/// Polls for the next frame of the body, once the client has room for it. `None` if the stream has
/// ended. Sets `waits` while there is no room.
fn poll_frame(
    stream: &mut SendStream<Piece>,
    body: &mut Tracked,
    buffered: &Rc<Buffered>,
    waits: &mut Option<ResponseWaits>,
    context: &mut Context<'_>,
) -> Poll<Option<NextFrame>> {
    stream.reserve_capacity(1);
    if stream.capacity() == 0 {
        loop {
            match stream.poll_capacity(context) {
                Poll::Pending => {
                    waits.get_or_insert_with(|| buffered.wait(body.waiting()));
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(0))) => {}
                Poll::Ready(Some(Ok(_))) => break,
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(None),
            }
        }
    } else if stream.poll_reset(context).is_ready() {
        return Poll::Ready(None);
    }
    *waits = None;
    Pin::new(body).poll_frame(context).map(Some)
}
