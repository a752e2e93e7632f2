//! From TOML to rules. Collects every mistake it can find, each with its place.

mod access;
mod fields;
mod overlap;

use std::ops::Range;

use regex::{Regex, RegexBuilder};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use self::fields::Fields;
use super::condition::FactNeeds;
use super::index::{Index, Selector};
use super::lint;
use super::mistake::{COLLECTED_MAX, Mistake, Places, PolicyError, Warning, excerpt};
use super::pattern::Pattern;
use super::{Mode, Rule};
use crate::limits::{
    INDEX_ENTRIES_MAX, POLICY_BYTES_MAX, REDACTION_BYTES_MAX, REDACTIONS_MAX, RULE_COMMANDS_MAX,
    RULE_SELECTORS_MAX, RULES_MAX, WARNINGS_MAX,
};
use crate::verdict::OutputRecord;

/// Everything that a policy is made of.
pub(super) struct Parsed {
    pub(super) rules: Vec<Rule>,
    pub(super) patterns: Vec<Pattern>,
    pub(super) index: Index,
    pub(super) redactions: Vec<Regex>,
    pub(super) warnings: Vec<Warning>,
    pub(super) needs: FactNeeds,
}

pub(super) fn parse(text: &str) -> Result<Parsed, PolicyError> {
    let places = Places::new(text);
    if text.len() > POLICY_BYTES_MAX {
        let message = format!("the policy is longer than {POLICY_BYTES_MAX} bytes");
        return Err(PolicyError::new(vec![places.mistake(0, message)]));
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let place = |span: Option<Range<usize>>| span.map_or(0, |span| span.start);
        let mut mistakes: Vec<Mistake> = errors
            .iter()
            .take(COLLECTED_MAX)
            .map(|error| places.mistake(place(error.span()), error.message()))
            .collect();
        // One slip makes the rest of its line unreadable, too.
        mistakes.sort();
        mistakes.dedup_by_key(|mistake| mistake.line);
        return Err(PolicyError::new(mistakes));
    }
    let mut reader = Reader {
        text,
        places,
        mistakes: Vec::new(),
        warnings: Vec::new(),
        rules: Vec::new(),
        scopes: Vec::new(),
        patterns: Vec::new(),
        pattern_offsets: Vec::new(),
        needs: FactNeeds::default(),
    };
    let redactions = reader.document(document.get_ref());
    reader.finish(redactions)
}

/// Whom and what a rule is about.
struct Scope {
    offset: usize,
    users: Vec<Selector>,
    targets: Vec<Selector>,
}

struct Reader<'a> {
    text: &'a str,
    places: Places<'a>,
    mistakes: Vec<Mistake>,
    warnings: Vec<Warning>,
    rules: Vec<Rule>,
    scopes: Vec<Scope>,
    patterns: Vec<Pattern>,
    pattern_offsets: Vec<usize>,
    needs: FactNeeds,
}

/// How many ways from a program to others a mistake spells out.
const REASONS_SHOWN_MAX: usize = 3;

const MODES: &str = "`exec-only`, `managed` or `unrestricted`";

impl<'a> Reader<'a> {
    fn mistake(&mut self, offset: usize, message: impl Into<String>) {
        if self.mistakes.len() < COLLECTED_MAX {
            self.mistakes.push(self.places.mistake(offset, message));
        }
    }

