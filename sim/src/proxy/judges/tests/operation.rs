//! Rules about the process, its operator, and the dials of names.

use std::io::ErrorKind;
use std::net::SocketAddr;

use baton::proxy::seams::Signal;
use serde_json::{Value, json};

use super::{MILLISECOND, Scene, all_are_allowed, all_are_found};
use crate::checker::Invariant::{Addresses, Liveness, Operation};
use crate::plan::{CertificateFiles, Wrong};
use crate::proxy::ledger::{Dial, DialEnd};
use crate::proxy::peers::tls::Front;
use crate::proxy::races::{How, Race, RaceDial};
use crate::proxy::settings::{LISTENERS, named_address};
use crate::proxy::situation::Files;

const SECOND: u64 = 1_000 * MILLISECOND;

fn reloaded(trigger: &str) -> Value {
    json!({"message": "reloaded", "trigger": trigger, "changes": "some", "took_ms": 0})
}

fn refused(reasons: &str) -> Value {
    let message = "reload refused, nothing changed";
    json!({"message": message, "trigger": "SIGHUP", "reasons": reasons})
}

/// A second listener is ordered at 5 s, and opened.
fn open_another(scene: &mut Scene) {
    scene.situations.change(5 * SECOND, |situation| situation.listeners = vec![0, 1]);
    scene.signals.push((5 * SECOND, Signal::HangUp));
    scene.log(5 * SECOND, json!({"message": "listening", "address": "10.0.0.1:81"}));
    scene.log(5 * SECOND, reloaded("SIGHUP"));
}

fn make_wrong(scene: &mut Scene) {
    scene.situations.change(5 * SECOND, |it| it.wrong = Some(Wrong::Unreadable));
    scene.situations.change(6 * SECOND, |it| it.wrong = None);
}

/// The certificate changes at 5 s, and the proxy notices it.
fn renew(scene: &mut Scene) {
    scene.plan.wire.tls = true;
    for (_, line) in &mut scene.lines {
        if line["message"] == "request" {
            line["scheme"] = "https".into();
        }
    }
    let files = Files::wanted(CertificateFiles::Renewed);
    scene.situations.change(5 * SECOND, |it| it.files = files);
    scene.log(7 * SECOND, reloaded("changed file"));
}

/// A client connects at a time, and is shown a certificate.
fn secure(scene: &mut Scene, at: u64, front: Front) {
    let (client, to) = (0, SocketAddr::from(LISTENERS[0]));
    let end = DialEnd::Secured(Some(front));
    scene.dials.push(Dial { client, to, begun: at, ended: at + MILLISECOND, end });
}

