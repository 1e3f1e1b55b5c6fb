//! Many connections under random effects: whatever happens, readers see a prefix of what was
//! written, all who wait are woken, and nothing is left.

use std::cell::{Cell, RefCell};

use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::draw::{Domain, Draws, RandomStream};
use crate::plan::{Direction, WireEffect};

const CONNECTIONS: u32 = 6;

fn any_effect(stream: &mut RandomStream) -> WireEffect {
    let for_us = stream.chance(80).then(|| stream.wide(100, 3_000_000));
    match stream.below(11) {
        0 => WireEffect::Delay { by_us: stream.wide(1, 100_000) },
        1 => WireEffect::Stall { for_us },
        2 => WireEffect::Room(stream.wide(1, 10_000) as u32),
        3 => WireEffect::End,
        4 => WireEffect::Reset,
        5 => WireEffect::ErrorAfter(stream.wide(0, 10_000) as u32),
        6 => WireEffect::Vanish,
        7 => WireEffect::Asleep { for_us },
        8 => WireEffect::NoCloseNotify,
        9 => WireEffect::Pieces(stream.wide(1, 100) as u16),
        _ => WireEffect::PiecesAtFrames,
    }
}

fn any_act(stream: &mut RandomStream) -> Act {
    let direction = stream.pick(&[Direction::In, Direction::Out]);
    Act::Wire { direction, effect: any_effect(stream) }
}

/// Writes and reads at the same time, then closes. Returns true if it has read everything.
async fn exchange(stream: Stream, length: usize) -> bool {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let writing = async {
        for piece in text(length).chunks(3_000) {
            if writer.write_all(piece).await.is_err() {
                return;
            }
            exact::sleep(micros(200)).await;
        }
        let _ = writer.shutdown().await;
    };
    let reading = async {
        let (mut read, mut buffer) = (Vec::new(), vec![0; 5_000]);
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            read.extend_from_slice(&buffer[..count]);
        }
        assert!(text(length).starts_with(&read), "wrong bytes among {}", read.len());
        read.len() == length
    };
    let ((), complete) = tokio::join!(writing, reading);
    complete
}

/// Returns the hash, and the number of ends that have read everything.
fn storm(seed: u64, faults: bool) -> (u64, usize) {
    let mut stream = Draws::new(seed).stream(Domain::Faults, 0);
    let mut plan = plan(seed, (0, stream.wide(1, 10_000)));
    plan.network.dead_path_us = stream.wide(1_000_000, 10_000_000);
    plan.network.ties = stream.pick(&[Ties::Fifo, Ties::Lifo, Ties::Shuffled]);
    plan.wire.tls = stream.chance(50);
    for _ in 0..if faults { stream.below(12) } else { 0 } {
        let connection = stream.between(1, u64::from(CONNECTIONS)) as u32;
        let when = stream.pick(&[at_dial(connection), When::Connected { backend: 0, connection }]);
        let after_us = stream.wide(0, 200_000);
        plan.directives.push(Directive { after_us, ..directive(when, any_act(&mut stream)) });
    }
    let lengths: Vec<usize> = (0..CONNECTIONS).map(|_| stream.wide(0, 60_000) as usize).collect();
    play(plan, |network, _| async move {
        let complete = Rc::new(Cell::new(0));
        let tasks: Rc<RefCell<Vec<JoinHandle<()>>>> = Rc::default();
        let start = |end: Stream, length: usize| {
            let complete = Rc::clone(&complete);
            let task = async move {
                let all = exchange(end, length).await;
                complete.set(complete.get() + usize::from(all));
            };
            tasks.borrow_mut().push(spawn(task));
        };
        let listening = listening(&network);
        let accepting = async {
            while let Ok((end, _)) = listening.accept().await {
                let Key::Backend(_, number) = end.key() else { panic!("{:?}", end.key()) };
                start(end, lengths[number as usize - 1]);
            }
        };
        let dials = lengths.iter().map(|length| async {
            // Connections are numbered in the order of the first polls.
            if let Ok(end) = network.connect(proxy(), backend_address(0)).await {
                start(end, *length);
            }
        });
        // Longer than any handshake, stall, dead path and keepalive.
        let all = async { tokio::join!(accepting, join_all(dials)) };
        let _ = timeout(Duration::from_secs(400), all).await;
        drop(listening);
        if !faults {
            assert_eq!(network.left(), Vec::<String>::new());
        }
        for task in tasks.take() {
            task.abort();
            assert!(task.await.err().is_none_or(|error| error.is_cancelled()), "it panicked");
        }
        exact::sleep(Duration::from_secs(400)).await;
        assert_eq!(network.left(), Vec::<String>::new());
        assert_eq!(exact::waiting(), 0);
        (network.hash(), complete.get())
    })
}

#[test]
fn whatever_happens_bytes_are_right_and_the_hash_follows_from_the_seed() {
    for seed in 0..40 {
        assert_eq!(storm(seed, true), storm(seed, true), "seed {seed}");
    }
}

#[test]
fn without_faults_everything_arrives() {
    for seed in 0..30 {
        assert_eq!(storm(seed, false).1, 2 * CONNECTIONS as usize, "seed {seed}");
    }
}
