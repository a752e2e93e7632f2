//! Sinks that are kept up, whatever happens to them. Time is virtual.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mfa_events::export::{
    FilePositions, FollowError, Follower, MemoryPositions, News, PositionError, Positions,
    REFUSED_RUNNING_MAX, RETRY_LONGEST, SINK_NAME_BYTES_MAX, Sink, SinkError, Told,
};
use mfa_events::store::Record;
use mfa_events::{EventLog, LoginFailure, MemoryStore, Offset, TenantId};
use proptest::prelude::*;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::acme;
use crate::event::at;

/// Does what it is told, one send after the other; takes everything where it is told nothing more.
#[derive(Default)]
struct Scripted {
    script: Mutex<VecDeque<Result<usize, SinkError>>>,
    seen: Mutex<Vec<(Vec<u64>, Duration)>>,
    taken: Notify,
    begun: Mutex<Option<Instant>>,
}

impl Scripted {
    fn new(script: impl IntoIterator<Item = Result<usize, SinkError>>) -> Arc<Self> {
        let begun = Mutex::new(Some(Instant::now()));
        Arc::new(Self { script: Mutex::new(script.into_iter().collect()), begun, ..Self::default() })
    }

    fn offsets(&self) -> Vec<Vec<u64>> {
        self.seen.lock().unwrap().iter().map(|(offsets, _)| offsets.clone()).collect()
    }

    fn seconds(&self) -> Vec<u64> {
        self.seen.lock().unwrap().iter().map(|(_, since)| since.as_secs()).collect()
    }
}

#[async_trait]
impl Sink for Scripted {
    async fn send(&self, _: &TenantId, records: &[Record]) -> Result<usize, SinkError> {
        let since = self.begun.lock().unwrap().unwrap().elapsed();
        let offsets = records.iter().map(|record| record.offset.as_u64()).collect();
        self.seen.lock().unwrap().push((offsets, since));
        let answer = self.script.lock().unwrap().pop_front().unwrap_or(Ok(records.len()));
        self.taken.notify_one();
        answer
    }
}

/// Refuses some for themselves, as long as that is said, and takes the others.
struct Picky {
    refuses: Mutex<std::ops::RangeInclusive<u64>>,
    taken: Mutex<Vec<u64>>,
    tried: Mutex<BTreeSet<u64>>,
    asked: Notify,
}

impl Picky {
    fn new(refuses: std::ops::RangeInclusive<u64>) -> Arc<Self> {
        let (taken, tried) = (Mutex::default(), Mutex::default());
        Arc::new(Self { refuses: Mutex::new(refuses), taken, tried, asked: Notify::new() })
    }

    fn refuse(&self, refuses: std::ops::RangeInclusive<u64>) {
        *self.refuses.lock().unwrap() = refuses;
    }

    fn taken(&self) -> Vec<u64> {
        self.taken.lock().unwrap().clone()
    }
}

#[async_trait]
impl Sink for Picky {
    async fn send(&self, _: &TenantId, records: &[Record]) -> Result<usize, SinkError> {
        let refuses = self.refuses.lock().unwrap().clone();
        let offsets: Vec<u64> = records.iter().map(|record| record.offset.as_u64()).collect();
        let index = offsets.iter().position(|offset| refuses.contains(offset));
        self.taken.lock().unwrap().extend(&offsets[..index.unwrap_or(offsets.len())]);
        self.tried.lock().unwrap().extend(index.map(|index| offsets[index]));
        self.asked.notify_one();
        match index {
            None => Ok(offsets.len()),
            Some(index) => Err(SinkError::Refused { index, why: "it answered 400".to_owned() }),
        }
    }
}

/// Never answers.
struct Hanging;

