//! Splunk's search language.

use super::{Form, Names, RenderError, Text, above, clears, conditions, not_sayable, notes, quoted, steps};
use crate::detect::Rule;
use crate::detect::rule::{Distinct, Grouping, Kind, Selector, Step, WEEKS_MIN};

/// A rule as a search over events as [`HecSink`](crate::export) writes them, or whatever the names say.
///
/// The sliding form needs `streamstats time_window`, which Splunk bounds by `max_stream_window` (10,000 events). Nothing here was tried
/// in Splunk itself.
///
/// # Errors
/// Where it cannot be said.
pub fn spl(rule: &Rule, names: &Names, form: Form) -> Result<String, RenderError> {
    let form = match rule.kind {
        Kind::ImpossibleTravel { .. } | Kind::Sequence { .. } => Form::Sliding,
        Kind::VolumeVsBaseline { .. } if form == Form::Sliding => {
            return Err(not_sayable(
                rule,
                LANGUAGE,
                "what is usual is known by the hour of the clock: ask for the tumbling form",
            ));
        }
        _ => form,
    };
    let window_ms = rule.window_ms();
    if window_ms < 1_000 || window_ms % 1_000 != 0 {
        return Err(not_sayable(rule, LANGUAGE, "its window is not whole seconds"));
    }
    let window = format!("{}s", window_ms / 1_000);
    let mut more = notes(rule, form, LANGUAGE);
    if matches!(rule.kind, Kind::Sequence { .. }) {
        more.push("Each step is within the window of the one before it, where the rule has all steps within one window.".to_owned());
    }
    if form == Form::Sliding && !matches!(rule.kind, Kind::ImpossibleTravel { .. }) {
        more.push("Counts stop at max_stream_window of limits.conf, 10000 events unless raised.".to_owned());
    }
    let mut text = Text::default();
    text.line(format_args!("``` {} ```", above(rule, &more).join("\n")));
    seen(&mut text, rule, names);
    match &rule.kind {
        Kind::Count { threshold } => counted(&mut text, rule, form, &window, &format!("events>={threshold}")),
        Kind::DistinctCount { of, threshold, .. } => {
            let of = match of {
                Distinct::Actor => "actors",
                Distinct::Source => "sources",
            };
            counted(&mut text, rule, form, &window, &format!("{of}>={threshold}"));
        }
        Kind::Cluster { actors, sources, events, .. } => {
            let met = format!("actors>={actors} AND sources>={sources} AND events>={events}");
            counted(&mut text, rule, form, &window, &met);
        }
        Kind::Fatigue { threshold, approved_after } => {
            fatigue(&mut text, rule, form, &window, *threshold, *approved_after);
        }
        Kind::RepeatAfterUnlock { threshold, automatic } => {
            let automatic: Vec<&str> = automatic.iter().map(|code| code.as_str()).collect();
            text.line(format_args!("| where in(event_type, \"account.locked\", \"account.unlocked\")"));
            text.line(format_args!("| sort 0 _time"));
            text.line(format_args!("| eval unlocked_by=coalesce(unlock_method, \"unsaid\"), at=_time"));
            text.line(format_args!(
                "| streamstats current=f window=1 global=f last(event_type) as type_before last(unlocked_by) as unlocked_before last(at) as at_before by tenant_id group_key"
            ));
            let by_a_person = match automatic.is_empty() {
                true => String::new(),
                false => format!(" AND NOT {}", any_of("unlocked_before", &automatic)),
            };
            text.line(format_args!(
                "| where event_type=\"account.locked\" AND type_before=\"account.unlocked\" AND _time-at_before<{}{by_a_person}",
                window_ms / 1_000
            ));
            windows(&mut text, form, &window);
            text.line(format_args!("| where events>={threshold}"));
        }
        Kind::VolumeVsBaseline { count_min, deviations, cold_start } => {
            text.line(format_args!("| where {}", selected(&rule.select)));
            text.line(format_args!("| bin _time span={window}"));
            text.line(format_args!("| stats count as events by _time tenant_id group_key"));
            text.line(format_args!("| sort 0 _time"));
            text.line(format_args!("| eval hour_of_week=strftime(_time, \"%w %H:%M\")"));
            text.line(format_args!(
                "``` Hours without any event are not known here and do not lower what is usual; hours in which the rule was met stay part of it. ```"
            ));
            let earlier = "current=f window=52 global=f";
            text.line(format_args!("| streamstats {earlier} count as known median(events) as usual by tenant_id group_key hour_of_week"));
            text.line(format_args!("| eval off=abs(events-usual)"));
            text.line(format_args!(
                "| streamstats {earlier} median(off) as spread by tenant_id group_key hour_of_week"
            ));
            text.line(format_args!(
                "| eval deviation=max(1.4826*coalesce(spread, 0), sqrt(coalesce(usual, 0)), 1)"
            ));
            text.line(format_args!(
                "| where events>={count_min} AND if(coalesce(known, 0)>={WEEKS_MIN}, events>usual+{deviations:?}*deviation, events>={cold_start})"
            ));
        }
        Kind::ImpossibleTravel { speed_km_h, accuracy_km, distance_km_min } => {
            text.line(format_args!(
                "| where {} AND isnotnull(lat) AND isnotnull(lon)",
                selected(&rule.select)
            ));
            text.line(format_args!("| sort 0 _time"));
            text.line(format_args!("| eval at=_time"));
            text.line(format_args!(
                "| streamstats current=f window=1 global=f last(at) as at_before last(lat) as lat_before last(lon) as lon_before by tenant_id group_key"
            ));
            text.line(format_args!("| where isnotnull(at_before) AND _time-at_before<{}", window_ms / 1_000));
            text.line(format_args!("| eval radian=pi()/180, half_lat=(lat-lat_before)*radian/2, half_lon=(lon-lon_before)*radian/2"));
            text.line(format_args!(
                "| eval chord=min(1, sqrt(pow(sin(half_lat), 2)+cos(lat_before*radian)*cos(lat*radian)*pow(sin(half_lon), 2)))"
            ));
            text.line(format_args!(
                "| eval distance_km=2*6371*asin(chord)-2*{accuracy_km:?}, hours=(_time-at_before)/3600"
            ));
            text.line(format_args!(
                "| where distance_km>={distance_km_min:?} AND distance_km>{speed_km_h:?}*hours"
            ));
            text.line(format_args!(
                "| table _time tenant_id group_key distance_km hours lat_before lon_before lat lon"
            ));
        }
        Kind::Sequence { steps: all } => {
            let (first, rest) = steps(rule, all, LANGUAGE)?;
            sequence(&mut text, rule, &window, first, rest)?;
        }
    }
    let severity = match rule.kind {
        Kind::Fatigue { approved_after: Some(approved_after), .. } => {
            let usual = quoted(rule.severity.as_str());
            format!("if(is_approved=1 AND events>={approved_after}, \"critical\", {usual})")
        }
        _ => quoted(rule.severity.as_str()),
    };
    text.line(format_args!("| eval rule={}, severity={severity}", quoted(rule.id.as_str())));
    Ok(text.0)
}

