//! A service that is killed while events come and somebody reads.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use crate::stage::{Api, Settings, Started, assert_each_once, audited, event, id, until};

const ROUNDS: usize = 4;
const SENDERS: usize = 3;

/// Sends until it is told to end, and notes what it was told is kept.
fn sends(
    api: Api,
    number: usize,
    kept: Arc<Mutex<Vec<String>>>,
    ends: Arc<AtomicBool>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut batch = Vec::new();
        while !ends.load(Ordering::Relaxed) || !batch.is_empty() {
            if batch.is_empty() {
                batch = (0..7)
                    .map(|one| {
                        let mut event = event(&format!("sender-{number}-{one}"));
                        event["event_id"] = uuid().into();
                        event.to_string()
                    })
                    .collect();
            }
            // Whoever is not answered sends the same again.
            if let Ok(answer) = api.try_post(&batch.join("\n"))
                && answer.status == 200
            {
                let report: Value = serde_json::from_slice(&answer.body).unwrap();
                let events = report["events"].as_array().unwrap();
                assert_eq!(events.len(), batch.len());
                kept.lock().unwrap().extend(events.iter().map(id));
                batch.clear();
            }
        }
    })
}

fn uuid() -> String {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).unwrap();
    let hex = data_encoding::HEXLOWER.encode(&bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[test]
fn no_acknowledged_event_is_lost_or_doubled_to_a_reader_or_in_the_audit_log() {
    let settings = Settings::new("limits = { events_per_s = 1000000, requests_per_s = 1000000 }\n");
    let (kept, ends) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let mut service = Some(Started::serve(&settings.config));
    let senders: Vec<_> = (0..SENDERS)
        .map(|number| sends(settings.api(), number, Arc::clone(&kept), Arc::clone(&ends)))
        .collect();
    // A reader that waits with a cursor, and comes again with it.
    let (api, done) = (settings.api(), Arc::new(AtomicBool::new(false)));
    let reader = {
        let done = Arc::clone(&done);
        thread::spawn(move || {
            let (mut offset, mut read) = ("-1".to_owned(), Vec::new());
            loop {
                let last_look = done.load(Ordering::Relaxed);
                let live = if last_look { "" } else { "&live=long-poll" };
                let request = api.request("GET", &format!("/v1/stream?offset={offset}{live}"));
                let Ok(page) = request.send(api.address) else { continue };
                assert!([200, 204].contains(&page.status), "{}", String::from_utf8_lossy(&page.body));
                offset = page.value("stream-next-offset").unwrap().to_owned();
                let lines = String::from_utf8(page.body.clone()).unwrap();
                read.extend(lines.lines().map(|line| id(&serde_json::from_str(line).unwrap())));
                if last_look && page.value("stream-up-to-date") == Some("true") {
                    return read;
                }
            }
        })
    };
    for round in 1..=ROUNDS {
        let enough = round * 150;
        until("sending", || (kept.lock().unwrap().len() >= enough).then_some(()));
        service.take().unwrap().process.kill().unwrap();
        service = Some(Started::serve(&settings.config));
    }
    ends.store(true, Ordering::Relaxed);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    done.store(true, Ordering::Relaxed);
    // Whoever waits is woken.
    assert_eq!(settings.api().post(&event("last").to_string()).0, 200);
    let read = reader.join().unwrap();
    assert_each_once(&read);
    let kept: BTreeSet<_> = kept.lock().unwrap().iter().cloned().collect();
    let seen: BTreeSet<_> = read.iter().cloned().collect();
    assert!(kept.len() >= ROUNDS * 150);
    assert!(kept.is_subset(&seen), "lost: {:?}", kept.difference(&seen).collect::<Vec<_>>());
    let streamed = settings.api().ids();
    assert!(read.iter().eq(streamed.iter().take(read.len())), "in the order of the stream");
    assert_eq!(service.unwrap().end().code(), Some(0));
    assert_eq!(audited(&settings.data_dir()), streamed);
}
