//! Groups, which stand for rights.

use super::message::{Entry, How, Modification, Request, Scope, Search};
use super::settings::Members;
use super::{Dn, Filter, Groups, LdapConnector, Rights, check, dn, settings, value};
use crate::account::ValueChanges;
use crate::connector::{Failure, FailureKind, Right};
use crate::id::EntitlementId;
use crate::intended::LANE_ENTITLEMENTS_MAX;

/// Entries of a page when somebody's groups are read.
const PAGE: u16 = 500;
const OBJECT_CLASS_VIOLATION: &str = "result 65:";

impl LdapConnector {
    /// The rights of an account, all of them.
    pub(super) async fn rights(&self, entry: &Entry) -> Result<Rights, Failure> {
        let Some(groups) = &self.settings.groups else { return Ok(Rights::new()) };
        let member = self.member(groups, entry)?;
        let mut rights = Rights::new();
        for group in self.groups_with(groups, &member).await? {
            rights.insert(name_of(groups, &group)?);
        }
        Ok(rights)
    }

    async fn groups_with(&self, groups: &Groups, member: &str) -> Result<Vec<Entry>, Failure> {
        let mut search = self.group_search(groups, Filter::equal(groups.members.attribute(), member), 0);
        let mut leased = self.pool.lease().await?;
        let mut found = Vec::new();
        let mut cookie = Vec::new();
        loop {
            search.page = Some((PAGE.into(), cookie));
            let page = leased.ask(&Request::Search(&search), PAGE.into()).await?;
            self.complete(&page)?;
            let is_stuck = page.entries.is_empty() && !page.cookie.is_empty();
            found.extend(page.entries);
            if is_stuck || found.len() > LANE_ENTITLEMENTS_MAX {
                return Err(Failure::new(
                    FailureKind::Server,
                    "the groups of an account never come to an end",
                ));
            }
            if page.cookie.is_empty() {
                leased.give_back();
                return Ok(found);
            }
            cookie = page.cookie;
        }
    }

    fn group_search(&self, groups: &Groups, filter: Filter, size_limit: u32) -> Search {
        let mut attributes: Vec<_> = groups.attributes.values().cloned().collect();
        attributes.push(groups.naming.clone());
        Search {
            base: groups.base.clone(),
            scope: Scope::Subtree,
            filter: Filter::And(vec![Filter::equal("objectClass", groups.class.as_str()), filter]),
            attributes,
            size_limit,
            time_limit_secs: self.settings.timeout_secs.into(),
            page: None,
        }
    }

    /// The one group of that name.
    async fn group_entry(&self, groups: &Groups, right: &EntitlementId) -> Result<Option<Entry>, Failure> {
        let search = self.group_search(groups, Filter::equal(&groups.naming, right.as_str()), 2);
        let found = self.pool.ask(&Request::Search(&search), 2).await?;
        if found.entries.len() > 1 {
            return Err(Failure::new(FailureKind::Ambiguous, format!("several groups are called `{right}`")));
        }
        self.complete(&found)?;
        let base = settings::name("groups.base", &groups.base).ok();
        let Some(group) = found.entries.into_iter().next() else { return Ok(None) };
        let is_within = group.dn.parse::<Dn>().is_ok_and(|dn| base.is_some_and(|base| dn.is_within(&base)));
        let name = name_of(groups, &group)?;
        if !is_within || dn::fold(name.as_str()) != dn::fold(right.as_str()) {
            return Err(Failure::new(FailureKind::Divergent, "the directory answers with another group"));
        }
        match name == *right {
            true => Ok(Some(group)),
            false => Err(Failure::new(
                FailureKind::SchemaMismatch,
                format!("the group `{right}` is spelt `{name}`"),
            )),
        }
    }

    /// What stands for an account in a group.
    fn member(&self, groups: &Groups, entry: &Entry) -> Result<String, Failure> {
        if groups.members != Members::MemberUid {
            return Ok(entry.dn.clone());
        }
        let uid = entry.texts("uid").next();
        uid.map(str::to_owned).ok_or_else(|| {
            Failure::new(FailureKind::SchemaMismatch, "an account has no `uid`, by which groups name it")
        })
    }

    pub(super) async fn set_member(
        &self,
        entry: &Entry,
        right: &EntitlementId,
        to: Right,
    ) -> Result<(), Failure> {
        let Some(groups) = &self.settings.groups else {
            return Err(Failure::new(FailureKind::Unsupported, "no groups are configured"));
        };
        let member = self.member(groups, entry)?;
        let group = match (self.group_entry(groups, right).await?, to) {
            (Some(group), _) => group,
            (None, Right::Revoked) => return Ok(()),
            (None, Right::Granted) => {
                return Err(Failure::new(FailureKind::Missing, format!("there is no group `{right}`")));
            }
        };
        let attribute = groups.members.attribute();
        let how = match to {
            Right::Granted => How::Add,
            Right::Revoked => How::Delete,
        };
        let change = Modification::new(how, attribute, [member]);
        let done = match self.modify(&group.dn, std::slice::from_ref(&change)).await {
            // The last one cannot go from a class that must have one.
            Err(failure) if to == Right::Revoked && failure.message().starts_with(OBJECT_CLASS_VIOLATION) => {
                let Some(placeholder) = &groups.placeholder else { return Err(failure) };
                let placeholder = Modification::new(How::Add, attribute, [placeholder.as_str()]);
                self.modify(&group.dn, &[placeholder, change]).await
            }
            done => done,
        };
        match done {
            // In it already, or gone from it already.
            Err(failure) if matches!(failure.kind(), FailureKind::Conflict | FailureKind::Missing) => Ok(()),
            done => done,
        }
    }

