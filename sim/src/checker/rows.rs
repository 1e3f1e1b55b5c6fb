//! The rows of the comparison that [`side_by_side`](super::side_by_side) prints: the model's column
//! comes from the model alone, the pool's column from the public views of the pool alone, and both
//! pass through the same words.

use std::collections::BTreeMap;

use baton::pool::{
    BackendId, BackendState, BackendToken, Counters, Instant, Pool, RequestId, SlotState,
    StreamView, TimerReason,
};

use super::backend::{Health, ModelBackend, Service};
use super::model::{ConnectionPhase, Model, ModelPhase, ModelRequest, RequestPhase};
use super::side_by_side::{Row, Said, Thing, clause, count, time};

/// The facts about the pool as a whole that both sides know.
#[derive(PartialEq)]
struct WholePool {
    live: u32,
    waiting: u32,
    retrying: u32,
    streams: u32,
    is_fail_open: bool,
    shuts_down_by: Option<Instant>,
}

/// The facts about a backend that both sides know, apart from its backoff.
#[derive(PartialEq)]
struct BackendFacts {
    state: BackendState,
    weight: u16,
    requests: u32,
    is_usable: bool,
    is_healthy: bool,
    share: u64,
    idle: u32,
    room: u64,
    drains_by: Option<Instant>,
}

impl WholePool {
    fn said(&self) -> Said {
        Said::clauses([
            format!("{} live", self.live),
            format!("{} waiting", self.waiting),
            format!("{} retrying", self.retrying),
            count(u64::from(self.streams), "stream"),
            clause(self.is_fail_open, "fail-open"),
            self.shuts_down_by.map_or(String::new(), |at| format!("shuts down by {}", time(at))),
        ])
    }
}

impl BackendFacts {
    fn said(&self, backoff: &str) -> Said {
        Said::clauses([
            words(self.state.name()),
            format!("weight {}", self.weight),
            count(u64::from(self.requests), "request"),
            (if self.is_usable { "usable" } else { "not usable" }).to_owned(),
            (if self.is_healthy { "healthy" } else { "not healthy" }).to_owned(),
            clause(self.share != 100, &format!("{} % of its share", self.share)),
            count(u64::from(self.idle), "idle connection"),
            format!("{} to open", count(self.room, "stream")),
            self.drains_by.map_or(String::new(), |at| format!("drains by {}", time(at))),
            clause(!backoff.is_empty(), &format!("backoff until {backoff}")),
        ])
    }
}

/// The name of a state as plain words.
fn words(name: &str) -> String {
    name.replace('_', " ")
}

fn counters_said(counters: &Counters) -> Said {
    let Counters { stale, refused, pings, ejections, ejection_overflow } = counters;
    Said::clauses([
        format!("stale {stale}"),
        format!("refused {refused}"),
        format!("pings {pings}"),
        format!("ejections {ejections}"),
        format!("ejection overflow {ejection_overflow}"),
    ])
}

impl Model {
    /// The state that the model implies, beside the one that the pool shows.
    pub(super) fn rows(&self, pool: &Pool) -> Vec<Row> {
        let mut rows = vec![self.pool_row(pool), self.counters_row(pool)];
        rows.extend((0..self.backends.len()).filter_map(|index| self.backend_row(index, pool)));
        rows.extend((0..self.connections.len()).filter_map(|slot| self.slot_row(slot, pool)));
        rows.extend(self.request_rows(pool));
        rows.push(self.deadline_row(pool));
        rows
    }

    fn pool_row(&self, pool: &Pool) -> Row {
        let there = self.connections.iter().filter(|it| it.phase != ConnectionPhase::Gone);
        let own = WholePool {
            live: self.live,
            waiting: self.waiting,
            retrying: self.retrying(),
            streams: there.map(|connection| connection.load).sum(),
            is_fail_open: self.is_fail_open(),
            shuts_down_by: match self.phase {
                ModelPhase::Draining(at) => Some(at),
                ModelPhase::Running | ModelPhase::Over => None,
            },
        };
        let stats = pool.stats();
        let seen = WholePool {
            live: stats.requests,
            waiting: stats.waiting,
            retrying: stats.retrying,
            streams: stats.slots.streams,
            is_fail_open: pool.is_fail_open(),
            shuts_down_by: pool.shutdown_deadline(),
        };
        let over = clause(self.phase == ModelPhase::Over, "the shutdown is over");
        let model = own.said().more([over]);
        Row { thing: Thing::Pool, model, pool: seen.said(), differs: own != seen }
    }

