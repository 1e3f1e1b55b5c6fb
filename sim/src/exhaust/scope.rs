//! The size of a search, and the pool that is searched.

use std::time::Duration;

use baton::pool::setting::{Field as _, Unit};
use baton::pool::{
    BackendConfig, Config, HealthChecking, HealthConfig, Input, Limits, Protocol, RetryConfig,
};
use clap::builder::TypedValueParser;

/// The size of a scope.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Scope {
    /// Backends
    #[arg(long, default_value_t = 2, value_parser = up_to(3))]
    pub backends: usize,
    /// Connections per backend
    #[arg(long, default_value_t = 1, value_parser = up_to(2))]
    pub connections: usize,
    /// Streams per connection
    #[arg(long, default_value_t = 2, value_parser = up_to(3))]
    pub streams: usize,
    /// Requests in all
    #[arg(long, default_value_t = 2, value_parser = up_to(3))]
    pub requests: usize,
    /// Maximum number of faults in one run, of any kind at any moment, or `any`; an expired
    /// deadline is not counted
    #[arg(long, default_value = "1", value_parser = faults, value_name = "N|any")]
    pub faults: Faults,
    /// Let the operator add (at most one), remove and drain backends, with health checks on; each
    /// of these counts as a fault
    #[arg(long)]
    pub operator: bool,
    /// Another worker checks the health of the backends, and reports each result at any moment;
    /// each counts as a fault
    #[arg(long, conflicts_with = "operator")]
    pub reported: bool,
    /// Workers with a pool each: the first of two checks the health of the backends, and tells the
    /// other each result, which arrives at any moment in its order; no backend is added, and no
    /// result counts as a fault
    #[arg(long, default_value_t = 1, value_parser = up_to(2), conflicts_with = "reported")]
    pub workers: usize,
    /// Health checks in all, with two workers: a run ends when the next one would begin
    #[arg(long, default_value_t = 4, value_parser = up_to(8))]
    pub checks: usize,
    /// Let answers to delivery checks come at any later moment, or never; without this they come at
    /// once
    #[arg(long)]
    pub late_answers: bool,
    /// Give up after this many states
    #[arg(long, default_value_t = 50_000_000, value_name = "N")]
    pub states: u64,
}

/// Maximum facts in one run that a healthy peer and a patient client would not cause; no limit if
/// `None`.
#[derive(Clone, Copy, Debug)]
pub struct Faults(pub Option<usize>);

fn faults(text: &str) -> Result<Faults, String> {
    if text == "any" {
        return Ok(Faults(None));
    }
    let number = text.parse().map_err(|_| format!("`{text}`: expected a number, or `any`"))?;
    Ok(Faults(Some(number)))
}

fn up_to(most: i64) -> impl TypedValueParser<Value = usize> {
    clap::value_parser!(u16).range(1..=most).map(usize::from)
}

impl Scope {
    /// True if a host acknowledges what its backend does not answer. That is two faults: silence
    /// without a dead host multiplies the states.
    fn is_busy(unanswered: Option<u32>) -> bool {
        unanswered == Some(0)
    }

    /// The number of faults that a fact is.
    fn faults_of(&self, input: Input) -> usize {
        match input {
            Input::DeliveryChecked { unanswered, .. } if Self::is_busy(unanswered) => 2,
            _ => usize::from(self.is_fault(input)),
        }
    }

    /// Removes the facts that cannot come next, because others come at once.
    pub(super) fn keep_next(&self, facts: &mut Vec<Input>) {
        let is_answer = |fact: &Input| matches!(fact, Input::DeliveryChecked { .. });
        if !self.late_answers && facts.iter().any(is_answer) {
            facts.retain(is_answer);
        }
    }

    /// Returns true for every fact outside the ordinary life of a request. Timeouts are no faults,
    /// because any operation may take too long.
    fn is_fault(&self, input: Input) -> bool {
        match input {
            Input::RequestArrived { .. }
            | Input::StreamOpened { .. }
            | Input::RequestSent { .. }
            | Input::ResponseStarted { .. }
            | Input::ResponseEnded { .. }
            | Input::ResetSent { .. }
            | Input::DeliveryChecked { .. }
            | Input::Timeout => false,
            Input::HealthCheckFinished { .. } => self.workers == 1,
            Input::Connected { protocol, max_streams, .. } => {
                let most = self.streams as u32;
                protocol != Protocol::Http2 || max_streams != Some(most)
            }
            Input::ReplayBufferExceeded { .. }
            | Input::RequestCancelled { .. }
            | Input::ConnectFailed { .. }
            | Input::MaxStreamsChanged { .. }
            | Input::KeepAliveAnnounced { .. }
            | Input::GoAwayReceived { .. }
            | Input::FrameReceived { .. }
            | Input::Pong { .. }
            | Input::ConnectionClosed { .. }
            | Input::StreamFailed { .. }
            | Input::BodyProgressed { .. }
            | Input::UploadBlocked { .. }
            | Input::BackendAdded { .. }
            | Input::BackendRemoved { .. }
            | Input::DrainRequested { .. }
            | Input::DrainCancelled { .. }
            | Input::WeightChanged { .. }
            | Input::SettingChanged { .. }
            | Input::ShutdownRequested { .. } => true,
        }
    }
}

/// How much of the scope the facts of a run have used up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    /// Requests that have arrived.
    pub(super) requests: usize,
    /// Faults, if there may not be any number of them.
    pub(super) faults: usize,
}

impl Spent {
    /// Returns what is spent with one more fact, unless it is beyond the scope.
    pub(super) fn after(self, scope: &Scope, input: Input) -> Option<Self> {
        let arrives = matches!(input, Input::RequestArrived { .. });
        let requests = self.requests + usize::from(arrives);
        let (faults, most) = match scope.faults.0 {
            None => (0, 0),
            Some(most) => (self.faults + scope.faults_of(input), most),
        };
        (requests <= scope.requests && faults <= most).then_some(Self { requests, faults })
    }
}

/// A configuration with small limits, every timeout one tick (except idle, age and stall timeouts,
/// which never fire), and nothing random.
pub(super) fn config(scope: &Scope) -> Config {
    let tick = Duration::from_nanos(1);
    let never = Duration::from_nanos(u64::MAX / 4);
    let mut config = Config {
        backends: vec![BackendConfig::default(); scope.backends],
        limits: Limits {
            backends: scope.backends + usize::from(scope.operator),
            connections_per_backend: scope.connections,
            streams_per_connection: scope.streams,
            requests: scope.requests,
            waiting: scope.requests,
        },
        retry: RetryConfig { attempts: 2, ..RetryConfig::DEFAULT },
        health: HealthConfig { failures: 1, successes: 1, ..HealthConfig::DEFAULT },
        health_checking: match (scope.operator, scope.reported) {
            (true, _) => HealthChecking::Ordered,
            (false, true) => HealthChecking::Reported,
            (false, false) => HealthChecking::Off,
        },
        body_rate_min: 0,
        ..Config::DEFAULT
    };
    for entry in Config::SETTINGS.iter().filter(|entry| entry.bounds.unit == Unit::Time) {
        (entry.set)(&mut config, tick.read());
    }
    let timeouts = &mut config.timeouts;
    for time in [
        &mut timeouts.idle,
        &mut timeouts.max_age,
        &mut timeouts.body_stall,
        &mut timeouts.response_stall,
        &mut timeouts.health_check_interval,
    ] {
        *time = never;
    }
    timeouts.slow_start = Duration::ZERO;
    config
}
