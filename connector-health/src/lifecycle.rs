//! When access begins and ends: end dates that are kept, and a source of persons that is compared with what it said before.
//!
//! ```text
//!  contract ends, right ends ──▶ Schedule::apply ──▶ due(now) ──▶ Due { person, what, at } ──▶ outbox ──▶ executed(id)
//!  HR feed, directory ──▶ Snapshot ──▶ diff(before, now) ──▶ joiners, movers, leavers (a mass of leavers is held)
//! ```

mod end;
mod feed;
mod schedule;
mod source;

pub use end::{End, EndError};
pub use feed::{Columns, FEED_BYTES_MAX, FEED_COLUMNS_MAX, Status};
pub use schedule::{
    Applied, Change, Due, DueId, SCHEDULE_TERMS_MAX, Schedule, ScheduleError, ScheduleSettings, Subject,
    WARNINGS_MAX, What,
};
pub use source::{
    AttributeChange, Difference, Entry, Fact, FeedGuard, Gone, Held, SNAPSHOT_ENTRIES_MAX, Snapshot,
    SnapshotError, diff,
};
