//! What the operations that are safe to repeat need of a client.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::Method;
use serde_json::Value;

use crate::client::Client;
use crate::dialect::{Dialect, Paging};
use crate::ensure::Care;
use crate::error::{Error, ErrorKind};
use crate::filter::Filter;
use crate::request;
use crate::resource::{Attributes, attribute};

/// Whether filters were seen to find what is there.
#[derive(Debug, Default)]
pub(crate) struct FilterTrust(AtomicU8);

impl FilterTrust {
    pub(crate) fn get(&self) -> Option<bool> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            known => Some(known == 2),
        }
    }

    pub(crate) fn set(&self, sound: bool) {
        self.0.store(if sound { 2 } else { 1 }, Ordering::Relaxed);
    }
}

/// Resources of a list, as they are.
pub(crate) struct Page {
    pub(crate) total: usize,
    pub(crate) resources: Vec<Attributes>,
}

impl Client {
    /// With this patience and care in the operations that are safe to repeat.
    #[must_use]
    pub fn care(mut self, care: Care) -> Self {
        std::sync::Arc::make_mut(&mut self.shared).care = care;
        self
    }

    pub(crate) fn care_taken(&self) -> &Care {
        &self.shared.care
    }

    pub(crate) fn spoken(&self) -> &Dialect {
        &self.shared.dialect
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.shared.clock.now()
    }

    pub(crate) async fn pause(&self, duration: Duration) {
        self.shared.clock.sleep(duration).await;
    }

    pub(crate) fn filter_trust(&self) -> &FilterTrust {
        &self.shared.state.filters
    }

    /// One page of a list, by index, with whatever the server put into it.
    pub(crate) async fn page_of(
        &self,
        path: &str,
        filter: Option<&Filter>,
        start: usize,
        count: usize,
    ) -> Result<Page, Error> {
        let mut address = self.shared.base.at(path)?;
        if let Some(filter) = filter {
            address.parameter("filter", &filter.to_string());
        }
        if self.shared.dialect.paging != Paging::None {
            address.parameter("startIndex", &start.to_string());
            address.parameter("count", &count.to_string());
        }
        let request = request::bare(Method::GET, &address, &self.shared.user_agent)?;
        let received = match self.call(request).await {
            Err(error) if *error.kind() == ErrorKind::NotFound && self.shared.dialect.not_found_is_empty => {
                return Ok(Page { total: 0, resources: Vec::new() });
            }
            other => other?,
        };
        let list: Attributes = received.read()?;
        let total = match attribute(&list, "totalResults") {
            Some(Value::Number(total)) => total.as_u64().and_then(|total| usize::try_from(total).ok()),
            Some(Value::String(total)) => total.trim().parse().ok(),
            _ => None,
        };
        let resources: Option<Vec<Attributes>> = match attribute(&list, "Resources") {
            None | Some(Value::Null) => Some(Vec::new()),
            Some(Value::Array(resources)) => {
                resources.iter().map(|resource| resource.as_object().cloned()).collect()
            }
            Some(_) => None,
        };
        // Without a total nothing tells an empty list from an answer to something else.
        match (total, resources) {
            (Some(total), Some(resources)) => {
                self.saw_service();
                Ok(Page { total, resources })
            }
            _ => Err(received.error(Error::new(ErrorKind::Protocol).detail("the answer is no list"))),
        }
    }
}
