//! Intents, kept small, and found by what accounts have in common with them.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::Arc;

use super::{
    ACCOUNT_BYTES_MAX, Account, AttributeDifference, CANDIDATES_MAX, CaseRule, Differences, INTENTS_MAX,
    Intended, ReconcileError, Rule, Settings, Standing,
};
use crate::id::{EntitlementId, PersonId};

/// An [`Intended`] in as little memory as plain types need.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) person: PersonId,
    pub(super) standing: Standing,
    pub(super) account_id: Option<Box<str>>,
    pub(super) external_id: Option<Box<str>>,
    user_name: Option<Box<str>>,
    emails: Box<[Box<str>]>,
    attributes: Box<[(Arc<str>, Box<str>)]>,
    /// Sorted.
    entitlements: Box<[EntitlementId]>,
}

/// One key of one intent. Intents with the same key are a chain.
#[derive(Debug)]
struct Entry {
    intent: u32,
    next: Option<u32>,
}

/// The first entry of a chain.
#[derive(Debug)]
struct Head {
    entry: u32,
    /// Whether an account had this key, and it could be several persons' or another's.
    contested: bool,
}

/// Keys are hashed already, with a secret that whoever chooses the texts does not know.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

pub(super) struct Index {
    pub(super) kept: Vec<Kept>,
    entries: Vec<Entry>,
    heads: HashMap<u64, Head, BuildHasherDefault<Hashed>>,
    secret: RandomState,
    user_name_case: Option<CaseRule>,
    email_case: Option<CaseRule>,
}

impl Index {
    pub(super) fn new(
        settings: &Settings,
        intents: impl IntoIterator<Item = Intended>,
    ) -> Result<Self, ReconcileError> {
        let mut index = Self {
            kept: Vec::new(),
            entries: Vec::new(),
            heads: HashMap::default(),
            secret: RandomState::new(),
            user_name_case: settings.by_user_name.then_some(settings.user_name_case),
            email_case: settings.by_email.then_some(settings.email_case),
        };
        let mut names: HashSet<Arc<str>> = HashSet::new();
        let mut rights: HashSet<EntitlementId> = HashSet::new();
        let mut persons: HashSet<PersonId> = HashSet::new();
        for intended in intents {
            if index.kept.len() >= INTENTS_MAX {
                return Err(ReconcileError::TooManyIntents);
            }
            if !persons.insert(intended.person.clone()) {
                return Err(ReconcileError::PersonTwice(intended.person));
            }
            if bytes(&intended) > ACCOUNT_BYTES_MAX {
                return Err(ReconcileError::IntentTooLong(intended.person));
            }
            let attributes = intended.attributes.into_iter().map(|(name, value)| {
                let name = match names.get(name.as_str()) {
                    Some(known) => Arc::clone(known),
                    None => {
                        let name: Arc<str> = name.into();
                        names.insert(Arc::clone(&name));
                        name
                    }
                };
                (name, value.into_boxed_str())
            });
            let entitlements = intended.entitlements.into_iter().map(|right| match rights.get(&right) {
                Some(known) => known.clone(),
                None => {
                    rights.insert(right.clone());
                    right
                }
            });
            index.add(Kept {
                person: intended.person,
                standing: intended.standing,
                account_id: intended.account_id.filter(|id| !id.is_empty()).map(String::into_boxed_str),
                external_id: intended.external_id.filter(|id| !id.is_empty()).map(String::into_boxed_str),
                user_name: intended.user_name.map(String::into_boxed_str),
                emails: intended.emails.into_iter().map(String::into_boxed_str).collect(),
                attributes: attributes.collect(),
                entitlements: entitlements.collect(),
            });
        }
        index.kept.shrink_to_fit();
        index.entries.shrink_to_fit();
        Ok(index)
    }

