//! The clusters of one worker: one driver for each, and the routes to them.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::time::Duration;

use http::request;

use super::access_log::AccessLog;
use super::config::ProxyConfig;
use super::control::Peers;
use super::driver::Driver;
use super::health_check::found::HealthCheckFound;
use super::limits::SEEDS_PER_CLUSTER;
use super::route::RouteTable;
use super::seams::Clock;
use super::telemetry::Telemetry;
use super::tls::Certificates;
use crate::config::difference::Difference;
use crate::pool::{ConfigError, Instant};

/// All clusters of one worker.
pub struct Clusters {
    present: RefCell<Rc<Present>>,
    /// Drivers of earlier configurations that may still have requests to finish.
    retired: RefCell<Vec<Weak<Driver>>>,
    seed: u64,
    clock: Clock,
    telemetry: Rc<Telemetry>,
    peers: Rc<Peers>,
}

/// The clusters and routes of the present configuration.
#[derive(Default)]
struct Present {
    drivers: Vec<Rc<Driver>>,
    routes: RouteTable,
}

impl Clusters {
    /// Builds the pools of one worker and starts their drivers. `seed` is the worker's seed, and
    /// `peers` has its number.
    ///
    /// # Errors
    /// If the configuration of a pool is out of bounds.
    pub fn start(
        config: &ProxyConfig,
        certificates: &Certificates,
        seed: u64,
        access_log: AccessLog,
        peers: Peers,
    ) -> Result<Rc<Self>, ConfigError> {
        let clock = Clock::start();
        let telemetry = Telemetry::new(access_log, peers.worker(), clock);
        let (present, retired) = (RefCell::default(), RefCell::default());
        let clusters =
            Rc::new(Self { present, retired, seed, clock, telemetry, peers: Rc::new(peers) });
        let drivers = 0..config.clusters.len();
        let drivers = drivers.map(|number| clusters.start_driver(config, certificates, number));
        let drivers = drivers.collect::<Result<_, _>>()?;
        clusters.present.replace(Rc::new(Present { drivers, routes: routes(config) }));
        Ok(clusters)
    }

    fn start_driver(
        &self,
        config: &ProxyConfig,
        certificates: &Certificates,
        number: usize,
    ) -> Result<Rc<Driver>, ConfigError> {
        let (cluster, tls) = (&config.clusters[number], &certificates.backends[number]);
        let seed = self.seed.wrapping_add(SEEDS_PER_CLUSTER.wrapping_mul(number as u64));
        let (telemetry, peers) = (Rc::clone(&self.telemetry), Rc::clone(&self.peers));
        Driver::start(cluster, tls, seed, self.clock, telemetry, peers)
    }

    /// Applies another configuration, already checked. `difference` is how it differs from the
    /// present one. Clusters that stay keep their connections. Clusters that were removed, or whose
    /// tables change in size, finish the requests they have accepted.
    ///
    /// # Panics
    /// If the configuration of a pool is out of bounds.
    pub fn reconfigure(
        &self,
        config: &ProxyConfig,
        certificates: &Certificates,
        difference: &Difference,
    ) {
        let before = Rc::clone(&self.present.borrow());
        let mut drivers = Vec::new();
        for (number, cluster) in config.clusters.iter().enumerate() {
            let tls = &certificates.backends[number];
            let known = before.drivers.iter().find(|driver| **driver.cluster() == *cluster.name);
            if let Some((driver, settings)) = known.zip(difference.of_pool(&cluster.name)) {
                driver.reconfigure(cluster, tls, settings);
                drivers.push(Rc::clone(driver));
                continue;
            }
            let driver = self.start_driver(config, certificates, number);
            let driver = driver.expect("the configuration was checked");
            if let Some(before) = known {
                driver.inherit(before);
            }
            drivers.push(driver);
        }
        let mut retired = self.retired.borrow_mut();
        retired.retain(|driver| driver.strong_count() > 0);
        for driver in &before.drivers {
            if !drivers.iter().any(|kept| Rc::ptr_eq(kept, driver)) {
                driver.retire();
                retired.push(Rc::downgrade(driver));
            }
        }
        *self.present.borrow_mut() = Rc::new(Present { drivers, routes: routes(config) });
    }

    /// Returns the driver of the cluster that a request is routed to; `None` without a route.
    pub fn find(&self, head: &request::Parts) -> Option<Rc<Driver>> {
        let present = self.present.borrow();
        present.routes.find(head).map(|cluster| Rc::clone(&present.drivers[cluster]))
    }

    /// All drivers, in the order of the configuration.
    pub fn drivers(&self) -> Vec<Rc<Driver>> {
        self.present.borrow().drivers.clone()
    }

    /// Applies the result of another worker's health check. Does nothing if this worker does not
    /// have the cluster or the backend, because it has applied a reload earlier or later than the
    /// other.
    pub fn health_check_found(&self, found: &HealthCheckFound) {
        let drivers = self.drivers();
        if let Some(driver) = drivers.iter().find(|driver| **driver.cluster() == *found.cluster) {
            driver.health_check_found(found);
        }
    }

    /// The worker's log and metrics of requests.
    pub fn telemetry(&self) -> &Rc<Telemetry> {
        &self.telemetry
    }

    /// The present time of the worker's clock, which all drivers share.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Has every pool finish its requests and accept no more. Pools that are already ending may get
    /// an earlier deadline. Returns the time until the last deadline.
    pub fn shut_down(&self) -> Duration {
        let retired = self.retired.borrow();
        let retired =
            retired.iter().filter_map(Weak::upgrade).filter(|driver| !driver.is_finished());
        let mut last = self.now();
        for driver in self.drivers().into_iter().chain(retired) {
            last = last.max(driver.shut_down().unwrap_or(last));
        }
        last.since(self.now())
    }
}

fn routes(config: &ProxyConfig) -> RouteTable {
    let names: Vec<_> = config.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    RouteTable::new(&config.routes, &names)
}
