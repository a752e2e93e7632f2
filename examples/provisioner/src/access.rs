//! Who may ask the API for what.

use axum::http::{HeaderMap, Method, header};
use connector_health::PersonId;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

/// What a token is good for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// To look.
    Reader,
    /// To see what is theirs to review, and to decide on it.
    Reviewer,
    /// To look, and to ask for changes.
    Operator,
}

impl Role {
    pub(crate) fn may(self, method: &Method, path: &str) -> bool {
        let looks = matches!(*method, Method::GET | Method::HEAD);
        let (of_reviews, what) = match path.strip_prefix("/reviews") {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => (true, rest.rsplit('/').next()),
            _ => (false, None),
        };
        match self {
            Self::Reader => looks,
            Self::Reviewer if looks => of_reviews && what != Some("report"),
            Self::Reviewer => of_reviews && matches!(what, Some("decisions" | "signature")),
            Self::Operator => true,
        }
    }
}

/// The tokens that are known. They lie nowhere in the clear: of each there is a SHA-256.
#[derive(Clone, Default)]
pub(crate) struct Access(Vec<Holder>);

/// Whose a token is.
#[derive(Clone)]
pub(crate) struct Holder {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Who decides with it.
    pub(crate) person: Option<PersonId>,
    token: [u8; 32],
}

impl Access {
    /// Whoever has this token may everything.
    pub(crate) fn by(token: &str) -> Self {
        let mut access = Self::default();
        access.add("operator", Role::Operator, PersonId::new("operator").ok(), token);
        access
    }

    /// One more. Says whether neither its name nor the token was there before.
    pub(crate) fn add(&mut self, name: &str, role: Role, person: Option<PersonId>, token: &str) -> bool {
        let token: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if self.0.iter().any(|known| known.name == name || known.token == token) {
            return false;
        }
        self.0.push(Holder { name: name.to_owned(), role, person, token });
        true
    }

    /// Whether somebody has a token to decide with; one of an operator where `runs`.
    pub(crate) fn decides(&self, person: &PersonId, runs: bool) -> bool {
        let may = |role| role == Role::Operator || (role == Role::Reviewer && !runs);
        self.0.iter().any(|holder| holder.person.as_ref() == Some(person) && may(holder.role))
    }

    /// Whose token a request shows. All of them are looked at, so that time says nothing.
    pub(crate) fn holder(&self, headers: &HeaderMap) -> Option<&Holder> {
        let shown = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, shown) = shown.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let shown: [u8; 32] = Sha256::digest(shown.trim().as_bytes()).into();
        let mut found = u64::MAX;
        for (at, holder) in (0_u64..).zip(&self.0) {
            found = u64::conditional_select(&found, &at, shown.ct_eq(&holder.token));
        }
        self.0.get(usize::try_from(found).ok()?)
    }
}
