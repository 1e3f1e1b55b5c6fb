//! Acts on the backend as a whole.

use std::time::Duration;

use tokio::time::sleep;

use crate::plan::Health;
use crate::proxy::hub::Target;
use crate::proxy::peers::frames::{Frame, setting};
use crate::proxy::peers::service::Admission;
use crate::proxy::peers::test_support::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_abrupt_restart_breaks_everything_and_refuses_for_a_while() {
    simulate(async || {
        let scene = Scene::new(plan());
        let mut one = scene.client().await;
        let mut other = scene.client().await;
        scene.backend.restart(false, 1_000_000);
        assert_eq!((one.next().await, other.next().await), (None, None));
        assert_eq!(scene.resets(), 2);
        assert_eq!(scene.backend.service.admission(), Admission::Refuses);
        let mut refused = Client::new(scene.connect(1 << 20));
        assert_eq!(refused.next().await, None);
        assert_eq!(scene.resets(), 3);
        sleep(SECOND).await;
        assert_eq!(scene.backend.service.admission(), Admission::Accepts);
        let _ = scene.client().await;
    });
}

#[test]
fn a_graceful_restart_lets_streams_finish_until_half_of_its_time() {
    simulate(async || {
        let scene = Scene::with(|backend| backend.work = span(100_000));
        let mut quick = scene.client().await;
        quick.request(1, 0, true).await;
        let mut slow = scene.client().await;
        settle().await;
        scene.hub.pass_on(
            Target::Backend(0, 2),
            crate::proxy::hub::Order {
                act: crate::plan::Act::StopReading { for_us: None },
                target: Target::Backend(0, 2),
            },
        );
        slow.writer.headers(1, &head("POST", "/r1"), false);
        slow.flush().await;
        settle().await;
        scene.backend.restart(true, 1_000_000);
        let (last, code, _) = quick.go_away().await;
        assert_eq!((last, code), (1, 0));
        assert!(ended(&quick.frames_in(SECOND / 5).await, 1));
        assert_eq!(quick.next().await, None);
        assert_eq!(slow.go_away().await.0, 0);
        assert_eq!(scene.backend.service.admission(), Admission::Refuses);
    });
}

#[test]
fn a_graceful_restart_breaks_what_does_not_finish() {
    simulate(async || {
        let scene = Scene::with(|backend| backend.work = span(100_000_000));
        let mut client = scene.client().await;
        client.request(1, 0, true).await;
        settle().await;
        scene.backend.restart(true, 1_000_000);
        let _ = client.go_away().await;
        let _ = client.frames_in(SECOND * 2 / 5).await;
        assert_eq!(scene.resets(), 0);
        assert_eq!(client.next().await, None);
        assert_eq!(scene.resets(), 1);
    });
}

#[test]
fn an_unreachable_backend_refuses_or_hangs() {
    simulate(async || {
        let scene = Scene::new(plan());
        scene.backend.service.unreachable_until(scene.hub.now() + 1_000_000_000, true);
        assert_eq!(scene.backend.service.admission(), Admission::Hangs);
        let mut client = Client::new(scene.connect(1 << 20));
        client.writer.preface();
        client.flush().await;
        assert_eq!(client.frames_in(SECOND * 100).await, []);
        assert_eq!(scene.backend.service.admission(), Admission::Accepts);
        scene.backend.service.unreachable_until(scene.hub.now() + 1_000_000_000, false);
        assert_eq!(scene.backend.service.admission(), Admission::Refuses);
        scene.backend.heal(Health::Well);
        assert_eq!(scene.backend.service.admission(), Admission::Accepts);
        scene.backend.heal(Health::Hangs);
        sleep(SECOND * 1_000_000).await;
        assert_eq!(scene.backend.service.admission(), Admission::Hangs);
    });
}

#[test]
fn a_switch_to_http1_resets_open_streams() {
    simulate(async || {
        let scene = Scene::with(|backend| backend.work = span(1_000_000));
        let mut client = scene.client().await;
        client.request(1, 0, true).await;
        client.request(3, 1, true).await;
        settle().await;
        scene.backend.switch_to_http1();
        let frames = client.frames().await;
        assert_eq!((reset_code(&frames, 1), reset_code(&frames, 3)), (Some(0xd), Some(0xd)));
        client.request(5, 2, true).await;
        assert!(ended(&client.frames_in(SECOND * 2).await, 5));
        assert!(scene.hub.ledger.executions().iter().all(|execution| !execution.disowned));
    });
}

#[test]
fn a_healed_backend_allows_as_many_streams_as_planned() {
    simulate(async || {
        let scene = Scene::with(|backend| backend.max_streams = Some(7));
        let mut client = scene.client().await;
        scene.order(crate::plan::Act::Settings { max_streams: 0 });
        assert_eq!(client.expect_settings().await, [(setting::MAX_CONCURRENT_STREAMS, 0)]);
        scene.backend.heal(Health::Well);
        let settings = Frame::Settings(vec![(setting::MAX_CONCURRENT_STREAMS, 7)]);
        assert_eq!(client.next().await, Some(settings));
    });
}
