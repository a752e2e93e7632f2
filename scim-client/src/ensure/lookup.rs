//! Finding an account, and being sure of it.

use std::sync::atomic::Ordering;

use serde_json::Value;

use crate::dialect::Support;
use crate::ensure::account::{Account, Found, judge};
use crate::ensure::reach::{Matches, Reach, equal, is_about_the_filter};
use crate::ensure::{FoundBy, Identity};
use crate::error::{Error, ErrorKind};
use crate::filter::Filter;
use crate::resource::attribute;

impl Reach {
    /// Looks for the account by identifier, external identifier and user name, in this order.
    pub(super) async fn look_up(&self, identity: &Identity) -> Result<Found, Error> {
        self.look(identity, false).await
    }

    /// Looks by address too, and where filters are not to be trusted, at every account there is.
    pub(super) async fn look_up_widely(&self, identity: &Identity) -> Result<Found, Error> {
        match self.look(identity, true).await? {
            Found::Nobody if !self.filters_find_what_is_there().await? => self.walk(identity).await,
            found => Ok(found),
        }
    }

    async fn look(&self, identity: &Identity, by_email: bool) -> Result<Found, Error> {
        if identity.id.is_none() && identity.external_id.is_none() && identity.user_name.is_none() {
            return Err(Error::new(ErrorKind::Invalid).detail("the identity says nothing to look for"));
        }
        if let Some(id) = &identity.id
            && let Some(account) = self.account(id, FoundBy::Id).await?
        {
            // An identifier that was given to somebody else says nothing of ours.
            if !account.is_strange_to(identity) {
                return Ok(Found::One(account));
            }
        }
        let mut stranger = None;
        for (filter, found_by) in filters(identity, by_email) {
            let accounts = match self.matching(&filter).await {
                Ok(accounts) => accounts,
                // It cannot look for this attribute; the next may do.
                Err(error) if found_by != FoundBy::UserName && is_about_the_filter(&error) => {
                    self.left_unasked.store(true, Ordering::Relaxed);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let accounts: Result<_, Error> =
                accounts.into_iter().map(|found| Account::new(found, found_by)).collect();
            match judge(identity, accounts?) {
                Found::Nobody => {}
                Found::Stranger(account) => stranger = stranger.or(Some(account)),
                found => return Ok(found),
            }
        }
        Ok(stranger.map_or(Found::Nobody, Found::Stranger))
    }

    /// Reads every account and evaluates the filters here: the last resort, with servers that do not filter soundly.
    pub(super) async fn walk(&self, identity: &Identity) -> Result<Found, Error> {
        let filters = filters(identity, true);
        let mut found = vec![Matches::default(); filters.len()];
        self.list(None, |attributes| {
            for ((filter, _), found) in filters.iter().zip(&mut found) {
                if filter.matches(attributes) {
                    found.keep(attributes);
                }
            }
        })
        .await?;
        let mut stranger = None;
        for (found, (_, found_by)) in found.into_iter().zip(filters) {
            let found = found.few()?.into_iter();
            let accounts: Result<_, Error> = found.map(|found| Account::new(found, found_by)).collect();
            match judge(identity, accounts?) {
                Found::Nobody => {}
                Found::Stranger(account) => stranger = stranger.or(Some(account)),
                found => return Ok(found),
            }
        }
        Ok(stranger.map_or(Found::Nobody, Found::Stranger))
    }

    /// Whether a filter finds an account that is known to be there; asked once a client.
    ///
    /// There are servers that answer every filter with an empty list. With them “nobody” means nothing.
    pub(super) async fn filters_find_what_is_there(&self) -> Result<bool, Error> {
        if let Some(known) = self.filter_trust() {
            return Ok(known);
        }
        // Such a service shows nobody on whom a filter could be tried, and one that demands filters does not ignore them.
        if self.dialect().unfiltered_lists == Support::No {
            return Ok(true);
        }
        let Some(sample) = self.any().await? else {
            // Where nobody is, nothing is hidden; the next time there may be somebody.
            return Ok(true);
        };
        let Some(name) = attribute(&sample, "userName").and_then(Value::as_str) else { return Ok(false) };
        let found = self.matching(&equal(None, "userName", None, name)).await?;
        let sound = found.iter().any(|found| attribute(found, "id") == attribute(&sample, "id"));
        self.trust_filters(sound);
        Ok(sound)
    }

    /// Makes sure that “not there” is true of the account: the service answers, and what a filter does not find, or could
    /// not be asked for, is not there either.
    pub(super) async fn prove_absence(&self, identity: &Identity) -> Result<Absence, Error> {
        self.alive().await?;
        let by_filter = identity.external_id.is_some() || identity.user_name.is_some();
        // Where no list without a filter is to be had, the user name alone has to say it.
        let can_walk = self.dialect().unfiltered_lists != Support::No || identity.user_name.is_none();
        let left_unasked = can_walk && self.left_unasked.load(Ordering::Relaxed);
        if by_filter && (left_unasked || !self.filters_find_what_is_there().await?) {
            return match self.walk(identity).await? {
                Found::One(account) => Ok(Absence::Refuted(account)),
                Found::Many(matches) => Err(Error::new(ErrorKind::Ambiguous { matches })),
                Found::Nobody | Found::Stranger(_) => Ok(Absence::Proven(self.now())),
            };
        }
        Ok(Absence::Proven(self.now()))
    }
}

/// Whether an account is really not there.
pub(super) enum Absence {
    /// It is not; since a reading at this time.
    Proven(chrono::DateTime<chrono::Utc>),
    /// It is there, and the filter did not find it.
    Refuted(Account),
}

fn filters(identity: &Identity, by_email: bool) -> Vec<(Filter, FoundBy)> {
    let mut filters = Vec::new();
    if let Some(external_id) = &identity.external_id {
        filters.push((equal(None, "externalId", None, external_id), FoundBy::ExternalId));
    }
    if let Some(user_name) = &identity.user_name {
        filters.push((equal(None, "userName", None, user_name), FoundBy::UserName));
    }
    if by_email && let Some(email) = &identity.email {
        filters.push((equal(None, "emails", Some("value"), email), FoundBy::Email));
    }
    filters
}
