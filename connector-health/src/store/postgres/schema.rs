//! The tables, made and brought up to date by whoever comes first.

use std::time::Duration;

use deadpool_postgres::Transaction;

use super::session::Fault;

/// Advisory locks of this crate: "chob".
const LOCKS: i32 = 0x6368_6f62;

/// What each version adds to the one before.
const MIGRATIONS: &[&str] = &[
    r#"
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
"#,
    r#"
    -- Leases are by the clock of the database.
    DELETE FROM leases;
    ALTER TABLE leases DROP COLUMN until;
    ALTER TABLE leases ADD COLUMN until timestamptz NOT NULL;

    -- Whatever writes says which format it knows. Who reads `migrations` keeps it from changing until its transaction ends.
    CREATE FUNCTION expect_format(known integer) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
        DECLARE
            is_now integer;
        BEGIN
            SELECT max(version) INTO is_now FROM migrations;
            IF is_now IS DISTINCT FROM known THEN
                RAISE EXCEPTION USING ERRCODE = 'CHF01', MESSAGE = coalesce(is_now, 0)::text;
            END IF;
            RETURN true;
        END $$;

    -- Those who were said to leave, by the event that said so last, until somebody ends their offboarding.
    CREATE TABLE offboardings (
        person text COLLATE "C" PRIMARY KEY CHECK (person <> ''),
        seq bigint NOT NULL CHECK (seq >= 0)
    ) WITH (autovacuum_vacuum_scale_factor = 0.02);
    INSERT INTO offboardings
        SELECT substr(subject, 2), max(seq) FROM events
        WHERE subject LIKE 'p_%' AND state <> 1 AND record LIKE '%"intent":"deprovision"%' GROUP BY subject;

    -- Nothing that a worker could not read, as far as a column can say so.
    ALTER TABLE lanes
        ADD CHECK (subject ~ '^[pg].' AND connector <> ''),
        ADD CHECK (octet_length(sort) = 20),
        ADD CHECK (octet_length(due) = 12),
        ADD CHECK (octet_length(oldest) = 12);
    ALTER TABLE events ADD CHECK (subject ~ '^[pg].' AND connector <> ''), ADD CHECK (octet_length(sort) = 20);
    ALTER TABLE holds ADD CHECK (subject ~ '^[pg].' AND connector <> '');
"#,
];

/// The version of the tables that this program knows.
pub(super) const FORMAT: i32 = MIGRATIONS.len() as i32;
/// What a statement fails with that knows other tables than there are; its message is their version.
pub(super) const OTHER_FORMAT: &str = "CHF01";
/// Longest time that tables are brought up to date in.
pub(super) const MIGRATION_TIMEOUT: Duration = Duration::from_secs(3600);

/// Makes what is missing, or refuses what is newer. `schema` has been checked to be a plain name.
pub(super) async fn migrate(transaction: &Transaction<'_>, schema: &str) -> Result<(), Fault> {
    // A table that is changed is locked for everybody: whoever waits for that lock must not keep others from theirs for long.
    let timeout_ms = MIGRATION_TIMEOUT.as_millis();
    let timeouts = format!("SET LOCAL statement_timeout = {timeout_ms}; SET LOCAL lock_timeout = '5s'");
    transaction.batch_execute(&timeouts).await?;
    // Whoever finds all as it should be needs no right to change anything.
    if is_there(transaction, schema).await? && version(transaction).await? == FORMAT {
        return Ok(());
    }
    // Several who start at once do so one after the other.
    transaction.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", &[&LOCKS, &schema]).await?;
    let known = transaction.query_opt("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[&schema]).await?;
    if known.is_none() {
        transaction.batch_execute(&format!("CREATE SCHEMA \"{schema}\"")).await?;
    }
    if !is_there(transaction, schema).await? {
        let sql = "CREATE TABLE migrations (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())";
        transaction.batch_execute(sql).await?;
    }
    // Waits until nobody writes who has seen the version before.
    transaction.batch_execute("LOCK TABLE migrations IN ACCESS EXCLUSIVE MODE").await?;
    let version = version(transaction).await?;
    let missing = usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version..));
    let Some(missing) = missing else { return Err(Fault::OtherFormat(version)) };
    for (number, migration) in (version.saturating_add(1)..).zip(missing) {
        transaction.batch_execute(migration).await?;
        transaction.execute("INSERT INTO migrations (version) VALUES ($1)", &[&number]).await?;
    }
    Ok(())
}

async fn is_there(transaction: &Transaction<'_>, schema: &str) -> Result<bool, Fault> {
    let sql = "SELECT 1 FROM pg_tables WHERE schemaname = $1 AND tablename = 'migrations'";
    Ok(transaction.query_opt(sql, &[&schema]).await?.is_some())
}

async fn version(transaction: &Transaction<'_>) -> Result<i32, Fault> {
    let row = transaction.query_one("SELECT coalesce(max(version), 0) FROM migrations", &[]).await?;
    Ok(row.try_get(0)?)
}
