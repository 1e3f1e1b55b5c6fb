//! Random facts, in any order, with old tokens replayed. The pool recounts itself after each fact.
//! This file checks the orders, and that every request ends.

use super::*;
use crate::pool::random::Random;

/// Knowledge of the driver: the tokens it got from the pool.
struct Chaos {
    world: World,
    random: Random,
    dials: Vec<ConnectionToken>,
    connections: Vec<ConnectionToken>,
    streams: Vec<StreamToken>,
    resets: Vec<StreamToken>,
    requests: Vec<RequestId>,
    closed: Vec<ConnectionToken>,
    ended: Vec<RequestId>,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut config = config(1 + random.below(3) as usize);
        config.strategy =
            [Strategy::RoundRobin, Strategy::Weighted, Strategy::Random, Strategy::LeastLoaded]
                [random.below(4) as usize];
        config.max_requests_per_connection = [None, Some(5)][random.below(2) as usize];
        config.limits.streams_per_connection = 1 + random.below(4) as usize;
        Self {
            world: World::new(config),
            random,
            dials: Vec::new(),
            connections: Vec::new(),
            streams: Vec::new(),
            resets: Vec::new(),
            requests: Vec::new(),
            closed: Vec::new(),
            ended: Vec::new(),
        }
    }

    fn any<T: Copy>(random: &mut Random, list: &[T]) -> Option<T> {
        (!list.is_empty()).then(|| list[random.below(list.len() as u64) as usize])
    }

    /// Processes the orders, and checks that each one is about something that exists.
    fn collect(&mut self) {
        for order in core::mem::take(&mut self.world.orders) {
            match order {
                Output::Connect { connection } => self.dials.push(connection),
                Output::OpenStream { stream, request, attempt, .. } => {
                    assert!(!self.closed.contains(&stream.connection), "opened after its close");
                    assert!(!self.streams.contains(&stream), "a stream token is given once");
                    assert!(!self.ended.contains(&request), "opened after its end");
                    assert!((1..=3).contains(&attempt));
                    self.streams.push(stream);
                }
                Output::ResetStream { stream, .. } => self.resets.push(stream),
                Output::Close { connection, .. } => {
                    assert!(!self.closed.contains(&connection), "closed twice");
                    self.closed.push(connection);
                }
                Output::Ping { connection } | Output::CheckDelivery { connection } => {
                    assert!(!self.closed.contains(&connection));
                }
                Output::RequestEnded { request, .. } => self.ended.push(request),
                Output::AttemptFailed(FailedAttempt { request, .. }) => {
                    assert!(!self.ended.contains(&request), "failed after its end");
                }
                Output::BackendChanged { .. } => {}
                Output::CheckHealth { .. }
                | Output::HealthCheckJudged { .. }
                | Output::BackendGone { .. } => {
                    panic!("neither health checks nor removals were requested")
                }
            }
        }
    }

    fn step(&mut self) {
        let random = &mut self.random;
        let stream = Self::any(random, &self.streams);
        let connection = Self::any(random, &self.connections);
        let dial = Self::any(random, &self.dials);
        let failures = [
            StreamFailure::NotSent,
            StreamFailure::Unprocessed,
            StreamFailure::ConnectionLost,
            StreamFailure::Malformed,
            StreamFailure::Reset { code: random.below(15) as u32 },
        ];
        let failure = failures[random.below(5) as usize];
        let number = random.below(40) as u32;
        let chance = random.below(2) == 0;
        let draw = random.below(100);
        let input = match draw {
            0..25 => {
                Some(Input::RequestArrived { idempotent: chance, has_body: draw.is_multiple_of(3) })
            }
            25..30 => {
                Self::any(random, &self.requests).map(|request| Input::RequestCancelled { request })
            }
            30..32 => Self::any(random, &self.requests)
                .zip(stream)
                .map(|(request, stream)| Input::ReplayBufferExceeded { request, stream }),
            32..42 => dial.map(|connection| Input::Connected {
                connection,
                protocol: if number < 35 { Protocol::Http2 } else { Protocol::Http1 },
                max_streams: chance.then_some(number % 6),
            }),
            42..44 => dial
                .map(|connection| Input::ConnectFailed { connection, reason: ConnectFailure::Tcp }),
            44..48 => connection
                .map(|connection| Input::MaxStreamsChanged { connection, max_streams: number % 7 }),
            48..50 => connection.map(|connection| Input::GoAwayReceived {
                connection,
                last_stream_id: if chance { u32::MAX >> 1 } else { number * 50 },
                code: number % 14,
            }),
            50..52 => connection.map(|connection| Input::ConnectionClosed {
                connection,
                sent_through: if chance { u32::MAX } else { number * 50 },
            }),
            52..55 => connection
                .map(|connection| Input::FrameReceived { connection, carries_message: false }),
            55 => connection.map(|connection| Input::Pong { connection }),
            56 => connection.map(|connection| Input::DeliveryChecked {
                connection,
                unanswered: chance.then_some(number % 4),
            }),
            57..66 => stream.map(|stream| {
                self.world.next_stream_id += 2;
                Input::StreamOpened { stream, stream_id: self.world.next_stream_id }
            }),
            66..70 => stream.map(|stream| Input::RequestSent { stream }),
            70..78 => stream.map(|stream| Input::ResponseStarted { stream, status: 200 }),
            78..86 => stream.map(|stream| Input::ResponseEnded { stream }),
            86..89 => stream.map(|stream| Input::StreamFailed { stream, failure }),
            89..94 => Self::any(random, &self.resets).map(|stream| Input::ResetSent { stream }),
            _ => {
                self.world.now = self.world.now.after(MILLISECOND * 50 * number);
                Some(Input::Timeout)
            }
        };
        if let Some(input) = input {
            if let Input::Connected { connection, .. } = input {
                self.connections.push(connection);
            }
            self.tell(input);
        }
    }

    fn tell(&mut self, input: Input) {
        if let Handled::Accepted(request) = self.world.tell(input) {
            self.requests.push(request);
        }
        self.collect();
    }

    /// Ends all connections, then makes every new dial and request succeed.
    fn heal_and_finish(&mut self) {
        for connection in self.connections.clone() {
            self.tell(Input::ConnectionClosed { connection, sent_through: 0 });
        }
        self.streams.clear();
        self.dials.clear();
        for _ in 0..2_000 {
            if self.requests.iter().all(|request| self.world.outcome(*request).is_some()) {
                return;
            }
            self.world.pass(MILLISECOND * 100);
            self.collect();
            for connection in core::mem::take(&mut self.dials) {
                self.tell(Input::Connected {
                    connection,
                    protocol: Protocol::Http2,
                    max_streams: Some(100),
                });
            }
            for stream in core::mem::take(&mut self.streams) {
                self.world.next_stream_id += 2;
                let stream_id = self.world.next_stream_id;
                self.tell(Input::StreamOpened { stream, stream_id });
                self.tell(Input::RequestSent { stream });
                self.tell(Input::ResponseStarted { stream, status: 200 });
                self.tell(Input::ResponseEnded { stream });
            }
        }
        let pending = self.requests.iter().filter(|id| self.world.outcome(**id).is_none());
        panic!("requests without an end after 200 s: {:?}", pending.collect::<Vec<_>>());
    }
}

#[test]
fn the_pool_stays_consistent_and_every_request_ends() {
    for seed in 0..300 {
        let mut chaos = Chaos::new(seed);
        for _ in 0..400 {
            chaos.step();
        }
        chaos.heal_and_finish();
        chaos.world.done(SHUTDOWN);
        chaos.world.pass(SECOND * 31);
        assert!(chaos.world.pool.is_empty(), "seed {seed}: {:?}", chaos.world.pool.stats());
    }
}

#[test]
fn the_same_seed_and_facts_give_the_same_orders() {
    let run = || {
        let mut chaos = Chaos::new(9);
        for _ in 0..500 {
            chaos.step();
        }
        (chaos.streams, chaos.closed, chaos.world.outcomes)
    };
    assert_eq!(run(), run());
}
