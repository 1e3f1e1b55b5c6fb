//! A connection of an HTTP/2 backend that the `h2` library serves, which obeys RFC 9113.

use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::UnboundedReceiver;

use super::service::{Command, Incoming, Service};

/// Serves a connection until it ends.
pub(crate) async fn serve<Io>(
    service: Rc<Service>,
    incoming: Incoming<Io>,
    commands: UnboundedReceiver<Command>,
) where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let _ = (service, incoming, commands);
}
