//! Looks at the metrics at moments of a run, and what the network and the pools had meanwhile.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::ask::{Reply, ask};
use super::exact::sleep;
use super::hub::Hub;
use super::network::{Held, Network, SCRAPER, client_address};
use super::pools::Pools;
use super::settings;
use crate::draw::Domain;

/// The share of runs in which it does, in percent. It takes as long as some requests.
const RUNS_PERCENT: u64 = 20;
/// The times that it does so in a run.
const SCRAPES: u64 = 3;

/// The metrics as they were read once.
#[derive(Clone, Debug)]
pub(crate) struct Scrape {
    /// When the proxy was asked, and when it had answered.
    pub(crate) asked_at: u64,
    pub(crate) answered_at: u64,
    pub(crate) text: String,
    /// The least and the most connections that the proxy had in between.
    pub(crate) held: [Held; 2],
    /// The least and the most requests that its pools had.
    pub(crate) live: [u64; 2],
}

/// Reads the metrics and counts what there is meanwhile.
pub(crate) struct Scraper {
    hub: Rc<Hub>,
    network: Rc<Network>,
    pools: Rc<Pools>,
    scrapes: RefCell<Vec<Scrape>>,
}

impl Scraper {
    pub(crate) fn new(hub: &Rc<Hub>, network: &Rc<Network>, pools: &Rc<Pools>) -> Self {
        let (hub, network, pools) = (Rc::clone(hub), Rc::clone(network), Rc::clone(pools));
        Self { hub, network, pools, scrapes: RefCell::default() }
    }

    /// Reads the metrics now and then until faults stop, in some runs.
    pub(crate) async fn run(&self) {
        let draw = |ordinal, most| self.hub.draws.between(Domain::Scrapes, 0, ordinal, 0, most);
        if draw(0, 99) >= RUNS_PERCENT {
            return;
        }
        for number in 1..=SCRAPES {
            let pause = draw(number, 2 * self.hub.plan.heal.at_us / SCRAPES);
            sleep(Duration::from_micros(pause)).await;
            let from = client_address(SCRAPER);
            let asked = async {
                let stream = self.network.connect(from, settings::ADMIN.into()).await.ok()?;
                ask(stream, "GET", "/metrics").await.ok()
            };
            self.read(asked).await;
        }
    }

    /// Awaits an answer with metrics and keeps it. Only one is awaited at a time.
    pub(crate) async fn read(&self, asked: impl Future<Output = Option<Reply>>) -> Option<String> {
        let asked_at = self.hub.now();
        self.network.count_held();
        self.pools.count_live();
        let reply = asked.await?;
        let text = reply.into_text();
        self.scrapes.borrow_mut().push(Scrape {
            asked_at,
            answered_at: self.hub.now(),
            text: text.clone(),
            held: self.network.counted_held(),
            live: self.pools.counted_live(),
        });
        Some(text)
    }

    /// Everything that was read.
    pub(crate) fn scrapes(&self) -> Vec<Scrape> {
        self.scrapes.take()
    }
}
