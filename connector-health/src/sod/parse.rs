//! From TOML to rules. Collects every mistake it can find, each with its place.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::rules::{Function, Mitigation, Remedy, Risk, SodRules};
use super::{
    FUNCTION_RIGHTS_MAX, FUNCTIONS_MAX, Level, MITIGATIONS_MAX, RISK_FUNCTIONS_MAX, RISKS_MAX,
    RULES_BYTES_MAX,
};
use crate::id::{ConnectorId, EntitlementId, FunctionId, IdError, PersonId, Right, RiskId};
use crate::mistake::{MISTAKES_MAX, Mistake, TextError, mistake};

type Node<'a> = Spanned<DeValue<'a>>;

pub(super) fn parse(text: &str) -> Result<SodRules, TextError> {
    if text.len() > RULES_BYTES_MAX {
        let message = format!("the rules are longer than {RULES_BYTES_MAX} bytes");
        return Err(TextError::new(vec![mistake(text, 0, &message)]));
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let mut mistakes: Vec<Mistake> = errors
            .iter()
            .take(MISTAKES_MAX)
            .map(|error| mistake(text, error.span().map_or(0, |span| span.start), error.message()))
            .collect();
        // One slip makes the rest of its line unreadable, too.
        mistakes.sort();
        mistakes.dedup_by_key(|mistake| mistake.line);
        return Err(TextError::new(mistakes));
    }
    let mut reader = Reader { text, mistakes: Vec::new() };
    let rules = reader.document(document.get_ref());
    match reader.mistakes.is_empty() {
        true => Ok(rules),
        false => Err(TextError::new(reader.mistakes)),
    }
}

