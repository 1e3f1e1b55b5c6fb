//! Bodies that stall or are too slow.

use super::*;
use crate::pool::input::code;

fn world(body_rate_min: u32) -> World {
    World::new(Config { body_rate_min, ..config(1) })
}

/// Returns a request whose body is being sent.
fn uploading(world: &mut World) -> (RequestId, StreamToken) {
    let request = world.post_with_body();
    world.connect_one(4);
    let stream = world.open_one();
    (request, stream)
}

impl World {
    fn post_with_body(&mut self) -> RequestId {
        self.arrive(false, true)
    }

    /// Lets seconds pass, with a frame and this number of bytes in each.
    fn trickle(&mut self, stream: StreamToken, seconds: u32, bytes: u32) {
        for _ in 0..seconds {
            self.pass(SECOND);
            let _ = self.tell(Input::FrameReceived {
                connection: stream.connection,
                carries_message: false,
            });
            let _ = self.tell(Input::BodyProgressed { stream, bytes });
        }
    }
}

const STALLED: Option<Outcome> = Some(Outcome::Rejected(Rejection::BodyStalled));

#[test]
fn a_stalled_request_body_ends_its_request_and_the_backend_stays_healthy() {
    let mut world = world(0);
    let (request, stream) = uploading(&mut world);
    world.trickle(stream, 100, 1);
    assert_eq!(world.outcome(request), None, "it makes progress");
    for _ in 0..59 {
        world.pass(SECOND);
        world.done(Input::FrameReceived { connection: stream.connection, carries_message: false });
    }
    assert_eq!(world.outcome(request), None);
    world.pass(SECOND);
    assert_eq!(world.outcome(request), STALLED);
    assert_eq!(world.resets(), [(stream, code::CANCEL)]);
    assert!(world.pool.is_healthy(BackendId(0)));
}

#[test]
fn a_request_body_below_the_minimum_rate_ends_its_request_and_one_above_does_not() {
    for (bytes, lives) in [(1, false), (50, false), (100, true), (5_000, true)] {
        let mut world = world(100);
        let (request, stream) = uploading(&mut world);
        world.trickle(stream, 300, bytes);
        assert_eq!(world.outcome(request), (!lives).then_some(()).and(STALLED), "{bytes} a second");
    }
}

#[test]
fn after_the_response_started_a_slow_body_is_allowed_and_a_stalled_one_is_not() {
    let mut world = world(100);
    let (request, stream) = uploading(&mut world);
    world.done(Input::ResponseStarted { stream, status: 200 });
    world.trickle(stream, 1_000, 1);
    assert_eq!(world.outcome(request), None);
    for _ in 0..300 {
        world.pass(SECOND);
        let _ = world
            .tell(Input::FrameReceived { connection: stream.connection, carries_message: false });
    }
    assert_eq!(world.outcome(request), Some(Outcome::CutShort));
    assert_eq!(world.resets(), [(stream, code::CANCEL)]);
}

#[test]
fn progress_after_the_end_of_an_upload_or_stream_is_refused_or_stale() {
    let mut world = world(0);
    let (request, stream) = uploading(&mut world);
    world.done(Input::RequestSent { stream });
    assert_eq!(world.tell(Input::BodyProgressed { stream, bytes: 1 }), Handled::Refused);
    world.done(Input::RequestCancelled { request });
    assert_eq!(world.tell(Input::BodyProgressed { stream, bytes: 1 }), Handled::Stale);
}
