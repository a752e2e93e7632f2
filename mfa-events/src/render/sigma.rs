//! Sigma correlations.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{RenderError, Text, above, clears, conditions, not_sayable, quoted, span, steps};
use crate::detect::Rule;
use crate::detect::rule::{Distinct, Grouping, Kind, Selector, Severity};

/// A rule as Sigma documents: what is counted, and the correlation that counts it.
///
/// Sigma leaves to each backend how it cuts time, and most cut it into buckets: what the text warns of. IPv6 addresses are sources of
/// their own.
///
/// # Errors
/// Where it cannot be said: networks, what is usual, distances, factors that are new, several thresholds at once.
pub fn sigma(rule: &Rule) -> Result<String, RenderError> {
    let mut more = vec![
        "Most backends count in buckets of the clock: an attack across the boundary of two passes with up to nearly twice the threshold."
            .to_owned(),
    ];
    if clears(rule) {
        more.push("The rule takes out whoever logs in after he failed; here he counts, so there are more false alarms.".to_owned());
    }
    if rule.weighed_by_risk {
        more.push("The rule weighs events by their risk; here each counts as one.".to_owned());
    }
    let mut documents = Documents { rule, text: Text::default(), count: 0 };
    match &rule.kind {
        Kind::Count { threshold } => {
            let base = documents.base(&rule.select, "");
            documents.counted("event_count", &base, None, *threshold, &more)?;
        }
        Kind::Fatigue { threshold, approved_after } => {
            if approved_after.is_some() {
                more.push("The rule looks for an approval besides, after fewer requests; here it is not looked for.".to_owned());
            }
            let base = documents.base(&rule.select, "");
            documents.counted("event_count", &base, None, *threshold, &more)?;
        }
        Kind::DistinctCount { of, threshold, .. } => {
            let field = match of {
                Distinct::Actor => "actor_id",
                Distinct::Source => "source_ip",
            };
            let base = documents.base(&rule.select, "");
            documents.counted("value_count", &base, Some(field), *threshold, &more)?;
        }
        Kind::Cluster { actors, sources, events, .. } => {
            if *sources > 1 || events > actors {
                return Err(not_sayable(rule, LANGUAGE, "it has several thresholds at once"));
            }
            let base = documents.base(&rule.select, "");
            documents.counted("value_count", &base, Some("actor_id"), *actors, &more)?;
        }
        Kind::RepeatAfterUnlock { threshold, automatic } => {
            if *threshold > 1 {
                return Err(not_sayable(rule, LANGUAGE, "it counts pairs of events"));
            }
            let automatic: Vec<&str> = automatic.iter().map(|code| code.as_str()).collect();
            let unlocked = documents.of_type("account.unlocked", "unlocked", &automatic);
            let locked = documents.of_type("account.locked", "locked", &[]);
            documents.ordered(&[unlocked, locked], &more)?;
        }
        Kind::Sequence { steps: all } => {
            let (first, rest) = steps(rule, all, LANGUAGE)?;
            if rest.iter().any(|step| step.new_method) {
                return Err(not_sayable(rule, LANGUAGE, "it compares the factors of events"));
            }
            let mut names = vec![documents.base(&first.select, "step-1")];
            if first.at_least > 1 {
                let base = names.remove(0);
                names.push(documents.inner(&base, first.at_least)?);
            }
            for (number, step) in (2..).zip(rest) {
                names.push(documents.base(&step.select, &format!("step-{number}")));
            }
            documents.ordered(&names, &more)?;
        }
        Kind::VolumeVsBaseline { .. } => {
            return Err(not_sayable(rule, LANGUAGE, "it compares with what is usual"));
        }
        Kind::ImpossibleTravel { .. } => {
            return Err(not_sayable(rule, LANGUAGE, "it measures distances"));
        }
    }
    Ok(documents.text.0)
}

const LANGUAGE: &str = "Sigma";

struct Documents<'r> {
    rule: &'r Rule,
    text: Text,
    count: u32,
}

