//! What carries a credential through its life. Every step that the target sees is on record and in the store before.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use data_encoding::HEXLOWER;

use super::tending::{ENDED_ROWS, LIVE_ROWS, row};
use super::{Standing, Vault, VaultError};
use crate::audit::{EventType, Outcome};
use crate::crypto::{random, sha256};
use crate::id::{AccountName, Caller, SessionId, TargetId};
use crate::limits::PAGE_MAX;
use crate::saga::{
    Action, Credential, Finding, ID_BYTES, Issuer, IssuerError, Purpose, State, Stored, account_name,
    account_prefix, id_in, is_final, recover,
};
use crate::secret::SecretString;
use crate::store::Effect;

/// A credential that is in use: an account and the secret that it lets in with.
pub struct Issued {
    credential: Credential,
    secret: SecretString,
}

impl Issued {
    pub(super) fn new(credential: Credential, secret: SecretString) -> Self {
        Self { credential, secret }
    }

    /// What is written down of it.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Gives account and secret to whatever logs in.
    pub fn inject<R>(&self, log_in: impl FnOnce(&AccountName, &SecretString) -> R) -> R {
        log_in(&self.credential.account, &self.secret)
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("credential", &self.credential).finish_non_exhaustive()
    }
}

/// Whether a credential is gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// The target says so.
    Gone,
    /// The target has not said so yet. It is written down that it has to go; recovery goes on with it.
    Pending,
}

/// What a step of recovery did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Recovered {
    /// How many credentials were looked at.
    pub seen: usize,
    /// Those that changed, as they are now.
    pub changed: Vec<Credential>,
    /// Those that have to be looked at again, because the target did not answer, or has nobody to ask it.
    pub waiting: Vec<Credential>,
    /// Ids of those that cannot be read, because somebody altered them: somebody has to look at the target.
    pub unreadable: Vec<String>,
    /// After which id to go on; `None` at the end.
    pub next: Option<String>,
}

