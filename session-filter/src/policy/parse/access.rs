//! Reading `directories`, `[permit.files]` and `[permit.doors]`.

use toml::Spanned;
use toml::de::DeValue;

use super::fields::Fields;
use super::{Reader, excerpt};
use crate::limits::RULE_ENTRIES_MAX;
use crate::policy::Mode;
use crate::policy::access::{Doors, Endpoint, Files};
use crate::policy::environment;
use crate::policy::path::PathPattern;
use crate::policy::pattern::Glob;

impl Reader<'_> {
    pub(super) fn directories(&mut self, fields: &mut Fields<'_>, mode: Option<Mode>) -> Vec<PathPattern> {
        if let Some(value) = fields.peek("directories")
            && mode != Some(Mode::Managed)
        {
            let message =
                "`directories` means nothing without mode `managed`: other sessions are always at home";
            self.mistake(value.span().start, message);
        }
        self.paths(fields, "directories")
    }

    pub(super) fn files(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Files> {
        let place = value.span().start;
        let Some(table) = value.get_ref().as_table() else {
            self.mistake(place, "`files` must be a table: [permit.files]");
            return None;
        };
        if table.is_empty() {
            self.mistake(place, "`files` permits nothing");
        }
        let mut fields = Fields::new(table, place);
        let files = Files {
            read: self.paths(&mut fields, "read"),
            write: self.paths(&mut fields, "write"),
            list: self.paths(&mut fields, "list"),
            delete: self.paths(&mut fields, "delete"),
            rename: self.paths(&mut fields, "rename"),
            chmod: self.paths(&mut fields, "chmod"),
            link: self.paths(&mut fields, "link"),
        };
        self.unknown(&fields, "`files`");
        Some(files)
    }

    pub(super) fn doors(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Doors> {
        let place = value.span().start;
        let Some(table) = value.get_ref().as_table() else {
            self.mistake(place, "`doors` must be a table: [permit.doors]");
            return None;
        };
        if table.is_empty() {
            self.mistake(place, "`doors` opens nothing");
        }
        let mut fields = Fields::new(table, place);
        let doors = Doors {
            local_forward: self.entries(&mut fields, "local-forward", |text| {
                let endpoint = Endpoint::parse(text)?;
                match endpoint.is_port_zero() {
                    true => Err("there is nothing to connect to on port 0"),
                    false => Ok(endpoint),
                }
            }),
            local_socket: self.paths(&mut fields, "local-socket"),
            remote_forward: self.entries(&mut fields, "remote-forward", Endpoint::parse),
            remote_socket: self.paths(&mut fields, "remote-socket"),
            env: self.entries(&mut fields, "env", variable),
            subsystems: self.entries(&mut fields, "subsystems", subsystem),
            agent: self.flag(&mut fields, "agent"),
            x11: self.flag(&mut fields, "x11"),
            legacy_scp: self.flag(&mut fields, "legacy-scp"),
        };
        self.unknown(&fields, "`doors`");
        Some(doors)
    }

    fn paths(&mut self, fields: &mut Fields<'_>, key: &'static str) -> Vec<PathPattern> {
        self.entries(fields, key, PathPattern::parse)
    }

    /// A list in which each entry is parsed. An empty list permits nothing, which may not be meant: a mistake.
    fn entries<T>(
        &mut self,
        fields: &mut Fields<'_>,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Vec<T> {
        let Some(value) = fields.take(key) else { return Vec::new() };
        let before = self.mistakes.len();
        let items = self.strings(value, key);
        if items.is_empty() && self.mistakes.len() == before {
            self.mistake(value.span().start, format!("`{key}` is empty"));
        }
        if let Some((_, offset)) = items.get(RULE_ENTRIES_MAX) {
            self.mistake(*offset, format!("`{key}` has more than {RULE_ENTRIES_MAX} entries"));
        }
        let mut parsed = Vec::new();
        for (item, offset) in items.into_iter().take(RULE_ENTRIES_MAX) {
            match parse(item) {
                Ok(entry) => parsed.push(entry),
                Err(message) => self.mistake(offset, format!("`{key}`: `{}`: {message}", excerpt(item))),
            }
        }
        parsed
    }
}

/// A name, in which `*` stands for any characters of a name.
fn variable(text: &str) -> Result<Glob, &'static str> {
    let wild: Vec<usize> = text.match_indices('*').map(|(at, _)| at).collect();
    let first = wild.first().copied();
    if first == Some(0) {
        return Err("a variable's name must begin with a letter or `_`, or everything would be passed on");
    }
    if !environment::is_name(&text.replace('*', "_")) {
        return Err("this is no variable's name");
    }
    let is_danger = match first {
        None => environment::is_dangerous(text),
        Some(at) => environment::family(text.get(..at).unwrap_or_default()).is_some(),
    };
    match is_danger {
        true => Err("never passed on: it makes programs run others, or load what it names"),
        false => Ok(Glob::new(text, &wild)),
    }
}

fn subsystem(text: &str) -> Result<String, &'static str> {
    match text {
        "sftp" => Err("write [permit.files] instead: every operation is checked on its path"),
        _ if text.is_empty() || text.len() > 256 || !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err("this is no subsystem's name")
        }
        _ => Ok(text.to_owned()),
    }
}
