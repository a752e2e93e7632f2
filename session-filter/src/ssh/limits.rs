//! Named limits of the SSH engine: whatever a peer could grow has one.

use std::time::Duration;

/// What the proxy allows before it refuses. Every field has a default that suits a small installation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Time from connecting to being logged in; then the connection is closed.
    pub login_grace: Duration,
    /// Time for choosing a target, for whoever may enter several and has named none; then the connection is closed.
    pub choice_time: Duration,
    /// Connections that are not logged in yet; further ones are closed at once.
    pub unauthenticated_max: usize,
    /// Of these, how many from one source address (IPv6: from one /64), so that no stranger keeps out everybody else.
    pub unauthenticated_per_source_max: usize,
    /// Connections in all; further ones are closed at once.
    pub connections_max: usize,
    /// Connections to targets in all; then channels that would need another are refused. A session has one for each channel that runs,
    /// so that [`connections_max`](Self::connections_max) alone says little about open files.
    pub target_connections_max: usize,
    /// Failed logins per connection; then it is closed.
    pub login_attempts_max: usize,
    /// Failed logins per user name and source address within [`Limits::login_failure_window`]; then that pair is
    /// refused until the window has passed. Nobody else is locked out.
    pub login_failures_max: usize,
    /// Failed logins per source address, whatever the names, within the same window.
    pub login_failures_per_source_max: usize,
    /// Window of [`Limits::login_failures_max`].
    pub login_failure_window: Duration,
    /// Wrong one-time codes per user within [`Limits::code_failure_window`], whatever the source addresses: codes are short enough to be
    /// guessed from many. Only who has the user's password or key gets that far, so nobody else can use this to keep the user out.
    pub code_failures_max: usize,
    /// Window of [`Limits::code_failures_max`].
    pub code_failure_window: Duration,
    /// Public keys offered per connection; then keys are refused unseen, while other methods stay open. Clients offer all keys they
    /// have, so that these do not count as failed logins.
    pub offered_keys_max: usize,
    /// Sessions of one user at a time; and, besides, connections of one user at the menu.
    pub sessions_per_user_max: usize,
    /// Open channels per connection; further ones are refused.
    pub channels_max: usize,
    /// Remote forwards of one connection; further ones are refused.
    pub listeners_max: usize,
    /// Bytes that a client may have sent on one channel and that the target has not taken yet; then the client's connection waits.
    pub pending_bytes_max: usize,
    /// How long it waits without anything moving; then that channel is closed, and the others go on.
    pub upload_stall: Duration,
    /// Refused requests per connection; then the session ends: a client that keeps rattling at doors.
    pub refusals_max: u64,
    /// Time for connecting and logging in to the target, and for each answer from it before a command runs.
    pub target_timeout: Duration,
    /// Time for the gatekeeper (and the facts it asks for) to answer; silence is a denial.
    pub gatekeeper_timeout: Duration,
    /// Time for the last words to reach the client and for running commands to be told to stop.
    pub farewell: Duration,
    /// Interval at which a live session's admission is evaluated again, besides at once on every policy change.
    pub reevaluate_every: Duration,
    /// Silence from the client after which it is asked for a sign of life; four unanswered questions end the session.
    pub keepalive_every: Duration,
    /// Pieces of fully recorded output of one command that may be ahead of the disk; then the command waits.
    pub output_ahead_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            login_grace: Duration::from_secs(60),
            choice_time: Duration::from_secs(120),
            unauthenticated_max: 256,
            unauthenticated_per_source_max: 64,
            connections_max: 1024,
            target_connections_max: 4096,
            login_attempts_max: 4,
            login_failures_max: 20,
            login_failures_per_source_max: 200,
            login_failure_window: Duration::from_secs(60),
            code_failures_max: 50,
            code_failure_window: Duration::from_secs(3600),
            offered_keys_max: 16,
            sessions_per_user_max: 64,
            channels_max: 32,
            listeners_max: 16,
            pending_bytes_max: 4 * 1024 * 1024,
            upload_stall: Duration::from_secs(15),
            refusals_max: 1000,
            target_timeout: Duration::from_secs(10),
            gatekeeper_timeout: Duration::from_secs(5),
            farewell: Duration::from_millis(400),
            reevaluate_every: Duration::from_secs(5),
            keepalive_every: Duration::from_secs(60),
            output_ahead_max: 64,
        }
    }
}
