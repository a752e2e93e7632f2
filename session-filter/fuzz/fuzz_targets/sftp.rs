//! Any client and any target on both sides of the SFTP guard. Neither makes it panic, wait for nothing or go round in circles; and whatever the
//! target says about paths, no operation is sent on one that is not permitted.
//!
//! The input is a script: one byte says who speaks (even: the client, odd: the target), the second how many bytes follow.
#![no_main]

use libfuzzer_sys::fuzz_target;
use session_filter::Refusal;
use session_filter::sftp::{Frames, Guard, Hashing, Packet, Step};

const PERMITTED: &str = "/up/";

/// A packet with this body, however long.
fn packet(body: &[u8]) -> Option<Packet> {
    let mut frames = Frames::default();
    frames.push(&u32::try_from(body.len()).expect("a script's pieces are short").to_be_bytes());
    frames.push(body);
    frames.next().ok().flatten()
}

fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

/// Requests that do something to a path, not those by which the guard itself looks paths up.
fn assert_permitted(sent: &[u8]) {
    let (kind, body) = (sent[4], &sent[9.min(sent.len())..]);
    let paths = match kind {
        3 | 9 | 11 | 13 | 14 | 15 | 17 | 19 => 1,
        18 => 2,
        _ => return,
    };
    let mut rest = body;
    for _ in 0..paths {
        let (path, after) = string(rest).expect("the guard sends whole fields");
        assert!(path.starts_with(PERMITTED.as_bytes()), "{kind} on {:?}", String::from_utf8_lossy(path));
        rest = after;
    }
}

fuzz_target!(|script: &[u8]| {
    let mut guard = Guard::new(Hashing::Whole);
    let mut rest = script;
    let mut epoch = 0_u64;
    // The guard may take a few steps per packet; there are fewer packets than bytes.
    for _ in 0..script.len().saturating_mul(64).saturating_add(64) {
        let may_request = match guard.next(epoch) {
            Step::ToTarget(sent) => {
                assert_permitted(&sent);
                continue;
            }
            Step::ToClient(_) => continue,
            Step::Check { path, .. } => {
                let decision = match path.as_str().starts_with(PERMITTED) {
                    true => Ok(()),
                    false => Err(Refusal::new("path_not_permitted", "no")),
                };
                guard.decided(epoch, decision);
                continue;
            }
            Step::Record(_) => {
                guard.recorded();
                continue;
            }
            Step::Request => true,
            Step::Wait => false,
        };
        let [who, length, after @ ..] = rest else {
            guard.finish();
            return;
        };
        let (body, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        epoch = epoch.wrapping_add(u64::from(who >> 7));
        let Some(packet) = packet(body) else { continue };
        let spoke = match (who % 2 == 0, may_request) {
            (true, true) => guard.request(packet, epoch),
            (true, false) => continue,
            (false, _) => guard.reply(packet).map(drop),
        };
        if spoke.is_err() {
            guard.finish();
            return;
        }
    }
    panic!("the guard does not come to rest");
});
