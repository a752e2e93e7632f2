//! Answers: from a line and what is known to a permit or a denial.

use std::collections::{BTreeMap, HashMap};

use super::index::Pairs;
use super::{Policy, Rule, Unmet, terms};
use crate::directory::{AbsolutePath, Directory};
use crate::facts::Facts;
use crate::grammar::{Fault, FaultReason, Operator, Part, Wildcards, Word, check_text, lex_str};
use crate::identity::{Target, User};
use crate::limits::{DENIAL_HINTS_MAX, LINE_BYTES_MAX};
use crate::policy::pattern::{ArgPattern, Pattern};
use crate::verdict::PermitRule;
use crate::verdict::{Denial, DenialReason, OutputRecord, Permit, Verdict};

pub(super) fn check(
    policy: &Policy,
    user: &User,
    target: &Target,
    line: &[u8],
    directory: &Directory,
    facts: Option<&Facts>,
) -> Verdict {
    let away = match directory {
        Directory::Home => None,
        Directory::At(path) => Some(path),
    };
    let mut question =
        Question { policy, pairs: policy.index.pairs(user, target), facts, away, joints: Joints::default() };
    let (text, parts) = match read(line) {
        Ok(read) => read,
        Err(fault) => {
            if let Some(verdict) = question.raw(line) {
                return verdict;
            }
            let explanation = fault.reason().to_string();
            let reason = DenialReason::Grammar(fault);
            return Verdict::Deny(Denial::from_parts(
                line,
                reason,
                Some(fault.position()),
                explanation,
                Vec::new(),
            ));
        }
    };
    question.joints = Joints::of(&parts);
    let mut patterns = Vec::with_capacity(parts.len());
    let mut rule = None;
    let mut is_one_rule = true;
    for part in &parts {
        match question.find(part) {
            Ok((pattern, permits)) => {
                patterns.push(pattern);
                is_one_rule &= pattern.rule == rule.get_or_insert((pattern.rule, permits)).0;
            }
            Err(why) => {
                let raw = question.raw(line);
                return raw.unwrap_or_else(|| Verdict::Deny(question.deny(user, target, line, part, why)));
            }
        }
    }
    let mut record = rule.and_then(|(_, rule)| rule.record).unwrap_or_default();
    // The first patterns in the file may stand in different rules, and later ones still in one.
    if !is_one_rule {
        match question.find_together(&parts) {
            Some((together, rule)) => {
                patterns = together;
                record = rule.record.unwrap_or_default();
            }
            None => return Verdict::Deny(question.deny_together(line)),
        }
    }
    // Only a line that is permitted at all is worth the look at every rule.
    if let Some(path) = away
        && !terms::may_enter(question.rules_in_force(), path)
    {
        return Verdict::Deny(question.deny_elsewhere(line));
    }
    Verdict::Allow(mint(text, parts, &patterns, record, away))
}

fn read(line: &[u8]) -> Result<(&str, Vec<Part>), Fault> {
    let text = check_text(line)?;
    Ok((text, lex_str(text, Wildcards::Refused)?))
}

/// INVARIANT: every part was found to match the pattern at its place in `patterns`.
fn mint(
    text: &str,
    parts: Vec<Part>,
    patterns: &[&Pattern],
    record: OutputRecord,
    away: Option<&AbsolutePath>,
) -> Permit {
    let rules = patterns
        .iter()
        .map(|pattern| PermitRule { pattern: Policy::pattern_text(pattern), line: pattern.line })
        .collect();
    let mut first = Vec::new();
    let mut more = Vec::new();
    for (part, pattern) in parts.into_iter().zip(patterns) {
        let mut argv: Vec<String> = part.words.into_iter().map(|word| word.text).collect();
        if let Some(program) = argv.first_mut()
            && *program != pattern.program
        {
            // The plain name of an absolute path: what runs is what the policy names, not what PATH finds.
            program.clone_from(&pattern.program);
        }
        match part.joined_by {
            Some((operator, _)) => more.push((operator, argv)),
            None => first = argv,
        }
    }
    let nested_uncontrolled = patterns.iter().any(|pattern| pattern.nests);
    Permit::new(text.to_owned(), first, more, rules, record, away.cloned(), nested_uncontrolled)
}

/// What a line uses to join its commands, and where first.
#[derive(Clone, Copy, Default)]
struct Joints {
    pipe: Option<(Operator, usize)>,
    list: Option<(Operator, usize)>,
}