#[async_trait]
impl Sink for Hanging {
    async fn send(&self, _: &TenantId, _: &[Record]) -> Result<usize, SinkError> {
        std::future::pending().await
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<News>>, Notify);

impl Told for Heard {
    fn told(&self, _: &str, _: &TenantId, news: &News) {
        self.0.lock().unwrap().push(news.clone());
        self.1.notify_one();
    }
}

async fn log(events: u64) -> EventLog<MemoryStore> {
    let log = EventLog::open(MemoryStore::new());
    let failures = (0..events).map(|number| LoginFailure::new(&format!("actor-{number}")).at(at()));
    log.append(&acme(), failures, at()).await.unwrap();
    log
}

fn follower(
    log: &EventLog<MemoryStore>,
    sink: Arc<dyn Sink>,
    positions: Arc<dyn Positions>,
    told: Arc<dyn Told>,
) -> Follower<MemoryStore> {
    Follower::builder(log.clone(), acme(), "splunk", sink, positions).tell(told).batch(3).build()
}

fn busy() -> SinkError {
    SinkError::Unavailable { why: "it answered 503, code 9".to_owned(), after: None }
}

/// Runs until the sink was asked so many times, and a little on.
async fn run(follower: Follower<MemoryStore>, sink: &Scripted, sends: usize) {
    let running = tokio::spawn(async move { follower.run().await.map(|_| ()) });
    while sink.offsets().len() < sends {
        sink.taken.notified().await;
    }
    // What follows the last answer has been done when time moves on by itself.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(!running.is_finished());
    running.abort();
    let _ = running.await;
}

#[tokio::test(start_paused = true)]
async fn sends_everything_in_order_and_remembers_how_far() {
    let (log, positions) = (log(7).await, Arc::new(MemoryPositions::default()));
    let sink = Scripted::new([]);
    run(follower(&log, sink.clone(), positions.clone(), Arc::new(Heard::default())), &sink, 3).await;
    assert_eq!(sink.offsets(), [vec![1, 2, 3], vec![4, 5, 6], vec![7]]);
    assert_eq!(positions.load("splunk", &acme()).await.unwrap(), Some(Offset::new(7)));

    // Another run goes on behind it, and is woken by what comes.
    let sink = Scripted::new([]);
    let later = follower(&log, sink.clone(), positions.clone(), Arc::new(Heard::default()));
    let running = tokio::spawn(async move { later.run().await.map(|_| ()) });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(sink.offsets().is_empty());
    log.append(&acme(), [LoginFailure::new("late").at(at())], at()).await.unwrap();
    sink.taken.notified().await;
    assert_eq!(sink.offsets(), [vec![8]]);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn stores_a_position_only_after_the_sink_has_answered_for_it() {
    let (log, positions) = (log(3).await, Arc::new(MemoryPositions::default()));
    let sink = Scripted::new([Err(busy()), Ok(2)]);
    run(follower(&log, sink.clone(), positions.clone(), Arc::new(Heard::default())), &sink, 1).await;
    assert_eq!(positions.load("splunk", &acme()).await.unwrap(), None);
    run(follower(&log, sink.clone(), positions.clone(), Arc::new(Heard::default())), &sink, 3).await;
    // Two of three were taken: the third comes again.
    assert_eq!(sink.offsets(), [vec![1, 2, 3], vec![1, 2, 3], vec![3]]);
    assert_eq!(positions.load("splunk", &acme()).await.unwrap(), Some(Offset::new(3)));
}

#[tokio::test(start_paused = true)]
async fn tries_again_ever_more_slowly_and_says_when_a_sink_stands_still() {
    let (log, heard) = (log(1).await, Arc::new(Heard::default()));
    let sink = Scripted::new(std::iter::repeat_n(Err(busy()), 11));
    run(follower(&log, sink.clone(), Arc::new(MemoryPositions::default()), heard.clone()), &sink, 12).await;
    let waits: Vec<u64> = sink.seconds().windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert_eq!(RETRY_LONGEST.as_secs(), 300);
    let told = heard.0.lock().unwrap().clone();
    assert_eq!(
        told,
        [News::Stalled { after: Offset::START, why: busy() }, News::Resumed { after: Offset::new(1) }]
    );
}

#[tokio::test(start_paused = true)]
async fn waits_as_long_as_a_sink_asks_and_not_for_ever() {
    let asks = |seconds| {
        let after = Some(Duration::from_secs(seconds));
        Err(SinkError::Unavailable { why: "it answered 429".to_owned(), after })
    };
    let sink = Scripted::new([asks(30), asks(0), asks(1_000_000)]);
    run(
        follower(
            &log(1).await,
            sink.clone(),
            Arc::new(MemoryPositions::default()),
            Arc::new(Heard::default()),
        ),
        &sink,
        4,
    )
    .await;
    let waits: Vec<u64> = sink.seconds().windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits, [30, 2, 3_600]);
}

#[tokio::test(start_paused = true)]
async fn says_at_once_where_only_a_person_can_mend_it() {
    let denied = SinkError::Denied { why: "it answered 403, code 4".to_owned() };
    let (sink, heard) =
        (Scripted::new([Err(denied.clone()), Err(denied.clone())]), Arc::new(Heard::default()));
    run(follower(&log(1).await, sink.clone(), Arc::new(MemoryPositions::default()), heard.clone()), &sink, 3)
        .await;
    let told = heard.0.lock().unwrap().clone();
    assert_eq!(
        told,
        [News::Stalled { after: Offset::START, why: denied }, News::Resumed { after: Offset::new(1) }]
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_refused_holds_up_none_behind_it_and_is_told() {
    let (log, heard, positions) =
        (log(5).await, Arc::new(Heard::default()), Arc::new(MemoryPositions::default()));
    let sink =
        Scripted::new([Err(SinkError::Refused { index: 1, why: "it answered 400, code 6".to_owned() })]);
    run(follower(&log, sink.clone(), positions.clone(), heard.clone()), &sink, 2).await;
    assert_eq!(sink.offsets(), [vec![1, 2, 3], vec![3, 4, 5]]);
    let told = heard.0.lock().unwrap().clone();
    assert!(
        matches!(&told[..], [News::Refused { offset, why, .. }] if *offset == Offset::new(2) && why.contains("code 6")),
        "{told:?}"
    );
    assert_eq!(positions.load("splunk", &acme()).await.unwrap(), Some(Offset::new(5)));
}

/// Follows until the sink is through with everything up to here, or for an hour.
async fn follow(follower: Follower<MemoryStore>, sink: &Picky, last: u64) {
    let running = tokio::spawn(async move { follower.run().await.map(|_| ()) });
    let through = async {
        while sink.taken().last() != Some(&last) {
            sink.asked.notified().await;
        }
    };
    _ = tokio::time::timeout(Duration::from_secs(3_600), through).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(!running.is_finished());
    running.abort();
    let _ = running.await;
}

/// What was refused, and what else was told.
fn refused(heard: &Heard) -> (Vec<u64>, Vec<News>) {
    let told = heard.0.lock().unwrap().clone();
    let (refused, other): (Vec<_>, Vec<_>) =
        told.into_iter().partition(|news| matches!(news, News::Refused { .. }));
    let offset = |news: &News| match news {
        News::Refused { offset, .. } => offset.as_u64(),
        _ => unreachable!(),
    };
    (refused.iter().map(offset).collect(), other)
}

fn refuses_all(count: usize) -> News {
    let why = SinkError::RefusesAll { count, why: "it answered 400".to_owned() };
    News::Stalled { after: Offset::START, why }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_refuses_whatever_comes_stands_still_and_nothing_is_lost() {
    let (log, heard, positions) =
        (log(30).await, Arc::new(Heard::default()), Arc::new(MemoryPositions::default()));
    let sink = Picky::new(0..=u64::MAX);
    follow(follower(&log, sink.clone(), positions.clone(), heard.clone()), &sink, 30).await;
    assert_eq!(refused(&heard), (vec![], vec![refuses_all(REFUSED_RUNNING_MAX)]));
    assert_eq!(positions.load("splunk", &acme()).await.unwrap(), None);
    let tried = sink.tried.lock().unwrap().len();
    assert!((11..30).contains(&tried), "one more with each retry: {tried}");

    // Another run begins where that one began; and once somebody has mended the sink, it gets everything.
    let heard = Arc::new(Heard::default());
    let later = follower(&log, sink.clone(), positions.clone(), heard.clone());
    let running = tokio::spawn(async move { later.run().await.map(|_| ()) });
    heard.1.notified().await;
    sink.refuse(0..=0);
    while sink.taken().last() != Some(&30) {
        sink.asked.notified().await;
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    running.abort();
    assert_eq!(sink.taken(), (1..=30).collect::<Vec<_>>());
    let resumed = News::Resumed { after: Offset::new(1) };
    assert_eq!(refused(&heard), (vec![], vec![refuses_all(REFUSED_RUNNING_MAX), resumed]));
    assert_eq!(positions.load("splunk", &acme()).await.unwrap(), Some(Offset::new(30)));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_events_that_a_sink_cannot_take_does_not_stop_it_for_good() {
    let (log, heard, positions) =
        (log(20).await, Arc::new(Heard::default()), Arc::new(MemoryPositions::default()));
    let sink = Picky::new(3..=14);
    follow(follower(&log, sink.clone(), positions.clone(), heard.clone()), &sink, 20).await;
    let (refused, told) = refused(&heard);
    assert_eq!(refused, (3..=14).collect::<Vec<_>>());
    assert!(matches!(told[..], [News::Stalled { .. }, News::Resumed { .. }]), "{told:?}");
    assert_eq!(sink.taken(), [1, 2, 15, 16, 17, 18, 19, 20]);
    assert_eq!(positions.load("splunk", &acme()).await.unwrap(), Some(Offset::new(20)));
}

#[tokio::test(start_paused = true)]
async fn an_event_at_which_a_sink_fails_is_found_and_a_sink_that_is_down_costs_none() {
    let (log, heard, positions) =
        (log(100).await, Arc::new(Heard::default()), Arc::new(MemoryPositions::default()));
    // Down at first, and then for good at one event in whatever company.
    let failures = (0..40).collect();
    let sink = Arc::new(Moody { poison: [58].into(), failures, partial: 1_000, ..Moody::default() });
    let follower = Follower::builder(log, acme(), "splunk", sink.clone(), positions.clone());
    let follower = follower.tell(heard.clone()).build();
    let begun = Instant::now();
    let running = tokio::spawn(async move { follower.run().await.map(|_| ()) });
    while positions.load("splunk", &acme()).await.unwrap() != Some(Offset::new(100)) {
        sink.asked.notified().await;
        tokio::task::yield_now().await;
    }
    running.abort();
    assert_eq!(*sink.taken.lock().unwrap(), (1..=100).filter(|offset| *offset != 58).collect());
    assert_eq!(refused(&heard).0, [58]);
    // Most of that it was down.
    assert!(begun.elapsed() < Duration::from_secs(4 * 3_600), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_while_a_sink_was_not_itself_is_not_taken_for_bad() {
    // It refuses five, whatever they are, and then takes everything: no listener heard of it, and none is lost.
    let (log, heard, positions) =
        (log(9).await, Arc::new(Heard::default()), Arc::new(MemoryPositions::default()));
    let refused = || Err(SinkError::Refused { index: 0, why: "it answered 400".to_owned() });
    let sink = Scripted::new(std::iter::repeat_with(refused).take(5));
    run(follower(&log, sink.clone(), positions.clone(), heard.clone()), &sink, 12).await;
    let offsets = sink.offsets();
    let tried: Vec<u64> = offsets[..5].iter().map(|batch| batch[0]).collect();
    assert_eq!(tried, [1, 2, 3, 4, 5]);
    // What came next was taken; so the others were tried again, and were taken, too.
    assert_eq!(offsets[5..], [vec![6, 7, 8], vec![1], vec![2], vec![3], vec![4], vec![5], vec![9]]);
    assert!(heard.0.lock().unwrap().is_empty());
    assert_eq!(positions.load("splunk", &acme()).await.unwrap(), Some(Offset::new(9)));
}

proptest! {
    /// Whatever a sink refuses at first, and whatever it refuses always, and however it fails in between: what is not bad is taken and
    /// never told as refused, what is bad is told, and the sink comes to the end.
    #[test]
    fn nothing_is_lost_but_what_is_bad(
        count in 1_u64..60,
        bad in proptest::collection::btree_set(1_u64..60, 0..30),
        refuses_all in 0_usize..40,
        poison in proptest::collection::btree_set(1_u64..60, 0..4),
        outages in proptest::collection::vec((20_usize..80, 1_usize..25), 0..4),
        partial in 1_usize..4,
    ) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (log, heard, positions) =
                (log(count).await, Arc::new(Heard::default()), Arc::new(MemoryPositions::default()));
            let mut sends = 0;
            let failures = outages.into_iter().flat_map(|(after, length)| {
                let begin = sends + after;
                sends = begin + length;
                begin..sends
            });
            let failures = failures.collect();
            // The last one is taken in the end, or nobody could tell.
            let sink = Arc::new(Moody {
                bad: bad.iter().copied().filter(|bad| *bad < count && !poison.contains(bad)).collect(),
                poison: poison.iter().copied().filter(|poison| *poison < count).collect(),
                refuses_all,
                failures,
                partial,
                ..Moody::default()
            });
            let follower = follower(&log, sink.clone(), positions.clone(), heard.clone());
            let running = tokio::spawn(async move { follower.run().await.map(|_| ()) });
            let through = async {
                while positions.load("splunk", &acme()).await.unwrap() != Some(Offset::new(count)) {
                    sink.asked.notified().await;
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(1_000_000), through).await.expect("it comes to the end");
            running.abort();
            let taken = sink.taken.lock().unwrap().clone();
            let bad: BTreeSet<u64> = sink.bad.union(&sink.poison).copied().collect();
            let good: BTreeSet<u64> = (1..=count).filter(|offset| !bad.contains(offset)).collect();
            assert_eq!(taken, good);
            let refused: BTreeSet<u64> = refused(&heard).0.into_iter().collect();
            assert_eq!(refused, bad);
        });
    }
}

/// Refuses everything at first, then what is bad; fails in between, and takes a few at a time.
#[derive(Default)]
struct Moody {
    bad: BTreeSet<u64>,
    /// At these it fails.
    poison: BTreeSet<u64>,
    refuses_all: usize,
    failures: BTreeSet<usize>,
    partial: usize,
    sends: AtomicUsize,
    taken: Mutex<BTreeSet<u64>>,
    asked: Notify,
}

#[async_trait]
impl Sink for Moody {
    async fn send(&self, _: &TenantId, records: &[Record]) -> Result<usize, SinkError> {
        let send = self.sends.fetch_add(1, Ordering::SeqCst);
        self.asked.notify_one();
        if self.failures.contains(&send) {
            return Err(busy());
        }
        let why = || "it answered 400".to_owned();
        if send < self.refuses_all {
            return Err(SinkError::Refused { index: 0, why: why() });
        }
        let part: Vec<u64> = records.iter().take(self.partial).map(|record| record.offset.as_u64()).collect();
        if part.iter().any(|offset| self.poison.contains(offset)) {
            return Err(busy());
        }
        let index = part.iter().position(|offset| self.bad.contains(offset));
        self.taken.lock().unwrap().extend(&part[..index.unwrap_or(part.len())]);
        match index {
            None => Ok(part.len()),
            Some(index) => Err(SinkError::Refused { index, why: why() }),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_event_is_refused_once_another_was_taken() {
    let (log, heard, positions) =
        (log(1).await, Arc::new(Heard::default()), Arc::new(MemoryPositions::default()));
    let sink = Picky::new(1..=1);
    follow(follower(&log, sink.clone(), positions.clone(), heard.clone()), &sink, 2).await;
    assert_eq!(refused(&heard), (vec![], vec![refuses_all(1)]));
    assert_eq!(positions.load("splunk", &acme()).await.unwrap(), None);
    log.append(&acme(), [LoginFailure::new("late").at(at())], at()).await.unwrap();
    follow(follower(&log, sink.clone(), positions.clone(), heard.clone()), &sink, 2).await;
    assert_eq!((refused(&heard).0, sink.taken()), (vec![1], vec![2]));
    assert_eq!(positions.load("splunk", &acme()).await.unwrap(), Some(Offset::new(2)));
}

#[tokio::test(start_paused = true)]
async fn retention_that_takes_what_is_refused_is_told_and_the_rest_goes_on() {
    let (log, heard, positions) =
        (log(14).await, Arc::new(Heard::default()), Arc::new(MemoryPositions::default()));
    let sink = Picky::new(0..=u64::MAX);
    let stalled = follower(&log, sink.clone(), positions.clone(), heard.clone());
    let running = tokio::spawn(async move { stalled.run().await.map(|_| ()) });
    heard.1.notified().await;
    log.forget(&acme(), Offset::new(4)).await.unwrap();
    while heard.0.lock().unwrap().len() < 2 {
        heard.1.notified().await;
    }
    sink.refuse(0..=0);
    while sink.taken().last() != Some(&14) {
        sink.asked.notified().await;
    }
    running.abort();
    assert_eq!(sink.taken(), (5..=14).collect::<Vec<_>>());
    let lost = News::Lost { from: Offset::START, to: Offset::new(4) };
    let (refused, told) = refused(&heard);
    assert_eq!((refused, &told[..2]), (vec![], &[refuses_all(REFUSED_RUNNING_MAX), lost][..]));
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_hangs_or_miscounts_is_tried_again() {
    let heard = Arc::new(Heard::default());
    let log = log(1).await;
    let hanging = follower(&log, Arc::new(Hanging), Arc::new(MemoryPositions::default()), heard.clone());
    let running = tokio::spawn(async move { hanging.run().await.map(|_| ()) });
    heard.1.notified().await;
    assert!(format!("{:?}", heard.0.lock().unwrap()).contains("did not answer in time"));
    running.abort();

    let sink = Scripted::new([Ok(0), Ok(9), Err(SinkError::Refused { index: 9, why: String::new() })]);
    let positions = Arc::new(MemoryPositions::default());
    run(follower(&log, sink.clone(), positions.clone(), Arc::new(Heard::default())), &sink, 4).await;
    assert_eq!(sink.offsets(), vec![vec![1]; 4]);
    assert_eq!(positions.load("splunk", &acme()).await.unwrap(), Some(Offset::new(1)));
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_stands_still_holds_up_no_other_and_no_sender() {
    let log = log(3).await;
    let stuck =
        follower(&log, Arc::new(Hanging), Arc::new(MemoryPositions::default()), Arc::new(Heard::default()));
    let stuck = tokio::spawn(async move { stuck.run().await.map(|_| ()) });
    let sink = Scripted::new([]);
    let well = follower(&log, sink.clone(), Arc::new(MemoryPositions::default()), Arc::new(Heard::default()));
    let well = tokio::spawn(async move { well.run().await.map(|_| ()) });
    sink.taken.notified().await;
    log.append(&acme(), [LoginFailure::new("late").at(at())], at()).await.unwrap();
    sink.taken.notified().await;
    assert_eq!(sink.offsets(), [vec![1, 2, 3], vec![4]]);
    stuck.abort();
    well.abort();
}

#[tokio::test(start_paused = true)]
async fn events_that_were_forgotten_before_they_were_sent_are_told_as_lost() {
    let (log, heard) = (log(6).await, Arc::new(Heard::default()));
    log.forget(&acme(), Offset::new(4)).await.unwrap();
    let sink = Scripted::new([]);
    run(follower(&log, sink.clone(), Arc::new(MemoryPositions::default()), heard.clone()), &sink, 1).await;
    assert_eq!(sink.offsets(), [vec![5, 6]]);
    assert_eq!(*heard.0.lock().unwrap(), [News::Lost { from: Offset::START, to: Offset::new(4) }]);
}

#[tokio::test(start_paused = true)]
async fn does_not_begin_where_its_position_is_not_known_or_of_another_log() {
    struct Broken;

    #[async_trait]
    impl Positions for Broken {
        async fn load(&self, _: &str, _: &TenantId) -> Result<Option<Offset>, PositionError> {
            Err(PositionError::Unreadable("no such disk".into()))
        }

        async fn save(&self, _: &str, _: &TenantId, _: Offset) -> Result<(), PositionError> {
            unreachable!("nothing was sent")
        }
    }

    let (log, sink) = (log(1).await, Scripted::new([]));
    let error =
        follower(&log, sink.clone(), Arc::new(Broken), Arc::new(Heard::default())).run().await.unwrap_err();
    assert!(matches!(error, FollowError::Position(_)));
    let ahead = Arc::new(MemoryPositions::default());
    ahead.save("splunk", &acme(), Offset::new(9)).await.unwrap();
    let error = follower(&log, sink.clone(), ahead, Arc::new(Heard::default())).run().await.unwrap_err();
    assert!(matches!(error, FollowError::Ahead(offset) if offset == Offset::new(9)));
    assert!(sink.offsets().is_empty());
}

#[tokio::test(start_paused = true)]
async fn sends_nothing_more_while_positions_cannot_be_stored() {
    struct Full(Mutex<u32>, MemoryPositions);

    #[async_trait]
    impl Positions for Full {
        async fn load(&self, sink: &str, tenant: &TenantId) -> Result<Option<Offset>, PositionError> {
            self.1.load(sink, tenant).await
        }

        async fn save(&self, sink: &str, tenant: &TenantId, to: Offset) -> Result<(), PositionError> {
            let left = {
                let mut left = self.0.lock().unwrap();
                *left = left.saturating_sub(1);
                *left
            };
            if left > 0 {
                return Err(PositionError::Failed("disk full".into()));
            }
            self.1.save(sink, tenant, to).await
        }
    }

    let (log, heard) = (log(4).await, Arc::new(Heard::default()));
    let (sink, positions) = (Scripted::new([]), Arc::new(Full(Mutex::new(5), MemoryPositions::default())));
    run(follower(&log, sink.clone(), positions.clone(), heard.clone()), &sink, 2).await;
    // The disk was full for 1 + 2 + 4 + 8 seconds.
    assert_eq!((sink.offsets(), sink.seconds()), (vec![vec![1, 2, 3], vec![4]], vec![0, 15]));
    assert_eq!(positions.load("splunk", &acme()).await.unwrap(), Some(Offset::new(4)));
    assert!(matches!(heard.0.lock().unwrap()[..], [News::Stalled { .. }, News::Resumed { .. }]));
}

#[tokio::test]
async fn positions_in_files_survive_and_are_kept_apart() {
    let dir = tempfile::tempdir().unwrap();
    let positions = FilePositions::open(dir.path().join("positions")).unwrap();
    let other = TenantId::new("../../other").unwrap();
    assert_eq!(positions.load("splunk", &acme()).await.unwrap(), None);
    positions.save("splunk", &acme(), Offset::new(3)).await.unwrap();
    positions.save("splunk", &acme(), Offset::new(5)).await.unwrap();
    positions.save("splunk", &other, Offset::new(7)).await.unwrap();
    positions.save("../sentinel", &acme(), Offset::new(9)).await.unwrap();
    let again = FilePositions::open(dir.path().join("positions")).unwrap();
    assert_eq!(again.load("splunk", &acme()).await.unwrap(), Some(Offset::new(5)));
    assert_eq!(again.load("splunk", &other).await.unwrap(), Some(Offset::new(7)));
    assert_eq!(again.load("../sentinel", &acme()).await.unwrap(), Some(Offset::new(9)));
    // Where one ends and the other begins is no matter of taste.
    assert_eq!(again.load("splun", &TenantId::new("kacme").unwrap()).await.unwrap(), None);
    // Nothing lies beside the directory.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);

    // A file that says something else is no position, and none is made up.
    for entry in std::fs::read_dir(dir.path().join("positions")).unwrap() {
        std::fs::write(entry.unwrap().path(), b"{\"sink\":\"splunk\"").unwrap();
    }
    assert!(matches!(again.load("splunk", &acme()).await.unwrap_err(), PositionError::Unreadable(_)));
}

#[cfg(feature = "export-http")]
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_a_collector_finds_bad_is_found_among_the_others_and_alone_passed_over() {
    use super::hec::outlet;
    use super::receivers::{Receiver, TOKEN};
    use mfa_events::export::HecSink;

    let receivers = [Receiver::hec(), Receiver::sentinel()];
    let url = |receiver: &Receiver| format!("http://{}", receiver.addr());
    let hec = HecSink::builder(url(&receivers[0]), TOKEN).outlet(outlet()).build().unwrap();
    let sentinel = super::sentinel::sink(&receivers[1]);
    let sinks: [Arc<dyn Sink>; 2] = [Arc::new(hec), Arc::new(sentinel)];
    for (receiver, sink) in receivers.iter().zip(sinks) {
        receiver.poison("actor-57");
        let (log, heard, positions) =
            (log(100).await, Arc::new(Heard::default()), Arc::new(MemoryPositions::default()));
        let follower = Follower::builder(log, acme(), "collector", sink, positions.clone());
        let follower = follower.tell(heard.clone()).build();
        let running = tokio::spawn(async move { follower.run().await.map(|_| ()) });
        heard.1.notified().await;
        while positions.load("collector", &acme()).await.unwrap() != Some(Offset::new(100)) {
            tokio::task::yield_now().await;
        }
        running.abort();
        assert_eq!(refused(&heard), (vec![58], vec![]));
        let taken: BTreeSet<String> =
            receiver.batches().concat().iter().map(|entry| actor(entry).to_owned()).collect();
        assert_eq!((taken.len(), taken.contains("actor-57")), (99, false));
    }
}

/// Whose event it is, at either receiver.
#[cfg(feature = "export-http")]
fn actor(entry: &serde_json::Value) -> &str {
    entry.pointer("/event/actor_id").or(entry.pointer("/actor_id")).unwrap().as_str().unwrap()
}

#[tokio::test]
async fn a_sink_whose_name_is_too_long_does_not_begin_and_the_longest_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let positions = Arc::new(FilePositions::open(dir.path()).unwrap());
    // What takes most room in the file.
    let longest = "\u{1}".repeat(SINK_NAME_BYTES_MAX);
    let tenant = TenantId::new("é".repeat(mfa_events::id::ID_BYTES_MAX / 2)).unwrap();
    positions.save(&longest, &tenant, Offset::new(u64::MAX)).await.unwrap();
    assert_eq!(positions.load(&longest, &tenant).await.unwrap(), Some(Offset::new(u64::MAX)));
    for name in [String::new(), format!("{longest}x")] {
        let sink = Scripted::new([]);
        let begun = Follower::builder(log(1).await, acme(), &name, sink.clone(), positions.clone()).build();
        assert!(matches!(begun.run().await.unwrap_err(), FollowError::Position(PositionError::Name)));
        assert!(matches!(positions.save(&name, &acme(), Offset::new(1)).await, Err(PositionError::Name)));
        assert!(sink.offsets().is_empty());
    }
}