    fn add(&mut self, kept: Kept) {
        // INTENTS_MAX fits.
        let intent = u32::try_from(self.kept.len()).unwrap_or(u32::MAX);
        let mut keys: Vec<u64> = self.keys(&kept);
        // An intent with one address twice is still one intent.
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let Ok(at) = u32::try_from(self.entries.len()) else { continue };
            let head = self.heads.entry(key).or_insert(Head { entry: at, contested: false });
            let next = (head.entry != at).then_some(head.entry);
            head.entry = at;
            self.entries.push(Entry { intent, next });
        }
        self.kept.push(kept);
    }

    fn keys(&self, kept: &Kept) -> Vec<u64> {
        let texts = kept
            .account_id
            .iter()
            .map(|id| (Rule::AccountId, &**id))
            .chain(kept.external_id.iter().map(|id| (Rule::ExternalId, &**id)))
            .chain(kept.user_name.iter().map(|name| (Rule::UserName, &**name)))
            .chain(kept.emails.iter().map(|email| (Rule::Email, &**email)));
        texts.filter_map(|(rule, text)| Some(self.hash(rule, &self.normal(rule, text)?))).collect()
    }

    fn hash(&self, rule: Rule, normal: &str) -> u64 {
        self.secret.hash_one((rule, normal))
    }

    /// The form in which texts are compared. None where the rule is off or the text is empty: nothing is in common by that.
    fn normal<'t>(&self, rule: Rule, text: &'t str) -> Option<Cow<'t, str>> {
        let case = match rule {
            Rule::AccountId | Rule::ExternalId => CaseRule::Exact,
            Rule::UserName => self.user_name_case?,
            Rule::Email => self.email_case?,
        };
        if text.is_empty() {
            return None;
        }
        Some(match case {
            CaseRule::Exact => Cow::Borrowed(text),
            // For ASCII in lower case already, this is all there is to do.
            CaseRule::Insensitive if text.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) => {
                Cow::Borrowed(text)
            }
            CaseRule::Insensitive => Cow::Owned(text.to_lowercase()),
        })
    }

    /// The intents that have this text by this rule, at most [`CANDIDATES_MAX`].
    pub(super) fn find(&self, rule: Rule, text: &str) -> Vec<u32> {
        let mut found = Vec::new();
        let Some(normal) = self.normal(rule, text) else { return found };
        let mut next = self.heads.get(&self.hash(rule, &normal)).map(|head| head.entry);
        while let Some(entry) = next.and_then(|at| self.entries.get(at as usize)) {
            if found.len() >= CANDIDATES_MAX {
                break;
            }
            if self.kept.get(entry.intent as usize).is_some_and(|kept| self.has(kept, rule, &normal)) {
                found.push(entry.intent);
            }
            next = entry.next;
        }
        found
    }

    /// Two texts may have one hash.
    fn has(&self, kept: &Kept, rule: Rule, normal: &str) -> bool {
        let same = |text: &str| self.normal(rule, text).is_some_and(|text| text == normal);
        match rule {
            Rule::AccountId => kept.account_id.as_deref().is_some_and(same),
            Rule::ExternalId => kept.external_id.as_deref().is_some_and(same),
            Rule::UserName => kept.user_name.as_deref().is_some_and(same),
            Rule::Email => kept.emails.iter().any(|email| same(email)),
        }
    }

    /// Remembers that an account had this key and did not become this person's by it.
    pub(super) fn contest(&mut self, account: &Account) {
        let texts = keys_of(account);
        for (rule, text) in texts {
            let Some(hash) = self.normal(rule, text).map(|normal| self.hash(rule, &normal)) else { continue };
            if let Some(head) = self.heads.get_mut(&hash) {
                head.contested = true;
            }
        }
    }

    /// Whether an account that is not this person's has something of theirs.
    pub(super) fn is_contested(&self, kept: &Kept) -> bool {
        self.keys(kept).iter().any(|key| self.heads.get(key).is_some_and(|head| head.contested))
    }
}

/// What an account can be found by, the strong first.
pub(super) fn keys_of(account: &Account) -> impl Iterator<Item = (Rule, &str)> {
    std::iter::once((Rule::AccountId, account.id.as_str()))
        .chain(account.external_id.iter().map(|id| (Rule::ExternalId, id.as_str())))
        .chain(account.user_name.iter().map(|name| (Rule::UserName, name.as_str())))
        .chain(account.emails.iter().map(|email| (Rule::Email, email.as_str())))
}

impl Kept {
    /// In what the account is not as intended. A disabled account's rights and attributes are nobody's concern.
    pub(super) fn differences(&self, account: &Account, settings: &Settings) -> Differences {
        let mut differences = Differences::default();
        if self.standing != Standing::Active {
            differences.active = account.active.then_some(false);
            return differences;
        }
        differences.active = (!account.active).then_some(true);
        for (name, intended) in &self.attributes {
            let actual = account.attributes.get(&**name).filter(|value| !value.is_empty());
            let insensitive = settings.case_insensitive_attributes.contains(&**name);
            // Absent and empty are the same (RFC 7643 §2.5).
            let same = match actual {
                None => intended.is_empty(),
                Some(actual) if insensitive => actual.to_lowercase() == intended.to_lowercase(),
                Some(actual) => **actual == **intended,
            };
            if !same {
                differences.attributes.push(AttributeDifference {
                    name: name.to_string(),
                    intended: (!intended.is_empty()).then(|| intended.to_string()),
                    actual: actual.cloned(),
                });
            }
        }
        let missing = self.entitlements.iter().filter(|right| !account.entitlements.contains(*right));
        differences.entitlements_missing = missing.cloned().collect();
        if settings.extra_entitlements_differ {
            let extra =
                account.entitlements.iter().filter(|right| self.entitlements.binary_search(right).is_err());
            differences.entitlements_extra = extra.cloned().collect();
        }
        differences
    }
}

fn bytes(intended: &Intended) -> usize {
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let fixed = [&intended.account_id, &intended.external_id, &intended.user_name].into_iter().map(optional);
    let emails = intended.emails.iter().map(String::len);
    let attributes = intended.attributes.iter().map(|(name, value)| name.len().saturating_add(value.len()));
    let entitlements = intended.entitlements.iter().map(|id| id.as_str().len());
    fixed.chain(emails).chain(attributes).chain(entitlements).fold(0, usize::saturating_add)
}
