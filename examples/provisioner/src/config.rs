//! The settings file: everything that is wrong with it is said at once, each with line and column.

mod alerts;
mod connectors;
mod reviews;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read as _;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use connector_health::alert::{AlertRules, AlertSink};
use connector_health::connector::Connectors;
use connector_health::lifecycle::FeedGuard;
use connector_health::monitor::Thresholds;
use connector_health::outbox::MassLeaverGuard;
use connector_health::sod::SodRules;
use connector_health::{ConnectorId, PersonId, Right};
use data_encoding::BASE64;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IntoDeserializer as _};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use crate::access::{Access, Role};
use crate::engine::Recurring;
use crate::listen::Limits;
use crate::secrets::{self, StoredSecret};
use crate::store::{OUTBOX, Place};

/// Longest settings file.
const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Most mistakes that are said of one file.
const MISTAKES_MAX: usize = 50;
/// Most connectors of one service.
const CONNECTORS_MAX: usize = 1_000;
/// Most connections to the API, whatever the settings say.
const CONNECTIONS_MAX: u32 = 100_000;
/// Fewest characters of a token for the API.
const API_TOKEN_CHARS_MIN: usize = 20;
/// Where it listens unless stated.
pub(crate) const LISTEN: &str = "127.0.0.1:7766";

/// A file that was read and found to be good. Nothing was started or sent.
pub(crate) struct Config {
    pub(crate) data_dir: PathBuf,
    /// Where the outbox lies.
    pub(crate) store: Place,
    pub(crate) listen: SocketAddr,
    pub(crate) tls: Option<Tls>,
    /// Of connections to the API.
    pub(crate) limits: Limits,
    pub(crate) access: Access,
    pub(crate) thresholds: Thresholds,
    pub(crate) rules: AlertRules,
    pub(crate) probe_every: TimeDelta,
    pub(crate) guard: MassLeaverGuard,
    pub(crate) connectors: Connectors,
    /// Attributes that a connector's accounts show by the names that events use.
    pub(crate) compared: BTreeMap<ConnectorId, BTreeSet<String>>,
    /// Who answers for an application.
    pub(crate) owners: BTreeMap<ConnectorId, PersonId>,
    pub(crate) credential_ends: Vec<(ConnectorId, Option<DateTime<Utc>>)>,
    /// Files that are looked at for a new credential.
    pub(crate) secrets: Vec<(ConnectorId, Arc<StoredSecret>)>,
    pub(crate) sinks: Vec<(String, Arc<dyn AlertSink>)>,
    pub(crate) csv: Option<CsvSource>,
    pub(crate) webhook_secret: Option<Zeroizing<Vec<u8>>>,
    pub(crate) stdin: bool,
    pub(crate) sod: Option<SodRules>,
    /// Reviews that begin again and again.
    pub(crate) reviews: Vec<Recurring>,
    /// What is no mistake, and may be none that was meant.
    pub(crate) warnings: Vec<String>,
}

/// Certificate and key of the API.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// A file in which HR says who works here.
#[derive(Clone, Debug)]
pub(crate) struct CsvSource {
    pub(crate) path: PathBuf,
    /// Where the last day of a contract ends.
    pub(crate) zone: Tz,
    /// Columns that are attributes of a person besides those that everybody has.
    pub(crate) attributes: Vec<String>,
    pub(crate) guard: FeedGuard,
}

/// Something that is wrong, and where.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Mistake {
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    pub(crate) message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsToml {
    cert: Spanned<PathBuf>,
    key: Spanned<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LimitsToml {
    connections_max: NonZeroU32,
    head_s: NonZeroU32,
    body_s: NonZeroU32,
    request_s: NonZeroU32,
}

impl Default for LimitsToml {
    fn default() -> Self {
        let limits = Limits::default();
        let whole = |of: Duration| {
            u32::try_from(of.as_secs()).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX)
        };
        Self {
            connections_max: NonZeroU32::new(limits.connections_max).unwrap_or(NonZeroU32::MIN),
            head_s: whole(limits.head),
            body_s: whole(limits.body),
            request_s: whole(limits.request),
        }
    }
}

