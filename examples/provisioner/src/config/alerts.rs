//! `[alert]`: who is told.

use std::path::PathBuf;
use std::sync::Arc;

use connector_health::alert::{AlertRules, AlertSink, LogSink, SmtpSink, WebhookSink};
use ipnet::IpNet;
use serde::Deserialize;
use toml::Spanned;
use toml::de::DeValue;

use super::{Reader, key_of};

/// What is read.
#[derive(Default)]
pub(super) struct Alerts {
    pub(super) rules: AlertRules,
    pub(super) sinks: Vec<(String, Arc<dyn AlertSink>)>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookToml {
    name: Spanned<String>,
    url: Spanned<String>,
    secret_file: Spanned<PathBuf>,
    /// Hosts that the address may have; without it, its own.
    allow_hosts: Option<Vec<String>>,
    /// Networks inside that may be reached.
    #[serde(default)]
    dangerous_allow_inside: Vec<IpNet>,
    #[serde(default)]
    dangerous_plain_http: bool,
    ca: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SmtpToml {
    host: Spanned<String>,
    port: Option<u16>,
    #[serde(default)]
    starttls: bool,
    #[serde(default)]
    dangerous_plain: bool,
    from: String,
    to: Vec<String>,
    user: Option<String>,
    password_file: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogToml {
    /// Standard error where there is none.
    file: Option<Spanned<PathBuf>>,
}

impl Reader<'_> {
    pub(super) fn alerts(&mut self, value: Spanned<DeValue<'_>>) -> Alerts {
        let mut alerts = Alerts::default();
        for (at, name, value) in self.within(value, "alert") {
            match name.as_str() {
                "rules" => alerts.rules = self.value(value).unwrap_or_default(),
                "webhook" => {
                    for (_, table) in self.each::<WebhookToml>(value, "alert.webhook") {
                        let name = format!("webhook {}", table.name.get_ref());
                        if alerts.sinks.iter().any(|(known, _)| *known == name) {
                            let why = format!("`{}` is there twice", table.name.get_ref());
                            self.mistake(table.name.span().start, why);
                        }
                        alerts.sinks.extend(self.alert_webhook(table).map(|sink| (name, sink)));
                    }
                }
                "smtp" => alerts.sinks.extend(self.smtp(value).map(|sink| ("smtp".to_owned(), sink))),
                "log" => alerts.sinks.extend(self.log(value).map(|sink| ("log".to_owned(), sink))),
                _ => self.mistake(
                    at,
                    format!("unknown field `alert.{name}`, expected `rules`, `webhook`, `smtp` or `log`"),
                ),
            }
        }
        alerts
    }

    fn alert_webhook(&mut self, table: WebhookToml) -> Option<Arc<dyn AlertSink>> {
        let secret = self.secret(&table.secret_file)?;
        let key = key_of(&secret).map(|key| key.to_vec()).unwrap_or_default();
        let mut sink = WebhookSink::builder(table.url.get_ref(), key);
        if let Some(hosts) = &table.allow_hosts {
            sink = sink.allow_hosts(hosts);
        }
        for network in &table.dangerous_allow_inside {
            sink = sink.dangerous_allow_inside(*network);
        }
        if table.dangerous_plain_http {
            sink = sink.dangerous_plain_http();
        }
        if let Some(ca) = &table.ca {
            sink = sink.trust_pem(self.text_of(ca)?);
        }
        match sink.build() {
            Ok(sink) => Some(Arc::new(sink)),
            Err(error) => {
                use connector_health::alert::WebhookError;
                let at = match error {
                    WebhookError::Secret => table.secret_file.span(),
                    _ => table.url.span(),
                };
                self.mistake(at.start, error.to_string());
                None
            }
        }
    }

    fn smtp(&mut self, value: Spanned<DeValue<'_>>) -> Option<Arc<dyn AlertSink>> {
        let table: SmtpToml = self.value(value)?;
        let mut sink = SmtpSink::builder(table.host.get_ref(), &table.from);
        for to in &table.to {
            sink = sink.to(to);
        }
        if let Some(port) = table.port {
            sink = sink.port(port);
        }
        if table.starttls {
            sink = sink.starttls();
        }
        if table.dangerous_plain {
            sink = sink.dangerous_plain();
        }
        match (&table.user, &table.password_file) {
            (Some(user), Some(file)) => sink = sink.credentials(user, self.secret(file)?.as_str()),
            (None, None) => {}
            _ => {
                self.mistake(table.host.span().start, "`user` and `password_file` go together");
                return None;
            }
        }
        match sink.build() {
            Ok(sink) => Some(Arc::new(sink)),
            Err(error) => {
                self.mistake(table.host.span().start, error.to_string());
                None
            }
        }
    }

    fn log(&mut self, value: Spanned<DeValue<'_>>) -> Option<Arc<dyn AlertSink>> {
        let LogToml { file } = self.value(value)?;
        let Some(file) = file else { return Some(Arc::new(LogSink::new(std::io::stderr()))) };
        let place = self.path(file.get_ref());
        if !place.parent().is_some_and(std::path::Path::is_dir) {
            self.mistake(file.span().start, format!("`{}`: there is no such directory", place.display()));
            return None;
        }
        Some(Arc::new(LogSink::new(LogFile(place))))
    }
}

/// Opened for each line, so that it may be moved away at any time.
struct LogFile(PathBuf);

impl std::io::Write for LogFile {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        use std::os::unix::fs::OpenOptionsExt as _;
        // Samples of what applications said are in it.
        std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&self.0)?.write(line)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