    fn counters_row(&self, pool: &Pool) -> Row {
        let seen = pool.stats().counters;
        let (model, differs) = (counters_said(&self.counters), seen != self.counters);
        Row { thing: Thing::Counters, model, pool: counters_said(&seen), differs }
    }

    /// A backend that either side has.
    fn backend_row(&self, index: usize, pool: &Pool) -> Option<Row> {
        let backend = BackendId(index as u16);
        let state = &self.backends[index];
        let view = pool.backend(backend);
        let own = state.state().map(|it| self.backend_facts(index, it));
        let seen = view.map(|view| BackendFacts {
            state: view.state,
            weight: view.weight,
            requests: view.requests,
            is_usable: pool.may_be_used(backend),
            is_healthy: pool.is_healthy(backend),
            share: pool.share(backend, self.step_at),
            idle: pool.idle_connections(backend),
            room: pool.available_streams(backend),
            drains_by: view.drain_deadline,
        });
        if own.is_none() && seen.is_none() {
            return None;
        }
        let own_token = BackendToken { backend, generation: state.generation };
        let token = view.map_or(own_token, |view| view.token);
        let until = pool.backoff_until(backend);
        let differs = own != seen
            || (own.is_some() && own_token != token)
            || !self.fits_backoff(index, until);
        let bounds = state
            .backoff
            .map_or(String::new(), |(least, most)| format!("{} to {}", time(least), time(most)));
        let none = || Said::default().text("none");
        let model = own.map_or_else(none, |own| own.said(&bounds));
        let until = until.map_or(String::new(), time);
        let seen = seen.map_or_else(none, |seen| seen.said(&until));
        let model = model.more(self.more_of_backend(state));
        Some(Row { thing: Thing::Backend(token), model, pool: seen, differs })
    }

    fn backend_facts(&self, index: usize, state: BackendState) -> BackendFacts {
        let own = &self.backends[index];
        let slots = || self.slots_of(index);
        let idle = slots().filter(|slot| self.idle_for(*slot, self.step_at).is_some()).count();
        let room = slots().filter(|slot| self.slot_has_room(*slot));
        let room = room.map(|slot| &self.connections[slot]).map(|it| it.limit - it.load);
        BackendFacts {
            state,
            weight: own.weight,
            requests: own.requests,
            is_usable: self.may_be_used(index),
            is_healthy: own.is_healthy(),
            share: self.share(self.step_at, index),
            idle: idle as u32,
            room: room.map(u64::from).sum(),
            drains_by: match own.service {
                Service::Draining(at) => Some(at),
                Service::Vacant | Service::Serving | Service::Removed(_) => None,
            },
        }
    }

    /// The facts about a backend that the pool does not show.
    fn more_of_backend(&self, state: &ModelBackend) -> [String; 4] {
        let health = match state.health {
            Health::Healthy { failures, gateway_failures, .. } => {
                let failed = count(u64::from(failures), "failure");
                let gateway =
                    format!("{} in a row", count(gateway_failures.into(), "gateway failure"));
                match (failures, gateway_failures) {
                    (0, 0) => String::new(),
                    (_, 0) => format!("{failed} in a row"),
                    (0, _) => gateway,
                    (_, _) => format!("{failed} and {gateway}"),
                }
            }
            Health::Ejected { until, .. } => format!("ejected until {}", time(until)),
            Health::HalfOpen { trial_request: Some((_, until)), .. } => {
                format!("a trial request counts until {}", time(until))
            }
            Health::HalfOpen { trial_request: None, .. } => "no trial request".to_owned(),
        };
        let against = state.health_checks.against;
        let check = match (state.health_checks.out, self.health_check_deadline(state)) {
            (Some((number, until)), _) => format!("health check {number} until {}", time(until)),
            (None, Some(at)) => format!("next health check by {}", time(at)),
            (None, None) => String::new(),
        };
        [
            health,
            clause(state.rounds > 0, &count(state.rounds.into(), "round of failed dials")),
            clause(against > 0, &format!("{against} health checks against its state in a row")),
            check,
        ]
    }

