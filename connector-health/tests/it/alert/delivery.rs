use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use connector_health::ConnectorId;
use connector_health::alert::{
    Alert, AlertDesk, AlertSink, AlertStore as _, Delivery, LogSink, MemoryAlerts, PENDING_MAX, SinkError,
};
use connector_health::monitor::Observation;
use proptest::prelude::*;

use super::{Watched, an_alert};

const DOWN: SinkError = SinkError::Unavailable("down");

/// Takes messages while it is up.
#[derive(Default)]
struct Switched {
    down: Mutex<Option<SinkError>>,
    taken: Mutex<Vec<Alert>>,
    tries: Mutex<u32>,
}

impl Switched {
    fn set(&self, down: Option<SinkError>) {
        *self.down.lock().unwrap() = down;
    }
}

#[async_trait]
impl AlertSink for Switched {
    async fn deliver(&self, alert: &Alert, _: DateTime<Utc>) -> Result<(), SinkError> {
        *self.tries.lock().unwrap() += 1;
        match self.down.lock().unwrap().clone() {
            Some(error) => Err(error),
            None => {
                self.taken.lock().unwrap().push(alert.clone());
                Ok(())
            }
        }
    }
}

fn later(alert: &Alert, sequence: u64) -> Alert {
    let mut later = alert.clone();
    later.sequence = sequence;
    later
}

