//! Events of one answer, as they are written.

use serde_json::value::RawValue;

use super::{PAGE_BYTES_MAX, Problem, Shared};
use crate::id::TenantId;
use crate::log::{PAGE_EVENTS_MAX, Which};
use crate::store::{EventStore, Offset, Record};

/// Events that are read at first: how large they are says how many more are.
const EVENTS_AT_FIRST: usize = 256;

/// Events as JSON, and where they end.
pub(super) struct Written {
    /// Each with its offset, in order.
    pub(super) events: Vec<(Offset, Vec<u8>)>,
    pub(super) next: Offset,
    pub(super) is_up_to_date: bool,
}

impl Written {
    /// None, up to here.
    pub(super) fn nothing(next: Offset) -> Self {
        Self { events: Vec::new(), next, is_up_to_date: true }
    }
}

/// Counts what an answer has room for.
pub(super) struct Room {
    events: usize,
    bytes_max: usize,
    used: (usize, usize),
}

impl Room {
    /// For so many events and bytes; one event always has room.
    pub(super) fn new(events: usize, bytes_max: usize) -> Self {
        Self { events: events.clamp(1, PAGE_EVENTS_MAX), bytes_max, used: (0, 0) }
    }

    /// How many events to read next, by the size of those before; none where there is no room.
    pub(super) fn next(&self) -> Option<usize> {
        let (events, bytes) = self.used;
        let (left, room) = (self.events.saturating_sub(events), self.bytes_max.saturating_sub(bytes));
        let fit = match bytes.checked_div(events) {
            None => EVENTS_AT_FIRST,
            Some(each) => room.checked_div(each.max(1)).unwrap_or_default().saturating_add(1),
        };
        (left > 0 && (room > 0 || events == 0)).then(|| fit.min(left))
    }

    /// Whether this one still has room, which it takes.
    pub(super) fn takes(&mut self, bytes: usize) -> bool {
        let (events, used) = self.used;
        let takes = events == 0 || (events < self.events && used.saturating_add(bytes) <= self.bytes_max);
        if takes {
            self.used = (events.saturating_add(1), used.saturating_add(bytes));
        }
        takes
    }
}

/// Reads on after an offset, as many events as fit into an answer of so many bytes.
pub(super) async fn read<S: EventStore>(
    api: &Shared<S>,
    tenant: &TenantId,
    which: &Which,
    after: Offset,
    room: &mut Room,
) -> Result<Written, Problem> {
    let mut written = Written::nothing(after);
    while let Some(most) = room.next() {
        let page = match api.log.read(tenant, which, written.next, most).await {
            Ok(page) => page,
            // What was read is an answer; whoever asks for the rest is told.
            Err(_) if !written.events.is_empty() => {
                written.is_up_to_date = false;
                break;
            }
            Err(error) => return Err(error.into()),
        };
        for record in &page.records {
            let json = record.to_json(tenant);
            if !room.takes(json.len()) {
                written.is_up_to_date = false;
                return Ok(written);
            }
            written.events.push((record.offset, json));
            written.next = record.offset;
        }
        (written.next, written.is_up_to_date) = (page.next, page.is_up_to_date);
        if page.is_up_to_date {
            break;
        }
    }
    Ok(written)
}

/// An event among others in JSON.
pub(super) fn raw(record: &Record, tenant: &TenantId) -> Result<Box<RawValue>, Problem> {
    let json = String::from_utf8(record.to_json(tenant)).ok();
    json.and_then(|json| RawValue::from_string(json).ok()).ok_or_else(|| {
        let status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
        Problem::new(status, "internal", "an event could not be written")
    })
}

/// Room for a whole answer.
pub(super) fn whole(limit: usize) -> Room {
    Room::new(limit, PAGE_BYTES_MAX)
}