    /// A slot that is in use for either side.
    fn slot_row(&self, slot: usize, pool: &Pool) -> Option<Row> {
        let token = self.token(slot);
        let connection = &self.connections[slot];
        let view = pool.slot(token.backend, token.slot)?;
        let gone = connection.phase == ConnectionPhase::Gone;
        if gone && view.state == SlotState::Empty {
            return None;
        }
        let full = connection.load >= connection.limit;
        let states: &[SlotState] = match connection.phase {
            ConnectionPhase::Gone => &[SlotState::Empty],
            ConnectionPhase::Connecting => &[SlotState::Connecting],
            ConnectionPhase::Draining | ConnectionPhase::Lost => &[SlotState::Draining],
            ConnectionPhase::Up if connection.is_suspect() => &[SlotState::Suspect],
            ConnectionPhase::Up if self.may_be_suspect(slot) => match full {
                true => &[SlotState::InUse, SlotState::Suspect],
                false => &[SlotState::Available, SlotState::Suspect],
            },
            ConnectionPhase::Up if full => &[SlotState::InUse],
            ConnectionPhase::Up => &[SlotState::Available],
        };
        let numbers = match connection.phase {
            ConnectionPhase::Connecting => (0, connection.expected),
            _ => (connection.load, connection.limit),
        };
        let both = !gone && view.state != SlotState::Empty;
        let other_one = both && view.connection != token;
        let differs = other_one
            || !states.contains(&view.state)
            || (both && (view.streams, view.limit) != numbers);
        let generation = |own: u32| clause(other_one, &format!("generation {own}"));
        let model = slot_said(states, numbers, generation(token.generation));
        let seen = (view.streams, view.limit);
        let seen = slot_said(&[view.state], seen, generation(view.connection.generation));
        let thing = Thing::Connection(if gone { view.connection } else { token });
        let model = model.more(self.more_of_slot(slot));
        Some(Row { thing, model, pool: seen, differs })
    }

    /// True if the pool may have found in this step that the connection is silent for too long.
    fn may_be_suspect(&self, slot: usize) -> bool {
        self.is_watched(slot) && self.step_at >= self.silent_at(slot)
    }

    /// The facts about a connection that the pool does not show.
    fn more_of_slot(&self, slot: usize) -> Vec<String> {
        let connection = &self.connections[slot];
        let mut more = vec![clause(connection.http1, "HTTP/1.1")];
        match connection.phase {
            ConnectionPhase::Gone => return Vec::new(),
            ConnectionPhase::Connecting => {
                more.push(clause(connection.expected == 0, "slow"));
                more.push(format!("given up at {}", time(connection.dials_until)));
                return more;
            }
            ConnectionPhase::Up if connection.load == 0 => {
                more.push(format!("idle since {}", time(connection.idle_since)));
            }
            ConnectionPhase::Up => {
                more.push(format!("silent since {}", time(connection.quiet_since)));
                let before = connection.silent_before.unwrap_or_default();
                more.push(clause(!before.is_zero(), &format!("and {before:?} before")));
            }
            ConnectionPhase::Draining => {
                more.push(format!("since {}", time(connection.since)));
                more.push(clause(connection.only_with_backend, "only with its backend"));
            }
            ConnectionPhase::Lost => more.push(format!("lost at {}", time(connection.since))),
        }
        more.push(clause(connection.ping.is_some(), "a PING is unanswered"));
        let last = connection.last_stream_id;
        more.push(clause(last != u32::MAX, &format!("GOAWAY with last stream id {last}")));
        let ends = self.connection_deadline(slot).filter(|at| at.0 != u64::MAX);
        more.push(ends.map_or(String::new(), |at| format!("ends by {}", time(at))));
        more
    }

