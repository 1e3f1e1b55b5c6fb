//! The operator: changes the configuration and reloads, drains and returns backends by the admin
//! interface, sends signals.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use baton::pool::limits::WEIGHT_MAX;
use baton::proxy::config::{ListenerConfig, ProxyConfig};
use baton::proxy::reload::source::Source;
use baton::proxy::seams::Signal;
use tokio::sync::Mutex;

use super::ask::{Reply, ask};
use super::exact::{self, sleep};
use super::host::Machine;
use super::hub::Hub;
use super::network::Network;
use super::peers::tls::Front;
use super::records::{Why, Withdrawn};
use super::settings::{self, ADMIN, CERTIFICATE_FILE, KEY_FILE, LISTENERS};
use super::situation::{Files, Situation, Situations};
use crate::plan::{Act, Change, Health, ProcessAct, Wrong};

/// The configuration file. Its contents are of no consequence: the source reads the operator's
/// configuration.
const FILE: &str = "/etc/baton/baton.toml";

/// The operator.
pub(crate) struct Operator {
    hub: Rc<Hub>,
    network: Rc<Network>,
    machine: Rc<Machine>,
    config: Rc<RefCell<ProxyConfig>>,
    /// The backends in the configuration, with their weights.
    backends: RefCell<Vec<(u16, u16)>>,
    draining: RefCell<BTreeSet<u16>>,
    /// Held during an act, so that acts follow one another.
    turn: Mutex<()>,
    situations: Rc<RefCell<Situations>>,
    withdrawn: RefCell<Vec<Withdrawn>>,
}

impl Operator {
    /// Writes the configuration of the plan.
    pub(crate) fn new(hub: &Rc<Hub>, network: &Rc<Network>, machine: &Rc<Machine>) -> Rc<Self> {
        let backends = settings::at_start(&hub.plan);
        let config = settings::config(&hub.plan, &backends);
        machine.write_file(FILE, Vec::new());
        let files = Files::of(Front::First);
        machine.write_file(CERTIFICATE_FILE, files.certificate_text().into());
        machine.write_file(KEY_FILE, files.key_text().into());
        Rc::new(Self {
            hub: Rc::clone(hub),
            network: Rc::clone(network),
            machine: Rc::clone(machine),
            config: Rc::new(RefCell::new(config)),
            backends: RefCell::new(backends),
            draining: RefCell::default(),
            turn: Mutex::default(),
            situations: Rc::default(),
            withdrawn: RefCell::default(),
        })
    }

    /// The present configuration, and the source that a reload reads.
    pub(crate) fn source(&self) -> (ProxyConfig, Source) {
        let read = || {
            let (config, situations) = (Rc::clone(&self.config), Rc::clone(&self.situations));
            Box::new(move || {
                let mistake = situations.borrow().last().wrong;
                with_mistake(config.borrow().clone(), mistake)
            })
        };
        let source = Source::file(FILE.into(), read(), read());
        (self.config.borrow().clone(), source)
    }

    /// The state that the operator has wanted of the process, at each time.
    pub(crate) fn situations(&self) -> Situations {
        self.situations.borrow().clone()
    }

    /// Carries out an act, if it is the operator's and faults have not stopped.
    pub(crate) async fn act(self: &Rc<Self>, act: Act) {
        let _turn = self.turn.lock().await;
        if self.hub.is_healed() {
            return;
        }
        match act {
            Act::Shutdown => self.machine.send_signal(Signal::Stop),
            Act::Replace => {
                // Tables of another size need another pool.
                self.config.borrow_mut().clusters[0].pool.limits.requests += 1;
                self.machine.send_signal(Signal::HangUp);
            }
            Act::Add { backend, weight } => self.add(backend, weight),
            Act::Remove { backend } => self.change(|backends| {
                // A cluster has at least one backend.
                let known = backends.iter().any(|(known, _)| *known == backend);
                if backends.len() > 1 && known {
                    backends.retain(|(known, _)| *known != backend);
                    self.withdraw(backend, Why::Removed);
                }
            }),
            Act::Weight { backend, weight } if (1..=WEIGHT_MAX).contains(&weight) => {
                self.change(|backends| {
                    let known = backends.iter_mut().find(|(known, _)| *known == backend);
                    if let Some((_, known)) = known {
                        *known = weight;
                    }
                });
            }
            Act::Drain { backend, within_us } => {
                self.draining.borrow_mut().insert(backend);
                let within = format!("within={}ms", within_us.div_ceil(1_000));
                let reply = self.order("drain", backend, &within).await;
                if reply.is_some_and(|reply| reply.status == 200) {
                    self.withdraw(backend, Why::Drained);
                }
            }
            Act::Undrain { backend } => self.undrain(backend).await,
            Act::Change { change } => self.set(&[change]),
            Act::ChangeAll { changes } => self.set(&changes),
            Act::Process { act } => self.operate(act),
            _ => {}
        }
    }