impl From<LimitsToml> for Limits {
    fn from(limits: LimitsToml) -> Self {
        let seconds = |of: NonZeroU32| Duration::from_secs(of.get().into());
        Self {
            connections_max: limits.connections_max.get(),
            head: seconds(limits.head_s),
            body: seconds(limits.body_s),
            request: seconds(limits.request_s),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenToml {
    name: Spanned<String>,
    role: Role,
    /// Who decides with it.
    person: Option<PersonId>,
    file: Spanned<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct GuardToml {
    window_s: u32,
    leavers_max: u64,
    percent_max: u8,
    always_allowed: u64,
}

impl Default for GuardToml {
    fn default() -> Self {
        let guard = MassLeaverGuard::default();
        Self {
            window_s: u32::try_from(guard.window.num_seconds()).unwrap_or(u32::MAX),
            leavers_max: guard.leavers_max,
            percent_max: guard.percent_max,
            always_allowed: guard.always_allowed,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CsvToml {
    path: Spanned<PathBuf>,
    #[serde(default = "utc")]
    time_zone: Tz,
    #[serde(default)]
    attributes: Vec<Spanned<String>>,
    #[serde(default)]
    guard: FeedGuard,
}

fn utc() -> Tz {
    Tz::UTC
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookToml {
    secret_file: Spanned<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StdinToml {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SodToml {
    rules: Spanned<PathBuf>,
}

impl Config {
    /// Reads and checks a file; relative paths are relative to it.
    pub(crate) fn read(path: &Path) -> Result<Self, Vec<Mistake>> {
        let whole = |message: String| vec![Mistake { line: 1, column: 1, message }];
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(|error| whole(format!("cannot be read: {error}")))?;
        file.take(CONFIG_BYTES_MAX.saturating_add(1))
            .read_to_string(&mut text)
            .map_err(|error| whole(format!("cannot be read: {error}")))?;
        if text.len() as u64 > CONFIG_BYTES_MAX {
            return Err(whole(format!("longer than {CONFIG_BYTES_MAX} bytes")));
        }
        // The directory of a file that stands here is nothing, which is no directory.
        let beside = path.parent().filter(|beside| !beside.as_os_str().is_empty());
        Self::parse(&text, beside.unwrap_or(Path::new(".")))
    }

    fn parse(text: &str, base: &Path) -> Result<Self, Vec<Mistake>> {
        let mut reader = Reader { text, base, mistakes: Vec::new(), warnings: Vec::new(), named: Vec::new() };
        let (document, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            for error in &errors {
                reader.mistake(error.span().map_or(0, |span| span.start), error.message());
            }
            return Err(reader.ended());
        }
        let config = reader.document(document.into_inner());
        match config {
            Some(config) if reader.mistakes.is_empty() => Ok(config),
            _ => Err(reader.ended()),
        }
    }
}

/// Reads on after a mistake, so that all of them are found.
struct Reader<'a> {
    text: &'a str,
    base: &'a Path,
    mistakes: Vec<Mistake>,
    warnings: Vec<String>,
    named: Vec<Named>,
}

/// Somebody who is to decide about something.
struct Named {
    place: usize,
    person: PersonId,
    /// Whether that takes an operator.
    runs: bool,
}

impl Reader<'_> {
    fn mistake(&mut self, offset: usize, message: impl Into<String>) {
        let mistake = self.at(offset, message);
        self.mistakes.push(mistake);
    }

    fn at(&self, offset: usize, message: impl Into<String>) -> Mistake {
        let before = self.text.get(..offset.min(self.text.len())).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Mistake { line, column, message: message.into() }
    }

    /// Whoever is to decide and has no token to do it with is told of: what waits for them waits for ever.
    fn without_token(&mut self, access: &Access) {
        let mut named = std::mem::take(&mut self.named);
        named.retain(|named| !access.decides(&named.person, named.runs));
        named.sort_by(|one, other| (one.place, &one.person).cmp(&(other.place, &other.person)));
        named.dedup_by(|later, first| (later.place, &later.person) == (first.place, &first.person));
        for Named { place, person, runs } in named {
            let role = if runs { "operator" } else { "reviewer" };
            let why = format!(
                "`{person}` is to decide, and no `[[api.token]]` of an {role} has `person = \"{person}\"`"
            );
            self.warnings
                .push(self.at(place, why.replace("an reviewer", "a reviewer or operator")).to_string());
        }
    }

    fn ended(mut self) -> Vec<Mistake> {
        self.mistakes.sort();
        self.mistakes.dedup();
        self.mistakes.truncate(MISTAKES_MAX);
        self.mistakes
    }

    fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    /// One value of the file as what it is to be.
    fn value<T: DeserializeOwned>(&mut self, value: Spanned<DeValue<'_>>) -> Option<T> {
        let start = value.span().start;
        match T::deserialize(value.into_deserializer()) {
            Ok(value) => Some(value),
            Err(error) => {
                let offset = error.span().map_or(start, |span| span.start);
                self.mistake(offset, error.message().lines().next().unwrap_or_default());
                None
            }
        }
    }

    /// Each table of `[[name]]`, with where it begins.
    fn each<T: DeserializeOwned>(&mut self, value: Spanned<DeValue<'_>>, name: &str) -> Vec<(usize, T)> {
        let start = value.span().start;
        let DeValue::Array(tables) = value.into_inner() else {
            self.mistake(start, format!("each of these stands under `[[{name}]]`, with two brackets"));
            return Vec::new();
        };
        let mut read = Vec::new();
        for table in tables {
            let start = table.span().start;
            read.extend(self.value(table).map(|table| (start, table)));
        }
        read
    }

    /// The tables within a table: `[name.one]`, `[name.other]`.
    fn within<'t>(
        &mut self,
        value: Spanned<DeValue<'t>>,
        name: &str,
    ) -> Vec<(usize, String, Spanned<DeValue<'t>>)> {
        let start = value.span().start;
        let DeValue::Table(table) = value.into_inner() else {
            self.mistake(start, format!("`{name}` is a table"));
            return Vec::new();
        };
        table
            .into_iter()
            .map(|(key, value)| (key.span().start, key.into_inner().into_owned(), value))
            .collect()
    }

    fn secret(&mut self, path: &Spanned<PathBuf>) -> Option<Zeroizing<String>> {
        match secrets::read(&self.path(path.get_ref())) {
            Ok(secret) => Some(secret),
            Err(why) => {
                self.mistake(path.span().start, why);
                None
            }
        }
    }

    fn text_of(&mut self, path: &Spanned<PathBuf>) -> Option<String> {
        let place = self.path(path.get_ref());
        match std::fs::read_to_string(&place) {
            Ok(text) => Some(text),
            Err(error) => {
                self.mistake(path.span().start, format!("`{}`: {error}", place.display()));
                None
            }
        }
    }

    fn document(&mut self, document: DeTable<'_>) -> Option<Config> {
        let (mut data_dir, mut listen, mut tls) = (None, None, None);
        let (mut tokens, mut probe_every, mut thresholds) = (None, None, Some(Thresholds::default()));
        let (mut guard, mut alerts) = (Some(GuardToml::default()), alerts::Alerts::default());
        let (mut connectors, mut reviews, mut store) = (None, Vec::new(), None);
        let (mut csv, mut webhook_secret, mut stdin) = (None, None, false);
        let (mut sod, mut sod_at) = (None, 0);
        let mut limits = Some(Spanned::new(0..0, LimitsToml::default()));
        for (key, value) in document {
            let at = key.span().start;
            match key.get_ref().as_ref() {
                "data_dir" => data_dir = self.value::<PathBuf>(value),
                "listen" => listen = self.value::<Spanned<SocketAddr>>(value),
                "probe_every_s" => probe_every = self.value::<NonZeroU32>(value),
                "limits" => limits = self.value::<Spanned<LimitsToml>>(value),
                "tls" => tls = self.value::<TlsToml>(value),
                "api" => {
                    for (at, name, value) in self.within(value, "api") {
                        match name.as_str() {
                            "token" => tokens = Some(self.tokens(value)),
                            _ => self.mistake(at, format!("unknown field `api.{name}`, expected `token`")),
                        }
                    }
                }
                "thresholds" => thresholds = self.value(value),
                "guard" => guard = self.value(value),
                "connector" => connectors = Some(self.connectors(value)),
                "alert" => alerts = self.alerts(value),
                "source" => {
                    for (at, name, value) in self.within(value, "source") {
                        match name.as_str() {
                            "csv" => csv = self.value::<CsvToml>(value),
                            "webhook" => webhook_secret = self.webhook(value),
                            "stdin" => stdin = self.value::<StdinToml>(value).is_some(),
                            _ => self.mistake(
                                at,
                                format!(
                                    "unknown field `source.{name}`, expected `csv`, `webhook` or `stdin`"
                                ),
                            ),
                        }
                    }
                }
                "store" => store = self.store(value),
                "sod" => (sod_at, sod) = (at, self.sod(value)),
                "review" => reviews = self.reviews(value),
                name => {
                    let known = "`data_dir`, `listen`, `probe_every_s`, `tls`, `limits`, `api`, `thresholds`, `guard`, \
                                 `connector`, `alert`, `source`, `sod`, `review`, `store`";
                    self.mistake(at, format!("unknown field `{name}`, expected one of {known}"));
                }
            }
        }
        if data_dir.is_none() && !self.names("data_dir") {
            self.mistake(0, "`data_dir` is missing: where outbox, audit log and keys are kept");
        }
        if connectors.is_none() {
            self.mistake(0, "no `[[connector]]`: there is nothing to provision to");
        }
        if tokens.is_none() {
            self.mistake(0, "no `[[api.token]]`: nobody could ask anything");
        }
        let listen_at = listen.as_ref().map_or(0, |listen: &Spanned<SocketAddr>| listen.span().start);
        let listen = match listen {
            Some(listen) => listen.into_inner(),
            None => LISTEN.parse().ok()?,
        };
        let tls = tls.map(|TlsToml { cert, key }| {
            self.text_of(&cert);
            // A key is several lines: only who may read it is looked at.
            let place = self.path(key.get_ref());
            if let Err(why) = crate::tls::private(&place) {
                self.mistake(key.span().start, why);
            }
            let tls = Tls { cert: self.path(cert.get_ref()), key: place };
            if let Err(why) = crate::tls::acceptor(&tls) {
                self.mistake(cert.span().start, why);
            }
            tls
        });
        if tls.is_none() && !listen.ip().is_loopback() {
            let why = "can be reached from other machines, so that tokens would be there for whoever listens: give `[tls]` \
                       with `cert` and `key`, or listen on 127.0.0.1";
            self.mistake(listen_at, format!("{listen} {why}"));
        }
        let csv = csv.map(|csv| self.csv(csv));
        let limits = limits?;
        if limits.get_ref().connections_max.get() > CONNECTIONS_MAX {
            self.mistake(limits.span().start, format!("`connections_max` is at most {CONNECTIONS_MAX}"));
        }
        let data_dir = self.path(&data_dir?);
        let guard = guard?;
        let connectors = connectors?;
        let reviews = self.known_reviews(reviews, &connectors.connectors);
        for function in sod.iter().flat_map(SodRules::functions) {
            let known = |right: &Right| connectors.connectors.iter().any(|(id, _)| *id == right.connector);
            if let Some(right) = function.all.union(&function.any).find(|right| !known(right)) {
                let why =
                    format!("function `{}` names the unknown connector `{}`", function.id, right.connector);
                self.mistake(sod_at, format!("separation of duty: {why}"));
            }
        }
        let access = tokens?;
        self.without_token(&access);
        Some(Config {
            store: store.unwrap_or_else(|| Place::File(data_dir.join(OUTBOX))),
            data_dir,
            listen,
            tls,
            limits: limits.into_inner().into(),
            access,
            thresholds: thresholds?,
            rules: alerts.rules,
            probe_every: probe_every
                .map_or(connector_health::fleet::PROBE_EVERY, |s| TimeDelta::seconds(s.get().into())),
            guard: MassLeaverGuard {
                window: TimeDelta::seconds(guard.window_s.into()),
                leavers_max: guard.leavers_max,
                percent_max: guard.percent_max,
                always_allowed: guard.always_allowed,
            },
            connectors: connectors.connectors,
            compared: connectors.compared,
            owners: connectors.owners,
            credential_ends: connectors.credential_ends,
            secrets: connectors.secrets,
            sinks: alerts.sinks,
            csv,
            webhook_secret,
            stdin,
            sod,
            reviews,
            warnings: std::mem::take(&mut self.warnings),
        })
    }

    /// Whether a key is there at all, good or not.
    fn names(&self, key: &str) -> bool {
        self.text.lines().any(|line| line.trim_start().starts_with(key))
    }

    fn tokens(&mut self, value: Spanned<DeValue<'_>>) -> Access {
        let mut access = Access::default();
        for (_, TokenToml { name, role, person, file }) in self.each::<TokenToml>(value, "api.token") {
            let Some(token) = self.secret(&file) else { continue };
            if token.chars().count() < API_TOKEN_CHARS_MIN {
                let why = format!(
                    "a token has at least {API_TOKEN_CHARS_MIN} characters: `openssl rand -hex 32` makes one"
                );
                self.mistake(file.span().start, why);
            } else if role == Role::Reviewer && person.is_none() {
                let why = "`person` is missing: whoever reviews decides under their own identifier";
                self.mistake(name.span().start, why);
            } else if !access.add(name.get_ref(), role, person, &token) {
                self.mistake(name.span().start, format!("`{}` or its token is there twice", name.get_ref()));
            }
        }
        access
    }

    fn csv(&mut self, csv: CsvToml) -> CsvSource {
        for name in &csv.attributes {
            let own = crate::people::PLAIN.iter().chain(&["id", "groups", "end_date"]);
            if own.into_iter().any(|own| own == name.get_ref()) {
                let why = format!("`{}` is always read, as what it is", name.get_ref());
                self.mistake(name.span().start, why);
            }
        }
        CsvSource {
            path: self.path(csv.path.get_ref()),
            zone: csv.time_zone,
            attributes: csv.attributes.into_iter().map(Spanned::into_inner).collect(),
            guard: csv.guard,
        }
    }

    fn webhook(&mut self, value: Spanned<DeValue<'_>>) -> Option<Zeroizing<Vec<u8>>> {
        let WebhookToml { secret_file } = self.value(value)?;
        let secret = self.secret(&secret_file)?;
        let key = key_of(&secret);
        let least = connector_health::alert::WEBHOOK_SECRET_BYTES_MIN;
        if key.as_ref().is_none_or(|key| key.len() < least) {
            let why = format!("a secret has at least {least} bytes; after `whsec_` they stand in Base64");
            self.mistake(secret_file.span().start, why);
            return None;
        }
        key
    }

    fn sod(&mut self, value: Spanned<DeValue<'_>>) -> Option<SodRules> {
        let SodToml { rules } = self.value(value)?;
        let text = self.text_of(&rules)?;
        match SodRules::parse(&text) {
            Ok(parsed) => {
                let warnings = parsed
                    .warnings()
                    .iter()
                    .map(|warning| format!("{}: {warning}", rules.get_ref().display()));
                self.warnings.extend(warnings);
                let controls = parsed.expiring(DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
                self.named.extend(controls.into_iter().map(|control| Named {
                    place: rules.span().start,
                    person: control.owner.clone(),
                    runs: false,
                }));
                Some(parsed)
            }
            Err(error) => {
                for mistake in error.mistakes() {
                    self.mistake(rules.span().start, format!("`{}`: {mistake}", rules.get_ref().display()));
                }
                None
            }
        }
    }
}

/// The bytes of a webhook's secret: as they are, or Base64 after `whsec_`.
fn key_of(secret: &str) -> Option<Zeroizing<Vec<u8>>> {
    let key = match secret.strip_prefix("whsec_") {
        Some(encoded) => BASE64.decode(encoded.as_bytes()).ok()?,
        None => secret.as_bytes().to_vec(),
    };
    Some(Zeroizing::new(key))
}
