//! A client, the guard and a target that talk to each other.

use std::collections::VecDeque;

use serde_json::Value;
use session_filter::event::{Event, Subject};
use session_filter::sftp::{Frames, Guard, Hashing, Notice, Packet, Step, Violation};
use session_filter::{FileAccess, Refusal};
use sha2::{Digest as _, Sha256};

use super::target::{self, OK, Reader, Target};

pub(super) type Rule = Box<dyn Fn(FileAccess, &str) -> bool>;

/// Client, guard and target in one place.
pub(super) struct Bench {
    pub(super) guard: Guard,
    pub(super) target: Target,
    pub(super) may: Rule,
    pub(super) epoch: u64,
    /// Answers of the target on their way.
    replies: VecDeque<Vec<u8>>,
    pub(super) reversed: bool,
    pub(super) to_client: Vec<Vec<u8>>,
    pub(super) to_target: Vec<Vec<u8>>,
    pub(super) notices: Vec<Notice>,
    pub(super) violation: Option<Violation>,
    next_id: u32,
}

/// Everything strictly below `/up`, and looking at what is on the way there.
pub(super) fn below_up(access: FileAccess, path: &str) -> bool {
    path.starts_with("/up/") || (access == FileAccess::Stat && (path == "/up" || path == "/"))
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(Target::new(), Box::new(below_up))
    }

    pub(super) fn with(target: Target, may: Rule) -> Self {
        let mut bench = Self {
            guard: Guard::new(Hashing::Whole),
            target,
            may,
            epoch: 1,
            replies: VecDeque::new(),
            reversed: false,
            to_client: Vec::new(),
            to_target: Vec::new(),
            notices: Vec::new(),
            violation: None,
            next_id: 100,
        };
        bench.send(&[target::init(6)]);
        assert_eq!(bench.to_client.remove(0)[4], 2, "a version is answered");
        assert_eq!(bench.guard.home().unwrap().as_str(), target::HOME);
        bench.to_target.clear();
        bench
    }

    pub(super) fn id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    /// Gives the guard all of these at once, and works until nothing is left to do.
    pub(super) fn send(&mut self, packets: &[Vec<u8>]) {
        let mut frames = Frames::default();
        frames.push(&packets.concat());
        // More steps than any of the tests takes: a guard that goes round in circles fails.
        for _ in 0..100_000 {
            match self.guard.next(self.epoch) {
                Step::ToTarget(packet) => {
                    self.to_target.push(packet.to_vec());
                    let reply = self.target.handle(&packet);
                    self.replies.push_back(reply);
                }
                Step::ToClient(packet) => self.to_client.push(packet.to_vec()),
                Step::Check { access, path } => {
                    let decision = match (self.may)(access, path.as_str()) {
                        true => Ok(()),
                        false => Err(Refusal::new("path_not_permitted", format!("no {access} on {path}"))),
                    };
                    self.guard.decided(self.epoch, decision);
                }
                Step::Record(notice) => {
                    self.notices.push(*notice);
                    self.guard.recorded();
                }
                Step::Request => match frames.next() {
                    Ok(Some(packet)) => {
                        if let Err(violation) = self.guard.request(packet, self.epoch) {
                            self.violation = Some(violation);
                            return;
                        }
                    }
                    Ok(None) if self.replies.is_empty() => return,
                    Ok(None) => self.deliver(),
                    Err(violation) => {
                        self.violation = Some(violation);
                        return;
                    }
                },
                Step::Wait if self.replies.is_empty() => panic!("the guard waits for nothing"),
                Step::Wait => self.deliver(),
            }
        }
        panic!("the guard does not come to rest");
    }

    pub(super) fn deliver(&mut self) {
        let reply = if self.reversed { self.replies.pop_back() } else { self.replies.pop_front() };
        let replied = self.guard.reply(packet(&reply.unwrap())).unwrap();
        self.notices.extend(replied.notices);
        self.to_client.extend(replied.to_client.map(|packet| packet.to_vec()));
    }

    /// One request and its answer.
    pub(super) fn ask(&mut self, packet: Vec<u8>) -> Vec<u8> {
        self.to_client.clear();
        self.to_target.clear();
        self.send(&[packet]);
        assert_eq!(self.to_client.len(), 1, "one request, one answer");
        self.to_client.remove(0)
    }

    pub(super) fn code(&mut self, packet: Vec<u8>) -> u32 {
        let answer = self.ask(packet);
        match answer[4] {
            101 => Reader(&answer[9..]).u32(),
            _ => OK,
        }
    }

    pub(super) fn open(&mut self, path: &str, flags: u32) -> Vec<u8> {
        let id = self.id();
        let answer = self.ask(target::open(id, path, flags));
        assert_eq!(answer[4], 102, "{path} opens");
        Reader(&answer[9..]).string()
    }

    pub(super) fn events(&self, event_type: &str) -> Vec<Value> {
        self.notices.iter().map(value).filter(|event| event["event_type"] == event_type).collect()
    }

    pub(super) fn paths(&self, packets: &[Vec<u8>], kind: u8) -> Vec<String> {
        packets.iter().filter(|packet| packet[4] == kind).map(|packet| Reader(&packet[9..]).text()).collect()
    }
}

pub(super) fn value(notice: &Notice) -> Value {
    let event =
        Event::new(Subject::default(), notice.outcome, notice.detail.clone(), chrono::DateTime::UNIX_EPOCH)
            .correlated(notice.correlation_id.clone());
    serde_json::to_value(match &notice.reason {
        Some((code, message)) => event.because(code, message),
        None => event,
    })
    .unwrap()
}

pub(super) fn packet(bytes: &[u8]) -> Packet {
    let mut frames = Frames::default();
    frames.push(bytes);
    frames.next().unwrap().unwrap()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) const READ: u32 = 0x1;
pub(super) const PUT: u32 = 0x2 | 0x8 | 0x10;
