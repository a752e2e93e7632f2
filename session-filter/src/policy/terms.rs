//! Everything but command lines: on what terms a session is held, where it may go, which files and doors are open to it.

use std::collections::HashSet;
use std::time::Duration;

use super::{Grant, Mode, Policy, Rule, Unmet};
use crate::clock::SessionLimits;
use crate::directory::AbsolutePath;
use crate::door::{Door, FileAccess};
use crate::facts::Facts;
use crate::identity::{Target, User};
use crate::limits::{IDLE_DEFAULT, LONGEST_DEFAULT, WARN_DEFAULT};
use crate::verdict::Refusal;

impl Policy {
    /// On what terms `user` may be on `target` now.
    ///
    /// # Errors
    ///
    /// `no_entry` when no rule names them; otherwise the first condition, in the order of the file, that keeps a rule
    /// from holding.
    pub fn try_grant(&self, user: &User, target: &Target, facts: &Facts) -> Result<Grant, Refusal> {
        let rules = Rules::of(self, user, target, facts).at_least_one(user, target)?;
        let says = |mode| rules.iter().any(|rule| rule.mode == Some(mode));
        let mode = match () {
            () if says(Mode::Unrestricted) => Mode::Unrestricted,
            () if says(Mode::Managed) => Mode::Managed,
            () => Mode::ExecOnly,
        };
        let strictest =
            |stated: fn(&Rule) -> Option<Duration>| rules.iter().copied().filter_map(stated).min();
        let idle = strictest(|rule| rule.idle).unwrap_or(IDLE_DEFAULT);
        let longest = strictest(|rule| rule.longest).unwrap_or(LONGEST_DEFAULT);
        // A warning as long as the limit itself would be said at once and mean nothing.
        let half = idle.min(longest).checked_div(2).unwrap_or_default();
        let warn_before = rules.iter().filter_map(|rule| rule.warn).max().unwrap_or(WARN_DEFAULT).min(half);
        // A terminal that was given is not asked about again, so it lasts no longer than the rules that give it, whatever else the user
        // may still do then.
        let lasting = rules.iter().filter(|rule| mode != Mode::Unrestricted || rule.is_raw());
        let ends: Option<Vec<_>> =
            lasting.map(|rule| rule.when.as_ref().and_then(|when| when.valid_until(facts))).collect();
        Ok(Grant {
            mode,
            limits: SessionLimits { idle, longest, warn_before },
            record: rules.iter().filter_map(|rule| rule.record).max().unwrap_or_default(),
            valid_until: ends.and_then(|ends| ends.into_iter().max()),
        })
    }

    /// On what terms `user` may be on `target` now; `None` if they may not. [`try_grant`](Self::try_grant) says why.
    pub fn grant(&self, user: &User, target: &Target, facts: &Facts) -> Option<Grant> {
        self.try_grant(user, target, facts).ok()
    }

    /// The command patterns in force, as written, in the order of the file and without repetitions.
    pub fn permitted(&self, user: &User, target: &Target, facts: &Facts) -> Vec<String> {
        let rules = Rules::of(self, user, target, facts).in_force;
        let patterns = rules.iter().filter_map(|rule| self.patterns.get(rule.patterns.clone())).flatten();
        let mut seen = HashSet::new();
        patterns
            .map(|pattern| &pattern.text)
            .filter(|text| seen.insert(*text))
            .map(|text| text.to_string())
            .collect()
    }

    /// Whether `user` may go to `directory` in a managed session on `target`.
    ///
    /// # Errors
    ///
    /// `directory_not_permitted`, or what keeps the user from a managed session altogether.
    pub fn enter(
        &self,
        user: &User,
        target: &Target,
        directory: &AbsolutePath,
        facts: &Facts,
    ) -> Result<(), Refusal> {
        let rules = Rules::of(self, user, target, facts).at_least_one(user, target)?;
        if !rules.iter().any(|rule| rule.mode == Some(Mode::Managed)) {
            return Err(Refusal::new(
                "directory_not_permitted",
                "there are directories in managed sessions only",
            ));
        }
        match may_enter(rules.iter().copied(), directory) {
            true => Ok(()),
            false => Err(Refusal::new(
                "directory_not_permitted",
                format!("no rule names `{directory}` in `directories`"),
            )),
        }
    }

