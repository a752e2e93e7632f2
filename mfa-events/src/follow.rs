//! Reading on and on.

use crate::id::TenantId;
use crate::log::{EventLog, Page, ReadError, Which};
use crate::store::{EventStore, Offset};

/// A reader that goes on from where it is, and waits where there is nothing more yet. It misses no event, however slow it is.
pub struct Follow<S> {
    log: EventLog<S>,
    tenant: TenantId,
    which: Which,
    position: Offset,
}

impl<S> std::fmt::Debug for Follow<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follow")
            .field("tenant", &self.tenant)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl<S: EventStore> EventLog<S> {
    /// Reads a tenant's events after an offset, and then each that comes.
    pub fn follow(&self, tenant: TenantId, which: Which, after: Offset) -> Follow<S> {
        Follow { log: self.clone(), tenant, which, position: after }
    }
}

impl<S: EventStore> Follow<S> {
    /// The next events, at least one, at most `limit` and [`PAGE_EVENTS_MAX`](crate::log::PAGE_EVENTS_MAX). Waits for it where there is none.
    ///
    /// # Errors
    /// Where what comes next is no longer retained in full, or the store fails. The position stays.
    ///
    /// # Cancellation
    /// Nothing is lost: the position moves when events are returned, or where there were none to return.
    pub async fn next(&mut self, limit: usize) -> Result<Page, ReadError> {
        loop {
            let page = self.log.read(&self.tenant, &self.which, self.position, limit).await?;
            self.position = page.next;
            if !page.records.is_empty() {
                return Ok(page);
            }
            self.log.wait(&self.tenant, self.position).await?;
        }
    }

    /// What was returned reaches to there.
    pub fn position(&self) -> Offset {
        self.position
    }
}
