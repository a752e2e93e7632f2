//! The query language of Microsoft Sentinel.

use super::{
    Form, Names, RenderError, Text, above, clears, conditions, needs_source, not_sayable, notes, quoted,
    span, steps,
};
use crate::detect::Rule;
use crate::detect::rule::{Distinct, Grouping, Kind, Selector, WEEKS_MIN};

/// A rule as a query over [`SENTINEL_COLUMNS`](crate::export) or whatever the names say.
///
/// The sliding form joins events with those before them, by twice the window at most; plugins that slide are not there in Sentinel.
/// Distinct values are counted exactly (`count_distinct`), and events that came twice once.
///
/// # Errors
/// Where it cannot be said.
pub fn kql(rule: &Rule, names: &Names, form: Form) -> Result<String, RenderError> {
    let form = match rule.kind {
        // Each login is compared with the one before, whatever the clock says.
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
    let mut text = Text::default();
    for line in above(rule, &notes(rule, form, LANGUAGE)) {
        text.line(format_args!("// {line}"));
    }
    text.line(format_args!("let window_size = {};", span(rule.window)));
    seen(&mut text, rule, names);
    match &rule.kind {
        Kind::Count { threshold } => counted(&mut text, rule, form, &format!("events >= {threshold}")),
        Kind::DistinctCount { of, threshold, .. } => {
            let of = match of {
                Distinct::Actor => "actors",
                Distinct::Source => "sources",
            };
            counted(&mut text, rule, form, &format!("{of} >= {threshold}"));
        }
        Kind::Cluster { actors, sources, events, .. } => {
            let met = format!("actors >= {actors} and sources >= {sources} and events >= {events}");
            counted(&mut text, rule, form, &met);
        }
        Kind::Fatigue { threshold, approved_after } => {
            fatigue(&mut text, rule, form, *threshold, *approved_after)
        }
        Kind::RepeatAfterUnlock { threshold, automatic } => {
            let automatic: Vec<&str> = automatic.iter().map(|code| code.as_str()).collect();
            text.line(format_args!("let counted = seen"));
            text.line(format_args!("| where event_type in (\"account.locked\", \"account.unlocked\")"));
            text.line(format_args!("| sort by tenant_id asc, group_key asc, happened asc"));
            text.line(format_args!("| extend before = prev(happened), type_before = prev(event_type)"));
            text.line(format_args!(
                "    , is_same = prev(tenant_id) == tenant_id and prev(group_key) == group_key"
            ));
            text.line(format_args!("    , unlocked_by = prev(unlock_method)"));
            text.line(format_args!(
                "| where event_type == \"account.locked\" and type_before == \"account.unlocked\" and is_same"
            ));
            let by_a_person = match automatic.is_empty() {
                true => String::new(),
                false => format!(" and not({})", any_of("unlocked_by", &automatic)),
            };
            text.line(format_args!("    and happened - before < window_size{by_a_person};"));
            windows(&mut text, form, "counted");
            text.line(format_args!("| where events >= {threshold}"));
        }
        Kind::VolumeVsBaseline { count_min, deviations, cold_start } => {
            baseline(&mut text, rule, *count_min, *deviations, *cold_start);
        }
        Kind::ImpossibleTravel { speed_km_h, accuracy_km, distance_km_min } => {
            text.line(format_args!("seen"));
            text.line(format_args!(
                "| where {} and isnotnull(lat) and isnotnull(lon)",
                selected(&rule.select)
            ));
            text.line(format_args!("| sort by tenant_id asc, group_key asc, happened asc"));
            text.line(format_args!(
                "| extend before = prev(happened), lat_before = prev(lat), lon_before = prev(lon)"
            ));
            text.line(format_args!(
                "    , is_same = prev(tenant_id) == tenant_id and prev(group_key) == group_key"
            ));
            text.line(format_args!("| where is_same and happened - before < window_size"));
            text.line(format_args!(
                "| extend distance_km = geo_distance_2points(lon_before, lat_before, lon, lat) / 1000.0 - 2 * {accuracy_km:?}"
            ));
            text.line(format_args!("| extend hours = (happened - before) / 1h"));
            text.line(format_args!(
                "| where distance_km >= {distance_km_min:?} and distance_km > {speed_km_h:?} * hours"
            ));
            text.line(format_args!(
                "| project happened, tenant_id, group_key, before, distance_km, hours, lat_before, lon_before, lat, lon"
            ));
        }
        Kind::Sequence { steps: all } => {
            let (first, rest) = steps(rule, all, LANGUAGE)?;
            sequence(&mut text, &first.select, first.at_least, rest);
        }
    }
    let severity = match rule.kind {
        Kind::Fatigue { approved_after: Some(approved_after), .. } => {
            let usual = quoted(rule.severity.as_str());
            format!("iff(is_approved and events >= {approved_after}, \"critical\", {usual})")
        }
        _ => quoted(rule.severity.as_str()),
    };
    text.line(format_args!("| extend rule = {}, severity = {severity}", quoted(rule.id.as_str())));
    Ok(text.0)
}

const LANGUAGE: &str = "KQL";

/// All events that any part looks at, under the names of events.
fn seen(text: &mut Text, rule: &Rule, names: &Names) {
    let time = if names.of("time") == "time" { "TimeGenerated" } else { names.of("time") };
    text.line(format_args!("let seen = {}", names.table));
    text.line(format_args!("| project happened = {time}"));
    for field in [
        "tenant_id",
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
    ] {
        text.line(format_args!("    , {field} = tostring({})", names.of(field)));
    }
    if matches!(rule.kind, Kind::ImpossibleTravel { .. }) {
        text.line(format_args!("    , lat = todouble({})", names.of("geo_location.lat")));
        text.line(format_args!("    , lon = todouble({})", names.of("geo_location.lon")));
    }
    let masked =
        |v4: &str, v6: u8| format!("iff(source_ip has \":\", parse_ipv6_mask(source_ip, {v6}), {v4})");
    if needs_source(rule) || clears(rule) {
        text.line(format_args!("| extend source = {}", masked("source_ip", 64)));
    } else {
        text.line(format_args!("| extend source = source_ip"));
    }
    let group = match rule.group_by {
        Grouping::Tenant => "\"\"".to_owned(),
        Grouping::Source => "source".to_owned(),
        Grouping::Network => masked("format_ipv4_mask(source_ip, 24)", 48),
        Grouping::Actor => "actor_id".to_owned(),
    };
    let end = if rule.group_by == Grouping::Tenant { ";" } else { "" };
    text.line(format_args!("| extend group_key = {group}{end}"));
    if rule.group_by != Grouping::Tenant {
        text.line(format_args!("| where isnotempty(group_key);"));
    }
}

/// What counts, and then how much of it there is.
fn counted(text: &mut Text, rule: &Rule, form: Form, met: &str) {
    text.line(format_args!("let {} = seen", if clears(rule) { "failed" } else { "counted" }));
    text.line(format_args!("| where {};", selected(&rule.select)));
    if clears(rule) {
        text.line(format_args!("let cleared = failed"));
        text.line(format_args!("| join kind=inner ("));
        text.line(format_args!("    seen | where event_type == \"login.success\""));
        text.line(format_args!("    | project tenant_id, actor_id, source, got_in = happened"));
        text.line(format_args!(") on tenant_id, actor_id, source"));
        text.line(format_args!("| where got_in > happened and got_in < happened + window_size"));
        text.line(format_args!("| distinct tenant_id, event_id;"));
        text.line(format_args!("let counted = failed"));
        text.line(format_args!("| join kind=leftanti cleared on tenant_id, event_id;"));
    }
    windows(text, form, "counted");
    text.line(format_args!("| where {met}"));
}

/// How much there is in each window: `actors`, `sources`, `events`.
fn windows(text: &mut Text, form: Form, of: &str) {
    let counts = "actors = count_distinct(actor_id), sources = count_distinctif(source, isnotempty(source)), \
                  events = count_distinct(event_id), actor_ids = make_set(actor_id, 100)";
    match form {
        Form::Tumbling => {
            text.line(format_args!("{of}"));
            text.line(format_args!(
                "| summarize {counts} by tenant_id, group_key, happened = bin(happened, window_size)"
            ));
        }
        Form::Sliding => {
            joined(text, of, of);
            text.line(format_args!("| summarize {counts} by tenant_id, group_key, happened = ends"));
        }
    }
}

/// Each of `ends` with those of `of` in the window that ends with it. Buckets as wide as the window keep the join small: what is in the
/// window is in its bucket or the one before.
fn joined(text: &mut Text, ends: &str, of: &str) {
    text.line(format_args!("{ends}"));
    text.line(format_args!("| distinct tenant_id, group_key, ends = happened"));
    text.line(format_args!("| extend bucket = bin(ends, window_size)"));
    text.line(format_args!("| extend bucket = pack_array(bucket, bucket - window_size)"));
    text.line(format_args!("| mv-expand bucket to typeof(datetime)"));
    text.line(format_args!("| join kind=inner ("));
    text.line(format_args!("    {of} | extend bucket = bin(happened, window_size)"));
    text.line(format_args!(") on tenant_id, group_key, bucket"));
    text.line(format_args!("| where happened > ends - window_size and happened <= ends"));
}

fn fatigue(text: &mut Text, rule: &Rule, form: Form, threshold: u32, approved_after: Option<u32>) {
    text.line(format_args!("let counted = seen"));
    text.line(format_args!("| where {};", selected(&rule.select)));
    let Some(approved_after) = approved_after else {
        windows(text, form, "counted");
        text.line(format_args!("| where events >= {threshold}"));
        return;
    };
    text.line(format_args!("let approved = seen"));
    text.line(format_args!(
        "| where event_type == \"login.success\" and (mfa_method == \"push\" or isempty(mfa_method));"
    ));
    text.line(format_args!(
        "let both = union (counted | extend is_approval = false), (approved | extend is_approval = true);"
    ));
    let counts = "events = count_distinctif(event_id, not(is_approval))";
    match form {
        Form::Tumbling => {
            text.line(format_args!("both"));
            text.line(format_args!(
                "| summarize {counts}, first_at = minif(happened, not(is_approval)), approved_at = maxif(happened, is_approval)"
            ));
            text.line(format_args!("    by tenant_id, group_key, happened = bin(happened, window_size)"));
            text.line(format_args!(
                "| extend is_approved = isnotnull(approved_at) and approved_at > first_at"
            ));
        }
        Form::Sliding => {
            joined(text, "both", "both");
            text.line(format_args!(
                "| summarize {counts}, is_approved = countif(is_approval and happened == ends) > 0"
            ));
            text.line(format_args!("    by tenant_id, group_key, happened = ends"));
        }
    }
    text.line(format_args!("| where events >= {threshold} or (is_approved and events >= {approved_after})"));
}

fn baseline(text: &mut Text, rule: &Rule, count_min: u32, deviations: f64, cold_start: u32) {
    text.line(format_args!("let counted = seen"));
    text.line(format_args!("| where {}", selected(&rule.select)));
    text.line(format_args!("| summarize events = count_distinct(event_id) by tenant_id, group_key, happened = bin(happened, window_size)"));
    text.line(format_args!("| extend hour_of_week = (happened - startofweek(happened)) / window_size;"));
    text.line(format_args!("// Hours without any event are not known here and do not lower what is usual; hours in which the rule was met stay part of it."));
    text.line(format_args!("let weeks = counted"));
    text.line(format_args!(
        "| join kind=inner (counted | project tenant_id, group_key, hour_of_week, before = happened, usually = events)"
    ));
    text.line(format_args!("    on tenant_id, group_key, hour_of_week"));
    text.line(format_args!("| where before < happened;"));
    text.line(format_args!("let medians = weeks"));
    text.line(format_args!(
        "| summarize usual = percentile(usually, 50), known = count() by tenant_id, group_key, happened;"
    ));
    text.line(format_args!("let spreads = weeks"));
    text.line(format_args!("| join kind=inner medians on tenant_id, group_key, happened"));
    text.line(format_args!("| extend off = abs(usually - usual)"));
    text.line(format_args!("| summarize spread = percentile(off, 50) by tenant_id, group_key, happened;"));
    text.line(format_args!("counted"));
    text.line(format_args!("| join kind=leftouter medians on tenant_id, group_key, happened"));
    text.line(format_args!("| join kind=leftouter spreads on tenant_id, group_key, happened"));
    text.line(format_args!("| extend deviation = max_of(1.4826 * spread, sqrt(todouble(usual)), 1.0)"));
    text.line(format_args!("| where events >= {count_min}"));
    text.line(format_args!("| where iff(coalesce(known, 0) >= {WEEKS_MIN}, events > usual + {deviations:?} * deviation, events >= {cold_start})"));
    text.line(format_args!("| project happened, tenant_id, group_key, events, usual, deviation"));
}

fn sequence(text: &mut Text, first: &Selector, at_least: u32, rest: &[crate::detect::rule::Step]) {
    text.line(format_args!("let step_1 = seen | where {};", selected(first)));
    for (number, step) in (2..).zip(rest) {
        text.line(format_args!("let step_{number} = seen | where {};", selected(&step.select)));
    }
    let last = rest.len().saturating_add(1);
    // The last step ends the window. Each step comes after the one before it; of the first there are enough before the second.
    text.line(format_args!("step_{last}"));
    text.line(format_args!("| project tenant_id, group_key, ends = happened, last_id = event_id, at_{last} = happened, method_{last} = mfa_method"));
    for number in (1..last).rev() {
        let after = number.saturating_add(1);
        text.line(format_args!("| join kind=inner ("));
        text.line(format_args!(
            "    step_{number} | project tenant_id, group_key, at_{number} = happened, id_{number} = event_id, method_{number} = mfa_method"
        ));
        text.line(format_args!(") on tenant_id, group_key"));
        text.line(format_args!("| where at_{number} < at_{after} and at_{number} > ends - window_size"));
    }
    let between: Vec<String> =
        (2..=last).flat_map(|number| [format!("at_{number}"), format!("method_{number}")]).collect();
    text.line(format_args!(
        "| summarize events = count_distinct(id_1), first_at = min(at_1) by tenant_id, group_key, happened = ends, last_id, {}",
        between.join(", ")
    ));
    text.line(format_args!("| where events >= {at_least}"));
    for (number, step) in (2_usize..).zip(rest).filter(|(_, step)| step.new_method) {
        let _ = step;
        let earlier: Vec<String> = (1..number).map(|earlier| format!("step_{earlier}")).collect();
        text.line(format_args!("| where isnotempty(method_{number})"));
        text.line(format_args!("| join kind=leftouter ("));
        text.line(format_args!(
            "    union {} | where isnotempty(mfa_method) and outcome == \"success\" | project tenant_id, group_key, tried = happened, method_{number} = mfa_method",
            earlier.join(", ")
        ));
        text.line(format_args!(") on tenant_id, group_key, method_{number}"));
        text.line(format_args!(
            "| summarize was_used = countif(tried < at_{number} and tried > happened - window_size), events = take_any(events), first_at = take_any(first_at)"
        ));
        text.line(format_args!("    by tenant_id, group_key, happened, last_id, {}", between.join(", ")));
        text.line(format_args!("| where was_used == 0"));
    }
    text.line(format_args!("| summarize events = max(events), first_at = min(first_at) by tenant_id, group_key, happened, last_id"));
}

fn selected(select: &Selector) -> String {
    let all: Vec<String> =
        conditions(select).into_iter().map(|(field, values)| any_of(field, &values)).collect();
    if all.is_empty() { "true".to_owned() } else { all.join(" and ") }
}

fn any_of(field: &str, values: &[&str]) -> String {
    let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
    match &values[..] {
        [one] => format!("{field} == {one}"),
        all => format!("{field} in ({})", all.join(", ")),
    }
}
