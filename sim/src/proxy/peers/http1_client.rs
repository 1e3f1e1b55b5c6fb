//! An HTTP/1.1 client: it sends its requests of the plan, each once, on as many connections as it
//! needs, and keeps connections for later requests.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::rc::Rc;

use futures_util::future::join_all;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::plan::{ClientPlan, RequestPlan};
use crate::proxy::hub::Hub;
use crate::proxy::peers::sending::is_of;
use crate::proxy::peers::timing::sleep_until;
use connection::Connection;
use exchange::{Fate, Job};

mod connection;
mod exchange;

/// An HTTP/1.1 client. `Connect` opens the connection with a number, from 1.
pub(crate) struct Http1Client<Connect> {
    hub: Rc<Hub>,
    /// Its index in the plan.
    index: u8,
    plan: ClientPlan,
    connect: Connect,
    /// The number of connections so far.
    opened: Cell<u32>,
    connections: RefCell<Vec<Rc<Connection>>>,
    tasks: RefCell<JoinSet<()>>,
}

impl<Connect, Opening, Io> Http1Client<Connect>
where
    Connect: Fn(u32) -> Opening,
    Opening: Future<Output = io::Result<Io>> + 'static,
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    /// The client with this index.
    pub(crate) fn new(hub: &Rc<Hub>, index: u8, connect: Connect) -> Self {
        let plan = hub.plan.wire.clients.get(usize::from(index)).copied().unwrap_or_default();
        Self {
            hub: Rc::clone(hub),
            index,
            plan,
            connect,
            opened: Cell::new(0),
            connections: RefCell::default(),
            tasks: RefCell::default(),
        }
    }

    /// Sends the requests of the plan that are this client's, each at its time. Returns when all
    /// have ended; connections stay open.
    pub(crate) async fn run(&self) {
        let mut own: Vec<RequestPlan> = self.hub.plan.requests.clone();
        own.retain(|request| is_of(&self.hub.plan, request, self.index));
        own.sort_by_key(|request| request.at_us);
        let last = own.last().map(|request| request.id);
        join_all(own.into_iter().map(|request| async move {
            sleep_until(&self.hub, request.at_us.saturating_mul(1_000)).await;
            self.request(request, self.plan.half_closes && last == Some(request.id)).await;
        }))
        .await;
    }

    /// Sends a request now. Returns when it has ended. If it is the `last`, the client closes its
    /// sending side of the connection after it.
    pub(crate) async fn request(&self, request: RequestPlan, last: bool) {
        loop {
            let (fate, ended) = oneshot::channel();
            self.connection().push(Job { request, last, fate });
            match ended.await {
                // Nothing was sent, so that sending it elsewhere does not repeat it.
                Ok(Fate::Unsent) => {}
                Ok(Fate::NoConnection) => {
                    return self.hub.ledger.not_sent(request.id, self.hub.now());
                }
                Ok(Fate::Ended) => return,
                Err(_) => unreachable!("a connection answers for each of its requests"),
            }
        }
    }

    /// Closes all connections once they are idle. Returns when they are over.
    pub(crate) async fn close(&self) {
        for connection in &*self.connections.borrow() {
            connection.close();
        }
        let mut tasks = self.tasks.take();
        while let Some(ended) = tasks.join_next().await {
            ended.expect("a connection's task ends by itself");
        }
    }

    /// Returns an idle connection, one that takes another request, or a new one.
    fn connection(&self) -> Rc<Connection> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| !connection.is_over());
        let free = connections.iter().find(|connection| connection.is_free());
        let usable = free.or_else(|| connections.iter().find(|connection| connection.has_room()));
        if let Some(usable) = usable {
            return Rc::clone(usable);
        }
        let number = self.opened.get() + 1;
        self.opened.set(number);
        let (hub, client) = (&self.hub, self.index);
        let connection = Connection::new(hub, (client, number), self.plan);
        connections.push(Rc::clone(&connection));
        let opening = (self.connect)(number);
        let task = Rc::clone(&connection);
        self.tasks.borrow_mut().spawn_local(async move {
            match opening.await {
                Ok(io) => task.run(io).await,
                Err(_) => task.refused(),
            }
        });
        connection
    }
}