    /// Whether `door` is open to `user` on `target`.
    ///
    /// # Errors
    ///
    /// `door_closed`, or the condition that keeps the rule from holding which would open it.
    pub fn open(&self, user: &User, target: &Target, door: &Door, facts: &Facts) -> Result<(), Refusal> {
        let rules = Rules::of(self, user, target, facts);
        let opens = |rule: &Rule| rule.doors.as_ref().is_some_and(|doors| doors.open(door));
        rules.any(opens, || {
            let asked = door.to_string();
            let what = match asked.is_empty() {
                true => format!("`{}`", door.request()),
                false => format!("`{}` for `{asked}`", door.request()),
            };
            Refusal::new("door_closed", format!("no rule opens {what}"))
        })
    }

    /// Whether `user` may do this to the file at `path` on `target`.
    ///
    /// # Errors
    ///
    /// `path_not_permitted`, or the condition that keeps the rule from holding which would permit it.
    pub fn file(
        &self,
        user: &User,
        target: &Target,
        access: FileAccess,
        path: &AbsolutePath,
        facts: &Facts,
    ) -> Result<(), Refusal> {
        let rules = Rules::of(self, user, target, facts);
        let allows = |rule: &Rule| rule.files.as_ref().is_some_and(|files| files.allow(access, path));
        rules.any(allows, || {
            Refusal::new("path_not_permitted", format!("no rule permits to {access} `{path}`"))
        })
    }
}

/// Whether some of the rules, all in force, names the directory, or none names any.
pub(super) fn may_enter<'a>(rules: impl Iterator<Item = &'a Rule>, directory: &AbsolutePath) -> bool {
    let mut named = rules.flat_map(|rule| &rule.directories).peekable();
    named.peek().is_none() || named.any(|pattern| pattern.matches(directory))
}

/// The rules for a user and target, in the order of the file: those in force, and the others with what is unmet.
struct Rules<'a> {
    in_force: Vec<&'a Rule>,
    others: Vec<(&'a Rule, Unmet)>,
}

impl<'a> Rules<'a> {
    fn of(policy: &'a Policy, user: &User, target: &Target, facts: &Facts) -> Self {
        let rules = policy.index.rules(&policy.index.pairs(user, target));
        let rules = || rules.iter().filter_map(|rule| policy.rules.get(*rule));
        // INVARIANT: a list of commands is never combined with a raw terminal, not even while the list's hours are over: who is held
        // to a list by day would otherwise have a shell by night.
        let has_list = rules().any(Rule::is_list);
        let mut sorted = Self { in_force: Vec::new(), others: Vec::new() };
        for rule in rules().filter(|rule| !has_list || !rule.is_raw()) {
            match rule.when.as_ref().map_or(Ok(()), |when| when.holds(facts)) {
                Ok(()) => sorted.in_force.push(rule),
                Err(unmet) => sorted.others.push((rule, unmet)),
            }
        }
        sorted
    }

    /// The rules in force, at least one.
    fn at_least_one(self, user: &User, target: &Target) -> Result<Vec<&'a Rule>, Refusal> {
        match (self.in_force.is_empty(), self.others.first()) {
            (false, _) => Ok(self.in_force),
            (true, Some((_, unmet))) => Err(Refusal::new(
                unmet.code(),
                format!("`{}` may not be on `{}` now: {unmet}", user.id(), target.id()),
            )),
            (true, None) => {
                Err(Refusal::new("no_entry", format!("no rule lets `{}` onto `{}`", user.id(), target.id())))
            }
        }
    }

    /// Whether a rule in force permits it. Otherwise the condition that keeps one from permitting it, or else `refusal`.
    fn any(&self, permits: impl Fn(&Rule) -> bool, refusal: impl FnOnce() -> Refusal) -> Result<(), Refusal> {
        if self.in_force.iter().any(|rule| permits(rule)) {
            return Ok(());
        }
        let kept = self.others.iter().find(|(rule, _)| permits(rule));
        Err(kept.map_or_else(refusal, |(_, unmet)| {
            Refusal::new(unmet.code(), format!("a rule permits it, but {unmet}"))
        }))
    }
}
