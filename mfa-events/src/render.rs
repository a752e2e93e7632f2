//! Rules in the languages of those who look at events elsewhere: [`spl`] for Splunk, [`kql`] for Microsoft Sentinel, [`sigma`] for
//! whatever reads Sigma.
//!
//! Each rule comes in two [`Form`]s: in buckets, as analysts know it, and over a window that slides, as this crate judges; sequences and
//! distances slide in both, and what is compared with a usual hour is in buckets only. What a text
//! says otherwise than the rule is written above it, and what cannot be said is an error. Queries look back over what is stored: they
//! have no alerts that open and close, and no weight of risk.

mod kql;
mod sigma;
mod spl;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::TimeDelta;

use crate::detect::Rule;
use crate::detect::rule::{COUNTRY_ACCURACY_KM, Kind, Selector, Step};

pub use kql::kql;
pub use sigma::sigma;
pub use spl::spl;

/// Most bytes of a name.
pub const NAME_BYTES_MAX: usize = 128;

/// How time is cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// Buckets of the clock, one after the other: cheap, and passes over an attack that lies across a boundary, up to nearly twice what
    /// the rule permits.
    Tumbling,
    /// A window that ends with each event, as the rule has it.
    Sliding,
}

/// What things are called where a query runs.
///
/// ```
/// # use mfa_events::{Rules, render::{Form, Names, spl}};
/// let names = Names::default().index("identity")?.field("actor_id", "user.id")?;
/// let search = spl(Rules::published().find("credential-stuffing").unwrap(), &names, Form::Sliding)?;
/// assert!(search.contains("streamstats time_window=600s"));
/// # Ok::<(), mfa_events::render::RenderError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Names {
    index: String,
    sourcetype: String,
    table: String,
    fields: BTreeMap<&'static str, String>,
}

/// Why a rule has no such text.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The name of an index, a source type, a table or a field is none.
    #[error(
        "a name is letters, digits, `_`, `.`, `:` and `-`, that of a table or field letters, digits, `_` and `.`"
    )]
    Name,
    /// There is no such field in queries.
    #[error("no query has a field `{0}`")]
    Field(String),
    /// The language, or this form of it, cannot say it.
    #[error("{language} cannot say `{rule}`: {why}")]
    NotSayable {
        /// Of which rule.
        rule: String,
        /// In which language.
        language: &'static str,
        /// What it is.
        why: &'static str,
    },
}

/// Fields that queries use, by their names in events.
const FIELDS: [&str; 14] = [
    "actor_id",
    "event_id",
    "event_type",
    "failure_reason",
    "geo_location.lat",
    "geo_location.lon",
    "lock_reason",
    "mfa_method",
    "outcome",
    "recovery_method",
    "source_ip",
    "tenant_id",
    "time",
    "unlock_method",
];

impl Default for Names {
    /// Index `main` with source type `mfa:event`, and table `MfaEvents_CL`; fields as in events, as the sinks of this crate write them.
    /// `time` is `_time` in Splunk and `TimeGenerated` in Sentinel.
    fn default() -> Self {
        Self {
            index: "main".to_owned(),
            sourcetype: "mfa:event".to_owned(),
            table: "MfaEvents_CL".to_owned(),
            fields: BTreeMap::new(),
        }
    }
}

impl Names {
    /// The index in Splunk.
    ///
    /// # Errors
    /// Where it is no name.
    pub fn index(mut self, name: &str) -> Result<Self, RenderError> {
        self.index = place(name)?;
        Ok(self)
    }

    /// The source type in Splunk.
    ///
    /// # Errors
    /// Where it is no name.
    pub fn sourcetype(mut self, name: &str) -> Result<Self, RenderError> {
        self.sourcetype = place(name)?;
        Ok(self)
    }

    /// The table in Sentinel.
    ///
    /// # Errors
    /// Where it is no name.
    pub fn table(mut self, name: &str) -> Result<Self, RenderError> {
        self.table = column(name)?;
        Ok(self)
    }

    /// What a field of events, `actor_id`, is called there: `user.id`. `time` is when an event happened.
    ///
    /// # Errors
    /// Where queries have no such field, or it is no name.
    pub fn field(mut self, ours: &str, theirs: &str) -> Result<Self, RenderError> {
        let known = FIELDS.into_iter().find(|field| *field == ours);
        let known = known.ok_or_else(|| RenderError::Field(safe(ours)))?;
        self.fields.insert(known, column(theirs)?);
        Ok(self)
    }

    fn of<'n>(&'n self, ours: &'n str) -> &'n str {
        self.fields.get(ours).map_or(ours, String::as_str)
    }
}

/// What stands in quotation marks, and is one word all the same.
fn place(name: &str) -> Result<String, RenderError> {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-');
    let is_name = !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_of_name);
    if is_name { Ok(name.to_owned()) } else { Err(RenderError::Name) }
}