/// A name with a silent address and one that lives.
fn race(scene: &mut Scene) -> &mut Race {
    let address = |place| SocketAddr::new(named_address(0, place), 8080);
    let dial = |place, begun, ended| RaceDial { to: address(place), begun, ended };
    let end = SECOND + 260 * MILLISECOND;
    scene.races.push(Race {
        name: "backend-0.test".to_owned(),
        resolved: SECOND,
        addresses: vec![address(0), address(1)],
        dials: vec![
            dial(0, SECOND, Some((end, How::Abandoned))),
            dial(1, SECOND + 250 * MILLISECOND, Some((end, How::Connected))),
        ],
    });
    scene.races.last_mut().expect("just added")
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn reloads_and_listeners() {
    all_are_allowed(&[
        ("another listener", open_another),
        ("a mistake", |scene| {
            make_wrong(scene);
            scene.signals.push((5 * SECOND, Signal::HangUp));
            scene.log(5 * SECOND, refused("line 1, column 1: expected a key"));
        }),
    ]);
    all_are_found(&[
        (Operation, "refused without a reason", |scene| {
            scene.signals.push((5 * SECOND, Signal::HangUp));
            scene.log(5 * SECOND, refused("line 1, column 1: expected a key"));
        }),
        (Operation, "reloaded, but the configuration was wrong", |scene| {
            make_wrong(scene);
            scene.log(5 * SECOND + 500 * MILLISECOND, reloaded("SIGHUP"));
        }),
        (Operation, "0 reloads by signal, expected 1", |scene| {
            scene.signals.push((5 * SECOND, Signal::HangUp));
        }),
        (Operation, "listening on 10.0.0.1:81: not ordered", |scene| {
            scene.log(5 * SECOND, json!({"message": "listening", "address": "10.0.0.1:81"}));
        }),
        (Operation, "removed 10.0.0.1:81: not ordered", |scene| {
            open_another(scene);
            let line = json!({"message": "listener removed", "address": "10.0.0.1:81"});
            scene.log(9 * SECOND, line);
        }),
        (Operation, "expected [0, 1]", |scene| {
            scene.situations.change(5 * SECOND, |it| it.listeners = vec![0, 1]);
        }),
        (Operation, "ended with Failed(ConnectionRefused)", |scene| {
            scene.dials[0].end = DialEnd::Failed(ErrorKind::ConnectionRefused);
        }),
    ]);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn certificates() {
    all_are_allowed(&[("a new certificate", |scene| {
        renew(scene);
        secure(scene, 6 * SECOND, Front::First);
        secure(scene, 7 * SECOND, Front::First);
        secure(scene, 8 * SECOND, Front::Renewed);
    })]);
    all_are_found(&[
        (Operation, "ended with Secured(Some(First))", |scene| {
            renew(scene);
            secure(scene, 8 * SECOND, Front::First);
        }),
        (Operation, "ended with Secured(Some(Renewed))", |scene| {
            renew(scene);
            secure(scene, 6 * SECOND, Front::Renewed);
        }),
        (Operation, "which the proxy has not noticed", |scene| {
            renew(scene);
            scene.lines.pop();
        }),
    ]);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_order_to_stop() {
    all_are_found(&[
        (Operation, "draining at []", |scene| {
            scene.lines.pop();
        }),
        // The end is judged first, and it is stricter.
        (Liveness, "had no connection since", |scene| {
            scene.ended_at = Some(300 * SECOND);
        }),
        (Operation, "it ended at", |scene| {
            scene.signals.push((102 * SECOND, Signal::Stop));
            scene.ended_at = Some(104 * SECOND);
        }),
        (Operation, "stopped without draining at", |scene| {
            let line = json!({"message": "second signal: stopped without draining"});
            scene.log(101 * SECOND, line);
        }),
        (Operation, "9 requests in flight", |scene| {
            scene.lines.last_mut().expect("a line").1["requests"] = 9.into();
        }),
    ]);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn names_with_several_addresses() {
    all_are_allowed(&[
        ("the second address answers", |scene| race(scene).name = "backend-0.test".to_owned()),
        ("the first address refuses", |scene| {
            let race = race(scene);
            let at = SECOND + 5 * MILLISECOND;
            race.dials[0].ended = Some((at, How::Failed));
            race.dials[1].begun = at;
        }),
        ("the proxy gives up", |scene| {
            let race = race(scene);
            race.dials.truncate(1);
            race.dials[0].ended = Some((SECOND + MILLISECOND, How::Abandoned));
        }),
    ]);
    all_are_found(&[
        (Addresses, "not dialled once each, in order", |scene| race(scene).addresses.reverse()),
        (Addresses, "a dial has not ended", |scene| race(scene).dials[0].ended = None),
        (Addresses, "a dial goes on after the end", |scene| {
            race(scene).dials[0].ended = Some((9 * SECOND, How::Abandoned));
        }),
        (Addresses, "two of its addresses are connected", |scene| {
            race(scene).dials[0].ended = Some((SECOND, How::Connected));
        }),
        (Addresses, "before each address was tried", |scene| {
            let race = race(scene);
            race.dials.truncate(1);
            race.dials[0].ended = Some((SECOND, How::Failed));
        }),
        (Addresses, "address 1 is dialled at", |scene| {
            race(scene).dials[1].begun += 8 * MILLISECOND;
        }),
        (Addresses, "address 1 is dialled at", |scene| {
            race(scene).dials[1].begun -= 200 * MILLISECOND;
        }),
    ]);
}
