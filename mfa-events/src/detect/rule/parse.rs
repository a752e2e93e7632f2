//! From TOML to rules. A text that has the form is looked through for every mistake in what it says.

use std::ops::Range;

use chrono::TimeDelta;
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::{
    Distinct, Grouping, Kind, MISTAKES_MAX, RULES_BYTES_MAX, RULES_MAX, Rule, RuleId, RuleMistake, Rules,
    RulesError, STEPS_MAX, Selector, Severity, Span, Step, THRESHOLD_MAX, VALUES_MAX, WINDOW_DAYS_MAX,
};
use crate::event::{Code, EventType};
use crate::limits::TEXT_BYTES_MAX;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: Spanned<u32>,
    #[serde(default)]
    rule: Vec<Spanned<Draft>>,
}

/// A rule as it is written: which fields belong together depends on its kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    id: Spanned<RuleId>,
    name: Spanned<String>,
    description: Option<Spanned<String>>,
    severity: Severity,
    kind: KindWord,
    group_by: Spanned<Grouping>,
    window: Spanned<Span>,
    quiet: Option<Spanned<Span>>,
    select: Option<Spanned<Selector>>,
    weighed_by_risk: Option<Spanned<bool>>,
    threshold: Option<Spanned<u32>>,
    of: Option<Spanned<Distinct>>,
    success_clears: Option<Spanned<bool>>,
    actors: Option<Spanned<u32>>,
    sources: Option<Spanned<u32>>,
    events: Option<Spanned<u32>>,
    automatic: Option<Spanned<Vec<Code>>>,
    approved_after: Option<Spanned<u32>>,
    count_min: Option<Spanned<u32>>,
    deviations: Option<Spanned<f64>>,
    cold_start: Option<Spanned<u32>>,
    speed_km_h: Option<Spanned<f64>>,
    accuracy_km: Option<Spanned<f64>>,
    distance_km_min: Option<Spanned<f64>>,
    steps: Option<Spanned<Vec<Spanned<Step>>>>,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum KindWord {
    Count,
    DistinctCount,
    Cluster,
    RepeatAfterUnlock,
    Fatigue,
    VolumeVsBaseline,
    ImpossibleTravel,
    Sequence,
}

impl KindWord {
    /// Fields that belong to the kind, those that may be absent included.
    fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Count => &["threshold", "select", "weighed_by_risk"],
            Self::DistinctCount => &["threshold", "of", "success_clears", "select", "weighed_by_risk"],
            Self::Cluster => &["actors", "sources", "events", "success_clears", "select", "weighed_by_risk"],
            Self::RepeatAfterUnlock => &["threshold", "automatic"],
            Self::Fatigue => &["threshold", "approved_after", "select", "weighed_by_risk"],
            Self::VolumeVsBaseline => &["count_min", "deviations", "cold_start", "select"],
            Self::ImpossibleTravel => &["speed_km_h", "accuracy_km", "distance_km_min", "select"],
            Self::Sequence => &["steps"],
        }
    }

    fn groupings(self) -> &'static [Grouping] {
        use Grouping::{Actor, Network, Source, Tenant};
        match self {
            Self::Count => &[Tenant, Source, Network, Actor],
            Self::DistinctCount | Self::Cluster => &[Tenant, Source, Network],
            Self::RepeatAfterUnlock | Self::Fatigue | Self::ImpossibleTravel => &[Actor],
            Self::VolumeVsBaseline => &[Tenant],
            Self::Sequence => &[Source, Network, Actor],
        }
    }
}

/// A value, or a list of values.
pub(super) fn one_or_more<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct Values<T>(std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Values<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a value or a list of values")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<T>, E> {
            T::deserialize(serde::de::value::StrDeserializer::new(text)).map(|value| vec![value])
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut values = Vec::new();
            while let Some(value) = seq.next_element()? {
                if values.len() == VALUES_MAX {
                    return Err(serde::de::Error::custom(format!(
                        "a condition has at most {VALUES_MAX} values"
                    )));
                }
                values.push(value);
            }
            match values.is_empty() {
                true => {
                    Err(serde::de::Error::custom("a condition without values is never met: leave it out"))
                }
                false => Ok(values),
            }
        }
    }

    deserializer.deserialize_any(Values(std::marker::PhantomData))
}

