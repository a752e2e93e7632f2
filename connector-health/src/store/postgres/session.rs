//! Connections: how they are made, when they are given up, and what went wrong with them.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    Client, Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
    Timeouts,
};
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::PostgresOptions;
use super::schema::{FORMAT, OTHER_FORMAT};
use crate::store::StoreError;

/// How often something is tried before it counts as failed.
const TRIES_MAX: u32 = 6;
/// Time before the second try; doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(20);
/// How much longer than the server itself is waited for its answer.
const ANSWER_GRACE: Duration = Duration::from_secs(5);
/// Time after which the server ends a transaction in which nothing is asked.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// How a message of [`prepare`] begins that is about clocks.
const SKEWED: &str = "skewed: ";

/// Values of a statement, which it owns: see [`Sessions::rows`].
pub(super) type Params = Vec<Box<dyn ToSql + Sync + Send>>;

/// Values of a statement, in its order.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        vec![$(Box::new($value) as Box<dyn tokio_postgres::types::ToSql + Sync + Send>),*]
    };
}
pub(super) use params;

/// What went wrong. Neither values nor credentials are in it: details that the server gives are left out.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("PostgreSQL: {0}")]
    Lost(String),
    #[error("PostgreSQL does not answer in time")]
    Slow,
    #[error("PostgreSQL: others keep something locked for too long")]
    Locked,
    /// Others wrote the same at the same time; the same may go well now.
    #[error("PostgreSQL: {0}")]
    Collided(String),
    #[error("PostgreSQL refuses it ({code}): {message}")]
    Refused { code: String, message: String },
    #[error("{0}")]
    Unfit(String),
    /// This machine's clock is too far from the server's.
    #[error("{0}")]
    Skewed(String),
    /// The tables are not those that this program knows.
    #[error("the tables have format {0}, and this program knows format {FORMAT}")]
    OtherFormat(i32),
}

impl Fault {
    pub(super) fn of(error: &tokio_postgres::Error) -> Self {
        let Some(refusal) = error.as_db_error() else {
            let source = error.source().map(|source| format!(": {source}"));
            let message = format!("{error}{}", source.unwrap_or_default());
            return Self::Lost(message);
        };
        Self::refused(refusal.code().code(), refusal.message())
    }

    fn refused(code: &str, message: &str) -> Self {
        let message = message.to_owned();
        match code {
            OTHER_FORMAT => Self::OtherFormat(message.parse().unwrap_or_default()),
            // Serialisation, deadlock.
            "40001" | "40P01" => Self::Collided(message),
            "55P03" => Self::Locked,
            // A statement was cancelled: it took too long, or somebody did so.
            "57014" => Self::Slow,
            // The session is at its end (shutdown, crash, start, the database dropped, idle), or its transaction (idle, too long), or the
            // server has become a standby.
            "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" | "25P04" | "25006" => {
                Self::Lost(message)
            }
            // Connections; and what the server has too little of: memory, disk, connections.
            _ if code.starts_with("08") || code.starts_with("53") => Self::Lost(message),
            _ => Self::Refused { code: code.to_owned(), message },
        }
    }

    fn is_transient(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Collided(_))
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::of(&error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Lost(_) | Fault::Slow | Fault::Locked | Fault::Collided(_) | Fault::Skewed(_) => {
                Self::Unreachable(fault.into())
            }
            Fault::OtherFormat(version) if version > FORMAT => {
                Self::NewerFormat(version.unsigned_abs().into())
            }
            Fault::OtherFormat(_) | Fault::Refused { .. } | Fault::Unfit(_) => Self::failed(fault),
        }
    }
}

/// Waits between tries, a little longer each time.
pub(super) struct Tries {
    left: u32,
    wait: Duration,
}

impl Tries {
    pub(super) fn new() -> Self {
        Self { left: TRIES_MAX, wait: RETRY_FIRST }
    }

    /// Waits, or says that it was enough.
    pub(super) async fn after(&mut self, fault: Fault) -> Result<(), Fault> {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 || !fault.is_transient() {
            return Err(fault);
        }
        tokio::time::sleep(self.wait.mul_f64(0.5 + fastrand::f64())).await;
        self.wait = self.wait.saturating_mul(2);
        Ok(())
    }
}

/// Connections to one database.
pub(super) struct Sessions {
    pool: Pool,
    answer_within: Duration,
}

impl Sessions {
    pub(super) fn new(options: &PostgresOptions) -> Result<Self, StoreError> {
        let (config, tls) = options.connect().map_err(StoreError::failed)?;
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match tls {
            Some(tls) => Manager::from_config(config, MakeRustlsConnect::new(tls), manager_config),
            None => Manager::from_config(config, NoTls, manager_config),
        };
        let answer_within = options.statement_timeout.saturating_add(ANSWER_GRACE);
        let timeouts =
            Timeouts { wait: Some(answer_within), create: Some(answer_within), recycle: Some(answer_within) };
        let ready = {
            let options = options.clone();
            Hook::async_fn(move |client, _| {
                let options = options.clone();
                Box::pin(async move { prepare(client, &options).await })
            })
        };
        let pool = Pool::builder(manager)
            .max_size(options.connections)
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .post_create(ready)
            .build();
        Ok(Self { pool: pool.map_err(StoreError::failed)?, answer_within })
    }

