//! A pool, as the tasks see it that report facts about its connections and backends.

use std::cell::RefCell;
use std::rc::Rc;

use crate::pool::{BackendToken, ConnectionToken, Handled, Input, Instant, StreamToken};
use crate::proxy::metrics::{BackendMetrics, ClusterMetrics};
use crate::proxy::seams::Clock;

/// Takes facts for a pool, and carries out the orders that follow from them.
pub trait TakesFacts {
    /// Reports a fact to the pool.
    fn tell(&self, input: Input) -> Handled;

    /// True if the pool still wants the stream to be opened that it has ordered.
    fn is_to_be_opened(&self, stream: StreamToken) -> bool;

    /// Forgets the orders for a connection whose task has ended by itself.
    fn forget_connection(&self, connection: ConnectionToken);
}

/// The pool of one cluster on one worker.
#[derive(Clone)]
pub struct PoolHandle {
    /// Takes the facts.
    pub facts: Rc<dyn TakesFacts>,
    /// The name of the cluster.
    pub cluster: Rc<str>,
    /// The number of the worker.
    pub worker: usize,
    /// The worker's clock.
    pub clock: Clock,
    /// The counters of the cluster on this worker.
    pub metrics: Rc<RefCell<ClusterMetrics>>,
    /// The most streams that a connection may carry.
    pub streams_per_connection: usize,
}

impl PoolHandle {
    /// Reports a fact to the pool.
    pub fn tell(&self, input: Input) -> Handled {
        self.facts.tell(input)
    }

    /// The present time of the worker's clock.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Updates the metrics. `count` must not call this function again: the metrics are borrowed.
    pub fn count(&self, count: impl FnOnce(&mut ClusterMetrics)) {
        count(&mut self.metrics.borrow_mut());
    }

    /// Updates the metrics of a backend; see [`PoolHandle::count`].
    pub fn count_at(&self, backend: BackendToken, count: impl FnOnce(&mut BackendMetrics)) {
        self.count(|metrics| metrics.count_at(backend, count));
    }
}