    /// Groups that name accounts by a text follow a rename only if somebody does it, and before: the old name may be given to
    /// somebody else the moment it is free, and rights must not wait for them there.
    pub(super) async fn before_rename(&self, entry: &Entry, to: &str) -> Result<(), Failure> {
        let Some(groups) =
            self.settings.groups.as_ref().filter(|groups| groups.members == Members::MemberUid)
        else {
            return Ok(());
        };
        if !self.settings.naming.eq_ignore_ascii_case("uid") {
            return Ok(());
        }
        let old = self.member(groups, entry)?;
        let attribute = groups.members.attribute();
        for group in self.groups_with(groups, &old).await? {
            let goes = Modification::new(How::Delete, attribute, [old.as_str()]);
            let comes = Modification::new(How::Add, attribute, [to]);
            match self.modify(&group.dn, &[goes.clone(), comes]).await {
                // The new name is in it already.
                Err(failure) if failure.kind() == FailureKind::Conflict => {
                    self.modify(&group.dn, &[goes]).await?
                }
                done => done?,
            }
        }
        Ok(())
    }

    /// Groups that name accounts by distinguished name follow a rename because the directory does it, or not at all.
    pub(super) async fn after_rename(&self, entry: &Entry) -> Result<(), Failure> {
        let Some(groups) =
            self.settings.groups.as_ref().filter(|groups| groups.members != Members::MemberUid)
        else {
            return Ok(());
        };
        match self.groups_with(groups, &entry.dn).await?.is_empty() {
            true => Ok(()),
            false => Err(Failure::new(
                FailureKind::Divergent,
                "groups still have the account's old name: the directory does not keep references (refint)",
            )
            .perhaps_effective()),
        }
    }

    pub(super) async fn group(&self, right: &EntitlementId, changes: &ValueChanges) -> Result<bool, Failure> {
        let Some(groups) = &self.settings.groups else {
            return Err(Failure::new(FailureKind::Unsupported, "no groups are configured"));
        };
        let mut wanted = Vec::new();
        for (name, change) in changes {
            let attribute = groups.attributes.get(name).ok_or_else(|| {
                Failure::new(FailureKind::SchemaMismatch, format!("the mapping of groups has no `{name}`"))
            })?;
            let values = change.as_ref().map(|change| value::from_json(name, change)).transpose()?;
            wanted.push((attribute.clone(), values.unwrap_or_default()));
        }
        let differs = |group: &Entry| -> Vec<Modification> {
            let different = wanted.iter().filter(|(attribute, values)| {
                let mut found: Vec<_> = group.values(attribute).map(<[u8]>::to_vec).collect();
                found.sort();
                found != *values
            });
            different
                .map(|(attribute, values)| Modification::new(How::Replace, attribute, values.clone()))
                .collect()
        };
        let changed = match self.group_entry(groups, right).await? {
            Some(group) => {
                let changes = differs(&group);
                if !changes.is_empty() {
                    self.modify(&group.dn, &changes).await?;
                }
                !changes.is_empty()
            }
            None => {
                let base = settings::name("groups.base", &groups.base);
                let dn = base.ok().and_then(|base| base.child(&groups.naming, right.as_str()).ok());
                let dn = dn.ok_or_else(|| {
                    Failure::new(FailureKind::SchemaMismatch, "the group's name is no name")
                })?;
                let mut attributes = vec![
                    ("objectClass".to_owned(), vec![groups.class.clone().into_bytes()]),
                    (groups.naming.clone(), vec![right.as_str().as_bytes().to_vec()]),
                ];
                if let Some(placeholder) = &groups.placeholder {
                    let member = groups.members.attribute().to_owned();
                    attributes.push((member, vec![placeholder.clone().into_bytes()]));
                }
                attributes.extend(wanted.iter().filter(|(_, values)| !values.is_empty()).cloned());
                check(
                    &self
                        .pool
                        .ask(&Request::Add { dn: dn.as_str(), attributes: &attributes }, 0)
                        .await?
                        .outcome,
                )?;
                true
            }
        };
        match self.group_entry(groups, right).await? {
            Some(group) if differs(&group).is_empty() => Ok(changed),
            _ => {
                Err(Failure::new(FailureKind::Divergent, "a read does not show the group as it was written"))
            }
        }
    }
}

fn name_of(groups: &Groups, group: &Entry) -> Result<EntitlementId, Failure> {
    // Where a group has several names, the first in order is the right's.
    let name = group.texts(&groups.naming).min().and_then(|name| EntitlementId::new(name).ok());
    name.ok_or_else(|| {
        Failure::new(FailureKind::SchemaMismatch, format!("a group has no readable `{}`", groups.naming))
    })
}
