//! `[store]`: where the outbox lies.

use std::path::PathBuf;

use connector_health::store::PostgresOptions;
use serde::Deserialize;
use toml::Spanned;
use toml::de::DeValue;
use zeroize::Zeroizing;

use super::Reader;
use crate::store::Place;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreToml {
    path: Option<Spanned<PathBuf>>,
    url: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
    password_env: Option<Spanned<String>>,
    schema: Option<Spanned<String>>,
    ca: Option<Spanned<PathBuf>>,
    #[serde(default)]
    dangerous_cleartext: bool,
}

impl Reader<'_> {
    /// Checks what can be checked without a server.
    pub(super) fn store(&mut self, value: Spanned<DeValue<'_>>) -> Option<Place> {
        let at = value.span().start;
        let store: StoreToml = self.value(value)?;
        let url = match (&store.path, &store.url) {
            (Some(path), None) => {
                let of_database = [
                    store.password_file.as_ref().map(Spanned::span),
                    store.password_env.as_ref().map(Spanned::span),
                    store.schema.as_ref().map(Spanned::span),
                    store.ca.as_ref().map(Spanned::span),
                ];
                for span in of_database.into_iter().flatten() {
                    self.mistake(
                        span.start,
                        "this is for a database (`url`); the outbox lies in a file (`path`)",
                    );
                }
                return Some(Place::File(self.path(path.get_ref())));
            }
            (None, Some(url)) => url,
            (Some(_), Some(_)) | (None, None) => {
                self.mistake(at, "`[store]` has either `path`, a file, or `url`, a PostgreSQL database");
                return None;
            }
        };
        let start = url.span().start;
        let options = match PostgresOptions::new(url.get_ref()) {
            Ok(options) => options,
            Err(error) => {
                self.mistake(start, error.to_string());
                return None;
            }
        };
        if options.has_password() {
            self.mistake(
                start,
                "a password does not belong into this file: give `password_file` or `password_env`",
            );
            return None;
        }
        let mut options = match self.database_password(&store)? {
            Some(password) => options.password(password.as_bytes()),
            None => options,
        };
        if let Some(schema) = &store.schema {
            match options.schema(schema.get_ref()) {
                Ok(named) => options = named,
                Err(error) => {
                    self.mistake(schema.span().start, error.to_string());
                    return None;
                }
            }
        }
        if let Some(ca) = &store.ca {
            options = options.roots_pem(self.text_of(ca)?);
        }
        if store.dangerous_cleartext {
            options = options.dangerously_in_the_clear();
        }
        if let Err(error) = options.check() {
            self.mistake(store.ca.as_ref().map_or(start, |ca| ca.span().start), error.to_string());
            return None;
        }
        Some(Place::Postgres(Box::new(options)))
    }

    /// None at all where the server asks for none.
    fn database_password(&mut self, store: &StoreToml) -> Option<Option<Zeroizing<String>>> {
        match (&store.password_file, &store.password_env) {
            (Some(file), None) => self.secret(file).map(Some),
            (None, Some(name)) => match std::env::var(name.get_ref()) {
                Ok(password) if !password.is_empty() => Some(Some(Zeroizing::new(password))),
                // What it holds instead is not repeated.
                Ok(_) | Err(_) => {
                    let why = format!("the environment has no text under `{}`", name.get_ref());
                    self.mistake(name.span().start, why);
                    None
                }
            },
            (Some(_), Some(name)) => {
                self.mistake(name.span().start, "`password_file` says it already");
                None
            }
            (None, None) => Some(None),
        }
    }
}