pub(super) fn rules(text: &str) -> Result<Rules, RulesError> {
    let mut reader = Reader { text, mistakes: Vec::new() };
    if text.len() > RULES_BYTES_MAX {
        reader.mistake(0..0, format!("a file of rules has at most {RULES_BYTES_MAX} bytes"));
        return Err(RulesError(reader.mistakes));
    }
    let file: File = match toml::from_str(text) {
        Ok(file) => file,
        Err(error) => {
            reader.mistake(error.span().unwrap_or_default(), error.message());
            return Err(RulesError(reader.mistakes));
        }
    };
    if *file.version.get_ref() != 1 {
        reader.mistake(file.version.span(), "`version` must be 1");
    }
    if file.rule.len() > RULES_MAX {
        reader.mistake(0..0, format!("there are more than {RULES_MAX} rules"));
        return Err(RulesError(reader.mistakes));
    }
    let mut rules: Vec<Rule> = Vec::new();
    for draft in file.rule {
        let span = draft.span();
        let id = draft.get_ref().id.clone();
        if let Some(rule) = reader.rule(span, draft.into_inner()) {
            if rules.iter().any(|other| other.id == rule.id) {
                reader.mistake(id.span(), format!("rule `{}` is there twice", rule.id));
            }
            rules.push(rule);
        }
    }
    match reader.mistakes.is_empty() {
        true => Ok(Rules(rules)),
        false => {
            reader.mistakes.sort();
            reader.mistakes.truncate(MISTAKES_MAX);
            Err(RulesError(reader.mistakes))
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    mistakes: Vec<RuleMistake>,
}

impl Reader<'_> {
    fn mistake(&mut self, span: Range<usize>, message: impl AsRef<str>) {
        let before = self.text.as_bytes().get(..span.start.min(self.text.len())).unwrap_or_default();
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1));
        let line = before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1);
        // Every byte that does not continue a character begins one.
        let in_line = before.get(start..).unwrap_or_default();
        let column = in_line.iter().filter(|byte| **byte & 0xc0 != 0x80).count().saturating_add(1);
        let visible =
            |character: char| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
        let message = message.as_ref().chars().take(MESSAGE_CHARS_MAX).map(visible).collect();
        self.mistakes.push(RuleMistake { line, column, message });
    }

    fn rule(&mut self, span: Range<usize>, draft: Draft) -> Option<Rule> {
        self.foreign(&draft);
        let kind = self.kind(&span, &draft);
        let group_by = *draft.group_by.get_ref();
        if !draft.kind.groupings().contains(&group_by) {
            self.mistake(draft.group_by.span(), "a rule of this kind is not grouped by that");
        }
        self.line(&draft.name);
        if let Some(description) = &draft.description {
            let is_too_long = description.get_ref().len() > TEXT_BYTES_MAX.saturating_mul(4);
            if is_too_long || description.get_ref().chars().any(|c| c.is_control() && c != '\n') {
                self.mistake(description.span(), "`description` is too long, or has control characters");
            }
        }
        let window = self.span_of_time(&draft.window);
        let quiet = draft.quiet.as_ref().map_or(window, |quiet| self.span_of_time(quiet));
        if let Some(place) = draft.quiet.as_ref().filter(|_| quiet < window) {
            // Otherwise the next alert could begin with the events of the last.
            self.mistake(place.span(), "`quiet` is at least as long as `window`");
        }
        let wants_select = draft.kind.fields().contains(&"select");
        let select = match &draft.select {
            Some(select) => {
                self.selector(select.span(), select.get_ref());
                select.get_ref().clone()
            }
            None => {
                if wants_select {
                    self.mistake(span, "`select` is missing");
                }
                Selector::default()
            }
        };
        let weighs = draft.kind.fields().contains(&"weighed_by_risk");
        Some(Rule {
            id: draft.id.into_inner(),
            name: draft.name.into_inner(),
            description: draft.description.map(Spanned::into_inner),
            severity: draft.severity,
            group_by,
            window,
            quiet,
            select,
            weighed_by_risk: draft.weighed_by_risk.map_or(weighs, Spanned::into_inner),
            kind: kind?,
        })
    }

    fn kind(&mut self, span: &Range<usize>, draft: &Draft) -> Option<Kind> {
        let clears = draft.success_clears.as_ref();
        let success_clears = clears.is_some_and(|clears| *clears.get_ref());
        Some(match draft.kind {
            KindWord::Count => {
                Kind::Count { threshold: self.number(span, &draft.threshold, "threshold", 1)? }
            }
            KindWord::DistinctCount => {
                let of = *self.there(span, &draft.of, "of")?;
                if of == Distinct::Source && *draft.group_by.get_ref() != Grouping::Tenant {
                    self.mistake(
                        draft.group_by.span(),
                        "different sources are counted with `group_by = \"tenant\"`",
                    );
                }
                if of == Distinct::Source && success_clears {
                    self.mistake(
                        clears.map(Spanned::span).unwrap_or_default(),
                        "`success_clears` takes `of = \"actor\"`",
                    );
                }
                let threshold = self.number(span, &draft.threshold, "threshold", 2)?;
                Kind::DistinctCount { of, threshold, success_clears }
            }
            KindWord::Cluster => {
                let actors = self.number(span, &draft.actors, "actors", 1)?;
                let sources = match draft.sources {
                    Some(_) => self.number(span, &draft.sources, "sources", 0)?,
                    None => 0,
                };
                let events = match draft.events {
                    Some(_) => self.number(span, &draft.events, "events", 1)?,
                    None => 1,
                };
                Kind::Cluster { actors, sources, events, success_clears }
            }
            KindWord::RepeatAfterUnlock => Kind::RepeatAfterUnlock {
                threshold: self.number(span, &draft.threshold, "threshold", 1)?,
                automatic: match &draft.automatic {
                    Some(codes) if codes.get_ref().len() > VALUES_MAX => {
                        self.mistake(codes.span(), format!("there are more than {VALUES_MAX} values"));
                        return None;
                    }
                    Some(codes) => codes.get_ref().clone(),
                    None => Vec::new(),
                },
            },
            KindWord::Fatigue => {
                let threshold = self.number(span, &draft.threshold, "threshold", 2)?;
                let approved_after = match &draft.approved_after {
                    Some(_) => Some(self.number(span, &draft.approved_after, "approved_after", 1)?),
                    None => None,
                };
                if approved_after.is_some_and(|after| after > threshold) {
                    let place = draft.approved_after.as_ref().map(Spanned::span).unwrap_or_default();
                    self.mistake(place, "`approved_after` is at most `threshold`");
                }
                Kind::Fatigue { threshold, approved_after }
            }
            KindWord::VolumeVsBaseline => {
                let count_min = self.number(span, &draft.count_min, "count_min", 1)?;
                let deviations = self.measure(span, &draft.deviations, "deviations", 1.0..=100.0)?;
                let cold_start = self.number(span, &draft.cold_start, "cold_start", 1)?;
                if cold_start < count_min {
                    let place = draft.cold_start.as_ref().map(Spanned::span).unwrap_or_default();
                    self.mistake(place, "`cold_start` is at least `count_min`");
                }
                Kind::VolumeVsBaseline { count_min, deviations, cold_start }
            }
            KindWord::ImpossibleTravel => Kind::ImpossibleTravel {
                speed_km_h: self.measure(span, &draft.speed_km_h, "speed_km_h", 1.0..=100_000.0)?,
                accuracy_km: self.measure(span, &draft.accuracy_km, "accuracy_km", 0.0..=10_000.0)?,
                distance_km_min: self.measure(
                    span,
                    &draft.distance_km_min,
                    "distance_km_min",
                    0.0..=20_000.0,
                )?,
            },
            KindWord::Sequence => Kind::Sequence { steps: self.steps(span, draft)? },
        })
    }

    fn steps(&mut self, span: &Range<usize>, draft: &Draft) -> Option<Vec<Step>> {
        let Some(steps) = &draft.steps else {
            self.mistake(span.clone(), "`steps` is missing");
            return None;
        };
        if !(2..=STEPS_MAX).contains(&steps.get_ref().len()) {
            self.mistake(steps.span(), format!("a sequence has 2 to {STEPS_MAX} steps"));
        }
        for (at, step) in steps.get_ref().iter().enumerate() {
            self.selector(step.span(), &step.get_ref().select);
            if !(1..=THRESHOLD_MAX).contains(&step.get_ref().at_least) {
                self.mistake(step.span(), format!("`at_least` is 1 to {THRESHOLD_MAX}"));
            }
            if at == 0 && step.get_ref().new_method {
                self.mistake(step.span(), "`new_method` takes an earlier step");
            }
        }
        Some(steps.get_ref().iter().map(|step| step.get_ref().clone()).collect())
    }

    /// Fields that a rule of another kind has.
    fn foreign(&mut self, draft: &Draft) {
        fn span<T>(field: &Option<Spanned<T>>) -> Option<Range<usize>> {
            field.as_ref().map(Spanned::span)
        }
        let there = [
            ("select", span(&draft.select)),
            ("weighed_by_risk", span(&draft.weighed_by_risk)),
            ("threshold", span(&draft.threshold)),
            ("of", span(&draft.of)),
            ("success_clears", span(&draft.success_clears)),
            ("actors", span(&draft.actors)),
            ("sources", span(&draft.sources)),
            ("events", span(&draft.events)),
            ("automatic", span(&draft.automatic)),
            ("approved_after", span(&draft.approved_after)),
            ("count_min", span(&draft.count_min)),
            ("deviations", span(&draft.deviations)),
            ("cold_start", span(&draft.cold_start)),
            ("speed_km_h", span(&draft.speed_km_h)),
            ("accuracy_km", span(&draft.accuracy_km)),
            ("distance_km_min", span(&draft.distance_km_min)),
            ("steps", span(&draft.steps)),
        ];
        let own = draft.kind.fields();
        for (name, place) in there {
            if let Some(place) = place
                && !own.contains(&name)
            {
                let message = format!("a rule of this kind has no `{name}` (it has {})", own.join(", "));
                self.mistake(place, message);
            }
        }
    }

    fn selector(&mut self, span: Range<usize>, select: &Selector) {
        if select.event_type.is_empty() {
            self.mistake(span, "`event_type` is missing: which events count");
            return;
        }
        use EventType::{
            AccountLocked, AccountUnlocked, LoginFailure, LoginSuccess, MfaFailure, RecoveryAttempted,
        };
        let has = |types: &[EventType]| select.event_type.iter().any(|of| types.contains(of));
        let never = [
            ("mfa_method", select.mfa_method.is_empty() || has(&[MfaFailure, LoginFailure, LoginSuccess])),
            ("failure_reason", select.failure_reason.is_empty() || has(&[MfaFailure])),
            ("recovery_method", select.recovery_method.is_empty() || has(&[RecoveryAttempted])),
            ("lock_reason", select.lock_reason.is_empty() || has(&[AccountLocked])),
            ("unlock_method", select.unlock_method.is_empty() || has(&[AccountUnlocked])),
        ];
        for (name, _) in never.iter().filter(|(_, can_be)| !can_be) {
            self.mistake(span.clone(), format!("no event of this type has `{name}`: it would never count"));
        }
    }

    fn line(&mut self, text: &Spanned<String>) {
        let line = text.get_ref();
        if line.is_empty() || line.len() > TEXT_BYTES_MAX || line.chars().any(char::is_control) {
            self.mistake(text.span(), format!("`name` is one line of 1 to {TEXT_BYTES_MAX} bytes"));
        }
    }

    fn span_of_time(&mut self, span: &Spanned<Span>) -> TimeDelta {
        let Span(time) = *span.get_ref();
        if !(TimeDelta::milliseconds(1)..=TimeDelta::days(WINDOW_DAYS_MAX)).contains(&time) {
            self.mistake(span.span(), format!("it is 1ms to {WINDOW_DAYS_MAX}d"));
        }
        time
    }

    fn there<'d, T>(
        &mut self,
        span: &Range<usize>,
        field: &'d Option<Spanned<T>>,
        name: &str,
    ) -> Option<&'d T> {
        if field.is_none() {
            self.mistake(span.clone(), format!("`{name}` is missing"));
        }
        field.as_ref().map(Spanned::get_ref)
    }

    fn number(
        &mut self,
        span: &Range<usize>,
        field: &Option<Spanned<u32>>,
        name: &str,
        least: u32,
    ) -> Option<u32> {
        let number = *self.there(span, field, name)?;
        if !(least..=THRESHOLD_MAX).contains(&number) {
            let place = field.as_ref().map(Spanned::span).unwrap_or_default();
            self.mistake(place, format!("`{name}` is {least} to {THRESHOLD_MAX}"));
        }
        Some(number)
    }

    fn measure(
        &mut self,
        span: &Range<usize>,
        field: &Option<Spanned<f64>>,
        name: &str,
        range: std::ops::RangeInclusive<f64>,
    ) -> Option<f64> {
        let number = *self.there(span, field, name)?;
        if !range.contains(&number) {
            let place = field.as_ref().map(Spanned::span).unwrap_or_default();
            self.mistake(place, format!("`{name}` is {} to {}", range.start(), range.end()));
        }
        Some(number)
    }
}

const MESSAGE_CHARS_MAX: usize = 400;
