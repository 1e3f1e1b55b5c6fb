//! Drives a pool and its checker: rows are marked only where the two do not agree.

use baton::pool::{
    BackendConfig, BackendId, Config, Handled, HealthChecking, Input, Instant, Output, Pool,
    Protocol,
};

use crate::checker::{Checker, Part, Reached, Row, Said, SideBySide, Thing, Violation};
use crate::coverage::Coverage;
use crate::draw::{Domain, Draws};

/// A pool and its checker.
struct Both {
    pool: Pool,
    checker: Checker,
    now: Instant,
    orders: Vec<Output>,
}

impl Both {
    fn new(seed: u64) -> Self {
        let mut config = Config {
            backends: vec![BackendConfig::default(); 2],
            health_checking: HealthChecking::Ordered,
            ..Config::DEFAULT
        };
        config.limits.backends = 3;
        config.limits.connections_per_backend = 2;
        config.limits.streams_per_connection = 2;
        config.limits.requests = 6;
        config.limits.waiting = 6;
        let checker = Checker::new(&config);
        let pool = Pool::new(config, seed).expect("within bounds");
        Self { pool, checker, now: Instant(1_000), orders: Vec::new() }
    }

    fn step(&mut self, input: Input) -> Result<Handled, Violation> {
        let (coverage, seen) = (&mut Coverage::default(), |_, _: &[Output], _: &Pool| {});
        self.checker.step(&mut self.pool, self.now, input, coverage, &mut self.orders, seen)
    }

    fn rows(&self) -> SideBySide {
        self.checker.side_by_side(&self.pool, 0, 0)
    }

    /// One request arrives, and the dial that it causes succeeds. Returns its connection.
    fn connect(&mut self) -> baton::pool::ConnectionToken {
        let arrival = Input::RequestArrived { idempotent: true, has_body: false };
        let _ = self.step(arrival).expect("it is accepted");
        let dialled = self.orders.iter().find_map(|order| match order {
            Output::Connect { connection } => Some(*connection),
            _ => None,
        });
        let connection = dialled.expect("there is a dial");
        let (protocol, max_streams) = (Protocol::Http2, Some(2));
        let _ =
            self.step(Input::Connected { connection, protocol, max_streams }).expect("it is up");
        connection
    }
}

fn text(said: &Said) -> String {
    let part = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::Thing(thing) => format!("{thing:?}"),
    };
    said.0.iter().map(part).collect()
}

fn marked(rows: &SideBySide) -> Vec<&Row> {
    rows.rows.iter().filter(|row| row.differs).collect()
}

/// Walks at random through what can happen, true or not.
#[test]
fn rows_of_a_pool_that_agrees_are_not_marked() {
    let mut met = [0; 3];
    for seed in 0..60 {
        let mut both = Both::new(seed);
        for step in 0..150 {
            let mut choices = Vec::new();
            both.checker.choices(&mut choices);
            both.checker.operator_choices(&mut choices);
            choices.retain(|input| !matches!(input, Input::ShutdownRequested { .. }) || step > 100);
            let most = choices.len() as u64 - 1;
            let input = choices[Draws::new(seed).between(Domain::Ties, step, 0, 0, most) as usize];
            if input == Input::Timeout {
                let due = both.pool.poll_timeout().map(|(at, _)| at);
                both.now = due.map_or(both.now, |due| due.max(both.now));
            }
            let _ = both.step(input).expect("the pool is sound");
            let found = both.rows();
            assert_eq!(marked(&found), Vec::<&Row>::new(), "seed {seed}, {input:?}");
            for row in &found.rows {
                let (model, pool) = (text(&row.model), text(&row.pool));
                match row.thing {
                    Thing::Pool | Thing::Counters => met[0] += 1,
                    Thing::Connection(_) => met[1] += 1,
                    Thing::Request(_) => met[2] += 1,
                    _ => continue,
                }
                // The model does not say when a silent connection is found.
                let certain = model.replace(" or suspect", "");
                assert!(certain.starts_with(&pool), "{model} beside {pool}");
            }
        }
    }
    assert!(met.iter().all(|count| *count > 1_000), "{met:?}");
}

#[test]
fn a_fact_that_only_the_pool_has_marks_what_it_changed() {
    let mut both = Both::new(1);
    let connection = both.connect();
    let before = both.rows();
    assert_eq!((marked(&before), before.reached), (Vec::new(), Reached::All));
    let go_away = Input::GoAwayReceived { connection, last_stream_id: u32::MAX >> 1, code: 0 };
    assert_eq!(both.pool.handle(both.now, go_away), Handled::Done);
    while both.pool.poll_output().is_some() {}
    let after = both.rows();
    let row = after.rows.iter().find(|row| row.thing == Thing::Connection(connection));
    let row = row.expect("the connection is in use");
    assert!(row.differs);
    assert!(text(&row.model).starts_with("available, 1 of 2 streams"), "{:?}", row.model);
    assert_eq!(text(&row.pool), "draining, 1 of 2 streams");
    let unmarked = |thing| after.rows.iter().any(|row| row.thing == thing && !row.differs);
    assert!(unmarked(Thing::Pool) && unmarked(Thing::Counters), "{after:?}");
}

#[test]
fn a_request_on_another_stream_than_the_model_has_is_marked() {
    let mut both = Both::new(1);
    let connection = both.connect();
    let lost = Input::ConnectionClosed { connection, sent_through: 0 };
    assert_eq!(both.pool.handle(both.now, lost), Handled::Done);
    while both.pool.poll_output().is_some() {}
    let after = both.rows();
    let things: Vec<_> = marked(&after).into_iter().map(|row| row.thing).collect();
    assert!(things.contains(&Thing::Pool), "{after:?}");
    assert!(things.iter().any(|thing| matches!(thing, Thing::Request(_))), "{after:?}");
    let other = |thing: &Thing| matches!(thing, Thing::Backend(it) if it.backend == BackendId(2));
    assert!(!things.iter().any(other), "{after:?}");
}
