//! The clusters of one worker: a driver each, and the routes to them.

use std::rc::Rc;

use http::request;

use super::access_log::AccessLog;
use super::config::ProxyConfig;
use super::driver::Driver;
use super::route::RouteTable;
use super::seams::Clock;
use super::telemetry::Telemetry;
use super::tls::Certificates;
use crate::pool::{ConfigError, Input, Instant};

/// Seeds of two clusters are this far apart, and those of two workers by one.
const SEEDS_PER_CLUSTER: u64 = ProxyConfig::WORKERS_MAX as u64;

/// All clusters of one worker.
pub struct Clusters {
    drivers: Vec<Rc<Driver>>,
    routes: RouteTable,
    clock: Clock,
    telemetry: Rc<Telemetry>,
}

impl Clusters {
    /// Builds the pools of one worker and starts what keeps their time. `seed` is that of the
    /// worker.
    ///
    /// # Errors
    /// If the configuration of a pool is out of bounds.
    pub fn start(
        config: &ProxyConfig,
        certificates: &Certificates,
        seed: u64,
        access_log: AccessLog,
    ) -> Result<Rc<Self>, ConfigError> {
        let clock = Clock::start();
        let telemetry = Telemetry::new(access_log, clock);
        let mut drivers = Vec::new();
        let mut seed = seed;
        for (cluster, tls) in config.clusters.iter().zip(&certificates.backends) {
            drivers.push(Driver::start(cluster, tls, seed, clock, Rc::clone(&telemetry))?);
            seed = seed.wrapping_add(SEEDS_PER_CLUSTER);
        }
        let names: Vec<_> = config.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        let routes = RouteTable::new(&config.routes, &names);
        Ok(Rc::new(Self { drivers, routes, clock, telemetry }))
    }

    /// The driver of the cluster that a request goes to, if there is a route for it.
    pub fn find(&self, head: &request::Parts) -> Option<&Rc<Driver>> {
        self.routes.find(head).map(|cluster| &self.drivers[cluster])
    }

    /// All drivers, in the order of the configuration.
    pub fn drivers(&self) -> &[Rc<Driver>] {
        &self.drivers
    }

    /// What the worker's requests leave behind.
    pub fn telemetry(&self) -> &Rc<Telemetry> {
        &self.telemetry
    }

    /// The worker's clock, which all drivers go by.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Tells every pool to finish what it has and to take nothing more.
    pub fn shut_down(&self) {
        for driver in &self.drivers {
            let _ = driver.tell(Input::ShutdownRequested);
        }
    }
}