    fn operate(self: &Rc<Self>, act: ProcessAct) {
        let place = |listener: u8| listener % LISTENERS.len() as u8;
        match act {
            ProcessAct::OpenListener { listener } => self.listen(None, Some(place(listener))),
            ProcessAct::CloseListener { listener } => self.listen(Some(place(listener)), None),
            ProcessAct::MoveListener { from, to } => {
                self.listen(Some(place(from)), Some(place(to)));
            }
            ProcessAct::Certificate { files, key_after_us } => {
                self.change_files(Files::wanted(files), key_after_us);
            }
            ProcessAct::WrongConfiguration { wrong, for_us } => self.err(wrong, for_us),
            // The network's.
            ProcessAct::Name { .. } => {}
        }
    }

    /// Removes a listener and adds another one with the same reload.
    fn listen(&self, removed: Option<u8>, added: Option<u8>) {
        let mut open = self.situations.borrow().last().listeners.clone();
        let before = open.clone();
        if let Some(removed) = removed
            && open.contains(&removed)
        {
            open.retain(|listener| *listener != removed);
        } else if removed.is_some() {
            // There is none to move.
            return;
        }
        open.extend(added.filter(|added| !open.contains(added)));
        if open == before || open.is_empty() {
            return;
        }
        self.config.borrow_mut().listeners = settings::listeners(&self.hub.plan, &open);
        self.change_situation(|situation| situation.listeners = open);
        self.machine.send_signal(Signal::HangUp);
    }

    fn change_situation(&self, change: impl FnOnce(&mut Situation)) {
        self.situations.borrow_mut().change(self.hub.now(), change);
    }

    /// Writes the file of the certificate, and that of the key a while later. Files that are so
    /// already are left alone: writing one again only delays the watch.
    fn change_files(self: &Rc<Self>, files: Files, key_after_us: u64) {
        if self.situations.borrow().last().files == files {
            return;
        }
        if self.situations.borrow().last().files.certificate != files.certificate {
            self.machine.write_file(CERTIFICATE_FILE, files.certificate_text().into());
            self.change_situation(|situation| situation.files.certificate = files.certificate);
        }
        if key_after_us == 0 {
            return self.write_key(files);
        }
        let operator = Rc::clone(self);
        exact::spawn(async move {
            sleep(Duration::from_micros(key_after_us)).await;
            if !operator.hub.is_healed() {
                operator.write_key(files);
            }
        });
    }

    /// Writes the file of the key, unless a later order has done so.
    fn write_key(&self, files: Files) {
        if self.situations.borrow().last().files.key == files.key {
            return;
        }
        self.machine.write_file(KEY_FILE, files.key_text().into());
        self.change_situation(|situation| situation.files.key = files.key);
    }

    /// Makes a mistake in the configuration, and corrects it later.
    fn err(self: &Rc<Self>, wrong: Wrong, for_us: u64) {
        self.change_situation(|situation| situation.wrong = Some(wrong));
        self.machine.send_signal(Signal::HangUp);
        let operator = Rc::clone(self);
        exact::spawn(async move {
            sleep(Duration::from_micros(for_us)).await;
            operator.correct();
        });
    }

    /// Corrects the configuration, if there is a mistake in it.
    fn correct(&self) {
        if self.situations.borrow().last().wrong.is_some() {
            self.change_situation(|situation| situation.wrong = None);
            self.machine.send_signal(Signal::HangUp);
        }
    }

    fn add(&self, backend: u16, weight: u16) {
        if !(1..=WEIGHT_MAX).contains(&weight) {
            return;
        }
        let most = self.config.borrow().clusters[0].pool.limits.backends;
        self.change(|backends| {
            if backends.len() < most && backends.iter().all(|(known, _)| *known != backend) {
                backends.push((backend, weight));
                self.return_to_service(backend);
            }
        });
    }

    async fn undrain(&self, backend: u16) {
        self.draining.borrow_mut().remove(&backend);
        self.return_to_service(backend);
        let _ = self.order("undrain", backend, "").await;
    }

    fn withdraw(&self, backend: u16, why: Why) {
        let (since, until) = (self.hub.now(), u64::MAX);
        self.withdrawn.borrow_mut().push(Withdrawn { backend, why, since, until });
    }

