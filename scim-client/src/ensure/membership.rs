//! Somebody in a group, or out of it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Value;

use crate::client::Client;
use crate::ensure::account::{identifier, named};
use crate::ensure::confirm::{Difference, Divergence};
use crate::ensure::reach::{Reach, Written};
use crate::ensure::{Membership, Others, Outcome, State};
use crate::error::{Error, ErrorKind};
use crate::resource::{Attributes, ResourceId, attribute};

impl Client {
    /// Sees to it that the user is in the group, or not in it, and confirms it by reading.
    ///
    /// Safe to repeat: a member who is there already is not added again, which some servers answer with an error. Where
    /// other members went away meanwhile (there are servers that answer 200 and drop them), the outcome's
    /// [`divergent`](Outcome::divergent) holds `members`; a change that somebody else made at the same time looks the
    /// same. [`Care::others`](crate::ensure::Care::others) turns that comparison off.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is no such group; [`ErrorKind::Unconfirmed`] where the service said that it
    /// did it and a reading does not show it; else what the requests met.
    ///
    /// # Cancellation
    /// Dropping the future leaves what was done; calling it again goes on from there.
    pub async fn ensure_membership(
        &self,
        group: &ResourceId,
        user: &ResourceId,
        wanted: Membership,
    ) -> Result<Outcome, Error> {
        let reach = Reach::groups(self);
        let result = set(&reach, group, user, wanted).await;
        result.map_err(|error| reach.with_evidence(error))
    }
}

async fn set(
    reach: &Reach,
    group: &ResourceId,
    user: &ResourceId,
    wanted: Membership,
) -> Result<Outcome, Error> {
    let mut view = View::read(reach, group, user).await?;
    let before = view.others(user);
    let mut failure = None;
    let mut wrote = false;
    for write in 0..=reach.care().writes_max {
        if view.is_member == (wanted == Membership::Member) {
            let state = match (wrote, wanted) {
                (false, _) => State::Unchanged,
                (true, Membership::Member) => State::Joined,
                (true, Membership::NotMember) => State::Left,
            };
            let lost = wrote
                && reach.care().others == Others::Compare
                && before.difference(&view.others(user)).next().is_some();
            let divergent = lost
                .then(|| Divergence { path: "members".to_owned(), how: Difference::OthersLost })
                .into_iter()
                .collect();
            let outcome = reach.outcome(state, Some(group.clone()), None, reach.now());
            return Ok(Outcome { divergent, ..outcome });
        }
        if write == reach.care().writes_max {
            break;
        }
        match reach.set_member(group, &view.attributes, user, wanted).await {
            Written::Done => failure = None,
            Written::LookAgain(error) => failure = Some(error),
            Written::Refused(error) => return Err(error),
        }
        wrote = true;
        view = View::read(reach, group, user).await?;
    }
    Err(failure.unwrap_or_else(|| {
        Error::new(ErrorKind::Unconfirmed)
            .detail("the service said that it changed the members, and a reading does not show it")
    }))
}

/// A group as read.
struct View {
    attributes: Attributes,
    is_member: bool,
}

impl View {
    async fn read(reach: &Reach, group: &ResourceId, user: &ResourceId) -> Result<Self, Error> {
        let attributes = reach
            .read(group)
            .await?
            .ok_or_else(|| Error::new(ErrorKind::NotFound).detail("there is no such group"))?;
        let is_member = match attribute(&attributes, "members") {
            Some(_) => members(&attributes).any(|member| member == user.as_str()),
            // Some servers never show members; they answer whether a group holds one.
            None => reach.group_holds(group, user).await?,
        };
        Ok(Self { attributes, is_member })
    }

    fn others(&self, user: &ResourceId) -> BTreeSet<String> {
        members(&self.attributes).filter(|member| *member != user.as_str()).map(Cow::into_owned).collect()
    }
}

/// The identifiers of the members; a single one may stand without its array, and bare.
fn members(group: &Attributes) -> impl Iterator<Item = Cow<'_, str>> {
    let members: &[Value] = match attribute(group, "members") {
        None | Some(Value::Null) => &[],
        Some(Value::Array(members)) => members,
        Some(single) => std::slice::from_ref(single),
    };
    members.iter().filter_map(|member| match member {
        Value::Object(parts) => named(parts, "value"),
        bare => identifier(bare),
    })
}
