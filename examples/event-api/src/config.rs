//! The settings file: everything that is wrong with it is said, each with line and column.

use std::fmt;
use std::io::Read as _;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

use mfa_events::http::{HashedKeys, Limits, Right, Scope};
use mfa_events::{Rules, TenantId};
use serde::Deserialize;
use toml::Spanned;

use crate::playbook::{self, PlaybookToml};
use crate::retention::{DAYS_MIN, Policy};
use crate::rules;
use crate::server::Connections;
use crate::tls::{self, Tls};

/// Longest settings file.
const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Most mistakes that are said of one file.
const MISTAKES_MAX: usize = 50;
/// Most keys of one service.
const KEYS_MAX: usize = 10_000;
/// Where it listens unless stated.
const LISTEN: &str = "127.0.0.1:7788";

/// A file that was read and found to be good. Nothing was started.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) data_dir: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) tls: Option<Tls>,
    pub(crate) keys: HashedKeys,
    pub(crate) tenants: Vec<TenantId>,
    pub(crate) connections: Connections,
    pub(crate) rules: Rules,
    pub(crate) playbooks: Vec<playbook::Settings>,
    pub(crate) retention: Policy,
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
struct ConfigToml {
    data_dir: PathBuf,
    listen: Option<Spanned<SocketAddr>>,
    tls: Option<TlsToml>,
    rules: Option<Spanned<PathBuf>>,
    #[serde(default)]
    key: Vec<Spanned<KeyToml>>,
    #[serde(default)]
    playbook: Vec<PlaybookToml>,
    retention: Option<Spanned<Policy>>,
    #[serde(default)]
    connections: ConnectionsToml,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsToml {
    cert: Spanned<PathBuf>,
    key: Spanned<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyToml {
    name: Spanned<String>,
    tenant: Spanned<String>,
    may: Spanned<Vec<Verb>>,
    sha256: Spanned<String>,
    #[serde(default)]
    limits: LimitsToml,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Verb {
    Ingest,
    Read,
}

/// Names and meanings are those of [`Limits`].
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsToml {
    requests_per_s: Option<NonZeroU32>,
    requests_burst: Option<NonZeroU32>,
    events_per_s: Option<NonZeroU32>,
    events_burst: Option<NonZeroU32>,
    events_per_day: Option<u64>,
    live_readers: Option<u32>,
}

impl LimitsToml {
    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.requests_per_s = self.requests_per_s.map_or(1_000, NonZeroU32::get);
        limits.requests_burst =
            self.requests_burst.map_or(limits.requests_per_s.saturating_mul(2), NonZeroU32::get);
        limits.events_per_s = self.events_per_s.map_or(10_000, NonZeroU32::get);
        limits.events_burst =
            self.events_burst.map_or(limits.events_per_s.saturating_mul(2), NonZeroU32::get);
        limits.events_per_day = self.events_per_day.unwrap_or(u64::MAX);
        limits.live_readers = self.live_readers.unwrap_or(100);
        limits
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectionsToml {
    max: Option<NonZeroUsize>,
    per_source_max: Option<NonZeroUsize>,
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
        let mut reader = Reader { text, base, mistakes: Vec::new() };
        let config = match toml::from_str::<ConfigToml>(text) {
            Ok(config) => reader.check(config),
            Err(error) => {
                let message = error.message().lines().next().unwrap_or_default().to_owned();
                reader.mistake(error.span().map_or(0, |span| span.start), message);
                None
            }
        };
        match config {
            Some(config) if reader.mistakes.is_empty() => Ok(config),
            _ => {
                reader.mistakes.sort();
                reader.mistakes.dedup();
                reader.mistakes.truncate(MISTAKES_MAX);
                Err(reader.mistakes)
            }
        }
    }
}

/// Reads on after a mistake, so that all of them are found.
struct Reader<'a> {
    text: &'a str,
    base: &'a Path,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn mistake(&mut self, offset: usize, message: impl Into<String>) {
        let before = self.text.get(..offset.min(self.text.len())).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        self.mistakes.push(Mistake { line, column, message: message.into() });
    }

    fn check(&mut self, config: ConfigToml) -> Option<Config> {
        let ConfigToml { data_dir, listen, tls, rules, key, playbook, retention, connections } = config;
        let listen_at = listen.as_ref().map_or(0, |listen| listen.span().start);
        let listen = match listen {
            Some(listen) => listen.into_inner(),
            None => LISTEN.parse().ok()?,
        };
        let tls = tls.map(|tls| self.tls(tls));
        if tls.is_none() && !listen.ip().is_loopback() {
            let why = "can be reached from other machines, so that keys would be there for whoever listens: give `[tls]` with `cert` \
                       and `key`, or listen on 127.0.0.1";
            self.mistake(listen_at, format!("{listen} {why}"));
        }
        if key.is_empty() {
            self.mistake(0, "no `[[key]]`: nobody could send or read anything; `event-api keys` makes one");
        }
        let (keys, tenants) = self.keys(key);
        let rules = rules.map_or_else(Rules::published, |path| self.rules(&path));
        let playbooks = self.playbooks(playbook, &tenants, &rules);
        let max = connections.max.map_or(16_384, NonZeroUsize::get);
        let per_source_max = connections.per_source_max.map_or(1_024, NonZeroUsize::get);
        Some(Config {
            data_dir: self.base.join(data_dir),
            listen,
            tls,
            keys,
            tenants,
            connections: Connections { max, per_source_max },
            rules,
            playbooks,
            retention: retention.map_or_else(Policy::default, |retention| self.retention(&retention)),
        })
    }

    fn retention(&mut self, retention: &Spanned<Policy>) -> Policy {
        let policy = *retention.get_ref();
        if policy.days.is_some_and(|days| days.get() < DAYS_MIN) {
            let why = format!("`days` is {DAYS_MIN} or more: metrics compare with the day before");
            self.mistake(retention.span().start, why);
        }
        policy
    }

    fn playbooks(
        &mut self,
        tables: Vec<PlaybookToml>,
        tenants: &[TenantId],
        rules: &Rules,
    ) -> Vec<playbook::Settings> {
        let mut found: Vec<playbook::Settings> = Vec::new();
        for table in tables {
            let (at, base) = (table.place(), self.base);
            let settings =
                playbook::check(table, base, tenants, rules, |at, message| self.mistake(at, message));
            if let Some(settings) = settings {
                if found.iter().any(|other| other.tenant == settings.tenant) {
                    self.mistake(at, "there are two playbooks for this tenant");
                }
                found.push(settings);
            }
        }
        found
    }

    /// What is wrong with a file of rules is said where it is named.
    fn rules(&mut self, path: &Spanned<PathBuf>) -> Rules {
        let file = self.base.join(path.get_ref());
        rules::read(&file).unwrap_or_else(|mistakes| {
            for mistake in mistakes {
                self.mistake(path.span().start, format!("`{}`: {mistake}", path.get_ref().display()));
            }
            Rules::default()
        })
    }

    fn tls(&mut self, TlsToml { cert, key }: TlsToml) -> Tls {
        let tls = Tls { cert: self.base.join(cert.get_ref()), key: self.base.join(key.get_ref()) };
        if let Err(why) = tls::private(&tls.key) {
            self.mistake(key.span().start, why);
        } else if let Err(why) = tls::acceptor(&tls) {
            self.mistake(cert.span().start, why);
        }
        tls
    }

    fn keys(&mut self, tables: Vec<Spanned<KeyToml>>) -> (HashedKeys, Vec<TenantId>) {
        let mut keys = HashedKeys::new();
        let (mut tenants, mut names, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
        if tables.len() > KEYS_MAX {
            self.mistake(0, format!("more than {KEYS_MAX} keys"));
        }
        for table in tables.into_iter().take(KEYS_MAX) {
            let KeyToml { name, tenant, may, sha256, limits } = table.into_inner();
            if names.contains(name.get_ref()) {
                self.mistake(
                    name.span().start,
                    format!("there are two keys with the name `{}`", name.get_ref()),
                );
            }
            if may.get_ref().is_empty() {
                self.mistake(may.span().start, "this key may do nothing: `may` is `ingest`, `read`, or both");
            }
            let hash: Option<[u8; 32]> = data_encoding::HEXLOWER_PERMISSIVE
                .decode(sha256.get_ref().as_bytes())
                .ok()
                .and_then(|hash| hash.try_into().ok());
            match hash {
                Some(hash) if hashes.contains(&hash) => {
                    self.mistake(sha256.span().start, "this key is there twice");
                }
                Some(hash) => hashes.push(hash),
                // It may be the key itself, which does not belong here: it is not repeated.
                None => {
                    let why = "the SHA-256 of a key has 64 hexadecimal digits; `event-api keys` makes both";
                    self.mistake(sha256.span().start, why);
                }
            }
            match TenantId::new(tenant.get_ref()) {
                Err(error) => self.mistake(tenant.span().start, error.to_string()),
                Ok(tenant) => {
                    if let Some(hash) = hash {
                        let rights: Vec<_> = may
                            .get_ref()
                            .iter()
                            .map(|verb| match verb {
                                Verb::Ingest => Right::Ingest,
                                Verb::Read => Right::Read,
                            })
                            .collect();
                        let scope = Scope::new(tenant.clone(), rights).limits(limits.limits());
                        keys = keys.with_hash(hash, scope);
                    }
                    if !tenants.contains(&tenant) {
                        tenants.push(tenant);
                    }
                }
            }
            names.push(name.into_inner());
        }
        (keys, tenants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "0f0e0d0c0b0a09080706050403020100ffeeddccbbaa99887766554433221100";

    fn mistakes(text: &str) -> Vec<String> {
        let found = Config::parse(text, Path::new("/nowhere")).unwrap_err();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_file_has_what_it_states_and_the_rest_as_it_is_usual() {
        let text = format!(
            "data_dir = \"data\"\n[[key]]\nname = \"a\"\ntenant = \"acme\"\nmay = [\"ingest\"]\nsha256 = \"{HASH}\"\n\
             limits = {{ events_per_s = 7 }}\n[connections]\nmax = 5\n"
        );
        let config = Config::parse(&text, Path::new("/base")).unwrap();
        assert_eq!(config.data_dir, Path::new("/base/data"));
        assert_eq!(config.listen.to_string(), LISTEN);
        assert_eq!(config.connections, Connections { max: 5, per_source_max: 1_024 });
        assert_eq!(config.tenants.len(), 1);
    }

    #[test]
    fn mistakes_have_line_and_column_and_are_found_together() {
        let text = format!(
            "data_dir = \"data\"\nlisten = \"0.0.0.0:80\"\n[[key]]\nname = \"a\"\ntenant = \"\"\nmay = []\nsha256 = \"secret\"\n\
             [[key]]\nname = \"a\"\ntenant = \"acme\"\nmay = [\"read\"]\nsha256 = \"{HASH}\"\n"
        );
        let found = mistakes(&text);
        let places: Vec<_> = found.iter().map(|mistake| mistake.split(": ").next().unwrap()).collect();
        assert_eq!(
            places,
            [
                "line 2, column 10",
                "line 5, column 10",
                "line 6, column 7",
                "line 7, column 10",
                "line 9, column 8"
            ]
        );
        assert!(!found.join("\n").contains("secret"), "{found:?}");
    }

    #[test]
    fn what_is_no_setting_is_said_where_it_stands() {
        assert_eq!(
            mistakes("data_dir = \"d\"\nlisen = 1\n")[0].split(", expected").next(),
            Some("line 2, column 1: unknown field `lisen`")
        );
        assert!(mistakes("data_dir = \n")[0].starts_with("line 1, column 1"));
        assert!(mistakes("data_dir = \"d\"\n")[0].contains("no `[[key]]`"));
        let may = format!(
            "data_dir = \"d\"\n[[key]]\nname = \"a\"\ntenant = \"t\"\nmay = [\"delete\"]\nsha256 = \"{HASH}\"\n"
        );
        assert!(
            mistakes(&may)[0].starts_with("line 5, column 8: unknown variant `delete`"),
            "{:?}",
            mistakes(&may)
        );
    }

    #[test]
    fn the_example_file_is_good_with_and_without_what_may_be_left_out() {
        let text = include_str!("../event-api.example.toml");
        Config::parse(text, Path::new("/nowhere")).unwrap();
        let all: String =
            text.lines().map(|line| format!("{}\n", line.strip_prefix("#> ").unwrap_or(line))).collect();
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).unwrap();
        crate::files::private_file(&dir.path().join("key.pem"), made.signing_key.serialize_pem().as_bytes())
            .unwrap();
        for name in ["lock.secret", "people.secret"] {
            crate::files::private_file(&dir.path().join(name), b"a secret of at least twenty-four bytes")
                .unwrap();
        }
        std::fs::write(dir.path().join("rules.toml"), mfa_events::detect::rule::PUBLISHED).unwrap();
        Config::parse(&all, dir.path()).unwrap();
    }
}
