//! Alerts by mail.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use lettre::message::{Mailbox, Message, header};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::response::Code;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use super::{Alert, AlertSink, Priority, SinkError};

/// Most recipients.
pub const RECIPIENTS_MAX: usize = 50;

/// Sends each message as a mail: one line in its subject, the JSON object in its body.
///
/// TLS from the first byte (port 465) unless said otherwise. `Message-ID` is the message's `event_id`, so that a mail which comes twice is
/// told. Subject and body come from identifiers and redacted text without control characters, and are encoded; addresses are parsed:
/// nothing in an alert can add a header.
pub struct SmtpSink {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

/// How a [`SmtpSink`] sends.
pub struct SmtpBuilder {
    host: String,
    port: Option<u16>,
    security: Security,
    credentials: Option<Credentials>,
    timeout: Duration,
    from: String,
    to: Vec<String>,
}

enum Security {
    Tls,
    StartTls,
    Plain,
}

/// Why mails cannot be sent so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SmtpError {
    /// An address is none.
    #[error("mail address is none")]
    Address,
    /// Nobody would get them, or too many.
    #[error("a mail has 1 to {RECIPIENTS_MAX} recipients")]
    Recipients,
    /// TLS cannot be set up for this host.
    #[error("TLS cannot be set up for the mail server")]
    Tls,
}

impl SmtpSink {
    /// Begins a sink that sends through `host` as `from`. 20 s for each step of a conversation.
    pub fn builder(host: impl Into<String>, from: impl Into<String>) -> SmtpBuilder {
        SmtpBuilder {
            host: host.into(),
            port: None,
            security: Security::Tls,
            credentials: None,
            timeout: Duration::from_secs(20),
            from: from.into(),
            to: Vec::new(),
        }
    }

    fn message(&self, alert: &Alert) -> Result<Message, SinkError> {
        let unwritable = |_| SinkError::Unwritable("no mail");
        let mark = match (alert.resolution, alert.priority) {
            (Some(_), _) => "resolved",
            (None, Priority::Urgent) => "urgent",
            (None, Priority::High) => "high",
            (None, Priority::Normal) => "alert",
            (None, Priority::Notice) => "notice",
        };
        let mut body = serde_json::to_string_pretty(alert).map_err(|_| SinkError::Unwritable("no JSON"))?;
        body.insert_str(0, &format!("{alert}\n\n"));
        let mut builder = Message::builder()
            .from(self.from.clone())
            .subject(format!("[{mark}] {alert}"))
            .message_id(Some(format!("<{}@{}>", alert.event_id(), self.from.email.domain())))
            .header(header::MIME_VERSION_1_0)
            .header(header::ContentType::TEXT_PLAIN);
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        builder.body(body).map_err(unwritable)
    }
}

impl fmt::Debug for SmtpSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpSink").field("recipients", &self.to.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for SmtpBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpBuilder")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl SmtpBuilder {
    /// Also to this address (`ops@example.com`, `Operations <ops@example.com>`).
    #[must_use]
    pub fn to(mut self, address: impl Into<String>) -> Self {
        self.to.push(address.into());
        self
    }

    /// To another port than 465 (587 with STARTTLS).
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// With TLS after a STARTTLS command, which must be taken.
    #[must_use]
    pub fn starttls(mut self) -> Self {
        self.security = Security::StartTls;
        self
    }

    /// Without TLS: whoever listens on the way reads the alerts, and the password.
    #[must_use]
    pub fn dangerous_plain(mut self) -> Self {
        self.security = Security::Plain;
        self
    }

    /// Logs in.
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some(Credentials::new(user.into(), password.into()));
        self
    }

    /// How long each step of a conversation may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The sink.
    ///
    /// # Errors
    /// Where addresses are none, or TLS cannot be set up.
    pub fn build(self) -> Result<SmtpSink, SmtpError> {
        let mailbox = |address: &str| address.parse::<Mailbox>().map_err(|_| SmtpError::Address);
        let from = mailbox(&self.from)?;
        let to = self.to.iter().map(|address| mailbox(address)).collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() || to.len() > RECIPIENTS_MAX {
            return Err(SmtpError::Recipients);
        }
        let tls = || TlsParameters::new(self.host.clone()).map_err(|_| SmtpError::Tls);
        let (tls, port) = match self.security {
            Security::Tls => (Tls::Wrapper(tls()?), 465),
            Security::StartTls => (Tls::Required(tls()?), 587),
            Security::Plain => (Tls::None, 25),
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&self.host)
            .port(self.port.unwrap_or(port))
            .tls(tls)
            .timeout(Some(self.timeout));
        if let Some(credentials) = self.credentials {
            transport = transport.credentials(credentials);
        }
        Ok(SmtpSink { transport: transport.build(), from, to })
    }
}

#[async_trait]
impl AlertSink for SmtpSink {
    async fn deliver(&self, alert: &Alert, _: DateTime<Utc>) -> Result<(), SinkError> {
        let message = self.message(alert)?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) => Err(match error.status().map(status) {
                Some(status) => SinkError::Answered(status),
                None if error.is_timeout() => SinkError::Unavailable("it took too long"),
                None => SinkError::Unavailable("no conversation with the mail server"),
            }),
        }
    }
}

fn status(code: Code) -> u16 {
    u16::from(code)
}
