//! One HTTP/1.1 connection to a backend, over `hyper`: a connection with a limit of one.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::{BoxedIo, ConnectionOrder, Context, Ended};
use crate::pool::{ConnectFailure, Handled, Input, Protocol, StreamFailure, StreamToken};
use crate::proxy::headers;
use crate::proxy::relay::{Exchange, RequestHead, RequestOrder};
use crate::proxy::replay_body::Upload;

type Failed = hyper::client::conn::TrySendError<http::Request<Upload>>;

/// A request that was given to the connection.
pub struct Http1Exchange {
    /// The response, when it comes.
    pub response: Pin<Box<dyn Future<Output = Result<http::Response<Incoming>, Failed>>>>,
}

/// What is to be sent as soon as the connection has finished with the request before.
struct Next {
    stream: StreamToken,
    attempt: u8,
    head: Rc<RequestHead>,
    request: UnboundedSender<RequestOrder>,
}

pub(super) async fn run(
    context: &Context,
    io: BoxedIo,
    orders: &mut UnboundedReceiver<ConnectionOrder>,
) -> Ended {
    let (mut sender, connection) = match handshake::<_, Upload>(TokioIo::new(io)).await {
        Ok(parts) => parts,
        Err(error) => return Ended::Dial(ConnectFailure::Protocol, error.to_string()),
    };
    context.log_connected("http/1.1");
    let token = context.connection;
    let protocol = Protocol::Http1;
    let connected = Input::Connected { connection: token, protocol, max_streams: None };
    let _ = context.driver.tell(connected);
    let mut connection = pin!(connection);
    let mut next: Option<Next> = None;
    let mut sent_through = 0;
    poll_fn(|task_context| {
        while let Poll::Ready(order) = orders.poll_recv(task_context) {
            match order {
                Some(ConnectionOrder::Open { stream, attempt, head, request }) => {
                    next = Some(Next { stream, attempt, head, request });
                }
                // HTTP/1.1 cannot give up a request without its connection.
                Some(ConnectionOrder::Reset { .. }) => {
                    let reason = "a request was given up".into();
                    return Poll::Ready(Ended::Closed { sent_through, reason });
                }
                Some(ConnectionOrder::Ping) => {}
                Some(ConnectionOrder::Close { reason }) => {
                    return Poll::Ready(Ended::ordered(true, reason));
                }
                None => return Poll::Ready(Ended::Dropped),
            }
        }
        let mut ended = connection.as_mut().poll(task_context);
        if ended.is_pending() && next.is_some() && sender.poll_ready(task_context).is_ready() {
            let next = next.take().expect("looked at just now");
            send(context, &mut sender, next, &mut sent_through);
            ended = connection.as_mut().poll(task_context);
        }
        ended.map(|result| {
            let reason = match result {
                Ok(()) => "closed by the backend".to_owned(),
                Err(error) => error.to_string(),
            };
            Ended::Closed { sent_through, reason }
        })
    })
    .await
}

fn send(context: &Context, sender: &mut SendRequest<Upload>, next: Next, sent_through: &mut u32) {
    let Next { stream, attempt, head, request } = next;
    let stream_id = if *sent_through == 0 { 1 } else { *sent_through + 2 };
    if context.driver.tell(Input::StreamOpened { stream, stream_id }) != Handled::Done {
        return;
    }
    *sent_through = stream_id;
    let scheme = context.backend.url.scheme;
    let upstream = headers::upstream_request(&head.parts, &head.client(), Protocol::Http1, scheme);
    let upload = Upload::new(Rc::clone(&context.driver), stream, Rc::clone(&head.body));
    let response = Box::pin(sender.try_send_request(upstream.map(|()| upload)));
    let exchange = Exchange::Http1(Http1Exchange { response });
    let at = context.driver.now();
    let _ = request.send(RequestOrder::Opened { stream, stream_id, attempt, at, exchange });
}

/// What an error of `hyper` says about the request that it ended.
pub fn failure(error: &hyper::Error, handed_back: bool) -> StreamFailure {
    if handed_back {
        StreamFailure::NotSent
    } else if error.is_parse() {
        StreamFailure::Malformed
    } else {
        StreamFailure::ConnectionLost
    }
}
