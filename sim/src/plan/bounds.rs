//! Bounds of time that follow from a plan.

use std::time::Duration;

use super::{Act, BackendPlan, Health, Plan};

impl Plan {
    /// The longest time that anything may take once faults have stopped, in nanoseconds, computed
    /// from the configuration: every attempt may wait for a dial, be sent, see the longest silence
    /// and the suspect timeout, get a late response, and drain. `longest_response` is the longest
    /// time of a response so far, in nanoseconds.
    #[must_use]
    pub fn bound_ns(&self, longest_response: u64) -> u64 {
        let config = &self.pool.config;
        let timeouts = &config.timeouts;
        let silence = (timeouts.silence.as_nanos() as u64).max(4 * longest_response) * 64;
        let body = self.requests.iter().filter_map(|request| request.body_us).max();
        let answers = self.backends.iter().map(|backend| {
            backend.work.most_us + backend.body.most_us + backend.settings_late_us.unwrap_or(0)
        });
        let network = &self.network;
        let lags = 20 * (network.wire.most_us + network.shell.most_us + network.timer.most_us);
        let holds = self.directives.iter().map(|directive| match directive.act {
            Act::HoldReports { for_us } => for_us,
            Act::StarveUpload { for_us } | Act::ClientStopsReading { for_us } => {
                for_us.unwrap_or(0)
            }
            _ => 0,
        });
        let deviations: u64 = self.deviations.iter().map(|deviation| deviation.by_us).sum::<u64>();
        let attempt = (timeouts.connect + timeouts.queue + timeouts.response_head).as_nanos()
            as u64
            + (timeouts.suspect + timeouts.drain * 20).as_nanos() as u64
            + (timeouts.body_stall + timeouts.response_stall).as_nanos() as u64
            + silence
            + 1_000
                * (body.unwrap_or(0)
                    + answers.max().unwrap_or(0)
                    + network.dial.most_us
                    + network.dead_path_us
                    + lags
                    + holds.sum::<u64>()
                    + deviations);
        attempt.saturating_mul(u64::from(config.retry.attempts) + 1)
    }

    /// True if a proxy with this configuration can succeed on this network once faults have
    /// stopped. The pool's world decides this for itself, with what it knows of the run.
    #[must_use]
    pub fn is_recoverable(&self) -> bool {
        let health = self.heal.backends.iter();
        let broken = health.clone().filter(|health| **health != Health::Well).count() as u64;
        let well = self.backends.iter().zip(health).filter(|(_, health)| **health == Health::Well);
        let mut well = well.map(|(backend, _)| backend);
        self.pool.generations.is_none()
            && self.waits_for_dials(broken)
            && well.all(|backend| self.waits_for(backend) && self.outwaits_dials(backend))
    }

    /// True if the timeouts leave time for everything that networks and backends do without a
    /// fault.
    #[must_use]
    pub fn is_patient(&self) -> bool {
        self.waits_for_dials(0) && self.backends.iter().all(|backend| self.waits_for(backend))
    }

    /// True if the timeouts leave time for the answer to a PING.
    #[must_use]
    pub fn has_time_for_pings(&self) -> bool {
        micros(self.pool.config.timeouts.suspect) > self.trip_us()
    }

    /// A path between two hosts and back: handshakes, and rounding to the timers' resolution at
    /// both ends.
    fn trip_us(&self) -> u64 {
        4 * self.network.wire.most_us + self.network.shell.most_us + 10_000
    }

    fn dial_us(&self) -> u64 {
        self.network.dial.most_us + 4 * self.trip_us() + self.race_us()
    }

    /// The longest time that the dial of a name takes until the one of an address that lives
    /// begins: each one before it costs one delay at most (RFC 8305, 5).
    #[cfg(feature = "proxy")]
    fn race_us(&self) -> u64 {
        use super::Address;
        let delay = micros(baton::proxy::limits::CONNECTION_ATTEMPT_DELAY) + 1_000;
        let dead = self.backends.iter().map(|backend| {
            let listed = backend.wire.name.iter().filter(|address| **address != Address::None);
            listed.take_while(|address| **address != Address::Lives).count() as u64
        });
        dead.max().unwrap_or(0) * delay
    }

    /// Names exist only in the world of the proxy.
    #[cfg(not(feature = "proxy"))]
    fn race_us(&self) -> u64 {
        0
    }

    /// True if the timeouts leave time for dials, the first of them to `broken` backends.
    fn waits_for_dials(&self, broken: u64) -> bool {
        let timeouts = &self.pool.config.timeouts;
        let queue = 2 * self.dial_us() + broken.max(1) * micros(timeouts.silence);
        micros(timeouts.connect) > self.dial_us()
            && micros(timeouts.suspect) > self.trip_us()
            && micros(timeouts.queue) > queue
    }

    /// True if a request does not need a dial that it cannot wait for: with a limit of requests per
    /// connection, one in so many needs a dial.
    fn outwaits_dials(&self, backend: &BackendPlan) -> bool {
        let config = &self.pool.config;
        let dial = self.dial_us() + backend.settings_late_us.unwrap_or(0);
        config.max_requests_per_connection.is_none() || micros(config.timeouts.queue) > dial
    }

    /// True if the timeouts leave time for the SETTINGS and the answers of a backend.
    fn waits_for(&self, backend: &BackendPlan) -> bool {
        let timeouts = &self.pool.config.timeouts;
        let answer = backend.work.most_us + self.trip_us();
        // A dial ends with the first SETTINGS.
        let dial = self.dial_us() + backend.settings_late_us.unwrap_or(0);
        backend.max_streams != Some(0)
            && micros(timeouts.connect) > dial
            && micros(timeouts.response_head) > answer
            && micros(timeouts.drain) > answer + backend.body.most_us
            && micros(timeouts.response_stall) > self.trip_us() + backend.body.most_us
            && micros(timeouts.health_check_timeout) > self.dial_us() + answer
    }
}

fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}