impl Joints {
    fn of(parts: &[Part]) -> Self {
        let mut joints = Self::default();
        for joint in parts.iter().filter_map(|part| part.joined_by) {
            let place = if joint.0 == Operator::Pipe { &mut joints.pipe } else { &mut joints.list };
            place.get_or_insert(joint);
        }
        joints
    }

    /// The first joint that the rule does not permit.
    fn refused_by(self, rule: &Rule) -> Option<(Operator, usize)> {
        self.pipe.filter(|_| !rule.pipelines).or(self.list.filter(|_| !rule.lists))
    }
}

/// Why no pattern was found. Ordered from least to most specific.
enum Why {
    NoMatch,
    Elsewhere,
    Joint(Operator, usize),
    Unmet(Unmet),
}

/// What the rules for a user and target come to.
enum Standing {
    NoRules,
    Unmet(Unmet),
    /// Rules in force, but none about commands.
    Nothing,
    Raw,
    Listed,
}

struct Question<'a> {
    policy: &'a Policy,
    pairs: Pairs,
    facts: Option<&'a Facts>,
    /// The directory, where it is not home.
    away: Option<&'a AbsolutePath>,
    joints: Joints,
}

impl<'a> Question<'a> {
    /// The first pattern in the file that permits the part.
    fn find(&self, part: &Part) -> Result<(&'a Pattern, &'a Rule), Why> {
        let Some((program, args)) = part.words.split_first() else { return Err(Why::NoMatch) };
        let mut best: Option<(u32, &Pattern, &Rule)> = None;
        let mut why = Why::NoMatch;
        for list in self.policy.index.patterns(&self.pairs, &program.text) {
            for number in list {
                if best.is_some_and(|(found, ..)| found <= *number) {
                    break;
                }
                let Some((pattern, rule)) = self.pattern(*number) else { continue };
                if !pattern.matches(args) {
                    continue;
                }
                if let Err(unmet) = self.holds(rule) {
                    why = Why::Unmet(unmet);
                } else if let Some((operator, position)) = self.joints.refused_by(rule) {
                    if !matches!(why, Why::Unmet(_)) {
                        why = Why::Joint(operator, position);
                    }
                } else if !self.is_here(pattern, rule) {
                    if matches!(why, Why::NoMatch) {
                        why = Why::Elsewhere;
                    }
                } else {
                    best = Some((*number, pattern, rule));
                    break;
                }
            }
        }
        best.map(|(_, pattern, rule)| (pattern, rule)).ok_or(why)
    }

    /// The first rule in the file that permits every part and their joining, with its first pattern for each.
    ///
    /// A rule that lets its commands be joined says nothing about the commands of others: what `cat` may read there was
    /// not written with `mail` in mind.
    fn find_together(&self, parts: &[Part]) -> Option<(Vec<&'a Pattern>, &'a Rule)> {
        let mut together: Option<BTreeMap<usize, Vec<&'a Pattern>>> = None;
        for part in parts {
            let found = self.first_of_each_rule(part);
            together = Some(match together {
                None => found.into_iter().map(|(rule, (_, pattern))| (rule, vec![pattern])).collect(),
                Some(mut so_far) => {
                    so_far.retain(|rule, patterns| {
                        let pattern = found.get(rule).map(|(_, pattern)| *pattern);
                        patterns.extend(pattern);
                        pattern.is_some()
                    });
                    so_far
                }
            });
        }
        let (rule, patterns) = together?.pop_first()?;
        Some((patterns, self.policy.rules.get(rule)?))
    }

    /// By rule, the first pattern that permits the part, with its number.
    fn first_of_each_rule(&self, part: &Part) -> HashMap<usize, (u32, &'a Pattern)> {
        let mut found: HashMap<usize, (u32, &Pattern)> = HashMap::new();
        let Some((program, args)) = part.words.split_first() else { return found };
        for number in self.policy.index.patterns(&self.pairs, &program.text).flatten() {
            let Some((pattern, rule)) = self.pattern(*number) else { continue };
            if pattern.matches(args)
                && self.holds(rule).is_ok()
                && self.joints.refused_by(rule).is_none()
                && self.is_here(pattern, rule)
            {
                let first = found.entry(pattern.rule).or_insert((*number, pattern));
                if *number < first.0 {
                    *first = (*number, pattern);
                }
            }
        }
        found
    }