    pub(super) async fn client(&self) -> Result<Client, Fault> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => Fault::of(&error),
            PoolError::PostCreateHook(HookError::Backend(error)) => Fault::of(&error),
            PoolError::PostCreateHook(HookError::Message(message)) => match message.strip_prefix(SKEWED) {
                Some(skewed) => Fault::Skewed(skewed.to_owned()),
                None => Fault::Unfit(message.into_owned()),
            },
            PoolError::Timeout(_) => Fault::Slow,
            other => Fault::Lost(other.to_string()),
        })
    }

    /// Has a connection do something, and gives it up where that takes too long.
    pub(super) async fn within<T>(
        &self,
        run: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Fault> {
        match timeout(self.answer_within, run).await {
            Ok(answer) => answer.map_err(|error| Fault::of(&error)),
            Err(_) => Err(Fault::Slow),
        }
    }

    /// One statement, which may be repeated: on another connection where one is lost.
    ///
    /// It is a task of its own, so that it ends and gives its connection back whether its caller is polled or not: a pass awaits one
    /// answer while those of its other steps wait to be looked at, and these would keep all connections.
    pub(super) async fn rows(
        self: &Arc<Self>,
        sql: &'static str,
        params: Params,
    ) -> Result<Vec<Row>, StoreError> {
        Ok(self.try_rows(sql, params).await?)
    }

    /// The same, for whoever looks at what went wrong.
    pub(super) async fn try_rows(
        self: &Arc<Self>,
        sql: &'static str,
        params: Params,
    ) -> Result<Vec<Row>, Fault> {
        let sessions = Arc::clone(self);
        let rows = tokio::spawn(async move {
            let mut tries = Tries::new();
            loop {
                match sessions.once(sql, &params).await {
                    Ok(rows) => return Ok(rows),
                    Err(fault) => tries.after(fault).await?,
                }
            }
        });
        rows.await.unwrap_or_else(|error| Err(Fault::Unfit(error.to_string())))
    }

    async fn once(&self, sql: &'static str, params: &Params) -> Result<Vec<Row>, Fault> {
        let client = self.client().await?;
        let running = async {
            let statement = client.prepare_cached(sql).await?;
            let params: Vec<_> = params.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect();
            client.query(&statement, &params).await
        };
        let rows = self.within(running).await;
        give_back(client, rows.as_ref().err());
        rows
    }
}

/// A connection on which something was left unanswered is used by nobody else.
pub(super) fn give_back(client: Client, fault: Option<&Fault>) {
    if matches!(fault, Some(Fault::Lost(_) | Fault::Slow)) {
        drop(Object::take(client));
    }
}

/// What each connection is told before it is used, and what must be so.
async fn prepare(
    client: &mut deadpool_postgres::ClientWrapper,
    options: &PostgresOptions,
) -> Result<(), HookError> {
    let timeout_ms = options.statement_timeout.as_millis().to_string();
    // Whoever is stopped in the middle of a transaction keeps what it wrote from everybody.
    let idle_ms = options.statement_timeout.min(IDLE_MAX).as_millis().to_string();
    // Temporary tables of the same names come last.
    let path = format!("\"{}\", pg_temp", options.schema);
    let asked_at = chrono::Utc::now();
    let row = client
        .query_one(
            "SELECT current_setting('server_encoding'),
                    (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
                    set_config('search_path', $1, false),
                    set_config('statement_timeout', $2, false),
                    set_config('lock_timeout', $2, false),
                    set_config('idle_in_transaction_session_timeout', $3, false),
                    set_config('default_transaction_isolation', 'read committed', false),
                    set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                        WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)",
            &[&path, &timeout_ms, &idle_ms],
        )
        .await
        .map_err(HookError::Backend)?;
    let answered_at = chrono::Utc::now();
    let encoding: String = row.try_get(0).map_err(HookError::Backend)?;
    if encoding != "UTF8" {
        return Err(HookError::message(format!("the database is encoded as {encoding} rather than UTF8")));
    }
    let server_ms: i64 = row.try_get(1).map_err(HookError::Backend)?;
    let before = asked_at.timestamp_millis().saturating_sub(server_ms);
    let after = server_ms.saturating_sub(answered_at.timestamp_millis());
    let skew_ms = before.max(after).max(0).unsigned_abs();
    if u128::from(skew_ms) > options.clock_skew_max.as_millis() {
        let skew_s = skew_ms / 1000;
        let skewed = format!("{SKEWED}this machine's clock is {skew_s} s from the database's");
        return Err(HookError::message(skewed));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_go_well_later_is_retryable_and_what_somebody_has_to_mend_is_not() {
        let passing = [
            "57P01", "57P02", "57P03", "57P04", "57P05", "57014", "53000", "53100", "53200", "53300",
            "53400", "25P03", "25P04", "25006", "40001", "40P01", "55P03", "08000", "08001", "08003",
            "08004", "08006", "08P01",
        ];
        for code in passing {
            assert!(StoreError::from(Fault::refused(code, "so")).is_retryable(), "{code}");
        }
        for code in ["28P01", "28000", "3D000", "42501", "42P01", "42703", "23505", "22021", "XX000", "XX001"]
        {
            assert!(!StoreError::from(Fault::refused(code, "so")).is_retryable(), "{code}");
        }
        let newer = StoreError::from(Fault::refused(OTHER_FORMAT, "99"));
        assert!(matches!(newer, StoreError::NewerFormat(99)), "{newer:?}");
        let older = StoreError::from(Fault::refused(OTHER_FORMAT, "0"));
        assert!(matches!(older, StoreError::Failed(_)), "{older:?}");
    }
}