    /// Requests that live for the model, or that the pool shows on a stream.
    fn request_rows(&self, pool: &Pool) -> Vec<Row> {
        let backends = (0..self.backends.len() as u16).map(BackendId);
        let connections = backends.flat_map(|backend| pool.connections(backend));
        let carried = connections.flat_map(|connection| pool.streams(connection));
        let mut seen: BTreeMap<RequestId, Vec<StreamView>> = BTreeMap::new();
        for view in carried {
            seen.entry(view.request).or_default().push(view);
        }
        let live = self.requests.iter().enumerate();
        let live = live.filter(|(_, request)| request.phase != RequestPhase::None);
        let mut rows = Vec::new();
        for (index, request) in live {
            let id = RequestId { index: index as u32, generation: request.generation };
            let own = self.view_of(id, request);
            let views = seen.remove(&id).unwrap_or_default();
            let model = streams_said(own.as_slice()).more(more_of_request(request));
            let differs = own.as_slice() != views.as_slice();
            rows.push(Row {
                thing: Thing::Request(id),
                model,
                pool: streams_said(&views),
                differs,
            });
        }
        for (id, views) in seen {
            let model = Said::default().text("not live");
            let pool = streams_said(&views);
            rows.push(Row { thing: Thing::Request(id), model, pool, differs: true });
        }
        rows
    }

    /// The stream that carries a request.
    fn view_of(&self, id: RequestId, request: &ModelRequest) -> Option<StreamView> {
        let (RequestPhase::Sent(stream) | RequestPhase::Responding(stream)) = request.phase else {
            return None;
        };
        let response_began = matches!(request.phase, RequestPhase::Responding(_));
        let stream_id = request.last_stream_id;
        Some(StreamView { stream, stream_id, request: id, response_began })
    }

    /// The latest moment for the next timeout, beside the one that the pool asks for.
    fn deadline_row(&self, pool: &Pool) -> Row {
        let first_request = self.first_request_deadline();
        let first = self.first_deadline(first_request);
        let armed = pool.poll_timeout();
        let late = first.is_some_and(|first| armed.is_none_or(|(at, _)| at > first));
        let wrong = match armed {
            Some((at, TimerReason::RequestDeadline)) => first_request != Some(at),
            Some(_) | None => false,
        };
        let model = match first {
            Some(first) => Said::default().text(format!("by {}", time(first))),
            None => Said::default().text("none"),
        };
        let request = clause(first.is_some() && first == first_request, "that of a request");
        let pool = match armed {
            Some((at, reason)) => {
                Said::default().text(format!("at {}", time(at))).more([words(reason.name())])
            }
            None => Said::default().text("none"),
        };
        let model = model.more([request]);
        Row { thing: Thing::Deadline, model, pool, differs: late || wrong }
    }
}

fn slot_said(states: &[SlotState], (streams, limit): (u32, u32), generation: String) -> Said {
    let names: Vec<_> = states.iter().map(|state| words(state.name())).collect();
    let numbers = match states {
        [SlotState::Empty] => String::new(),
        [SlotState::Connecting] => format!("{} expected", count(u64::from(limit), "stream")),
        _ => format!("{streams} of {limit} streams"),
    };
    Said::clauses([names.join(" or "), numbers, generation])
}

fn streams_said(views: &[StreamView]) -> Said {
    let mut said = Said::default();
    for (place, view) in views.iter().enumerate() {
        let before = if place == 0 { "on " } else { "; and on " };
        said = said.text(before).name(Thing::Stream(view.stream));
        said = match view.stream_id {
            0 => said.text(", not opened yet"),
            id => said.text(format!(", stream id {id}")),
        };
        if view.response_began {
            said = said.text(", response began");
        }
    }
    if views.is_empty() { said.text("on no stream") } else { said }
}

/// The facts about a request that the pool does not show.
fn more_of_request(request: &ModelRequest) -> Vec<String> {
    let attempt = format!("attempt {}", request.attempts);
    let answer = request.response_deadline;
    let answer = answer.map_or(String::new(), |at| format!("response due by {}", time(at)));
    let body = request.stalls_at;
    let body = body.map_or(String::new(), |at| format!("progress due by {}", time(at)));
    match request.phase {
        RequestPhase::None => Vec::new(),
        RequestPhase::Waiting => vec![
            "waits".to_owned(),
            clause(request.attempts > 0, &format!("after {attempt}")),
            format!("rejected at {}", time(request.queued_until)),
        ],
        RequestPhase::Deferred => vec!["waits for a place in the retry budget".to_owned(), answer],
        RequestPhase::Sent(_) => {
            vec![attempt, clause(request.sent_whole, "sent"), answer, body]
        }
        RequestPhase::Responding(_) => vec![attempt, body],
        RequestPhase::PendingOutcome { .. } => vec![format!("{attempt} has failed")],
        RequestPhase::Ending(ending) => vec![format!("must end: {ending:?}")],
    }
}

#[cfg(test)]
mod tests;
