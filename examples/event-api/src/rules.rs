//! `event-api rules`: the rules of detection, checked, listed, and in the languages of other systems.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use mfa_events::detect::RuleId;
use mfa_events::detect::rule::RULES_BYTES_MAX;
use mfa_events::render::{Form, Names, RenderError, kql, sigma, spl};
use mfa_events::{Rule, Rules};
use serde::Serialize;
use serde_json::json;

use crate::config::Mistake;
use crate::failure::{Failure, USAGE};
use crate::{json, say, tell};

#[derive(Debug, Args)]
pub(crate) struct Wanted {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say which rules there are, and what each counts
    List {
        #[command(flatten)]
        from: From,
    },
    /// Say everything that is wrong with a file of rules, with line and column
    Check {
        /// Rules in TOML
        file: PathBuf,
    },
    /// Print rules as queries of Splunk or Microsoft Sentinel, or as Sigma correlations
    ///
    /// What a text says otherwise than the rule stands above it. Without --rule, rules that the language cannot say are named on
    /// standard error and left out; with it, they are an error (exit status 1).
    Render(Render),
    /// Print the file of the rules that come with this program, to begin one's own with
    Show,
}

#[derive(Debug, Args)]
pub(crate) struct From {
    /// Rules in TOML, in place of those that come with this program
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Render {
    /// The language
    #[arg(long = "as", value_enum, value_name = "LANGUAGE")]
    language: Language,
    /// How time is cut (spl, kql): buckets of the clock, as analysts know them, or a window that slides, as here
    #[arg(long, value_enum)]
    form: Option<Cut>,
    /// Only this rule (repeatable)
    #[arg(long, value_name = "NAME")]
    rule: Vec<String>,
    /// The index in Splunk
    #[arg(long, value_name = "NAME", default_value = "main")]
    index: String,
    /// The source type in Splunk
    #[arg(long, value_name = "NAME", default_value = "mfa:event")]
    sourcetype: String,
    /// The table in Microsoft Sentinel
    #[arg(long, value_name = "NAME", default_value = "MfaEvents_CL")]
    table: String,
    /// What a field is called there: `actor_id=user.id` (repeatable)
    #[arg(long, value_name = "OURS=THEIRS")]
    field: Vec<String>,
    #[command(flatten)]
    from: From,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Language {
    /// Splunk's search language
    Spl,
    /// Kusto, for Microsoft Sentinel
    Kql,
    /// Sigma correlations
    Sigma,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Cut {
    /// Buckets of the clock
    Bucketed,
    /// A window that ends with each event
    Sliding,
}

pub(crate) fn run(wanted: &Wanted, as_json: bool) -> Result<u8, Failure> {
    match &wanted.verb {
        Verb::List { from } => list(&from.read()?, as_json).map(|()| 0),
        Verb::Check { file } => check(file, as_json),
        Verb::Render(wanted) => render(wanted, as_json),
        Verb::Show => mfa_events::detect::rule::PUBLISHED.trim_end().lines().try_for_each(tell).map(|()| 0),
    }
}

impl From {
    /// The rules, or what is wrong with their file.
    pub(crate) fn read(&self) -> Result<Rules, Failure> {
        let Some(path) = &self.rules else { return Ok(Rules::published()) };
        read(path).map_err(|mistakes| Failure::usage(told(path, &mistakes).join("\n")))
    }
}

/// Reads a file of rules.
pub(crate) fn read(path: &Path) -> Result<Rules, Vec<Mistake>> {
    let whole = |message: String| vec![Mistake { line: 1, column: 1, message }];
    let unread = |error: std::io::Error| whole(format!("cannot be read: {error}"));
    let file = std::fs::File::open(path).map_err(unread)?;
    let mut text = String::new();
    // One more shows that it is too long, which the rules say.
    file.take(RULES_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(unread)?;
    Rules::from_toml(&text).map_err(|error| {
        let mistakes = error.mistakes().iter();
        mistakes
            .map(|found| Mistake { line: found.line, column: found.column, message: found.message.clone() })
            .collect()
    })
}

fn told(path: &Path, mistakes: &[Mistake]) -> Vec<String> {
    mistakes.iter().map(|mistake| format!("{}: {mistake}", path.display())).collect()
}

fn check(path: &Path, as_json: bool) -> Result<u8, Failure> {
    let (count, mistakes) = match read(path) {
        Ok(rules) => (rules.len(), Vec::new()),
        Err(mistakes) => (0, mistakes),
    };
    if as_json {
        let said: Vec<_> = mistakes
            .iter()
            .map(|found| json!({"line": found.line, "column": found.column, "message": found.message}))
            .collect();
        let said = json!({"ok": mistakes.is_empty(), "rules": count, "mistakes": said});
        json::write_line(&mut std::io::stdout(), &said).map_err(Failure::Output)?;
    } else if mistakes.is_empty() {
        tell(&format!("{}: {count} rules, good to use", path.display()))?;
    } else {
        told(path, &mistakes).iter().try_for_each(|line| tell(line))?;
    }
    Ok(if mistakes.is_empty() { 0 } else { USAGE })
}

fn list(rules: &Rules, as_json: bool) -> Result<(), Failure> {
    if as_json {
        let mut out = std::io::stdout();
        return rules.iter().try_for_each(|rule| json::write_line(&mut out, rule)).map_err(Failure::Output);
    }
    let wide = rules.iter().map(|rule| rule.id.as_str().len()).max().unwrap_or_default();
    for rule in rules {
        let minutes = rule.window.num_minutes();
        let window = match minutes {
            0 => format!("{} s", rule.window.num_seconds()),
            minutes if minutes % 1_440 == 0 => format!("{} d", minutes / 1_440),
            minutes if minutes % 60 == 0 => format!("{} h", minutes / 60),
            minutes => format!("{minutes} min"),
        };
        let by = grouping(rule);
        tell(&format!(
            "{:wide$}  {:8}  {:19}  {:>6} by {by:7}  {}",
            rule.id.as_str(),
            rule.severity.as_str(),
            rule.kind.as_str(),
            window,
            rule.name
        ))?;
    }
    Ok(())
}

/// What a rule counts apart, as it stands in rules.
pub(crate) fn grouping(rule: &Rule) -> &'static str {
    use mfa_events::detect::rule::Grouping;
    match rule.group_by {
        Grouping::Tenant => "tenant",
        Grouping::Source => "source",
        Grouping::Network => "network",
        Grouping::Actor => "actor",
    }
}

/// Of these rules those that are named, or all.
pub(crate) fn only(rules: Rules, names: &[String]) -> Result<Rules, Failure> {
    if let Some(name) = names.iter().find(|name| rules.find(name).is_none()) {
        let known: Vec<_> = rules.iter().map(|rule| rule.id.as_str()).collect();
        return Err(Failure::usage(format!("there is no rule `{name}`: there are {}", known.join(", "))));
    }
    Ok(match names {
        [] => rules,
        names => rules.only(|rule| names.iter().any(|name| name == rule.id.as_str())),
    })
}

fn render(wanted: &Render, as_json: bool) -> Result<u8, Failure> {
    if wanted.language == Language::Sigma && wanted.form.is_some() {
        return Err(Failure::usage(
            "--form: Sigma leaves to each backend how it cuts time, so there is one form of it",
        ));
    }
    let form = match wanted.form {
        Some(Cut::Bucketed) => Form::Tumbling,
        Some(Cut::Sliding) | None => Form::Sliding,
    };
    let names = names(wanted)?;
    let rules = only(wanted.from.read()?, &wanted.rule)?;
    let mut unsaid = 0_usize;
    let mut is_first = true;
    for rule in &rules {
        let text = match wanted.language {
            Language::Spl => spl(rule, &names, form),
            Language::Kql => kql(rule, &names, form),
            Language::Sigma => sigma(rule),
        };
        if as_json {
            let cut = if form == Form::Sliding { "sliding" } else { "bucketed" };
            let said = Rendered {
                rule: &rule.id,
                language: language(wanted.language),
                form: (wanted.language != Language::Sigma).then_some(cut),
                text: text.as_deref().ok(),
                error: text.as_ref().err().map(ToString::to_string),
            };
            json::write_line(&mut std::io::stdout(), &said).map_err(Failure::Output)?;
        }
        match text {
            Err(error) => {
                unsaid = unsaid.saturating_add(1);
                if !as_json {
                    say(&error.to_string());
                }
            }
            Ok(text) if !as_json => {
                if !std::mem::take(&mut is_first) {
                    tell(if wanted.language == Language::Sigma { "---" } else { "" })?;
                }
                // Line by line: its own line breaks are wanted.
                text.trim_end().lines().try_for_each(tell)?;
            }
            Ok(_) => {}
        }
    }
    Ok(u8::from(unsaid > 0 && !wanted.rule.is_empty()))
}

#[derive(Serialize)]
struct Rendered<'a> {
    rule: &'a RuleId,
    #[serde(rename = "as")]
    language: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn language(language: Language) -> &'static str {
    match language {
        Language::Spl => "spl",
        Language::Kql => "kql",
        Language::Sigma => "sigma",
    }
}

fn names(wanted: &Render) -> Result<Names, Failure> {
    let said = |option: &str, error: RenderError| Failure::usage(format!("{option}: {error}"));
    let mut names = Names::default()
        .index(&wanted.index)
        .map_err(|error| said("--index", error))?
        .sourcetype(&wanted.sourcetype)
        .map_err(|error| said("--sourcetype", error))?
        .table(&wanted.table)
        .map_err(|error| said("--table", error))?;
    for field in &wanted.field {
        let Some((ours, theirs)) = field.split_once('=') else {
            return Err(Failure::usage("--field: as in `actor_id=user.id`"));
        };
        names = names.field(ours, theirs).map_err(|error| said("--field", error))?;
    }
    Ok(names)
}
