//! What only shows when rules are seen together: raw terminals beside lists of commands, and repetitions.

use std::collections::HashMap;

use super::{Reader, Scope, excerpt};
use crate::policy::Rule;
use crate::policy::index::Selector;
use crate::policy::pattern::{ArgPattern, Pattern};

/// How many earlier patterns, of the same words and of the same program, a pattern is compared with.
const EARLIER_MAX: usize = 64;

pub(super) fn examine(reader: &mut Reader<'_>) {
    raw_beside_list(reader);
    repetitions(reader);
}

/// A user whom one rule gives a raw terminal and another a list of commands on the same target would be held to
/// nothing by the list. Who holds which role is known only later; there the list wins (see `check::try_grant`).
fn raw_beside_list(reader: &mut Reader<'_>) {
    let listed: Vec<(&Rule, &Scope)> =
        reader.rules.iter().zip(&reader.scopes).filter(|(rule, _)| rule.is_list()).collect();
    let mut by_user: HashMap<&Selector, Vec<usize>> = HashMap::new();
    for (at, (_, scope)) in listed.iter().enumerate() {
        for user in &scope.users {
            by_user.entry(user).or_default().push(at);
        }
    }
    let mut found = Vec::new();
    for (_, raw) in reader.rules.iter().zip(&reader.scopes).filter(|(rule, _)| rule.is_raw()) {
        let clash = raw.users.iter().flat_map(|user| by_user.get(user)).flatten().find_map(|at| {
            let (rule, scope) = listed.get(*at)?;
            let target = raw.targets.iter().find(|target| scope.targets.contains(target))?;
            let user = raw.users.iter().find(|user| scope.users.contains(user))?;
            Some((rule.line, user, target))
        });
        if let Some((line, user, target)) = clash {
            let message = format!(
                "a raw terminal for {} on {} makes the list of commands in line {line} meaningless",
                shown(user, "role:"),
                shown(target, "tag:"),
            );
            found.push(reader.places.mistake(raw.offset, message));
        }
    }
    reader.mistakes.append(&mut found);
}

fn shown(selector: &Selector, label: &str) -> String {
    match selector {
        Selector::Any => "`*`".to_owned(),
        Selector::Id(id) => format!("`{}`", excerpt(id)),
        Selector::Label(name) => format!("`{label}{}`", excerpt(name)),
    }
}

/// A pattern that an earlier rule permits to all the same people, on all the same targets, unconditionally and on no
/// stricter terms, is never the one that decides.
fn repetitions(reader: &mut Reader<'_>) {
    type Words<'a> = (&'a str, &'a [ArgPattern], bool);
    let mut same: HashMap<Words<'_>, Vec<&Pattern>> = HashMap::new();
    let mut open: HashMap<&str, Vec<&Pattern>> = HashMap::new();
    let mut found = Vec::new();
    for (pattern, offset) in reader.patterns.iter().zip(&reader.pattern_offsets) {
        let same = same.entry((&pattern.program, &pattern.args, pattern.any_rest)).or_default();
        let open = open.entry(&pattern.program).or_default();
        let mut earlier = same.iter().chain(open.iter());
        if let Some(before) =
            earlier.find(|before| before.covers(pattern) && rule_covers(reader, before.rule, pattern.rule))
        {
            found.push((
                *offset,
                format!("`{}` is already permitted by line {}", excerpt(&pattern.text), before.line),
            ));
        }
        if same.len() < EARLIER_MAX {
            same.push(pattern);
        }
        if pattern.is_open() && open.len() < EARLIER_MAX {
            open.push(pattern);
        }
    }
    for (offset, message) in found {
        reader.warn(offset, message);
    }
}

fn rule_covers(reader: &Reader<'_>, wide: usize, narrow: usize) -> bool {
    let rule = |number: usize| reader.rules.get(number).zip(reader.scopes.get(number));
    let (Some((a, wide_scope)), Some((b, narrow_scope))) = (rule(wide), rule(narrow)) else { return false };
    wide == narrow
        || (a.when.is_none()
            && a.mode == b.mode
            && a.record == b.record
            && a.pipelines >= b.pipelines
            && a.lists >= b.lists
            && b.directories.iter().all(|directory| a.directories.contains(directory))
            && all_in(&narrow_scope.users, &wide_scope.users)
            && all_in(&narrow_scope.targets, &wide_scope.targets))
}

fn all_in(narrow: &[Selector], wide: &[Selector]) -> bool {
    wide.contains(&Selector::Any) || narrow.iter().all(|selector| wide.contains(selector))
}