struct Reader<'a> {
    text: &'a str,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn mistake(&mut self, offset: usize, message: impl AsRef<str>) {
        if self.mistakes.len() < MISTAKES_MAX {
            self.mistakes.push(mistake(self.text, offset, message.as_ref()));
        }
    }

    fn document(&mut self, document: &DeTable<'_>) -> SodRules {
        self.known_keys(document, &["version", "function", "risk", "mitigation"], "rules");
        match document.get("version") {
            None => self.mistake(0, "`version` is missing (it is 1)"),
            Some(value) => match value.get_ref() {
                DeValue::Integer(number) if number.to_string() == "1" => {}
                _ => self.mistake(value.span().start, "`version` must be 1"),
            },
        }
        let mut known = HashSet::new();
        let mut functions = Vec::new();
        for (offset, table) in self.tables(document, "function", FUNCTIONS_MAX) {
            let Some(function) = self.function(offset, table) else { continue };
            if known.insert(function.id.clone()) {
                functions.push(function);
            } else {
                self.mistake(offset, format!("function `{}` is there twice", function.id));
            }
        }
        let mut risks_known = HashSet::new();
        let mut risks = Vec::new();
        for (offset, table) in self.tables(document, "risk", RISKS_MAX) {
            let Some(risk) = self.risk(offset, table, &known) else { continue };
            if risks_known.insert(risk.id.clone()) {
                risks.push(risk);
            } else {
                self.mistake(offset, format!("risk `{}` is there twice", risk.id));
            }
        }
        let mut rules = SodRules::of(functions, risks);
        let mut mitigated: HashMap<(RiskId, PersonId), ()> = HashMap::new();
        for (offset, table) in self.tables(document, "mitigation", MITIGATIONS_MAX) {
            let Some(mitigation) = self.mitigation(offset, table) else { continue };
            if !risks_known.contains(&mitigation.risk) {
                self.mistake(offset, format!("there is no risk `{}`", mitigation.risk));
                continue;
            }
            let whose = (mitigation.risk.clone(), mitigation.person.clone());
            if mitigated.insert(whose, ()).is_some() {
                let (risk, person) = (&mitigation.risk, &mitigation.person);
                self.mistake(offset, format!("the violation of `{risk}` by `{person}` is mitigated twice"));
            } else if let Err(error) = rules.mitigate(mitigation) {
                self.mistake(offset, error.to_string());
            }
        }
        rules
    }

    fn function(&mut self, offset: usize, table: &DeTable<'_>) -> Option<Function> {
        self.known_keys(table, &["id", "name", "all", "any"], "a function");
        let id = self.id(offset, table, "id", |text| FunctionId::new(text));
        let name = self.optional_text(table, "name");
        let (all, any) = (self.rights(table, "all"), self.rights(table, "any"));
        if all.is_empty() && any.is_empty() {
            self.mistake(offset, "a function takes rights: `all`, `any` or both");
        }
        if all.len().saturating_add(any.len()) > FUNCTION_RIGHTS_MAX {
            self.mistake(offset, format!("a function takes at most {FUNCTION_RIGHTS_MAX} rights"));
        }
        if let Some(both) = all.intersection(&any).next() {
            self.mistake(offset, format!("{both} is in `all` and in `any`"));
        }
        Some(Function { id: id?, name, all, any })
    }

    /// `{ connector = ["right", …], … }`
    fn rights(&mut self, table: &DeTable<'_>, key: &str) -> BTreeSet<Right> {
        let mut rights = BTreeSet::new();
        let Some(value) = table.get(key) else { return rights };
        let Some(connectors) = value.get_ref().as_table() else {
            self.mistake(
                value.span().start,
                format!("`{key}` must be a table of connectors, each with its rights"),
            );
            return rights;
        };
        if connectors.is_empty() {
            self.mistake(value.span().start, format!("`{key}` is empty"));
        }
        for (connector, value) in connectors.iter() {
            let connector_id = match ConnectorId::new(connector.get_ref()) {
                Ok(id) => id,
                Err(error) => {
                    self.mistake(connector.span().start, error.to_string());
                    continue;
                }
            };
            let Some(names) = self.array(value, "the rights of a connector") else { continue };
            for name in names {
                let Some(entitlement) = self.id_of(name, |text| EntitlementId::new(text)) else { continue };
                let right = Right { connector: connector_id.clone(), entitlement };
                if let Some(twice) = rights.replace(right) {
                    self.mistake(name.span().start, format!("{twice} is there twice"));
                }
            }
        }
        rights
    }

    fn risk(&mut self, offset: usize, table: &DeTable<'_>, known: &HashSet<FunctionId>) -> Option<Risk> {
        self.known_keys(table, &["id", "name", "level", "functions", "remedy", "revoke"], "a risk");
        let id = self.id(offset, table, "id", |text| RiskId::new(text));
        let name = self.optional_text(table, "name");
        let level = self.word(offset, table, "level", &LEVELS);
        let mut functions = BTreeSet::new();
        match table.get("functions") {
            None => self.mistake(offset, "`functions` is missing"),
            Some(value) => {
                for name in self.array(value, "`functions`").unwrap_or_default() {
                    let Some(function) = self.id_of(name, |text| FunctionId::new(text)) else { continue };
                    if !known.contains(&function) {
                        self.mistake(name.span().start, format!("there is no function `{function}`"));
                    }
                    if let Some(twice) = functions.replace(function) {
                        self.mistake(name.span().start, format!("function `{twice}` is there twice"));
                    }
                }
                if functions.len() < 2 {
                    self.mistake(value.span().start, "a risk is of two functions or more");
                }
                if functions.len() > RISK_FUNCTIONS_MAX {
                    let message = format!("a risk is of at most {RISK_FUNCTIONS_MAX} functions");
                    self.mistake(value.span().start, message);
                }
            }
        }
        let remedy = self.word(offset, table, "remedy", &REMEDIES);
        let revoke = table.get("revoke").and_then(|value| {
            let function = self.id_of(value, |text| FunctionId::new(text))?;
            if !functions.contains(&function) {
                self.mistake(value.span().start, format!("function `{function}` is not one of the risk's"));
            }
            if remedy.is_some_and(|remedy| remedy != RemedyWord::Revoke) {
                self.mistake(value.span().start, "`revoke` needs `remedy = \"revoke\"`");
            }
            Some(function)
        });
        let remedy = match remedy? {
            RemedyWord::Ask => Remedy::Ask,
            RemedyWord::Mitigate => Remedy::Mitigate,
            RemedyWord::Revoke => Remedy::Revoke { function: revoke },
        };
        Some(Risk { id: id?, name, level: level?, functions, remedy })
    }

    fn mitigation(&mut self, offset: usize, table: &DeTable<'_>) -> Option<Mitigation> {
        self.known_keys(table, &["risk", "person", "control", "owner", "expires"], "a mitigation");
        let risk = self.id(offset, table, "risk", |text| RiskId::new(text));
        let person = self.id(offset, table, "person", |text| PersonId::new(text));
        let owner = self.id(offset, table, "owner", |text| PersonId::new(text));
        let control = match table.get("control") {
            Some(_) => self.optional_text(table, "control"),
            None => {
                self.mistake(offset, "`control` is missing");
                None
            }
        };
        let expires = match table.get("expires") {
            None => {
                self.mistake(offset, "`expires` is missing: no control is for ever");
                None
            }
            Some(value) => {
                let instant = match value.get_ref() {
                    DeValue::Datetime(datetime) => datetime.to_string().parse::<DateTime<Utc>>().ok(),
                    _ => None,
                };
                if instant.is_none() {
                    let message = "`expires` must be an instant with an offset: 2027-01-01T00:00:00Z";
                    self.mistake(value.span().start, message);
                }
                instant
            }
        };
        Some(Mitigation { risk: risk?, person: person?, control: control?, owner: owner?, expires: expires? })
    }

    fn tables<'t>(
        &mut self,
        document: &'t DeTable<'_>,
        key: &str,
        most: usize,
    ) -> Vec<(usize, &'t DeTable<'t>)> {
        let Some(value) = document.get(key) else { return Vec::new() };
        let Some(nodes) = self.array(value, &format!("`[[{key}]]`")) else { return Vec::new() };
        if nodes.len() > most {
            self.mistake(value.span().start, format!("there are more than {most} of `[[{key}]]`"));
            return Vec::new();
        }
        let mut tables = Vec::new();
        for node in nodes {
            match node.get_ref().as_table() {
                Some(table) => tables.push((node.span().start, table)),
                None => self.mistake(node.span().start, format!("`{key}` must be tables: `[[{key}]]`")),
            }
        }
        tables
    }

    fn array<'t>(&mut self, value: &'t Node<'_>, what: &str) -> Option<&'t [Node<'t>]> {
        let array = value.get_ref().as_array();
        if array.is_none() {
            self.mistake(value.span().start, format!("{what} must be a list"));
        }
        Some(array?)
    }

    fn id<T>(
        &mut self,
        offset: usize,
        table: &DeTable<'_>,
        key: &str,
        of: impl FnOnce(&str) -> Result<T, IdError>,
    ) -> Option<T> {
        match table.get(key) {
            Some(value) => self.id_of(value, of),
            None => {
                self.mistake(offset, format!("`{key}` is missing"));
                None
            }
        }
    }

    fn id_of<T>(&mut self, value: &Node<'_>, of: impl FnOnce(&str) -> Result<T, IdError>) -> Option<T> {
        let Some(text) = value.get_ref().as_str() else {
            self.mistake(value.span().start, "this must be text");
            return None;
        };
        of(text).map_err(|error| self.mistake(value.span().start, error.to_string())).ok()
    }

    fn optional_text(&mut self, table: &DeTable<'_>, key: &str) -> Option<String> {
        let value = table.get(key)?;
        match value.get_ref().as_str() {
            Some(text) if text.chars().any(char::is_control) => {
                self.mistake(value.span().start, format!("`{key}` must not hold control characters"));
                None
            }
            Some(text) => Some(text.to_owned()),
            None => {
                self.mistake(value.span().start, format!("`{key}` must be text"));
                None
            }
        }
    }

    fn word<T: Copy>(
        &mut self,
        offset: usize,
        table: &DeTable<'_>,
        key: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let Some(value) = table.get(key) else {
            self.mistake(offset, format!("`{key}` is missing"));
            return None;
        };
        let text = value.get_ref().as_str();
        let found = words.iter().find(|(word, _)| Some(*word) == text).map(|(_, meant)| *meant);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.mistake(value.span().start, format!("`{key}` must be one of {}", known.join(", ")));
        }
        found
    }

    fn known_keys(&mut self, table: &DeTable<'_>, known: &[&str], what: &str) {
        for (key, _) in table.iter() {
            if !known.contains(&key.get_ref().as_ref()) {
                let message = format!("{what} has no `{}` (it has {})", key.get_ref(), known.join(", "));
                self.mistake(key.span().start, message);
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum RemedyWord {
    Ask,
    Mitigate,
    Revoke,
}

const REMEDIES: [(&str, RemedyWord); 3] =
    [("ask", RemedyWord::Ask), ("mitigate", RemedyWord::Mitigate), ("revoke", RemedyWord::Revoke)];

const LEVELS: [(&str, Level); 4] =
    [("low", Level::Low), ("medium", Level::Medium), ("high", Level::High), ("critical", Level::Critical)];
