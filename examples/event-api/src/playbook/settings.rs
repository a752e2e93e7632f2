//! `[[playbook]]` of the settings file.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::TimeDelta;
use ipnet::IpNet;
use mfa_events::detect::{RuleId, Rules};
use mfa_events::outlet::Outlet;
use mfa_events::respond::Webhook;
use mfa_events::{ActorId, TenantId};
use serde::Deserialize;
use toml::Spanned;

use super::cases::Mode;
use super::decide::Accounts;
use crate::tls;

/// Most accounts that one list of the settings names.
const ACCOUNTS_MAX: usize = 10_000;
/// Longest file with a secret, or with certificates.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Locks of an hour unless stated: fewer than what the published rules take for an attack by locks.
const LOCKS_PER_HOUR: usize = 5;
/// Accounts of one alert that are locked without people, unless stated.
const ACCOUNTS_PER_ALERT: usize = 3;

/// What is done about the alerts of one tenant.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) tenant: TenantId,
    pub(crate) mode: Mode,
    /// All where it is none.
    pub(crate) rules: Option<Vec<RuleId>>,
    pub(crate) locks_per_hour_max: usize,
    pub(crate) accounts_max: usize,
    pub(crate) accounts: Accounts,
    /// After so long an alert is for people.
    pub(crate) fresh: TimeDelta,
    pub(crate) lock: Option<Arc<Webhook>>,
    pub(crate) escalate: Option<Arc<Webhook>>,
}

impl Settings {
    /// Decides and does nothing.
    pub(crate) fn dry_run(tenant: TenantId) -> Self {
        Self {
            tenant,
            mode: Mode::DryRun,
            rules: None,
            locks_per_hour_max: LOCKS_PER_HOUR,
            accounts_max: ACCOUNTS_PER_ALERT,
            accounts: Accounts::default(),
            fresh: TimeDelta::hours(1),
            lock: None,
            escalate: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlaybookToml {
    tenant: Spanned<String>,
    mode: Option<Spanned<Mode>>,
    rules: Option<Vec<Spanned<String>>>,
    locks_per_hour_max: Option<NonZeroUsize>,
    accounts_max: Option<NonZeroUsize>,
    #[serde(default)]
    break_glass: Vec<Spanned<String>>,
    #[serde(default)]
    service_accounts: Vec<Spanned<String>>,
    #[serde(default)]
    privileged: Vec<Spanned<String>>,
    lock: Option<WebhookToml>,
    escalate: Option<WebhookToml>,
}

impl PlaybookToml {
    /// Where it stands.
    pub(crate) fn place(&self) -> usize {
        self.tenant.span().start
    }
}

/// A receiver of signed webhooks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookToml {
    url: Spanned<String>,
    secret_file: Spanned<PathBuf>,
    /// Certificates that are trusted besides the machine's.
    ca_file: Option<Spanned<PathBuf>>,
    /// Networks of one's own in which the receiver may be.
    #[serde(default)]
    inside: Vec<IpNet>,
}

/// Checks a table. `mistake` is told what is wrong, and where.
pub(crate) fn check(
    table: PlaybookToml,
    base: &Path,
    tenants: &[TenantId],
    rules: &Rules,
    mut mistake: impl FnMut(usize, String),
) -> Option<Settings> {
    let at = table.tenant.span().start;
    let tenant = tenants.iter().find(|tenant| tenant.as_str() == table.tenant.get_ref());
    if tenant.is_none() {
        mistake(at, "no key is for this tenant".to_owned());
    }
    let mut settings = Settings::dry_run(tenant?.clone());
    for rule in table.rules.iter().flatten() {
        if rules.find(rule.get_ref()).is_none() {
            mistake(rule.span().start, "there is no such rule; `event-api rules list` has them".to_owned());
        }
    }
    settings.rules =
        table.rules.map(|names| names.iter().filter_map(|name| RuleId::new(name.get_ref()).ok()).collect());
    if let Some(max) = table.locks_per_hour_max {
        settings.locks_per_hour_max = max.get();
    }
    if let Some(max) = table.accounts_max {
        settings.accounts_max = max.get();
    }
    for (names, into) in [
        (table.break_glass, &mut settings.accounts.break_glass),
        (table.service_accounts, &mut settings.accounts.service),
        (table.privileged, &mut settings.accounts.privileged),
    ] {
        if let Some(beyond) = names.get(ACCOUNTS_MAX) {
            mistake(beyond.span().start, format!("more than {ACCOUNTS_MAX} accounts"));
        }
        for name in names {
            if let Err(error) = ActorId::new(name.get_ref()) {
                mistake(name.span().start, error.to_string());
            }
            into.insert(name.into_inner());
        }
    }
    let mut webhook = |table: Option<WebhookToml>| {
        table.and_then(|table| match table.webhook(base) {
            Ok(webhook) => Some(Arc::new(webhook)),
            Err((at, why)) => {
                mistake(at, why);
                None
            }
        })
    };
    let is_complete = table.lock.is_some() && table.escalate.is_some();
    settings.lock = webhook(table.lock);
    settings.escalate = webhook(table.escalate);
    if let Some(mode) = table.mode {
        settings.mode = *mode.get_ref();
        if settings.mode == Mode::Act && !is_complete {
            mistake(mode.span().start, "to act it needs `lock` and `escalate`".to_owned());
        }
    }
    Some(settings)
}

impl WebhookToml {
    fn webhook(&self, base: &Path) -> Result<Webhook, (usize, String)> {
        let secret_at = self.secret_file.span().start;
        let path = base.join(self.secret_file.get_ref());
        tls::private(&path).map_err(|why| (secret_at, why))?;
        let secret = read(&path).map_err(|why| (secret_at, why))?;
        let mut outlet = Outlet::default();
        if let Some(file) = &self.ca_file {
            outlet =
                outlet.trust_pem(read(&base.join(file.get_ref())).map_err(|why| (file.span().start, why))?);
        }
        for network in &self.inside {
            outlet = outlet.dangerous_allow_inside(*network);
        }
        // Nobody listens between this machine and itself.
        let url = self.url.get_ref();
        if url.starts_with("http://127.0.0.1:") || url.starts_with("http://[::1]:") {
            outlet = outlet.dangerous_plain_http();
        }
        Webhook::new(url, secret.trim_ascii(), &outlet)
            .map_err(|error| (self.url.span().start, error.to_string()))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| format!("`{}`: {error}", path.display());
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?;
    match text.len() as u64 > FILE_BYTES_MAX {
        true => Err(format!("`{}`: longer than {FILE_BYTES_MAX} bytes", path.display())),
        false => Ok(text),
    }
}
