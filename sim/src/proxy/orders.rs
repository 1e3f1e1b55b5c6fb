//! The orders of pools in the names of the plan: which connection a dial becomes, and which stream
//! of which connection a request is given.

use std::collections::BTreeMap;

use baton::pool::{ConnectionToken, Output, RequestId};

/// A connection as a pool names it, and the number of the pool.
type Place = (u64, ConnectionToken);

/// The orders that are known.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// The dial that was ordered last, until the task for it starts.
    dial: Option<Place>,
    /// The dials of tasks.
    dials: BTreeMap<u64, Place>,
    /// The backend and number of each connection, and its streams so far.
    connections: BTreeMap<Place, (u16, u32, u32)>,
    requests: BTreeMap<(u64, RequestId), u32>,
}

impl Orders {
    /// A request of a pool is this one of the plan.
    pub(crate) fn named(&mut self, pool: u64, request: RequestId, id: u32) {
        self.requests.insert((pool, request), id);
    }

    /// A task starts. The one behind the order to dial carries it out.
    pub(crate) fn task_starts(&mut self, task: u64) {
        if let Some(dial) = self.dial.take() {
            self.dials.insert(task, dial);
        }
    }

    /// A task has ended.
    pub(crate) fn task_ends(&mut self, task: u64) {
        self.dials.remove(&task);
    }

    /// The pool and the connection that a task dials, if it dials one.
    pub(crate) fn dial_of(&self, task: u64) -> Option<(u64, ConnectionToken)> {
        self.dials.get(&task).copied()
    }

    /// A task has made a connection, the one of a backend with this number.
    pub(crate) fn connected(&mut self, task: u64, backend: u16, number: u32) {
        if let Some(dial) = self.dials.get(&task) {
            self.connections.insert(*dial, (backend, number, 0));
        }
    }

    /// The backend of a connection, and its number there.
    pub(crate) fn place_of(&self, pool: u64, connection: ConnectionToken) -> Option<(u16, u32)> {
        let (backend, number, _) = self.connections.get(&(pool, connection))?;
        Some((*backend, *number))
    }

    /// The request of a pool in the plan, unless it has ended.
    pub(crate) fn request_of(&self, pool: u64, request: RequestId) -> Option<u32> {
        self.requests.get(&(pool, request)).copied()
    }

    /// An order is about to be carried out. Returns the backend, connection and stream of an order
    /// to open a stream, and the request.
    pub(crate) fn taken(&mut self, pool: u64, order: Output) -> Option<((u16, u32, u32), u32)> {
        match order {
            Output::Connect { connection } => {
                self.dial = Some((pool, connection));
                None
            }
            Output::OpenStream { stream, request, .. } => {
                let connection = self.connections.get_mut(&(pool, stream.connection))?;
                connection.2 += 1;
                let request = self.requests.get(&(pool, request))?;
                Some((*connection, *request))
            }
            Output::RequestEnded { request, .. } => {
                self.requests.remove(&(pool, request));
                None
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use baton::pool::{Config, Instant, Pool};

    use super::*;

    /// A pool with a request, and its orders: first to dial, then to open a stream.
    fn orders_of_a_pool() -> (RequestId, Vec<Output>) {
        use baton::pool::{BackendConfig, Handled, Input, Protocol};
        let backends = vec![BackendConfig { weight: 1, exclusive: false }];
        let mut pool = Pool::new(Config { backends, ..Config::DEFAULT }, 1).expect("it is valid");
        let arrival = Input::RequestArrived { idempotent: true, has_body: false };
        let Handled::Accepted(request) = pool.handle(Instant::ZERO, arrival) else {
            panic!("the request is accepted");
        };
        let mut orders: Vec<_> = std::iter::from_fn(|| pool.poll_output()).collect();
        let Some(Output::Connect { connection }) = orders.first().copied() else {
            panic!("a dial is ordered first: {orders:?}");
        };
        let (protocol, max_streams) = (Protocol::Http2, Some(10));
        let connected = Input::Connected { connection, protocol, max_streams };
        assert_eq!(pool.handle(Instant::ZERO, connected), Handled::Done);
        orders.extend(std::iter::from_fn(|| pool.poll_output()));
        (request, orders)
    }

    #[test]
    fn an_order_has_the_names_of_the_connection_and_of_the_request() {
        let (request, orders) = orders_of_a_pool();
        let mut names = Orders::default();
        names.named(0, request, 7);
        let mut seen = Vec::new();
        for order in orders {
            seen.extend(names.taken(0, order));
            // Only the first task after the order to dial is that of the dial.
            names.task_starts(3);
            names.task_starts(4);
            names.connected(4, 9, 9);
            names.connected(3, 1, 5);
        }
        assert_eq!(seen, [((1, 5, 1), 7)]);
        names.task_ends(3);
        assert!(names.dials.is_empty());
    }
}