#[tokio::test]
async fn an_alert_that_did_not_arrive_is_kept_and_tried_again() {
    let (store, sink, alert) = (MemoryAlerts::default(), Arc::new(Switched::default()), an_alert());
    let mut now = alert.at;
    sink.set(Some(DOWN));
    let desk =
        AlertDesk::open(store.clone(), vec![("ops".to_owned(), sink.clone() as _)], now).await.unwrap();
    desk.accept(std::slice::from_ref(&alert), now).await.unwrap();
    let mut waits = Vec::new();
    for _ in 0..10 {
        assert_eq!(desk.pass(now).await.failed, 1);
        assert_eq!(desk.pass(now).await.failed, 0, "not before its time");
        let next = desk.next_deadline().unwrap();
        waits.push((next - now).num_seconds());
        now = next;
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
    assert_eq!(store.load().await.unwrap().len(), 1);

    // A restart forgets nothing.
    drop(desk);
    sink.set(None);
    let desk =
        AlertDesk::open(store.clone(), vec![("ops".to_owned(), sink.clone() as _)], now).await.unwrap();
    assert_eq!(desk.pass(now).await.delivered, 1);
    assert_eq!(*sink.taken.lock().unwrap(), [alert]);
    assert_eq!(store.load().await.unwrap(), []);
    assert_eq!(desk.next_deadline(), None);
}

#[tokio::test]
async fn sinks_do_not_wait_for_each_other() {
    let (bad, good, alert) = (Arc::new(Switched::default()), Arc::new(Switched::default()), an_alert());
    bad.set(Some(DOWN));
    let sinks: Vec<(String, Arc<dyn AlertSink>)> =
        vec![("bad".to_owned(), bad.clone()), ("good".to_owned(), good.clone())];
    let desk = AlertDesk::open(MemoryAlerts::default(), sinks, alert.at).await.unwrap();
    desk.accept(std::slice::from_ref(&alert), alert.at).await.unwrap();
    let pass = desk.pass(alert.at).await;
    assert_eq!((pass.delivered, pass.failed), (1, 1));
    assert_eq!(good.taken.lock().unwrap().as_slice(), std::slice::from_ref(&alert));
}

#[tokio::test]
async fn a_sink_that_hangs_holds_up_no_other_and_is_tried_again_after_a_break() {
    struct Hangs;
    #[async_trait]
    impl AlertSink for Hangs {
        async fn deliver(&self, _: &Alert, _: DateTime<Utc>) -> Result<(), SinkError> {
            std::future::pending().await
        }
    }
    let (good, alert) = (Arc::new(Switched::default()), an_alert());
    let sinks: Vec<(String, Arc<dyn AlertSink>)> =
        vec![("hangs".to_owned(), Arc::new(Hangs)), ("good".to_owned(), good.clone())];
    let desk = AlertDesk::open(MemoryAlerts::default(), sinks, alert.at).await.unwrap();
    desk.accept(std::slice::from_ref(&alert), alert.at).await.unwrap();
    {
        let pass = std::pin::pin!(desk.pass(alert.at));
        assert!(futures::poll!(pass).is_pending());
        assert_eq!(desk.next_deadline(), None, "it is on its way");
    }
    assert_eq!(good.taken.lock().unwrap().as_slice(), std::slice::from_ref(&alert));
    assert_eq!(desk.next_deadline(), Some(alert.at), "broken off, so due again");
}

#[tokio::test]
async fn one_message_that_is_refused_holds_up_no_other() {
    let (first, sink) = (an_alert(), Arc::new(Switched::default()));
    let mut watched = Watched::healthy();
    watched.bench.bad();
    watched.bench.bad();
    let second = watched.update().pop().unwrap();
    let desk =
        AlertDesk::open(MemoryAlerts::default(), vec![("ops".to_owned(), sink.clone() as _)], first.at)
            .await
            .unwrap();
    desk.accept(&[first.clone(), second], first.at).await.unwrap();
    sink.set(Some(SinkError::Answered(422)));
    assert_eq!(desk.pass(first.at).await.failed, 2);
    sink.set(Some(DOWN));
    let now = first.at + TimeDelta::minutes(1);
    assert_eq!(desk.pass(now).await.failed, 1, "where nobody answers, the second need not be tried");
}

#[test]
fn a_sink_that_is_down_for_days_keeps_the_newest_of_each_alert() {
    let mut watched = Watched::healthy();
    let mut delivery = Delivery::new(["ops".to_owned()]);
    let mut said = 0;
    let mut newest = None;
    for n in 0..10 * 24 * 60 {
        // An hour of failure, an hour of health.
        watched.bench.pass(60);
        if n / 60 % 2 == 0 {
            watched.bench.see(Observation::authentication_failed("401"))
        } else {
            watched.bench.good()
        };
        for alert in watched.update() {
            said += 1;
            delivery.accept(&alert, watched.bench.now);
            newest = Some(alert);
        }
        if let Some(alert) = delivery.next("ops", watched.bench.now) {
            delivery.failed("ops", &alert, &DOWN, watched.bench.now);
        }
    }
    assert!(said > 50, "{said}");
    assert_eq!((delivery.pending("ops"), delivery.dropped("ops")), (1, 0));
    let now = delivery.next_deadline().unwrap();
    assert_eq!(delivery.next("ops", now), newest);
    // All others were tried and failed, or left out.
    assert!(delivery.superseded("ops") < said && delivery.superseded("ops") > 40);
}

#[test]
fn beyond_the_limit_resolved_alerts_go_first_and_are_counted() {
    let alert = an_alert();
    let mut delivery = Delivery::new(["ops".to_owned()]);
    let mut watched = Watched::healthy();
    watched.bench.see(Observation::authentication_failed("401"));
    watched.update();
    let mut resolved = watched.heal().pop().unwrap();
    for n in 0..PENDING_MAX {
        let mut one = if n == 5_000 { resolved.clone() } else { alert.clone() };
        one.connector = ConnectorId::new(format!("app-{n}")).unwrap();
        assert_eq!(delivery.accept(&one, alert.at), []);
        if n == 5_000 {
            resolved = one;
        }
    }
    assert_eq!(delivery.accept(&alert, alert.at), [("ops".to_owned(), resolved)]);
    assert_eq!((delivery.pending("ops"), delivery.dropped("ops")), (PENDING_MAX, 1));
}

#[test]
fn a_newer_message_waits_for_the_one_that_is_on_its_way() {
    let alert = later(&an_alert(), 1);
    let mut delivery = Delivery::new(["ops".to_owned()]);
    delivery.accept(&alert, alert.at);
    let first = delivery.next("ops", alert.at).unwrap();
    delivery.accept(&later(&alert, 2), alert.at);
    delivery.accept(&later(&alert, 3), alert.at);
    assert_eq!(delivery.next("ops", alert.at), None);
    assert!(!delivery.delivered("ops", &first, alert.at));
    assert_eq!(delivery.next("ops", alert.at).unwrap().sequence, 3);
    assert_eq!(delivery.superseded("ops"), 1);
    // What is old comes back from nowhere.
    delivery.accept(&later(&alert, 2), alert.at);
    assert!(delivery.delivered("ops", &later(&alert, 3), alert.at));
    assert_eq!(delivery.pending("ops"), 0);
}

#[tokio::test]
async fn the_log_holds_one_line_for_each_message() {
    let sink = LogSink::new(Vec::new());
    let alert = an_alert();
    sink.deliver(&alert, alert.at).await.unwrap();
    sink.deliver(&later(&alert, 2), alert.at).await.unwrap();
    let text = String::from_utf8(sink.into_inner()).unwrap();
    let lines: Vec<Alert> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, [alert.clone(), later(&alert, 2)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever fails on the way, in the end every sink has the newest message of each alert, and never an older one after it.
    #[test]
    fn the_newest_arrives_everywhere_and_in_order(acts in prop::collection::vec((0_u8..6, 0_usize..3, 0_i64..100), 1..200)) {
        let mut now = an_alert().at;
        let sinks = ["a", "b"];
        let mut delivery = Delivery::new(sinks.map(str::to_owned));
        let mut newest = [0_u64; 3];
        let mut arrived = [[0_u64; 3]; 2];
        let mut flying: Vec<(usize, usize, Alert)> = Vec::new();
        let alert_of = |which: usize, sequence: u64| {
            let mut alert = later(&an_alert(), sequence);
            alert.connector = ConnectorId::new(format!("{which}")).unwrap();
            alert
        };
        for (act, which, seconds) in acts {
            now += TimeDelta::seconds(seconds);
            let sink = which % 2;
            match act {
                0 | 1 => {
                    newest[which] += 1;
                    delivery.accept(&alert_of(which, newest[which]), now);
                }
                2 => {
                    if let Some(alert) = delivery.next(sinks[sink], now) {
                        let which = alert.connector.as_str().parse().unwrap();
                        prop_assert!(!flying.iter().any(|(s, w, _)| (*s, *w) == (sink, which)), "two at a time");
                        flying.push((sink, which, alert));
                    }
                }
                _ if flying.is_empty() => {}
                act => {
                    let (sink, of, alert) = flying.remove(which % flying.len());
                    match act {
                        3 => {
                            prop_assert!(arrived[sink][of] < alert.sequence);
                            arrived[sink][of] = alert.sequence;
                            delivery.delivered(sinks[sink], &alert, now);
                        }
                        4 => delivery.failed(sinks[sink], &alert, &DOWN, now),
                        _ => delivery.abandoned(sinks[sink], &alert),
                    }
                }
            }
        }
        for (sink, _, alert) in flying {
            delivery.abandoned(sinks[sink], &alert);
        }
        while let Some(deadline) = delivery.next_deadline() {
            now = deadline.max(now);
            for (n, sink) in sinks.into_iter().enumerate() {
                while let Some(alert) = delivery.next(sink, now) {
                    arrived[n][alert.connector.as_str().parse::<usize>().unwrap()] = alert.sequence;
                    delivery.delivered(sink, &alert, now);
                }
            }
        }
        prop_assert_eq!(arrived, [newest; 2]);
    }
}