impl Documents<'_> {
    fn begin(&mut self) -> Uuid {
        if self.count > 0 {
            self.text.line(format_args!("---"));
        }
        self.count = self.count.saturating_add(1);
        let mut hash = Sha256::new();
        hash.update(self.rule.id.as_str());
        hash.update(self.count.to_be_bytes());
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(hash.finalize()).for_each(|(byte, of)| *byte = of);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// A rule of one event; answers its name.
    fn base(&mut self, select: &Selector, part: &str) -> String {
        let conditions = conditions(select);
        self.event(part, &conditions, &[])
    }

    fn of_type(&mut self, event_type: &str, part: &str, automatic: &[&str]) -> String {
        self.event(part, &[("event_type", vec![event_type])], automatic)
    }

    fn event(&mut self, part: &str, conditions: &[(&str, Vec<&str>)], not_unlocked_by: &[&str]) -> String {
        let id = self.begin();
        let name = match part {
            "" => format!("{}-event", self.rule.id),
            part => format!("{}-{part}", self.rule.id),
        };
        let text = &mut self.text;
        text.line(format_args!("title: {}", quoted(&format!("Event of {name}"))));
        text.line(format_args!("id: {id}"));
        text.line(format_args!("name: {}", quoted(&name)));
        text.line(format_args!("status: experimental"));
        text.line(format_args!("logsource:"));
        text.line(format_args!("    product: mfa-events"));
        text.line(format_args!("    category: authentication"));
        text.line(format_args!("detection:"));
        text.line(format_args!("    selection:"));
        let every = [("event_type", vec!["*"])];
        for (field, values) in if conditions.is_empty() { &every[..] } else { conditions } {
            listed(text, field, values);
        }
        if not_unlocked_by.is_empty() {
            text.line(format_args!("    condition: selection"));
        } else {
            text.line(format_args!("    automatic:"));
            listed(text, "unlock_method", not_unlocked_by);
            text.line(format_args!("    condition: selection and not automatic"));
        }
        text.line(format_args!("level: informational"));
        name
    }

    fn head(&mut self, title: &str, name: &str, kind: &str, rules: &[String]) -> Result<(), RenderError> {
        let id = self.begin();
        let group = match self.rule.group_by {
            Grouping::Tenant => None,
            Grouping::Source => Some("source_ip"),
            Grouping::Actor => Some("actor_id"),
            Grouping::Network => return Err(not_sayable(self.rule, LANGUAGE, "it has no networks")),
        };
        let window = self.rule.window;
        if window.num_milliseconds() % 1_000 != 0 {
            return Err(not_sayable(self.rule, LANGUAGE, "its window is not whole seconds"));
        }
        let text = &mut self.text;
        text.line(format_args!("title: {}", quoted(title)));
        text.line(format_args!("id: {id}"));
        text.line(format_args!("name: {}", quoted(name)));
        text.line(format_args!("status: experimental"));
        text.line(format_args!("correlation:"));
        text.line(format_args!("    type: {kind}"));
        text.line(format_args!("    rules:"));
        rules.iter().for_each(|rule| text.line(format_args!("        - {}", quoted(rule))));
        text.line(format_args!("    group-by:"));
        text.line(format_args!("        - tenant_id"));
        group.into_iter().for_each(|group| text.line(format_args!("        - {group}")));
        text.line(format_args!("    timespan: {}", span(window)));
        Ok(())
    }

    fn counted(
        &mut self,
        kind: &str,
        base: &str,
        field: Option<&str>,
        threshold: u32,
        more: &[String],
    ) -> Result<(), RenderError> {
        let (title, name) = (plain(&self.rule.name), self.rule.id.to_string());
        self.head(&title, &name, kind, &[base.to_owned()])?;
        self.condition(field, threshold);
        self.tail(more);
        Ok(())
    }

    /// So many of one kind, to be a step.
    fn inner(&mut self, base: &str, at_least: u32) -> Result<String, RenderError> {
        let name = format!("{base}-repeated");
        self.head(&format!("Several of {base}"), &name, "event_count", &[base.to_owned()])?;
        self.condition(None, at_least);
        self.text.line(format_args!("level: informational"));
        Ok(name)
    }

    fn condition(&mut self, field: Option<&str>, threshold: u32) {
        self.text.line(format_args!("    condition:"));
        if let Some(field) = field {
            self.text.line(format_args!("        field: {field}"));
        }
        self.text.line(format_args!("        gte: {threshold}"));
    }

    fn ordered(&mut self, names: &[String], more: &[String]) -> Result<(), RenderError> {
        let (title, name) = (plain(&self.rule.name), self.rule.id.to_string());
        self.head(&title, &name, "temporal_ordered", names)?;
        self.tail(more);
        Ok(())
    }

    fn tail(&mut self, more: &[String]) {
        let description: Vec<String> =
            above(self.rule, more).iter().skip(1).map(|line| plain(line)).collect();
        self.text.line(format_args!("description: {}", quoted(&description.join(" "))));
        let level = match self.rule.severity {
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        };
        self.text.line(format_args!("level: {level}"));
    }
}

fn listed(text: &mut Text, field: &str, values: &[&str]) {
    match values {
        [one] => text.line(format_args!("        {field}: {}", quoted(one))),
        all => {
            text.line(format_args!("        {field}:"));
            all.iter().for_each(|value| text.line(format_args!("            - {}", quoted(value))));
        }
    }
}

/// As YAML reads it between quotation marks, on one line.
fn plain(text: &str) -> String {
    super::safe(text)
}
