//! Where each rule keeps what it knows of a group: an event looks its groups up once, whatever the number of rules.

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

use super::group::{Facts, Group};
use super::rule::{Grouping, Rules};

/// A rule keeps nothing of the group.
const NONE: u32 = u32::MAX;

/// Number of a group in its [`Directory`].
pub(super) type Member = u32;

/// One for each [`Grouping`]. That of the tenant's own group stays empty: there is only one.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Directories {
    tenant: Directory,
    source: Directory,
    network: Directory,
    actor: Directory,
}

/// Numbers of the groups of one event.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Members {
    tenant: Option<Member>,
    source: Option<Member>,
    network: Option<Member>,
    actor: Option<Member>,
}

macro_rules! of_grouping {
    ($of:expr, $grouping:expr, $($borrow:tt)*) => {
        match $grouping {
            Grouping::Tenant => $($borrow)* $of.tenant,
            Grouping::Source => $($borrow)* $of.source,
            Grouping::Network => $($borrow)* $of.network,
            Grouping::Actor => $($borrow)* $of.actor,
        }
    };
}

impl Members {
    pub(super) fn of(&self, grouping: Grouping) -> Option<Member> {
        of_grouping!(self, grouping,)
    }

    pub(super) fn of_mut(&mut self, grouping: Grouping) -> &mut Option<Member> {
        of_grouping!(self, grouping, &mut)
    }
}

impl Directories {
    /// With a column for each rule.
    pub(super) fn of_rules(rules: &Rules) -> Self {
        Self::default().with(rules)
    }

    /// The same groups, with columns for these rules, which have joined none yet.
    pub(super) fn with(mut self, rules: &Rules) -> Self {
        for grouping in Grouping::ALL {
            let columns = rules.iter().filter(|rule| rule.group_by == grouping).count();
            self.of_mut(grouping).begin(columns);
        }
        self
    }

    pub(super) fn of(&self, grouping: Grouping) -> &Directory {
        of_grouping!(self, grouping, &)
    }

    pub(super) fn of_mut(&mut self, grouping: Grouping) -> &mut Directory {
        of_grouping!(self, grouping, &mut)
    }

    /// The group that an event belongs to, where any rule keeps it.
    pub(super) fn find(&self, grouping: Grouping, facts: &Facts) -> Option<Member> {
        if grouping == Grouping::Tenant {
            return None;
        }
        let hash = facts.group_hash(grouping)?;
        self.of(grouping).find_by(hash, |entry| match grouping {
            Grouping::Actor => entry.check == facts.actor_check,
            _ => facts.is_of(&entry.group),
        })
    }

    /// How many groups have come and gone.
    pub(super) fn changes(&self) -> u64 {
        let of = [self.source.changes, self.network.changes, self.actor.changes];
        of.into_iter().fold(0, u64::wrapping_add)
    }

    /// Groups that no rule has joined go.
    pub(super) fn forget_unused(&mut self) {
        Grouping::ALL.into_iter().for_each(|grouping| self.of_mut(grouping).forget_unused());
    }
}

/// Groups of one kind, and for each the places that rules keep theirs at. Every rule that groups so has a column.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Directory {
    entries: Vec<Option<Entry>>,
    free: Vec<Member>,
    #[serde(skip)]
    index: HashTable<Member>,
    /// A row for each entry, a column for each rule.
    #[serde(skip)]
    links: Vec<u32>,
    #[serde(skip)]
    columns: usize,
    #[serde(skip)]
    changes: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Entry {
    hash: u64,
    /// Of an actor, what they are known by.
    check: u64,
    /// How many rules keep something of it. Where none does, it goes.
    #[serde(skip)]
    used: u32,
    group: Group,
}

impl Directory {
    /// No rule has joined any group yet.
    fn begin(&mut self, columns: usize) {
        self.columns = columns;
        self.links = vec![NONE; self.entries.len().saturating_mul(columns)];
        self.index = HashTable::new();
        self.entries.iter_mut().flatten().for_each(|entry| entry.used = 0);
        for (number, entry) in self.entries.iter().enumerate() {
            if let (Some(entry), Ok(member)) = (entry, Member::try_from(number)) {
                self.index.insert_unique(entry.hash, member, |other| hash_of(&self.entries, *other));
            }
        }
    }

