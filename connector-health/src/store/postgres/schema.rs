//! The tables, made and brought up to date by whoever comes first.

use deadpool_postgres::Transaction;

use super::session::Fault;

/// Advisory locks of this crate: "chob".
const LOCKS: i32 = 0x6368_6f62;

/// What each version adds to the one before.
const MIGRATIONS: &[&str] = &[r#"
    -- Texts are compared byte by byte. Times and places are bytes in the order of time: eight of seconds, four of
    -- nanoseconds, and for a place eight of the event's number.
    CREATE TABLE lanes (
        connector text COLLATE "C" NOT NULL,
        subject text COLLATE "C" NOT NULL,  -- 'p' and a person, or 'g' and a group
        version bigint NOT NULL,
        class smallint,                     -- place in the queue, or nothing
        sort bytea,
        due bytea,                          -- not before; nothing once it became due
        oldest bytea,                       -- when the leaver left who waits longest
        waits_connector text COLLATE "C",
        waits_subject text COLLATE "C",
        record text NOT NULL,               -- JSON
        PRIMARY KEY (connector, subject)
    ) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
    CREATE INDEX lanes_ready ON lanes (connector, class, sort, subject) WHERE class IS NOT NULL AND due IS NULL;
    CREATE INDEX lanes_later ON lanes (connector, due) WHERE due IS NOT NULL;
    CREATE INDEX lanes_subject ON lanes (subject, connector);
    CREATE INDEX lanes_waiting ON lanes (waits_connector, waits_subject, connector, subject) WHERE waits_subject IS NOT NULL;
    CREATE INDEX lanes_leavers ON lanes (connector, oldest, subject) WHERE oldest IS NOT NULL;

    CREATE TABLE leases (
        connector text COLLATE "C" NOT NULL,
        subject text COLLATE "C" NOT NULL,
        worker uuid NOT NULL,
        token bigint NOT NULL,
        until bytea NOT NULL,
        PRIMARY KEY (connector, subject)
    ) WITH (autovacuum_vacuum_scale_factor = 0.02);
    CREATE INDEX leases_worker ON leases (worker);
    CREATE SEQUENCE lease_tokens;

    CREATE TABLE events (
        id text COLLATE "C" PRIMARY KEY,
        connector text COLLATE "C" NOT NULL,
        subject text COLLATE "C" NOT NULL,
        sort bytea NOT NULL,
        seq bigint NOT NULL,
        state smallint NOT NULL,            -- 0 waits, 1 is closed, 2 is held
        record text NOT NULL
    ) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
    CREATE INDEX events_history ON events (connector, subject, sort);
    CREATE INDEX events_open ON events (connector, subject, sort) WHERE state = 0;
    CREATE INDEX events_held ON events (connector, seq) WHERE state = 2;

    CREATE TABLE attempts (
        seq bigint NOT NULL,
        number integer NOT NULL,
        record text NOT NULL,
        PRIMARY KEY (seq, number)
    );

    CREATE TABLE connectors (
        connector text COLLATE "C" PRIMARY KEY,
        version bigint NOT NULL,
        record text NOT NULL
    );

    -- Unique values, and the lanes that have them.
    CREATE TABLE holds (
        connector text COLLATE "C" NOT NULL,
        name text COLLATE "C" NOT NULL,
        value text COLLATE "C" NOT NULL,
        subject text COLLATE "C" NOT NULL,
        PRIMARY KEY (connector, name, value, subject)
    );

    -- Sums over lanes, in parts, so that writers do not wait for each other.
    CREATE TABLE counts (
        connector text COLLATE "C" NOT NULL,
        part smallint NOT NULL,
        provisioning_queued bigint NOT NULL,
        provisioning_failed bigint NOT NULL,
        deprovisioning_queued bigint NOT NULL,
        deprovisioning_failed bigint NOT NULL,
        held bigint NOT NULL,
        active bigint NOT NULL,
        PRIMARY KEY (connector, part)
    ) WITH (fillfactor = 50);

    CREATE TABLE numbers (
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
        next bigint NOT NULL
    ) WITH (fillfactor = 50);
    INSERT INTO numbers (next) VALUES (1);

    -- The last commit of each open store: tells whether one happened whose answer was lost.
    CREATE TABLE writers (
        id uuid PRIMARY KEY,
        commits bigint NOT NULL,
        seen_at timestamptz NOT NULL DEFAULT now()
    ) WITH (fillfactor = 50);
"#];

/// Makes what is missing, or refuses what is newer. `schema` has been checked to be a plain name.
pub(super) async fn migrate(transaction: &Transaction<'_>, schema: &str) -> Result<(), SchemaFault> {
    // Several who start at once do so one after the other.
    transaction.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", &[&LOCKS, &schema]).await?;
    let known = transaction.query_opt("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[&schema]).await?;
    if known.is_none() {
        transaction.batch_execute(&format!("CREATE SCHEMA \"{schema}\"")).await?;
    }
    transaction
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS migrations (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())",
        )
        .await?;
    let row = transaction.query_one("SELECT coalesce(max(version), 0) FROM migrations", &[]).await?;
    let version = usize::try_from(row.try_get::<_, i32>(0)?).unwrap_or_default();
    let Some(missing) = MIGRATIONS.get(version..) else {
        return Err(SchemaFault::Newer(version as u64));
    };
    for (number, migration) in (version.saturating_add(1)..).zip(missing) {
        transaction.batch_execute(migration).await?;
        let number = i32::try_from(number).unwrap_or(i32::MAX);
        transaction.execute("INSERT INTO migrations (version) VALUES ($1)", &[&number]).await?;
    }
    Ok(())
}

/// Why the tables are not as they should be.
pub(super) enum SchemaFault {
    Newer(u64),
    Fault(Fault),
}

impl From<tokio_postgres::Error> for SchemaFault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Fault(Fault::of(&error))
    }
}
