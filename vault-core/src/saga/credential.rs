use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Purpose, Reason, State};
use crate::id::{AccountName, ActorId, SessionId, TargetId, VaultId};
use crate::secret::SecretString;

/// A credential as it is written down, without its secrets.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Credential {
    /// 16 random hexadecimal digits. A session's account has them in its name.
    pub id: String,
    /// What it is for.
    pub purpose: Purpose,
    /// How far it has come.
    pub state: State,
    /// Where.
    pub target: TargetId,
    /// Which account.
    pub account: AccountName,
    /// For whom.
    pub actor: ActorId,
    /// For which session.
    pub session: Option<SessionId>,
    /// When its secret was stored.
    pub created_at: DateTime<Utc>,
    /// When it is to end.
    pub expires_at: Option<DateTime<Utc>>,
    /// When the target was asked to take the secret, where it has not answered yet.
    pub asked_at: Option<DateTime<Utc>>,
    /// Why somebody has to look at it.
    pub reason: Option<Reason>,
}

impl Credential {
    /// Whether it is in use and should not be any more.
    pub(crate) fn has_expired(&self, now: DateTime<Utc>) -> bool {
        let is_in_use = self.purpose == Purpose::Session && self.state == State::Active;
        is_in_use && self.expires_at.is_some_and(|at| at <= now)
    }
}

/// With its secrets, which are stored from the first state on.
pub(crate) struct Stored {
    pub(crate) credential: Credential,
    pub(crate) new: SecretString,
    pub(crate) old: Option<SecretString>,
}

impl Stored {
    /// Each part with its length before it.
    pub(crate) fn to_bytes(&self) -> Option<Zeroizing<Vec<u8>>> {
        let json = serde_json::to_vec(&self.credential).ok()?;
        let old = self.old.as_ref().map(SecretString::expose);
        let parts = [json.as_slice(), self.new.expose().as_bytes()];
        let parts = parts.into_iter().chain(old.map(str::as_bytes));
        let room = parts.clone().fold(0usize, |sum, part| sum.saturating_add(part.len()).saturating_add(4));
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        for part in parts {
            bytes.extend_from_slice(&u32::try_from(part.len()).ok()?.to_be_bytes());
            bytes.extend_from_slice(part);
        }
        Some(bytes)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (json, rest) = part(bytes)?;
        let (new, rest) = part(rest)?;
        let old = match rest {
            [] => None,
            rest => match part(rest)? {
                (old, []) => Some(std::str::from_utf8(old).ok()?.into()),
                _ => return None,
            },
        };
        let new = std::str::from_utf8(new).ok()?.into();
        Some(Self { credential: serde_json::from_slice(json).ok()?, new, old })
    }
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// How the names of all accounts begin that a vault makes for sessions: with a part of its id, so that vaults with one target can tell theirs.
pub(crate) fn account_prefix(vault: VaultId) -> String {
    format!("v{}_", HEXLOWER.encode(vault.as_bytes().first_chunk::<2>().unwrap_or(&[0; 2])))
}

/// `v0123_alice_0123456789abcdef`: letters and digits, 32 bytes at the most, which MySQL takes as well, and traceable by its end.
pub(crate) fn account_name(prefix: &str, actor: &ActorId, id: &str) -> Option<AccountName> {
    const SLUG_BYTES_MAX: usize = 9;
    let letters = actor.as_str().chars().filter(char::is_ascii_alphanumeric);
    let slug: String = letters.map(|letter| letter.to_ascii_lowercase()).take(SLUG_BYTES_MAX).collect();
    AccountName::new(format!("{prefix}{slug}_{id}")).ok()
}

pub(crate) const ID_BYTES: usize = 8;

/// The id in the name of an account, if there is one.
pub(crate) fn id_in(account: &AccountName) -> Option<&str> {
    let (_, id) = account.as_str().rsplit_once('_')?;
    let is_id = id.len() == 2 * ID_BYTES && HEXLOWER.decode(id.as_bytes()).is_ok();
    is_id.then_some(id)
}