    /// From now on a backend may get requests, whatever was ordered before.
    fn return_to_service(&self, backend: u16) {
        let now = self.hub.now();
        for withdrawn in &mut *self.withdrawn.borrow_mut() {
            if withdrawn.backend == backend {
                withdrawn.until = withdrawn.until.min(now);
            }
        }
    }

    /// The times in which backends were to get no new requests.
    pub(crate) fn withdrawn(&self) -> Vec<Withdrawn> {
        self.withdrawn.borrow().clone()
    }

    /// Changes the list of backends, and reloads if it differs.
    fn change(&self, change: impl FnOnce(&mut Vec<(u16, u16)>)) {
        let mut backends = self.backends.borrow_mut();
        let before = backends.clone();
        change(&mut backends);
        if *backends == before {
            return;
        }
        let fresh = settings::config(&self.hub.plan, &backends);
        self.config.borrow_mut().clusters[0].backends = fresh.clusters[0].backends.clone();
        self.machine.send_signal(Signal::HangUp);
    }

    /// Changes settings of the pool with one reload.
    fn set(&self, changes: &[Change]) {
        if changes.contains(&Change::NoAttempts) {
            // Refused as a whole when it is read; see the tests of configuration files.
            return;
        }
        let mut config = self.config.borrow_mut();
        let cluster = &mut config.clusters[0];
        for change in changes {
            let pool = &mut cluster.pool;
            match *change {
                Change::Failures(number) => pool.health.failures = number,
                Change::EjectedPercentMax(share) => pool.health.ejected_percent_max = share,
                Change::FailOpenPercent(share) => pool.health.fail_open_percent = share,
                Change::Fall(number) => pool.health.fall = number,
                Change::Strategy(strategy) => pool.strategy = strategy.into(),
                Change::HealthChecking(on) => {
                    cluster.health_check.kind = settings::health_check_kind(on);
                }
                Change::NoAttempts => unreachable!("checked above"),
                Change::Setting { .. } => unreachable!("only the world of the pool has these"),
            }
        }
        drop(config);
        self.machine.send_signal(Signal::HangUp);
    }

    /// Gives an order about a backend through the admin interface.
    async fn order(&self, order: &str, backend: u16, more: &str) -> Option<Reply> {
        let authority = settings::backend_authority(&self.hub.plan, backend);
        self.ask("POST", &format!("/{order}?backend={authority}&{more}")).await
    }

    /// Sends a request to the admin interface; `None` if the proxy does not answer.
    pub(crate) async fn ask(&self, method: &str, target: &str) -> Option<Reply> {
        let admin = settings::ADMIN.into();
        let stream = self.network.connect(settings::machine(), admin).await.ok()?;
        ask(stream, method, target).await.ok()
    }

    /// Corrects mistakes, and returns every backend that is healthy from now on to service, after
    /// the act under way.
    pub(crate) async fn restore(self: &Rc<Self>) {
        let _turn = self.turn.lock().await;
        let files = self.situations.borrow().last().files;
        if files.front().is_none() {
            self.change_files(Files::of(Front::First), 0);
            // Other changes may have been refused with the files.
            self.machine.send_signal(Signal::HangUp);
        }
        self.correct();
        for (backend, health) in self.hub.plan.heal.backends.iter().enumerate() {
            let backend = backend as u16;
            if *health != Health::Well {
                continue;
            }
            self.add(backend, 1);
            if self.draining.borrow().contains(&backend) {
                self.undrain(backend).await;
            }
        }
    }

    /// True if a backend is in service.
    pub(crate) fn serves(&self, backend: u16) -> bool {
        self.backends.borrow().iter().any(|(known, _)| *known == backend)
    }
}

/// A configuration as a reload reads it, with a mistake if there is one.
fn with_mistake(
    mut config: ProxyConfig,
    mistake: Option<Wrong>,
) -> Result<ProxyConfig, Vec<String>> {
    match mistake {
        None => {}
        Some(Wrong::Unreadable) => return Err(vec!["line 1, column 1: expected a key".to_owned()]),
        Some(Wrong::OutOfBounds) => config.clusters[0].pool.retry.attempts = 0,
        Some(Wrong::NeedsRestart) => config.workers = config.workers.map(|workers| workers + 1),
        Some(Wrong::AddressInUse) => {
            // The admin interface listens there.
            let address = SocketAddr::from(ADMIN);
            config.listeners.push(ListenerConfig { address, ..ListenerConfig::default() });
        }
    }
    Ok(config)
}