/// Why a credential was not issued, rotated or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// There is no such credential.
    #[error("there is no such credential")]
    Absent,
    /// Somebody is working at it.
    #[error("somebody is working at this credential")]
    Busy,
    /// A lifetime is not positive, or beyond what times can be.
    #[error("a credential does not live as long as that")]
    Lifetime,
    /// The vault was restored from a backup: nothing is taken away on targets until that is confirmed.
    #[error("the vault was restored, and nothing is taken away before that is confirmed")]
    Restored,
    /// The target did not do it. Nobody has the credential; what there is of it is taken away.
    #[error(transparent)]
    Target(#[from] IssuerError),
    /// A login with it did not work: nobody has it, and what there is of it is taken away; or, where an account was to stay, it is looked at again.
    #[error("a login with the credential did not work ({finding:?})")]
    NotVerified {
        /// What was found instead.
        finding: Finding,
    },
    /// An earlier rotation of this account is not at its end: recover it first.
    #[error("an earlier rotation of this account is not at its end")]
    Unfinished,
    /// It is the secret of an account that stays: that is not taken away.
    #[error("the account stays, and is not taken away")]
    Stays,
    /// It is in quarantine: somebody has to look at it.
    #[error("the credential is in quarantine")]
    Quarantined,
    /// The vault is sealed, or its store, its records or the system failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl Vault {
    /// Makes an account for one session, sees that a login with it works, and hands it out. It is in use from then on, and is the caller's to
    /// [end](Self::end_credential).
    ///
    /// # Errors
    /// Nobody has the credential then, and what there may be of it on the target is taken away, by recovery at the latest. The same holds for a
    /// future that is dropped and for a crash, with one exception: where it was written down as active and came to nobody, it is taken away when it
    /// expires, or with its [session](Self::end_session).
    pub async fn issue(
        &self,
        issuer: &dyn Issuer,
        target: &TargetId,
        session: &SessionId,
        lifetime: TimeDelta,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<Issued, CredentialError> {
        let shared = &self.0;
        let expires_at = now.checked_add_signed(lifetime).filter(|_| lifetime > TimeDelta::zero());
        let expires_at = expires_at.ok_or(CredentialError::Lifetime)?;
        let vault = self.id().await?;
        let id = HEXLOWER.encode(&random::<ID_BYTES>().map_err(VaultError::from)?);
        let account = account_name(&account_prefix(vault), &by.actor, &id).ok_or(VaultError::Randomness)?;
        let mut saga = shared.begin(
            Credential {
                id,
                purpose: Purpose::Session,
                state: State::Intent,
                target: target.clone(),
                account,
                actor: by.actor.clone(),
                session: Some(session.clone()),
                created_at: now,
                expires_at: Some(expires_at),
                asked_at: Some(now),
                reason: None,
            },
            None,
        )?;
        let event =
            shared.credential_event(EventType::CredentialIssued, &saga.stored.credential, by, now).await?;
        shared.audit.record(&event).await.map_err(VaultError::from)?;
        let issued = async {
            saga.write(State::Intent).await?;
            issuer.apply(&saga.order()).await?;
            saga.stored.credential.asked_at = None;
            saga.write(State::Applied).await?;
            match issuer.probe(&saga.order()).await {
                Finding::NewWorks => saga.write(State::Verified).await?,
                finding => return Err(CredentialError::NotVerified { finding }),
            }
            saga.write(State::Active).await?;
            Ok(())
        }
        .await;
        match issued {
            Ok(()) => {
                let generation = shared.generation.load(std::sync::atomic::Ordering::Acquire);
                shared.audit.outcome(event.result(Outcome::Success, None, generation));
                Ok(saga.issued())
            }
            Err(error) => {
                let generation = event.generation;
                shared.audit.outcome(event.result(Outcome::Failure, Some(error.reason()), generation));
                // Nobody has it, so it can go at once. Whatever fails here is left to recovery.
                if matches!(error, CredentialError::Target(IssuerError::Refused(_))) {
                    saga.stored.credential.asked_at = None;
                }
                if saga.revision.is_some() {
                    let removed = issuer.remove(&saga.stored.credential.account).await;
                    if saga.write(State::Revoking).await.is_ok() && removed.is_ok() {
                        let _ = saga.tend(issuer, None, now).await;
                    }
                }
                Err(error)
            }
        }
    }

    /// Gives an account that stays a new secret, sees that a login with it works, and has the old one refused. What the account lets in with is
    /// stored at every moment. An account that was rotated before is taken from the secret that is stored; `current` is for one that was not, or that is
    /// in quarantine and that somebody has looked at.
    ///
    /// # Errors
    /// [`CredentialError::Unfinished`] where an earlier rotation is not at its end. Where an error comes after the intent was stored, [`recover_credentials`](Self::recover_credentials) goes on to the new secret, and
    /// [`credential_secret`](Self::credential_secret) has it.
    pub async fn rotate_account(
        &self,
        issuer: &dyn Issuer,
        target: &TargetId,
        account: &AccountName,
        current: &SecretString,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<Issued, CredentialError> {
        let shared = &self.0;
        self.id().await?;
        // One record for an account: an older one would take the newer secret for somebody else's.
        let digest = sha256(&[target.as_str().as_bytes(), &[0], account.as_str().as_bytes()].concat());
        let id = HEXLOWER.encode(digest.first_chunk::<ID_BYTES>().unwrap_or(&[0; ID_BYTES]));
        let known = shared.resume(&id).await?;
        let old = match known.as_ref().map(|saga| (saga.stored.credential.state, &saga.stored.new)) {
            Some((State::Active, new)) => new.clone(),
            None | Some((State::Quarantined, _)) => current.clone(),
            Some(_) => return Err(CredentialError::Unfinished),
        };
        let revision = known.as_ref().and_then(|saga| saga.revision);
        drop(known);
        let mut saga = shared.begin(
            Credential {
                id,
                purpose: Purpose::Rotation,
                state: State::Intent,
                target: target.clone(),
                account: account.clone(),
                actor: by.actor.clone(),
                session: by.session.clone(),
                created_at: now,
                expires_at: None,
                asked_at: None,
                reason: None,
            },
            Some(old),
        )?;
        saga.revision = revision;
        let event =
            shared.credential_event(EventType::CredentialRotated, &saga.stored.credential, by, now).await?;
        shared.audit.record(&event).await.map_err(VaultError::from)?;
        let rotated = async {
            saga.write(State::Intent).await?;
            let finding = saga.tend(issuer, Some(by), now).await?;
            match saga.stored.credential.state {
                State::Active => Ok(()),
                State::Quarantined => Err(CredentialError::Quarantined),
                _ => Err(CredentialError::NotVerified { finding }),
            }
        }
        .await;
        let generation = shared.generation.load(std::sync::atomic::Ordering::Acquire);
        let (outcome, reason) = match &rotated {
            Ok(()) => (Outcome::Success, None),
            Err(error) => (Outcome::Unknown, Some(error.reason())),
        };
        shared.audit.outcome(event.result(outcome, reason, generation));
        rotated.map(|()| saga.issued())
    }

    /// Takes a credential away: on record, then as something that has to go, then on the target. One that is gone already is a success.
    ///
    /// # Errors
    /// [`CredentialError::Restored`] while a restored vault is not confirmed.
    pub async fn end_credential(
        &self,
        issuer: &dyn Issuer,
        id: &str,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<Ended, CredentialError> {
        let shared = &self.0;
        let Some(mut saga) = shared.resume(id).await? else {
            let open = shared.opened().await?;
            let ended = shared.read_row(&open, &row(ENDED_ROWS, id)).await?;
            return if ended.is_some() { Ok(Ended::Gone) } else { Err(CredentialError::Absent) };
        };
        let event =
            shared.credential_event(EventType::CredentialRevoked, &saga.stored.credential, by, now).await?;
        if saga.stored.credential.purpose == Purpose::Rotation {
            shared.refuse(event, "stays").await?;
            return Err(CredentialError::Stays);
        }
        if self.standing().await? == Standing::Restored {
            shared.refuse(event, "restored").await?;
            return Err(CredentialError::Restored);
        }
        shared.audit.record(&event).await.map_err(VaultError::from)?;
        let ended = async {
            if saga.stored.credential.state != State::Revoking {
                saga.write(State::Revoking).await?;
            }
            saga.tend(issuer, None, now).await
        }
        .await;
        let is_gone = saga.stored.credential.state == State::Revoked;
        let generation = shared.generation.load(std::sync::atomic::Ordering::Acquire);
        let (outcome, reason) = match &ended {
            Ok(_) if is_gone => (Outcome::Success, None),
            Ok(_) => (Outcome::Unknown, Some("target_unanswered")),
            Err(error) => (Outcome::Unknown, Some(error.reason())),
        };
        shared.audit.outcome(event.result(outcome, reason, generation));
        ended.map(|_| if is_gone { Ended::Gone } else { Ended::Pending })
    }

    /// Takes away all credentials of a session: what somebody calls who finds a session that no longer runs. Answers with those that are not gone
    /// yet; recovery goes on with them. Looks at every credential that is not at its end.
    ///
    /// # Errors
    /// As with [`end_credential`](Self::end_credential), and [`VaultError::Altered`] where there is one that cannot be read, after all others were ended.
    pub async fn end_session(
        &self,
        issuers: &BTreeMap<TargetId, Arc<dyn Issuer>>,
        session: &SessionId,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<Vec<Credential>, CredentialError> {
        let shared = &self.0;
        let (mut pending, mut is_altered) = (Vec::new(), false);
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page =
                shared.store.scan(LIVE_ROWS, after.as_deref(), PAGE_MAX).await.map_err(VaultError::from)?;
            let Some((last, _)) = page.last() else {
                return if is_altered { Err(VaultError::Altered.into()) } else { Ok(pending) };
            };
            after = Some(last.clone());
            for (key, found) in page {
                let read = {
                    let open = shared.opened().await?;
                    open.open_row(&key, &found.value)
                };
                let stored = match read {
                    Ok(bytes) => Stored::parse(&bytes),
                    Err(VaultError::Altered) => None,
                    Err(error) => return Err(error.into()),
                };
                let Some(Stored { credential, .. }) = stored else {
                    is_altered = true;
                    continue;
                };
                if credential.purpose != Purpose::Session || credential.session.as_ref() != Some(session) {
                    continue;
                }
                let ended = match issuers.get(&credential.target) {
                    Some(issuer) => self.end_credential(issuer.as_ref(), &credential.id, by, now).await,
                    None => Ok(Ended::Pending),
                };
                match ended {
                    Ok(Ended::Gone) | Err(CredentialError::Absent) => {}
                    Ok(Ended::Pending) | Err(CredentialError::Busy) => pending.push(credential),
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Looks at credentials that are not at their end, up to `credentials_max` of them after this id, and does what [`recover`] says. To be called
    /// when the vault was unsealed, and from time to time: a target that was down is asked again, and what has expired is taken away. Those that
    /// somebody is working at are passed by. One is looked at after the other: a target that hangs holds up the rest for as long as its issuer waits, so
    /// many targets are better looked at with a call for each.
    ///
    /// # Errors
    /// Where the vault is sealed, or store or records fail. What a target does not do is no error: it waits.
    pub async fn recover_credentials(
        &self,
        issuers: &BTreeMap<TargetId, Arc<dyn Issuer>>,
        after: Option<&str>,
        credentials_max: usize,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<Recovered, CredentialError> {
        let shared = &self.0;
        let after = after.map(|id| row(LIVE_ROWS, id));
        let found = shared
            .store
            .scan(LIVE_ROWS, after.as_deref(), credentials_max.clamp(1, PAGE_MAX))
            .await
            .map_err(VaultError::from)?;
        let mut recovered = Recovered::default();
        for (key, _) in found {
            let id = key.strip_prefix(LIVE_ROWS).and_then(|id| std::str::from_utf8(id).ok());
            recovered.seen = recovered.seen.saturating_add(1);
            let Some(id) = id else {
                recovered.unreadable.push(HEXLOWER.encode(&key));
                continue;
            };
            recovered.next = Some(id.to_owned());
            let mut saga = match shared.resume(id).await {
                Ok(Some(saga)) => saga,
                Ok(None) | Err(CredentialError::Busy) => continue,
                Err(CredentialError::Vault(VaultError::Altered)) => {
                    recovered.unreadable.push(id.to_owned());
                    continue;
                }
                Err(error) => return Err(error),
            };
            let before = saga.stored.credential.clone();
            if is_final(before.state) {
                continue;
            }
            let Some(issuer) = issuers.get(&before.target) else {
                recovered.waiting.push(before);
                continue;
            };
            let mut on_record = Some(by);
            if before.has_expired(now) && self.standing().await? == Standing::Confirmed {
                let event = shared.credential_event(EventType::CredentialRevoked, &before, by, now).await?;
                let event = event.ended(Outcome::Unknown, Some("expired"));
                shared.audit.record(&event).await.map_err(VaultError::from)?;
                saga.write(State::Revoking).await?;
                on_record = None;
            }
            let finding = saga.tend(issuer.as_ref(), on_record, now).await?;
            let after = saga.stored.credential.clone();
            let standing = self.standing().await?;
            let is_waiting = recover(after.purpose, after.state, finding, standing) != Action::Nothing;
            if after.state != before.state {
                recovered.changed.push(after.clone());
            }
            if is_waiting && !is_final(after.state) {
                recovered.waiting.push(after);
            }
        }
        Ok(recovered)
    }

    /// A credential that is not at its end, without its secret.
    ///
    /// # Errors
    /// [`CredentialError::Absent`] where there is none.
    pub async fn credential(&self, id: &str) -> Result<Credential, CredentialError> {
        let shared = &self.0;
        let open = shared.opened().await?;
        let found = shared.read_row(&open, &row(LIVE_ROWS, id)).await?;
        let (bytes, _) = found.ok_or(CredentialError::Absent)?;
        Ok(Stored::parse(&bytes).ok_or(VaultError::Altered)?.credential)
    }

    /// The secret of a rotated account, once a login with it has worked. That it is read is on record.
    ///
    /// # Errors
    /// [`CredentialError::Absent`] where there is none, or a session's: that was handed out once.
    pub async fn credential_secret(
        &self,
        id: &str,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<Issued, CredentialError> {
        let shared = &self.0;
        let saga = shared.resume(id).await?.ok_or(CredentialError::Absent)?;
        let credential = &saga.stored.credential;
        let event = shared.credential_event(EventType::SecretRead, credential, by, now).await?;
        if (credential.purpose, credential.state) != (Purpose::Rotation, State::Active) {
            shared.refuse(event, "not_active").await?;
            return Err(CredentialError::Absent);
        }
        shared.audit.record(&event.ended(Outcome::Success, None)).await.map_err(VaultError::from)?;
        Ok(saga.issued())
    }

    /// Accounts on a target that bear this vault's prefix, and that no record of it knows: left by something else, or by a store that was lost. They
    /// are told, not touched.
    ///
    /// # Errors
    /// Where the target does not answer, or the vault is sealed.
    pub async fn orphans(
        &self,
        issuer: &dyn Issuer,
        target: &TargetId,
    ) -> Result<Vec<AccountName>, CredentialError> {
        let shared = &self.0;
        let vault = self.id().await?;
        let mut orphans = Vec::new();
        for account in issuer.accounts(&account_prefix(vault)).await? {
            let known = match id_in(&account) {
                Some(id) => match self.credential(id).await {
                    Ok(credential) => credential.account == account && credential.target == *target,
                    Err(CredentialError::Absent) => false,
                    Err(error) => return Err(error),
                },
                None => false,
            };
            if !known {
                orphans.push(account);
            }
        }
        drop(shared.opened().await?);
        Ok(orphans)
    }
}

impl CredentialError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Target(IssuerError::Refused(_)) => "target_refused",
            Self::Target(IssuerError::Unanswered(_)) => "target_unanswered",
            Self::NotVerified { .. } => "not_verified",
            Self::Quarantined => "quarantined",
            Self::Vault(error) if error.effect() == Effect::Unknown => "store_unknown",
            _ => "store_failed",
        }
    }
}
