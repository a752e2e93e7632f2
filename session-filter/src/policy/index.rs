//! From names to the few patterns that could matter, so that a thousand rules cost no more than ten.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::identity::{Target, User};

/// A user or target as a rule names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Selector {
    /// `*`
    Any,
    /// An id.
    Id(String),
    /// `role:…` of a user, `tag:…` of a target.
    Label(String),
}

type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// A fast hash for our own numbers. Names, which others choose, are hashed with the standard library's keyed hash.
#[derive(Default)]
struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        // The golden ratio in 64 bits, as in Fibonacci hashing.
        self.0 = (self.0.rotate_left(29) ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        // The table takes its bits from both ends; multiplication mixes only upwards.
        self.0 ^ (self.0 >> 32)
    }
}

/// Names and numbers for them.
#[derive(Debug, Default)]
struct Names {
    any: Option<u32>,
    ids: HashMap<String, u32>,
    labels: HashMap<String, u32>,
    next: u32,
}

impl Names {
    fn intern(&mut self, selector: &Selector) -> u32 {
        let fresh = self.next;
        let number = match selector {
            Selector::Any => *self.any.get_or_insert(fresh),
            Selector::Id(id) => *self.ids.entry(id.clone()).or_insert(fresh),
            Selector::Label(label) => *self.labels.entry(label.clone()).or_insert(fresh),
        };
        if number == fresh {
            self.next = fresh.saturating_add(1);
        }
        number
    }

    fn of<'a>(&'a self, id: &str, labels: &'a [String]) -> impl Iterator<Item = u32> + 'a {
        let known = self.ids.get(id).copied();
        known
            .into_iter()
            .chain(labels.iter().filter_map(|label| self.labels.get(label).copied()))
            .chain(self.any)
    }
}

/// Lists of patterns (for a program) and of rules (for a session), in the order of the file.
#[derive(Debug, Default)]
pub(crate) struct Index {
    users: Names,
    targets: Names,
    programs: HashMap<String, u32>,
    patterns: NumberMap<(u32, u32, u32), Vec<u32>>,
    rules: NumberMap<(u32, u32), Vec<u32>>,
}

/// The selectors that match a user and a target, as pairs for which there are rules.
pub(crate) struct Pairs(Vec<(u32, u32)>);

impl Index {
    pub(crate) fn insert_rule(&mut self, user: &Selector, target: &Selector, rule: usize) {
        let pair = (self.users.intern(user), self.targets.intern(target));
        push_once(self.rules.entry(pair).or_default(), rule);
    }

    pub(crate) fn insert_pattern(
        &mut self,
        user: &Selector,
        target: &Selector,
        program: &str,
        pattern: usize,
    ) {
        let (user, target) = (self.users.intern(user), self.targets.intern(target));
        let fresh = u32::try_from(self.programs.len()).unwrap_or(u32::MAX);
        let program = match self.programs.get(program) {
            Some(number) => *number,
            None => *self.programs.entry(program.to_owned()).or_insert(fresh),
        };
        push_once(self.patterns.entry((user, target, program)).or_default(), pattern);
    }

    pub(crate) fn pairs(&self, user: &User, target: &Target) -> Pairs {
        let targets: Vec<u32> = self.targets.of(target.id(), target.tags()).collect();
        let mut pairs = Vec::new();
        for user in self.users.of(user.id(), user.roles()) {
            let with_rules =
                targets.iter().map(|target| (user, *target)).filter(|pair| self.rules.contains_key(pair));
            pairs.extend(with_rules);
        }
        Pairs(pairs)
    }

    /// Lists of pattern numbers, each ascending.
    pub(crate) fn patterns<'a>(&'a self, pairs: &'a Pairs, program: &str) -> impl Iterator<Item = &'a [u32]> {
        let program = self.programs.get(program).copied();
        program.into_iter().flat_map(move |program| {
            pairs.0.iter().filter_map(move |(user, target)| {
                self.patterns.get(&(*user, *target, program)).map(Vec::as_slice)
            })
        })
    }

    /// Rule numbers, list by list: neither ordered nor free of repetitions.
    pub(crate) fn unordered_rules<'a>(&'a self, pairs: &'a Pairs) -> impl Iterator<Item = usize> + 'a {
        let lists = pairs.0.iter().filter_map(|pair| self.rules.get(pair));
        lists.flatten().filter_map(|rule| usize::try_from(*rule).ok())
    }

    /// Rule numbers, ascending, each once.
    pub(crate) fn rules(&self, pairs: &Pairs) -> Vec<usize> {
        let mut rules: Vec<usize> = self.unordered_rules(pairs).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }
}

/// Numbers come in ascending order, so a repetition is always the last.
fn push_once(list: &mut Vec<u32>, number: usize) {
    if let Ok(number) = u32::try_from(number)
        && list.last() != Some(&number)
    {
        list.push(number);
    }
}