    fn forget_unused(&mut self) {
        let unused = |(number, entry): (usize, &Option<Entry>)| {
            let entry = entry.as_ref().filter(|entry| entry.used == 0)?;
            Some((entry.hash, Member::try_from(number).ok()?))
        };
        let unused: Vec<_> = self.entries.iter().enumerate().filter_map(unused).collect();
        unused.into_iter().for_each(|(hash, member)| self.forget(hash, member));
    }

    pub(super) fn find_group(&self, hash: u64, group: &Group) -> Option<Member> {
        self.find_by(hash, |entry| entry.group == *group)
    }

    fn find_by(&self, hash: u64, is_it: impl Fn(&Entry) -> bool) -> Option<Member> {
        let same =
            |member: &Member| self.entry(*member).is_some_and(|entry| entry.hash == hash && is_it(entry));
        self.index.find(hash, same).copied()
    }

    fn entry(&self, member: Member) -> Option<&Entry> {
        self.entries.get(place(member))?.as_ref()
    }

    pub(super) fn group(&self, member: Member) -> Option<&Group> {
        self.entry(member).map(|entry| &entry.group)
    }

    /// Where the rule of that column keeps the group.
    pub(super) fn slot(&self, member: Member, column: usize) -> Option<usize> {
        let link = *self.links.get(self.link(member, column))?;
        (link != NONE).then(|| place(link))
    }

    fn link(&self, member: Member, column: usize) -> usize {
        place(member).saturating_mul(self.columns).saturating_add(column)
    }

    /// A number for a group that has none yet. Whoever asks joins it, or it stays for ever.
    pub(super) fn enter(&mut self, hash: u64, check: u64, group: Group) -> Option<Member> {
        self.changes = self.changes.wrapping_add(1);
        let entry = Some(Entry { hash, check, used: 0, group });
        let member = match self.free.pop() {
            Some(member) => {
                *self.entries.get_mut(place(member))? = entry;
                member
            }
            None => {
                let member = Member::try_from(self.entries.len()).ok().filter(|member| *member != NONE)?;
                self.entries.push(entry);
                self.links.resize(self.links.len().saturating_add(self.columns), NONE);
                member
            }
        };
        self.index.insert_unique(hash, member, |other| hash_of(&self.entries, *other));
        Some(member)
    }

    /// Says where the rule of that column keeps the group.
    pub(super) fn join(&mut self, member: Member, column: usize, slot: usize) {
        let link = self.link(member, column);
        let Some(link) = self.links.get_mut(link) else { return };
        let Some(Some(entry)) = self.entries.get_mut(place(member)) else { return };
        if *link == NONE {
            entry.used = entry.used.saturating_add(1);
        }
        *link = u32::try_from(slot).unwrap_or(NONE);
    }

    /// The rule of that column keeps it no longer.
    pub(super) fn leave(&mut self, member: Member, column: usize) {
        let link = self.link(member, column);
        let Some(link) = self.links.get_mut(link) else { return };
        let Some(Some(entry)) = self.entries.get_mut(place(member)) else { return };
        if *link != NONE {
            *link = NONE;
            entry.used = entry.used.saturating_sub(1);
        }
        if entry.used > 0 {
            return;
        }
        let hash = entry.hash;
        self.forget(hash, member);
    }

    fn forget(&mut self, hash: u64, member: Member) {
        self.changes = self.changes.wrapping_add(1);
        if let Ok(found) = self.index.find_entry(hash, |other| *other == member) {
            found.remove();
        }
        if let Some(entry) = self.entries.get_mut(place(member)) {
            *entry = None;
        }
        self.free.push(member);
        // What a flood has taken is given back.
        if self.index.is_empty() && self.entries.len() > 64 {
            *self = Self { columns: self.columns, changes: self.changes, ..Self::default() };
        }
    }
}

fn place(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn hash_of(entries: &[Option<Entry>], member: Member) -> u64 {
    entries.get(place(member)).and_then(Option::as_ref).map_or(0, |entry| entry.hash)
}