const LANGUAGE: &str = "SPL";

/// All events that any part looks at, once each, under the names of events.
fn seen(text: &mut Text, rule: &Rule, names: &Names) {
    text.line(format_args!("search index={} sourcetype={}", quoted(&names.index), quoted(&names.sourcetype)));
    let time = names.of("time");
    if time != "time" && time != "_time" {
        text.line(format_args!("| eval _time='{time}'"));
    }
    let fields = [
        "event_id",
        "event_type",
        "actor_id",
        "outcome",
        "source_ip",
        "mfa_method",
        "failure_reason",
        "lock_reason",
        "unlock_method",
        "recovery_method",
    ];
    let mapped: Vec<String> = fields
        .into_iter()
        .filter(|field| names.of(field) != *field)
        .map(|field| format!("{field}='{}'", names.of(field)))
        .collect();
    if !mapped.is_empty() {
        text.line(format_args!("| eval {}", mapped.join(", ")));
    }
    text.line(format_args!("| eval tenant_id=coalesce('{}', \"\")", names.of("tenant_id")));
    if matches!(rule.kind, Kind::ImpossibleTravel { .. }) {
        text.line(format_args!(
            "| eval lat=tonumber('{}'), lon=tonumber('{}')",
            names.of("geo_location.lat"),
            names.of("geo_location.lon")
        ));
    }
    text.line(format_args!("| dedup tenant_id event_id"));
    let group = match rule.group_by {
        Grouping::Tenant => "\"\"",
        Grouping::Source => "source_ip",
        Grouping::Network => "if(match(source_ip, \":\"), null(), ipmask(\"255.255.255.0\", source_ip))",
        Grouping::Actor => "actor_id",
    };
    text.line(format_args!("| eval group_key={group}"));
    if rule.group_by != Grouping::Tenant {
        text.line(format_args!("| where isnotnull(group_key)"));
    }
}

fn counted(text: &mut Text, rule: &Rule, form: Form, window: &str, met: &str) {
    if clears(rule) {
        let failed = selected(&rule.select);
        text.line(format_args!(
            "| eval is_failure=if({failed}, 1, 0), is_success=if(event_type=\"login.success\", 1, 0)"
        ));
        text.line(format_args!("| where is_failure=1 OR is_success=1"));
        text.line(format_args!("| eval came_from=coalesce(source_ip, \"\")"));
        text.line(format_args!("| sort 0 - _time"));
        text.line(format_args!(
            "| streamstats time_window={window} sum(is_success) as got_in by tenant_id actor_id came_from"
        ));
        text.line(format_args!("| where is_failure=1 AND got_in=0"));
    } else {
        text.line(format_args!("| where {}", selected(&rule.select)));
    }
    if form == Form::Sliding {
        text.line(format_args!("| sort 0 _time"));
    }
    windows(text, form, window);
    text.line(format_args!("| where {met}"));
}

