//! What was found out, in words and as JSON.

use std::io::{self, Write};

use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr as _;

use super::finding::{Findings, Standing};
use super::fit::{Candidate, Choice};
use super::reads::Known;
use crate::table::padded;
use crate::terminal::{Paint, Palette, inert};

/// All that there is to say.
pub(super) struct Report<'a> {
    pub(super) base: &'a str,
    pub(super) known: &'a Known,
    pub(super) findings: &'a Findings,
    pub(super) choice: &'a Choice,
    pub(super) requests: usize,
    pub(super) wrote: bool,
    pub(super) left_behind: &'a [String],
}

impl Report<'_> {
    pub(super) fn to_json(&self) -> Value {
        let candidate = |candidate: &Candidate| {
            let fails = candidate.fails.iter();
            json!({
                "dialect": candidate.preset.name, "title": candidate.preset.title, "fits": candidate.fits(),
                "works": candidate.works,
                "fails": fails.map(|need| json!({"check": need.code, "what": need.what, "switch": need.otherwise}))
                    .collect::<Vec<_>>(),
                "unused": candidate.unused,
            })
        };
        let choice = self.choice;
        json!({
            "base": self.base,
            "says": {
                "service_provider_config": self.known.config,
                "resource_types": self.known.types,
                "schemas": self.known.schemas.iter().filter_map(|schema| schema.id.as_ref()).collect::<Vec<_>>(),
                "users": self.known.users,
            },
            "findings": self.findings.iter().map(|finding| finding.to_json()).collect::<Vec<_>>(),
            "dialect": {
                "best": candidate(&choice.best),
                "by_address": choice.known.as_ref().map(|known| known.by.as_str()),
                "others": choice.others.iter().map(candidate).collect::<Vec<_>>(),
            },
            "requests": self.requests, "wrote": self.wrote, "left_behind": self.left_behind,
        })
    }

    pub(super) fn print(&self, out: &mut dyn Write, palette: Palette) -> io::Result<()> {
        writeln!(out, "{}", palette.paint(Paint::Bold, self.base))?;
        writeln!(out)?;
        self.print_says(out, palette)?;
        self.print_findings(out, palette)?;
        self.print_choice(out, palette)?;
        let writes = if self.wrote { "" } else { "; nothing was changed (--write tries changes, too)" };
        writeln!(out, "\n{}", palette.paint(Paint::Dim, &format!("{} requests{writes}", self.requests)))
    }

    /// What the server says of itself.
    fn print_says(&self, out: &mut dyn Write, palette: Palette) -> io::Result<()> {
        writeln!(out, "{}", palette.paint(Paint::Bold, "It says of itself"))?;
        let mut line = |name: &str, text: String| {
            writeln!(out, "  {}  {}", palette.paint(Paint::Dim, &padded(name, 14)), inert(&text))
        };
        if let Some(config) = &self.known.config {
            let yes = |supported: Option<bool>| match supported {
                Some(true) => "yes",
                Some(false) => "no",
                None => "not said",
            };
            let more = |name: &str, number: Option<u64>| match number {
                Some(number) => format!(", {number} {name}"),
                None => String::new(),
            };
            let simple = |part: &Option<scim_client::message::Supported>| {
                yes(part.as_ref().and_then(|part| part.supported))
            };
            line("PATCH", simple(&config.patch).to_owned())?;
            let filter = config.filter.as_ref();
            line(
                "filters",
                format!(
                    "{}{}",
                    yes(filter.and_then(|filter| filter.supported)),
                    more("results at the most", filter.and_then(|filter| filter.results_max)),
                ),
            )?;
            let bulk = config.bulk.as_ref();
            let bulk_on = bulk.and_then(|bulk| bulk.supported);
            let limits = bulk.filter(|_| bulk_on == Some(true)).map(|bulk| {
                more("operations", bulk.operations_max) + &more("bytes at the most", bulk.payload_bytes_max)
            });
            line("bulk", format!("{}{}", yes(bulk_on), limits.unwrap_or_default()))?;
            line("sorting", simple(&config.sort).to_owned())?;
            line("versions", simple(&config.etag).to_owned())?;
            line("passwords", simple(&config.change_password).to_owned())?;
            if let Some(paging) = &config.pagination {
                let ways = [("cursor", paging.cursor), ("index", paging.index)];
                let ways: Vec<&str> = ways
                    .into_iter()
                    .filter(|(_, offered)| *offered == Some(true))
                    .map(|(way, _)| way)
                    .collect();
                line("paging", format!("{}{}", ways.join(", "), more("a page", paging.page_size_max)))?;
            }
            let schemes = config.authentication_schemes.iter();
            let schemes: Vec<&str> = schemes
                .filter_map(|scheme| {
                    scheme.kind.as_ref().map(|kind| kind.as_str()).or(scheme.name.as_deref())
                })
                .collect();
            if !schemes.is_empty() {
                line("credentials", schemes.join(", "))?;
            }
        } else {
            line("nothing", "there is no ServiceProviderConfig to be read".to_owned())?;
        }
        let types = self.known.types.iter().filter_map(|kind| {
            let extensions = kind.schema_extensions.len();
            let more = if extensions > 0 { format!(" (+{extensions})") } else { String::new() };
            Some(format!("{} {}{more}", kind.name.as_deref()?, kind.endpoint.as_deref().unwrap_or_default()))
        });
        let types: Vec<String> = types.collect();
        if !types.is_empty() {
            line("kinds", types.join(", "))?;
        }
        let schemas = self.known.schemas.iter().filter_map(|schema| {
            let name = schema.name.as_deref().or(schema.id.as_ref().map(|id| id.as_str()))?;
            Some(format!("{name} ({})", schema.attributes.len()))
        });
        let schemas: Vec<String> = schemas.collect();
        if !schemas.is_empty() {
            line("schemas", schemas.join(", "))?;
        }
        if let Some(users) = self.known.users {
            line("users", users.to_string())?;
        }
        writeln!(out)
    }

    fn print_findings(&self, out: &mut dyn Write, palette: Palette) -> io::Result<()> {
        let width = |of: fn(&super::finding::Finding) -> &str| {
            self.findings.iter().map(|finding| of(finding).width()).max().unwrap_or(0)
        };
        let (first, second) = (width(|finding| finding.what), width(|finding| finding.rfc));
        let head =
            format!("{}  {}  this server", padded("It was seen", first + 4), padded("RFC 7644", second));
        writeln!(out, "{}", palette.paint(Paint::Bold, &head))?;
        for finding in self.findings.iter() {
            let (mark, paint) = match finding.standing {
                Standing::Conforms => ("✓", Paint::Green),
                Standing::Deviates => ("✗", Paint::Red),
                Standing::Absent => ("–", Paint::Dim),
                Standing::Unclear => ("?", Paint::Yellow),
            };
            writeln!(
                out,
                "  {} {}  {}  {}",
                palette.paint(paint, mark),
                padded(&inert(finding.what), first),
                palette.paint(Paint::Dim, &padded(finding.rfc, second)),
                match finding.standing {
                    Standing::Deviates => palette.paint(Paint::Red, &finding.seen),
                    _ => palette.paint(Paint::Plain, &finding.seen),
                },
            )?;
        }
        let count = |standing| self.findings.iter().filter(|finding| finding.standing == standing).count();
        let line = format!(
            "  ✓ {} as RFC 7644 says, ✗ {} otherwise, – {} not offered, ? {} not to be seen",
            count(Standing::Conforms),
            count(Standing::Deviates),
            count(Standing::Absent),
            count(Standing::Unclear),
        );
        writeln!(out, "{}\n", palette.paint(Paint::Dim, &line))
    }

    fn print_choice(&self, out: &mut dyn Write, palette: Palette) -> io::Result<()> {
        let Choice { best, others, known } = self.choice;
        let head = format!("Dialect that fits best: {}", best.preset.name);
        writeln!(out, "{}  ({})", palette.paint(Paint::Bold, &head), best.preset.title)?;
        if let Some(known) = known {
            writeln!(out, "  because {}", inert(&known.by))?;
        }
        if !best.works.is_empty() {
            wrapped(out, "  works:   ", &best.works.join(", "))?;
        }
        if !best.unused.is_empty() {
            wrapped(out, "  unused:  ", &best.unused.join(", "))?;
        }
        for need in &best.fails {
            let seen = self.findings.find(need.code).map(|finding| finding.seen.as_str()).unwrap_or_default();
            let text = format!("{}: {}; to do without: `{}`", need.what, inert(seen), need.otherwise);
            wrapped(out, "  missing: ", &text)?;
        }
        if known.is_some() {
            for switch in best.preset.switches {
                let text =
                    format!("{} = {}: {} ({})", switch.field, switch.value, switch.says, switch.source);
                wrapped(out, "  as documented: ", &text)?;
            }
        }
        if !self.wrote {
            writeln!(out, "  how this server reads PATCH was not seen: --write tries it")?;
        }
        for other in others {
            let missing: Vec<&str> = other.fails.iter().map(|need| need.what).collect();
            let why = match (missing.is_empty(), other.unused.is_empty()) {
                (false, _) => format!("needs {}", missing.join(", ")),
                (true, false) => format!("would work, and leaves unused: {}", other.unused.join(", ")),
                (true, true) => "would work as well".to_owned(),
            };
            wrapped(out, &format!("  not {}: ", other.preset.name), &why)?;
        }
        writeln!(out, "  use it with --dialect {}", best.preset.name)
    }
}

/// Columns of wrapped text.
const COLUMNS: usize = 100;

/// Text after a label, its later lines below its beginning.
fn wrapped(out: &mut dyn Write, label: &str, text: &str) -> io::Result<()> {
    let indent = label.width().min(COLUMNS / 2);
    let mut line = label.to_owned();
    let mut is_first = true;
    for word in text.split(' ') {
        if !is_first && line.width().saturating_add(word.width()).saturating_add(1) > COLUMNS {
            writeln!(out, "{line}")?;
            line = " ".repeat(indent);
            is_first = true;
        }
        if !is_first {
            line.push(' ');
        }
        line.push_str(word);
        is_first = false;
    }
    writeln!(out, "{line}")
}