    fn warn(&mut self, offset: usize, message: impl Into<String>) {
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(self.places.mistake(offset, message));
        }
    }

    fn document(&mut self, document: &DeTable<'_>) -> Vec<Regex> {
        let mut fields = Fields::new(document, 0);
        if let Some(version) = fields.take("version") {
            let known = matches!(version.get_ref(), DeValue::Integer(number) if number.to_string() == "1");
            if !known {
                self.mistake(version.span().start, "`version` must be 1");
            }
        }
        let redactions = fields.take("redact").map(|value| self.redactions(value)).unwrap_or_default();
        match fields.take("permit") {
            None => self.warn(0, "no `[[permit]]` rule: everyone is denied"),
            Some(value) => self.permits(value),
        }
        self.unknown(&fields, "a policy");
        redactions
    }

    fn permits(&mut self, value: &Spanned<DeValue<'_>>) {
        let Some(rules) = value.get_ref().as_array() else {
            return self.mistake(value.span().start, "`permit` must be written as `[[permit]]`");
        };
        for (count, rule) in rules.iter().enumerate() {
            if count >= RULES_MAX {
                return self.mistake(rule.span().start, format!("more than {RULES_MAX} rules"));
            }
            match rule.get_ref().as_table() {
                Some(table) => self.permit(table, rule.span().start),
                None => self.mistake(rule.span().start, "`permit` must be written as `[[permit]]`"),
            }
        }
    }

    fn permit(&mut self, table: &DeTable<'_>, offset: usize) {
        let mut fields = Fields::new(table, offset);
        let users = self.selectors(&mut fields, "users", "role:");
        let targets = self.selectors(&mut fields, "targets", "tag:");
        let stated_mode = self.mode(&mut fields);
        let acknowledged = self.acknowledgements(&mut fields);
        let commands = fields.take("commands");
        let pipelines = self.flag(&mut fields, "pipelines");
        let lists = self.flag(&mut fields, "lists");
        let record = self.record(&mut fields);
        let idle = self.duration(&mut fields, "idle");
        let longest = self.duration(&mut fields, "longest");
        let warn = self.duration(&mut fields, "warn");
        let when = fields.take("when").and_then(|value| self.when(value));
        let directories = self.directories(&mut fields, stated_mode);
        let (files, doors) = (fields.take("files"), fields.take("doors"));
        self.unknown(&fields, "a rule");
        // What is written but wrong still counts as written: one mistake is enough.
        let is_more = files.is_some() || doors.is_some();
        let files = files.and_then(|value| self.files(value));
        let doors = doors.and_then(|value| self.doors(value));
        let mode = stated_mode.or((commands.is_some() || !is_more).then_some(Mode::ExecOnly));

        if let Some((warn, place)) = warn
            && [idle, longest].into_iter().flatten().any(|(limit, _)| limit <= warn)
        {
            self.mistake(place, "`warn` must be shorter than `idle` and `longest`");
        }
        let first = self.patterns.len();
        match (mode, commands) {
            (Some(Mode::Unrestricted), Some(commands)) => self.mistake(
                commands.span().start,
                "a raw terminal cannot be held to a list of commands: `commands` with mode `unrestricted` is refused \
                 (use `managed`)",
            ),
            (Some(mode), Some(commands)) => {
                self.commands(commands, mode, &acknowledged);
                if mode == Mode::Managed && directories.is_empty() {
                    self.only_at_home(first);
                }
            }
            (Some(mode @ (Mode::ExecOnly | Mode::Managed)), None) if !is_more => {
                self.mistake(offset, format!("`commands` is missing (mode `{mode}` permits nothing without)"));
            }
            _ => {}
        }
        for acknowledgement in acknowledged.iter().filter(|entry| !entry.used.get()) {
            self.warn(
                acknowledgement.offset,
                format!("nothing here needs `{}` acknowledged", excerpt(&acknowledgement.program)),
            );
        }
        if let Some(when) = &when {
            self.needs = self.needs.union(when.needs());
        }
        let line = self.places.line(offset);
        self.rules.push(Rule {
            line,
            mode,
            patterns: first..self.patterns.len(),
            when,
            idle: idle.map(|(limit, _)| limit),
            longest: longest.map(|(limit, _)| limit),
            warn: warn.map(|(limit, _)| limit),
            pipelines,
            lists,
            record: record.or(mode.map(|_| OutputRecord::default())),
            directories,
            files,
            doors,
        });
        self.scopes.push(Scope { offset, users, targets });
    }

    fn selectors(&mut self, fields: &mut Fields<'_>, key: &'static str, label: &str) -> Vec<Selector> {
        let Some(value) = fields.take(key) else {
            self.mistake(fields.offset(), format!("`{key}` is missing"));
            return Vec::new();
        };
        let items = self.strings(value, key);
        if items.is_empty() {
            self.mistake(value.span().start, format!("`{key}` names nobody and nothing"));
        }
        if let Some((_, offset)) = items.get(RULE_SELECTORS_MAX) {
            self.mistake(*offset, format!("`{key}` has more than {RULE_SELECTORS_MAX} entries"));
        }
        let mut selectors = Vec::new();
        for (item, offset) in items.into_iter().take(RULE_SELECTORS_MAX) {
            let selector = match (item.strip_prefix(label), item) {
                (_, "*") => Selector::Any,
                (Some(name), _) => Selector::Label(name.to_owned()),
                (None, id) => Selector::Id(id.to_owned()),
            };
            let name = item.strip_prefix(label).unwrap_or(item);
            if name.is_empty() || name.trim() != name {
                self.mistake(
                    offset,
                    format!("`{}` names nobody and nothing (empty, or spaces around it)", excerpt(item)),
                );
            } else if name != "*" && name.contains('*') {
                self.mistake(
                    offset,
                    format!("`{}`: wildcards are not known in `{key}` (only `*` alone)", excerpt(item)),
                );
            }
            match selectors.contains(&selector) {
                true => self.warn(offset, format!("`{}` is named twice", excerpt(item))),
                false => selectors.push(selector),
            }
        }
        selectors
    }

    fn mode(&mut self, fields: &mut Fields<'_>) -> Option<Mode> {
        let value = fields.take("mode")?;
        match value.get_ref().as_str() {
            Some("exec-only") => Some(Mode::ExecOnly),
            Some("managed") => Some(Mode::Managed),
            Some("unrestricted") => Some(Mode::Unrestricted),
            _ => {
                self.mistake(value.span().start, format!("`mode` must be {MODES}"));
                None
            }
        }
    }

    fn record(&mut self, fields: &mut Fields<'_>) -> Option<OutputRecord> {
        let value = fields.take("record")?;
        match value.get_ref().as_str() {
            Some("off") => Some(OutputRecord::Off),
            Some("digest") => Some(OutputRecord::Digest),
            Some("full") => Some(OutputRecord::Full),
            _ => {
                self.mistake(value.span().start, "`record` must be `off`, `digest` or `full`");
                None
            }
        }
    }

    fn acknowledgements(&mut self, fields: &mut Fields<'_>) -> Vec<Acknowledgement> {
        let Some(value) = fields.take("acknowledge") else { return Vec::new() };
        let mut entries = Vec::new();
        for (entry, offset) in self.strings(value, "acknowledge") {
            match entry.split_once(' ') {
                Some((program, words)) if !program.is_empty() && !words.trim().is_empty() => {
                    entries.push(Acknowledgement {
                        program: program.to_owned(),
                        words: words.trim().to_owned(),
                        offset,
                        used: false.into(),
                    });
                }
                _ => self.mistake(
                    offset,
                    "an acknowledgement is a program's name and what it does: `vi grants a shell`",
                ),
            }
        }
        entries
    }

    fn commands(&mut self, value: &Spanned<DeValue<'_>>, mode: Mode, acknowledged: &[Acknowledgement]) {
        let items = self.strings(value, "commands");
        if items.is_empty() {
            self.mistake(value.span().start, "`commands` is empty: the rule permits nothing");
        }
        if let Some((_, offset)) = items.get(RULE_COMMANDS_MAX) {
            self.mistake(*offset, format!("`commands` has more than {RULE_COMMANDS_MAX} entries"));
        }
        for (text, offset) in items.into_iter().take(RULE_COMMANDS_MAX) {
            let line = self.places.line(offset);
            let shown = excerpt(text);
            let pattern = match Pattern::parse(text, self.rules.len(), line) {
                Ok(pattern) => pattern,
                Err(fault) => {
                    let place = self.inside(offset, text, fault.position);
                    self.mistake(place, format!("`{shown}`: {}", fault.message));
                    continue;
                }
            };
            if pattern.program.contains('/') && !pattern.program.starts_with('/') {
                self.warn(
                    offset,
                    format!("`{shown}`: what `{}` is depends on the directory", excerpt(&pattern.program)),
                );
            }
            let mut pattern = pattern;
            pattern.nests = self.acknowledged(&pattern, mode, acknowledged, offset);
            self.patterns.push(pattern);
            self.pattern_offsets.push(offset);
        }
    }

    /// Says of the patterns from `first` on which of them cannot be used after `cd`.
    fn only_at_home(&mut self, first: usize) {
        let patterns = self.patterns.iter().zip(&self.pattern_offsets).skip(first);
        let mut bound = patterns.filter(|(pattern, _)| !pattern.same_anywhere);
        let Some((pattern, offset)) = bound.next() else { return };
        let (text, offset, more) = (excerpt(&pattern.text), *offset, bound.count());
        let others = match more {
            0 => String::new(),
            more => format!(" (and {more} more of this rule)"),
        };
        let message =
            format!("`{text}`{others}: permitted only at home, since the rule has no `directories`");
        self.warn(offset, message);
    }

    /// Every way from the pattern's program to others must be covered by one of the acknowledgements. Whether what it runs then is checked by nothing.
    fn acknowledged(
        &mut self,
        pattern: &Pattern,
        mode: Mode,
        entries: &[Acknowledgement],
        offset: usize,
    ) -> bool {
        let name = pattern.base_name();
        let findings = lint::examine(pattern, mode);
        // Who must acknowledge graver things needs no warning about a pager.
        for doubt in findings.doubts.iter().filter(|_| findings.reaches.is_empty()) {
            self.warn(offset, format!("`{}`: `{}` {doubt}", excerpt(&pattern.text), excerpt(name)));
        }
        let mut bare = findings.reaches;
        let nests = bare.iter().any(|reason| lint::nests(reason));
        bare.retain(|reason| {
            let covering = entries.iter().filter(|entry| {
                (entry.program == name || entry.program == pattern.program)
                    && lint::covers(pattern, &entry.words, reason)
            });
            covering.map(|entry| entry.used.set(true)).count() == 0
        });
        if bare.is_empty() {
            return nests;
        }
        let name = excerpt(name);
        let said = bare.get(..REASONS_SHOWN_MAX).unwrap_or(&bare).join("; ");
        let (more, entries) = match bare.len() <= REASONS_SHOWN_MAX {
            true => {
                let quoted: Vec<String> = bare.iter().map(|reason| format!("\"{name} {reason}\"")).collect();
                ("", quoted.join(", "))
            }
            false => ("; and more", format!("\"{name} {}\"", lint::ANYTHING)),
        };
        let message = format!(
            "`{}`: `{name}` {said}{more}; if that is meant, add to this rule acknowledge = [{entries}]",
            excerpt(&pattern.text),
        );
        self.mistake(offset, message.replace('\\', "\\\\"));
        nests
    }

    fn redactions(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<Regex> {
        let mut expressions = Vec::new();
        for (count, (text, offset)) in self.strings(value, "redact").into_iter().enumerate() {
            if count >= REDACTIONS_MAX {
                self.mistake(offset, format!("`redact` has more than {REDACTIONS_MAX} entries"));
                break;
            }
            let built = RegexBuilder::new(text)
                .size_limit(REDACTION_BYTES_MAX)
                .dfa_size_limit(REDACTION_BYTES_MAX)
                .build();
            match built {
                Ok(expression) if expression.is_match("") => {
                    self.mistake(offset, "a `redact` expression must not match nothing");
                }
                Ok(expression) => expressions.push(expression),
                Err(error) => {
                    // The last line says what is wrong; those before draw the expression.
                    let message = error.to_string();
                    let what = message.lines().last().unwrap_or_default().trim_start_matches("error: ");
                    self.mistake(offset, format!("not a regular expression: {}", excerpt(what)));
                }
            }
        }
        expressions
    }

    /// The place of a byte in a string, where the string is written without escapes; otherwise where it begins.
    fn inside(&self, offset: usize, value: &str, position: usize) -> usize {
        let inner = offset.saturating_add(1);
        match self.text.get(inner..inner.saturating_add(value.len())) {
            Some(written) if written == value => inner.saturating_add(position),
            _ => offset,
        }
    }

    fn unknown(&mut self, fields: &Fields<'_>, of: &str) {
        for (key, offset) in fields.rest() {
            self.mistake(offset, format!("`{}` is not a key of {of}", excerpt(key)));
        }
    }

    fn finish(mut self, redactions: Vec<Regex>) -> Result<Parsed, PolicyError> {
        if self.mistakes.is_empty() {
            overlap::examine(&mut self);
        }
        let index = match self.mistakes.is_empty() {
            true => self.index(),
            false => Index::default(),
        };
        if !self.mistakes.is_empty() {
            return Err(PolicyError::new(self.mistakes));
        }
        self.warnings.sort();
        Ok(Parsed {
            rules: self.rules,
            patterns: self.patterns,
            index,
            redactions,
            warnings: self.warnings,
            needs: self.needs,
        })
    }

    fn index(&mut self) -> Index {
        let mut index = Index::default();
        let mut entries = 0usize;
        for (number, (rule, scope)) in self.rules.iter().zip(&self.scopes).enumerate() {
            let names = rule.patterns.len().saturating_mul(2).saturating_add(1);
            entries = scope
                .users
                .len()
                .saturating_mul(scope.targets.len())
                .saturating_mul(names)
                .saturating_add(entries);
            if entries > INDEX_ENTRIES_MAX {
                let message =
                    format!("up to here, users × targets × commands come to more than {INDEX_ENTRIES_MAX}");
                self.mistakes.push(self.places.mistake(scope.offset, message));
                return index;
            }
            for (user, target) in
                scope.users.iter().flat_map(|user| scope.targets.iter().map(move |t| (user, t)))
            {
                index.insert_rule(user, target, number);
                for (at, pattern) in rule.patterns.clone().filter_map(|at| Some((at, self.patterns.get(at)?)))
                {
                    index.insert_pattern(user, target, &pattern.program, at);
                    if let Some(name) = &pattern.plain_name {
                        index.insert_pattern(user, target, name, at);
                    }
                }
            }
        }
        index
    }
}

/// An entry of `acknowledge`.
struct Acknowledgement {
    program: String,
    words: String,
    offset: usize,
    used: std::cell::Cell<bool>,
}
