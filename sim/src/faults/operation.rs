//! An operator who changes the process: listeners, certificates, mistakes, the order to stop.

use super::Family;
use crate::draw::RandomStream;
use crate::plan::{Act, CertificateFiles, Directive, Moment, Plan, ProcessAct, When, Wrong};

const MOMENTS: [Moment; 7] = [
    Moment::Arrived,
    Moment::Ordered,
    Moment::Read,
    Moment::HalfSent,
    Moment::Sent,
    Moment::Answered,
    Moment::Ended,
];
const FILES: [CertificateFiles; 6] = [
    CertificateFiles::Renewed,
    CertificateFiles::Renewed,
    CertificateFiles::Renewed,
    CertificateFiles::First,
    CertificateFiles::CutShort,
    CertificateFiles::OtherKey,
];
const WRONGS: [Wrong; 4] =
    [Wrong::Unreadable, Wrong::OutOfBounds, Wrong::NeedsRestart, Wrong::AddressInUse];

/// Adds the acts of the operator.
pub(super) fn add(plan: &mut Plan, stream: &mut RandomStream) {
    for _ in 0..stream.wide(1, 6) {
        let (when, after_us) = moment(plan, stream);
        let later = after_us + stream.wide(0, 5_000_000);
        let mut inject = |after_us, act| {
            plan.directives.push(Directive { family: Family::Operation, when, after_us, act });
        };
        let process = |act| Act::Process { act };
        let (one, other) = (stream.below(3) as u8, 1 + stream.below(2) as u8);
        match stream.below(20) {
            0..4 => {
                inject(after_us, process(ProcessAct::OpenListener { listener: other }));
                inject(later, process(ProcessAct::CloseListener { listener: one }));
            }
            4..8 => {
                inject(after_us, process(ProcessAct::MoveListener { from: 0, to: other }));
                if stream.chance(60) {
                    inject(later, process(ProcessAct::MoveListener { from: other, to: 0 }));
                }
            }
            8..11 => {
                let wrong = stream.pick(&WRONGS);
                let for_us = stream.wide(1_000, 10_000_000);
                inject(after_us, process(ProcessAct::WrongConfiguration { wrong, for_us }));
            }
            11..13 => {
                inject(after_us, Act::Shutdown);
                inject(later, Act::Shutdown);
            }
            // Without TLS the proxy has no certificate.
            _ => {
                let files = stream.pick(&FILES);
                let key_after_us = if stream.chance(50) { 0 } else { stream.wide(1, 4_000_000) };
                let act = ProcessAct::Certificate { files, key_after_us };
                if plan.wire.tls {
                    inject(after_us, process(act));
                }
            }
        }
    }
}

/// A time of the run, or a moment of a request.
fn moment(plan: &Plan, stream: &mut RandomStream) -> (When, u64) {
    let time = stream.below(plan.heal.at_us.max(1));
    let request = stream.below(plan.requests.len().max(1) as u64) as usize;
    let moment = stream.pick(&MOMENTS);
    let after_us = if stream.chance(50) { 0 } else { stream.wide(1, 1_000_000) };
    match plan.requests.get(request) {
        Some(request) if stream.chance(60) => {
            (When::Request { request: request.id, moment }, after_us)
        }
        _ => (When::Start, time),
    }
}
