//! A proxy that fails on request, and knows what really happened.
//!
//! It stands between a client and a server and does to each request what its script says: keeps it from the server, or
//! hands it on and then loses, bends or delays the answer. Beside that it keeps a record of what reached the server and what the client was
//! told, so that what a client claims afterwards can be held against the truth.

use std::time::{Duration, SystemTime};

use crate::http::{Answer, Request};

mod bomb;
mod proxy;

pub use proxy::FaultProxy;

/// What is done to one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Whether the server sees it.
    pub reach: Reach,
    /// What the client gets.
    pub reply: Reply,
}

/// Whether a request reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It does, and the server acts on it.
    Forwarded,
    /// It does not.
    Withheld,
}

/// What a client gets.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// What the server said; nothing can be said where the request was withheld: the connection is reset.
    Genuine,
    /// What the server said, so much later.
    Late(Duration),
    /// Nothing, until the client gives up.
    Silence,
    /// The connection is reset before the first byte.
    Reset,
    /// The connection ends amid the head.
    EndInHead,
    /// The connection ends amid the body. An answer without a body ends amid its head.
    EndInBody,
    /// Another status, with a SCIM error as its body.
    Status(u16, Option<RetryAfter>),
    /// Status 200 and a page that asks a person to sign in.
    LoginPage,
    /// Valid HTTP with the first half of the server's body.
    TruncatedBody,
    /// The server's body, said to be of another type.
    ContentType(&'static str),
    /// The body of the answer before, which was to another page of the same list. The genuine one where there was none.
    PageBefore,
    /// A small compressed body that is this many bytes of JSON once decompressed.
    Bomb(u64),
    /// Whatever the test wants to be said.
    Canned(Answer),
}

/// How a server says when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// In so many seconds.
    Seconds(u64),
    /// At a date so many seconds from now.
    DateIn(u64),
}

impl Fault {
    /// Nothing is done to it.
    pub const PASS: Self = Self::after(Reply::Genuine);

    /// The server acts on it; the client gets `reply`.
    pub const fn after(reply: Reply) -> Self {
        Self { reach: Reach::Forwarded, reply }
    }

    /// The server never sees it; the client gets `reply`.
    pub const fn instead(reply: Reply) -> Self {
        Self { reach: Reach::Withheld, reply }
    }
}

/// One request and what became of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Exchange {
    /// Its place in the order of arrival, from 0.
    pub number: usize,
    /// When it had arrived whole.
    pub at: SystemTime,
    /// What the client sent. The value of `Authorization` is not kept.
    pub request: Request,
    /// What was done to it.
    pub fault: Fault,
    /// What the server said, where it was asked and answered.
    pub server: Option<Answer>,
    /// The status that the client was shown; `None` where the head did not reach it whole.
    pub shown: Option<u16>,
}

impl Exchange {
    /// Whether the server acted on it with success.
    pub fn was_applied(&self) -> bool {
        self.server.as_ref().is_some_and(|answer| (200..300).contains(&answer.status))
    }
}