    fn deny_together(&self, line: &[u8]) -> Denial {
        let joint = match (self.joints.pipe, self.joints.list) {
            (Some(pipe), Some(list)) => Some(if pipe.1 < list.1 { pipe } else { list }),
            (pipe, list) => pipe.or(list),
        };
        let (reason, position) = match joint {
            Some((operator, position)) => (DenialReason::OperatorNotPermitted(operator), Some(position)),
            None => (DenialReason::NoRule, None),
        };
        let explanation =
            "each command is permitted, but no one rule permits all of them together".to_owned();
        Denial::from_parts(line, reason, position, explanation, Vec::new())
    }

    fn pattern(&self, number: u32) -> Option<(&'a Pattern, &'a Rule)> {
        let pattern = self.policy.patterns.get(usize::try_from(number).ok()?)?;
        Some((pattern, self.policy.rules.get(pattern.rule)?))
    }

    fn holds(&self, rule: &Rule) -> Result<(), Unmet> {
        match (&rule.when, self.facts) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(Unmet::FactsUnknown),
            (Some(when), Some(facts)) => when.holds(facts),
        }
    }

    /// Whether the pattern may run in this directory: where it means the same as anywhere, or where its rule says so.
    fn is_here(&self, pattern: &Pattern, rule: &Rule) -> bool {
        self.away.is_none_or(|path| {
            pattern.same_anywhere || rule.directories.iter().any(|directory| directory.matches(path))
        })
    }

    fn rules_in_force(&self) -> impl Iterator<Item = &'a Rule> {
        let rules = self.policy.index.unordered_rules(&self.pairs);
        rules.filter_map(|rule| self.policy.rules.get(rule)).filter(|rule| self.holds(rule).is_ok())
    }

    /// A permit for the line as it stands, where nothing holds the user to a list.
    ///
    /// INVARIANT: never where any rule for this user and target lists commands, in force or not: such a line is checked by nothing.
    fn raw(&self, line: &[u8]) -> Option<Verdict> {
        let rules = || {
            let rules = self.policy.index.unordered_rules(&self.pairs);
            rules.filter_map(|rule| self.policy.rules.get(rule))
        };
        let raw = || rules().filter(|rule| rule.is_raw() && self.holds(rule).is_ok());
        let first = raw().min_by_key(|rule| rule.line)?;
        if rules().any(Rule::is_list) || self.away.is_some() {
            return None;
        }
        let fault = match line {
            line if line.len() > LINE_BYTES_MAX => Some(Fault::new(FaultReason::LineTooLong, LINE_BYTES_MAX)),
            [] => Some(Fault::new(FaultReason::Empty, 0)),
            line => {
                let nul = line.iter().position(|byte| *byte == 0);
                nul.map(|at| Fault::new(FaultReason::ControlCharacter, at))
            }
        };
        if let Some(fault) = fault {
            let explanation = fault.reason().to_string();
            let reason = DenialReason::Grammar(fault);
            let position = Some(fault.position());
            return Some(Verdict::Deny(Denial::from_parts(line, reason, position, explanation, Vec::new())));
        }
        let record = raw().filter_map(|rule| rule.record).max().unwrap_or_default();
        Some(Verdict::Allow(Permit::raw(line.to_vec(), first.line, record)))
    }

    fn deny_elsewhere(&self, line: &[u8]) -> Denial {
        let directory = self.away.map_or("~", AbsolutePath::as_str);
        let is_named = self
            .rules_in_force()
            .flat_map(|rule| &rule.directories)
            .any(|pattern| self.away.is_some_and(|path| pattern.matches(path)));
        let which = if is_named { "no rule that permits it" } else { "no rule" };
        let explanation = format!("permitted only at home; {which} names `{directory}` in `directories`");
        Denial::from_parts(line, DenialReason::DirectoryNotPermitted, None, explanation, Vec::new())
    }

    fn deny(&self, user: &User, target: &Target, line: &[u8], part: &Part, why: Why) -> Denial {
        match why {
            Why::Joint(operator, position) => Denial::from_parts(
                line,
                DenialReason::OperatorNotPermitted(operator),
                Some(position),
                format!("no rule permits joining commands with `{operator}` here"),
                Vec::new(),
            ),
            Why::Unmet(unmet) => Denial::from_parts(
                line,
                DenialReason::ConditionUnmet(unmet),
                None,
                format!("a rule permits it, but {unmet}"),
                Vec::new(),
            ),
            Why::Elsewhere => self.deny_elsewhere(line),
            Why::NoMatch => self.deny_unmatched(user, target, line, part),
        }
    }

    fn deny_unmatched(&self, user: &User, target: &Target, line: &[u8], part: &Part) -> Denial {
        let Some((program, args)) = part.words.split_first() else {
            return Denial::from_parts(
                line,
                DenialReason::NoRule,
                None,
                "no rule permits it".to_owned(),
                Vec::new(),
            );
        };
        let plain = |reason, explanation| Denial::from_parts(line, reason, None, explanation, Vec::new());
        match self.standing() {
            Standing::Listed => {}
            Standing::NoRules => {
                let explanation = format!("no rule permits `{}` anything on `{}`", user.id(), target.id());
                return plain(DenialReason::NoEntry, explanation);
            }
            Standing::Unmet(unmet) => {
                return plain(DenialReason::ConditionUnmet(unmet), format!("no rule is in force: {unmet}"));
            }
            Standing::Nothing => {
                let explanation = "no command is permitted, only what `files` and `doors` name".to_owned();
                return plain(DenialReason::NoRule, explanation);
            }
            Standing::Raw => {
                let explanation = "a raw terminal has no directories of ours".to_owned();
                return plain(DenialReason::DirectoryNotPermitted, explanation);
            }
        }
        let (explanation, position, permitted) = self.nearest(program, args);
        Denial::from_parts(line, DenialReason::NoRule, position, explanation, permitted)
    }

    /// What the rules for this user and target come to. Stops at the first that lists commands and is in force.
    fn standing(&self) -> Standing {
        let (mut unmet, mut has_raw, mut has_list, mut has_other) = (None, false, false, false);
        for number in self.policy.index.unordered_rules(&self.pairs) {
            let Some(rule) = self.policy.rules.get(number) else { continue };
            has_list |= rule.is_list();
            match self.holds(rule) {
                Ok(()) if !rule.patterns.is_empty() => return Standing::Listed,
                Ok(()) if rule.is_raw() => has_raw = true,
                Ok(()) => has_other = true,
                Err(condition) if unmet.is_none_or(|(first, _)| number < first) => {
                    unmet = Some((number, condition));
                }
                Err(_) => {}
            }
        }
        match unmet {
            // A list that is not in force takes the raw terminal away all the same.
            _ if has_raw && !has_list => Standing::Raw,
            _ if has_other => Standing::Nothing,
            Some((_, unmet)) => Standing::Unmet(unmet),
            None => Standing::NoRules,
        }
    }

    /// Which word is the first that no pattern permits, and what could stand there.
    fn nearest(&self, program: &Word, args: &[Word]) -> (String, Option<usize>, Vec<String>) {
        let mut hints = Hints::default();
        let mut furthest = None;
        for number in self.policy.index.patterns(&self.pairs, &program.text).flatten() {
            let Some((pattern, rule)) = self.pattern(*number) else { continue };
            if self.holds(rule).is_err() {
                continue;
            }
            let matched = pattern.matched(args);
            if furthest.is_none_or(|furthest| furthest < matched) {
                furthest = Some(matched);
                hints = Hints::default();
            }
            if furthest == Some(matched) {
                hints.add(pattern.args.get(matched).map_or("nothing more", ArgPattern::shown));
            }
        }
        let Some(reached) = furthest else {
            let rules = self.policy.index.unordered_rules(&self.pairs);
            let in_force =
                rules.filter_map(|rule| self.policy.rules.get(rule)).filter(|rule| self.holds(rule).is_ok());
            let mut patterns =
                in_force.filter_map(|rule| self.policy.patterns.get(rule.patterns.clone())).flatten();
            while let (true, Some(pattern)) = (hints.has_room(), patterns.next()) {
                hints.add(pattern.plain_name.as_ref().unwrap_or(&pattern.program));
            }
            return (format!("no rule permits `{}`", program.text), None, hints.owned());
        };
        match args.get(reached) {
            Some(word) => (format!("no rule permits `{}`", word.text), Some(word.start), hints.owned()),
            None => ("no rule permits it without a further argument".to_owned(), None, hints.owned()),
        }
    }
}

#[derive(Default)]
struct Hints<'a> {
    list: Vec<&'a str>,
}

impl<'a> Hints<'a> {
    fn has_room(&self) -> bool {
        self.list.len() < DENIAL_HINTS_MAX
    }

    fn add(&mut self, hint: &'a str) {
        if self.has_room() && !self.list.contains(&hint) {
            self.list.push(hint);
        }
    }

    fn owned(self) -> Vec<String> {
        self.list.into_iter().map(str::to_owned).collect()
    }
}
