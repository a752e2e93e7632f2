//! The outbox in a real PostgreSQL, alone and shared.

mod faults;
mod killed;
mod store;
mod workers;

use std::sync::{Arc, Mutex, Weak};

use connector_health::PostgresStore;
use connector_health::store::PostgresOptions;
use testbed::Postgres;

/// An empty database, on a server that tests share while any of them runs.
pub(crate) struct Database {
    server: Arc<Postgres>,
    name: String,
    pub(crate) url: String,
}

impl Database {
    pub(crate) fn new() -> Self {
        static SERVER: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut known = SERVER.lock().unwrap();
        let server = known.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Postgres::start(testbed::PostgresOptions::new()).unwrap());
            *known = Arc::downgrade(&server);
            server
        });
        drop(known);
        let name = server.create_database().unwrap();
        let url = server.url(&name);
        Self { server, name, url }
    }

    /// As somebody else would.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.name, sql).unwrap()
    }

    /// Refused or not.
    pub(crate) fn try_sql(&self, sql: &str) -> Result<String, testbed::Error> {
        self.server.sql(&self.name, sql)
    }

    /// For virtual time.
    pub(crate) fn options(&self) -> PostgresOptions {
        self.options_as_served().dangerously_lease_by_caller()
    }

    /// As whoever uses it has them.
    pub(crate) fn options_as_served(&self) -> PostgresOptions {
        PostgresOptions::new(&self.url).unwrap()
    }

    pub(crate) async fn open(&self) -> PostgresStore {
        PostgresStore::open(self.options()).await.unwrap()
    }
}