/// What stands without quotation marks.
fn column(name: &str) -> Result<String, RenderError> {
    let is_part = |part: &str| {
        part.bytes().next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let is_name = name.len() <= NAME_BYTES_MAX && name.split('.').all(is_part);
    if is_name { Ok(name.to_owned()) } else { Err(RenderError::Name) }
}

/// Text of a rule as it stands in a comment, where it ends nothing and begins nothing: macros, tokens, tags.
fn safe(text: &str) -> String {
    let shown = text.chars().map(|character| match character {
        '`' => '\'',
        '$' | '\u{2028}' | '\u{2029}' | '\u{feff}' => ' ',
        other if other.is_control() => ' ',
        other => other,
    });
    shown.collect()
}

/// What stands above a query.
fn above(rule: &Rule, notes: &[String]) -> Vec<String> {
    let mut lines = vec![format!("{} ({}, {})", safe(&rule.name), rule.id, rule.severity)];
    lines.extend(rule.description.as_deref().map(safe));
    lines.extend(notes.iter().cloned());
    lines
}

/// What a form or a rule asks people to know, in every language.
fn notes(rule: &Rule, form: Form, language: &'static str) -> Vec<String> {
    let mut notes = Vec::new();
    let window = span(rule.window);
    match (form, &rule.kind) {
        (Form::Tumbling, kind) => {
            let sliding = match kind {
                Kind::VolumeVsBaseline { .. } => "",
                _ => "; the sliding form finds it",
            };
            notes.push(format!(
                "Tumbling: counts in buckets of the clock of {window}. An attack across the boundary of two buckets passes with up to \
                 nearly twice the threshold{sliding}."
            ));
        }
        (Form::Sliding, Kind::ImpossibleTravel { .. }) => {
            notes.push(format!("Each event is compared with the one before it, where that is within {window}."));
        }
        (Form::Sliding, _) => notes.push(format!(
            "Sliding: each event is judged with those of the {window} before it. Search over at least twice that."
        )),
    }
    if rule.weighed_by_risk {
        notes.push("The rule weighs events by their risk; here each counts as one.".to_owned());
    }
    match &rule.kind {
        Kind::ImpossibleTravel { .. } => notes.push(format!(
            "The rule knows a place without region and city to {COUNTRY_ACCURACY_KM} km; here it is as exact as others."
        )),
        Kind::VolumeVsBaseline { .. } => notes.push(
            "The rule learns nothing of days in which nothing came of the tenant, and takes what is there week after week for usual; here neither is known."
                .to_owned(),
        ),
        _ => {}
    }
    if clears(rule) {
        notes.push(
            "Whoever logs in from where he failed, within the window afterwards, is not counted: seen from today, also for the time before he did."
                .to_owned(),
        );
    }
    if language == "SPL" && needs_source(rule) {
        notes.push(
            "Splunk has no masks for IPv6: each of its addresses is a source of its own, and in rules by network there are none of them."
                .to_owned(),
        );
    }
    notes
}

fn needs_source(rule: &Rule) -> bool {
    use crate::detect::rule::{Distinct, Grouping};
    matches!(rule.group_by, Grouping::Source | Grouping::Network)
        || matches!(rule.kind, Kind::DistinctCount { of: Distinct::Source, .. })
        || matches!(rule.kind, Kind::Cluster { sources: 1.., .. })
}

fn clears(rule: &Rule) -> bool {
    matches!(
        rule.kind,
        Kind::DistinctCount { success_clears: true, .. } | Kind::Cluster { success_clears: true, .. }
    )
}

/// In the largest unit in which it is whole.
fn span(time: TimeDelta) -> String {
    let ms = time.num_milliseconds();
    for (unit, name) in [(3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
        if ms >= unit && ms % unit == 0 {
            return format!("{}{name}", ms / unit);
        }
    }
    format!("{ms}ms")
}

/// The conditions of a selector: names of fields, and values of which it has one.
fn conditions(select: &Selector) -> Vec<(&'static str, Vec<&str>)> {
    let all = [
        ("event_type", select.event_type.iter().map(|value| value.as_str()).collect()),
        ("outcome", select.outcome.iter().map(|value| value.as_str()).collect()),
        ("mfa_method", select.mfa_method.iter().map(|value| value.as_str()).collect()),
        ("failure_reason", select.failure_reason.iter().map(|value| value.as_str()).collect()),
        ("recovery_method", select.recovery_method.iter().map(|value| value.as_str()).collect()),
        ("lock_reason", select.lock_reason.iter().map(|value| value.as_str()).collect()),
        ("unlock_method", select.unlock_method.iter().map(|value| value.as_str()).collect::<Vec<_>>()),
    ];
    all.into_iter().filter(|(_, values)| !values.is_empty()).collect()
}

/// A text between quotation marks. Values of rules are codes, in which there is nothing to escape; if there ever is, it is escaped here.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            other if other.is_control() => quoted.push(' '),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

fn not_sayable(rule: &Rule, language: &'static str, why: &'static str) -> RenderError {
    RenderError::NotSayable { rule: rule.id.to_string(), language, why }
}

/// Steps as queries can take them: several events only in the first.
fn steps<'r>(
    rule: &'r Rule,
    steps: &'r [Step],
    language: &'static str,
) -> Result<(&'r Step, &'r [Step]), RenderError> {
    let (first, rest) = steps.split_first().ok_or_else(|| not_sayable(rule, language, "it has no steps"))?;
    if rest.iter().any(|step| step.at_least > 1) {
        return Err(not_sayable(rule, language, "only the first step of a sequence may take several events"));
    }
    if first.new_method {
        return Err(not_sayable(rule, language, "the first step of a sequence has no step before it"));
    }
    Ok((first, rest))
}

/// Lines that follow each other.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing into a text does not fail.
        let _ = writeln!(self.0, "{line}");
    }
}