/// How much there is in each window: `actors`, `sources`, `events`.
fn windows(text: &mut Text, form: Form, window: &str) {
    let counts = "count as events dc(actor_id) as actors dc(source_ip) as sources";
    match form {
        Form::Tumbling => {
            text.line(format_args!("| bin _time span={window}"));
            text.line(format_args!(
                "| stats {counts} values(actor_id) as actor_ids by _time tenant_id group_key"
            ));
        }
        Form::Sliding => {
            text.line(format_args!("| streamstats time_window={window} {counts} by tenant_id group_key"));
        }
    }
}

fn fatigue(
    text: &mut Text,
    rule: &Rule,
    form: Form,
    window: &str,
    threshold: u32,
    approved_after: Option<u32>,
) {
    let Some(approved_after) = approved_after else {
        counted(text, rule, form, window, &format!("events>={threshold}"));
        return;
    };
    text.line(format_args!("| eval is_failure=if({}, 1, 0)", selected(&rule.select)));
    text.line(format_args!(
        "| eval is_approved=if(event_type=\"login.success\" AND (isnull(mfa_method) OR mfa_method=\"push\"), 1, 0)"
    ));
    text.line(format_args!("| where is_failure=1 OR is_approved=1"));
    match form {
        Form::Tumbling => {
            text.line(format_args!("| eval at=_time"));
            text.line(format_args!("| bin _time span={window}"));
            text.line(format_args!(
                "| stats sum(is_failure) as events min(eval(if(is_failure=1, at, null()))) as first_at max(eval(if(is_approved=1, at, null()))) as approved_at by _time tenant_id group_key"
            ));
            text.line(format_args!("| eval is_approved=if(coalesce(approved_at, 0)>first_at, 1, 0)"));
            text.line(format_args!(
                "| where events>={threshold} OR (is_approved=1 AND events>={approved_after})"
            ));
        }
        Form::Sliding => {
            text.line(format_args!("| sort 0 _time"));
            text.line(format_args!(
                "| streamstats time_window={window} sum(is_failure) as events by tenant_id group_key"
            ));
            text.line(format_args!(
                "| where events>={threshold} OR (is_approved=1 AND events>={approved_after})"
            ));
        }
    }
}

fn sequence(
    text: &mut Text,
    rule: &Rule,
    window: &str,
    first: &Step,
    rest: &[Step],
) -> Result<(), RenderError> {
    if rest.iter().any(|step| step.new_method) && rule.group_by != Grouping::Actor {
        return Err(not_sayable(rule, LANGUAGE, "a new method is looked for by actor"));
    }
    text.line(format_args!("| sort 0 _time"));
    text.line(format_args!("| eval at=_time, is_step_1=if({}, 1, 0)", selected(&first.select)));
    text.line(format_args!(
        "| streamstats time_window={window} sum(is_step_1) as events by tenant_id group_key"
    ));
    // The time at which the steps up to here were done, where this event does the last of them.
    text.line(format_args!("| eval done_1=if(is_step_1=1 AND events>={}, at, null())", first.at_least));
    let mut earlier = vec![selected(&first.select)];
    for (number, step) in (2_usize..).zip(rest) {
        let before = number.saturating_sub(1);
        text.line(format_args!(
            "| streamstats time_window={window} min(done_{before}) as since_{before} by tenant_id group_key"
        ));
        let mut condition = format!("since_{before}<at AND {}", selected(&step.select));
        if step.new_method {
            let used = earlier.join(") OR (");
            text.line(format_args!(
                "| eval tried_{number}=if(outcome=\"success\" AND (({used})), mfa_method, null())"
            ));
            text.line(format_args!(
                "| streamstats current=f time_window={window} values(tried_{number}) as used_{number} by tenant_id group_key"
            ));
            condition.push_str(&format!(
                " AND isnotnull(mfa_method) AND isnull(mvfind(used_{number}, \"^\".mfa_method.\"$\"))"
            ));
        }
        text.line(format_args!("| eval done_{number}=if({condition}, at, null())"));
        earlier.push(selected(&step.select));
    }
    text.line(format_args!("| where isnotnull(done_{})", rest.len().saturating_add(1)));
    Ok(())
}

fn selected(select: &Selector) -> String {
    let all: Vec<String> =
        conditions(select).into_iter().map(|(field, values)| any_of(field, &values)).collect();
    if all.is_empty() { "true()".to_owned() } else { all.join(" AND ") }
}

fn any_of(field: &str, values: &[&str]) -> String {
    let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
    match &values[..] {
        [one] => format!("{field}={one}"),
        all => format!("in({field}, {})", all.join(", ")),
    }
}
