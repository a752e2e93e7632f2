//! One credential, taken from step to step.

use std::sync::PoisonError;

use chrono::{DateTime, Utc};
use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

use super::credentials::{CredentialError, Issued};
use super::{Shared, VaultError};
use crate::audit::{AuditEvent, EventType, Outcome};
use crate::crypto::fill;
use crate::id::Caller;
use crate::saga::{Action, Credential, Finding, Issuer, Order, State, Stored, recover};
use crate::secret::SecretString;
use crate::store::Batch;

/// Credentials that are not at their end.
pub(super) const LIVE_ROWS: &[u8] = b"credential/";
/// Those that are: without their secrets.
pub(super) const ENDED_ROWS: &[u8] = b"ended/";
/// 160 random bits, as letters and digits that every target takes.
const SECRET_BYTES: usize = 20;
/// More steps than any way through recovery has.
const STEPS_MAX: usize = 12;

/// A credential that this process alone is working at.
pub(super) struct Saga<'s> {
    shared: &'s Shared,
    pub(super) stored: Stored,
    /// Of its row; `None` while there is none.
    pub(super) revision: Option<u64>,
}

impl Drop for Saga<'_> {
    fn drop(&mut self) {
        let mut busy = self.shared.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.remove(&self.stored.credential.id);
    }
}

impl Shared {
    pub(super) fn begin(
        &self,
        credential: Credential,
        old: Option<SecretString>,
    ) -> Result<Saga<'_>, CredentialError> {
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        fill(bytes.as_mut_slice()).map_err(VaultError::from)?;
        // In its place, since a copy would not be overwritten.
        let mut text = BASE32_NOPAD.encode(bytes.as_slice());
        text.make_ascii_lowercase();
        let new = SecretString::new(text);
        self.take(&credential.id)?;
        Ok(Saga { shared: self, stored: Stored { credential, new, old }, revision: None })
    }

    pub(super) async fn resume(&self, id: &str) -> Result<Option<Saga<'_>>, CredentialError> {
        self.take(id)?;
        let found = async {
            let open = self.opened().await?;
            let Some((bytes, revision)) = self.read_row(&open, &row(LIVE_ROWS, id)).await? else {
                return Ok(None);
            };
            let stored = Stored::parse(&bytes).filter(|stored| stored.credential.id == id);
            Ok::<_, VaultError>(Some((stored.ok_or(VaultError::Altered)?, revision)))
        }
        .await;
        match found {
            Ok(Some((stored, revision))) => Ok(Some(Saga { shared: self, stored, revision: Some(revision) })),
            other => {
                self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
                Ok(other.map(|_| None)?)
            }
        }
    }

    fn take(&self, id: &str) -> Result<(), CredentialError> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if busy.insert(id.to_owned()) { Ok(()) } else { Err(CredentialError::Busy) }
    }

    pub(super) async fn credential_event(
        &self,
        event_type: EventType,
        credential: &Credential,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<AuditEvent, VaultError> {
        let open = self.opened().await?;
        let mut event = self.event(event_type, &open, by, now);
        event.target_id = Some(credential.target.clone());
        event.account_name = Some(credential.account.clone());
        event.session_id = event.session_id.or_else(|| credential.session.clone());
        Ok(event)
    }
}

impl Saga<'_> {
    pub(super) fn order(&self) -> Order<'_> {
        let Stored { credential, new, old } = &self.stored;
        let mut order = Order::session(&credential.account, new);
        order.purpose = credential.purpose;
        order.old = old.as_ref();
        order.expires_at = credential.expires_at;
        order
    }

    pub(super) fn issued(&self) -> Issued {
        Issued::new(self.stored.credential.clone(), self.stored.new.clone())
    }

    /// Writes down a state. The vault is not held open between steps, since a target may be slow.
    pub(super) async fn write(&mut self, state: State) -> Result<(), VaultError> {
        let open = self.shared.opened().await?;
        let before = std::mem::replace(&mut self.stored.credential.state, state);
        let id = self.stored.credential.id.clone();
        let live = row(LIVE_ROWS, &id);
        let written = async {
            let batch = Batch::new().expect(live.as_slice(), self.revision);
            let batch = if state == State::Revoked {
                let ended = row(ENDED_ROWS, &id);
                let json = serde_json::to_vec(&self.stored.credential).map_err(|_| VaultError::Altered)?;
                let value = open.seal_row(&ended, &json)?;
                batch.delete(live.as_slice()).put(ended, value)
            } else {
                let bytes = self.stored.to_bytes().ok_or(VaultError::Altered)?;
                let value = open.seal_row(&live, &bytes)?;
                batch.put(live.as_slice(), value)
            };
            Ok::<_, VaultError>(self.shared.write(&open, batch).await?)
        }
        .await;
        match written {
            Ok(revision) => {
                self.revision = Some(revision);
                Ok(())
            }
            Err(error) => {
                self.stored.credential.state = before;
                Err(error)
            }
        }
    }

    /// Looks and does what recovery says, until there is nothing more to do or the target does not answer. Answers with what was found last. With
    /// somebody to name, what changes is on record as recovered before it does.
    pub(super) async fn tend(
        &mut self,
        issuer: &dyn Issuer,
        mut on_record: Option<&Caller>,
        now: DateTime<Utc>,
    ) -> Result<Finding, CredentialError> {
        let mut finding = Finding::Unknown;
        for _ in 0..STEPS_MAX {
            finding = issuer.probe(&self.order()).await;
            let Credential { purpose, state, asked_at, .. } = self.stored.credential;
            let may_still_happen = asked_at.is_some_and(|asked| {
                asked.checked_add_signed(issuer.settle()).is_none_or(|settled| now < settled)
            });
            if finding == Finding::Absent && may_still_happen {
                finding = Finding::AbsentSoFar;
            }
            let standing = self.shared.opened().await?.standing;
            let action = recover(purpose, state, finding, standing);
            if matches!(action, Action::Nothing | Action::Wait | Action::Hold) {
                break;
            }
            if let Some(by) = on_record.take() {
                let event = self
                    .shared
                    .credential_event(EventType::CredentialRecovered, &self.stored.credential, by, now)
                    .await?;
                self.shared.audit.record(&event).await.map_err(VaultError::from)?;
                // What a person has to look at is said for itself.
                on_record = Some(by).filter(|_| matches!(action, Action::Quarantine(_)));
            }
            match action {
                Action::Advance(state) => self.write(state).await?,
                Action::Quarantine(reason) => {
                    if let Some(by) = on_record.take() {
                        let credential = &self.stored.credential;
                        let event = self
                            .shared
                            .credential_event(EventType::CredentialQuarantined, credential, by, now)
                            .await?;
                        self.shared
                            .audit
                            .record(&event.ended(Outcome::Success, None))
                            .await
                            .map_err(VaultError::from)?;
                    }
                    self.stored.credential.reason = Some(reason);
                    self.write(State::Quarantined).await?;
                }
                Action::Apply => {
                    self.stored.credential.asked_at = Some(now);
                    self.write(state).await?;
                    if issuer.apply(&self.order()).await.is_err() {
                        break;
                    }
                    self.stored.credential.asked_at = None;
                    self.write(State::Applied).await?;
                }
                Action::LetOldGo => {
                    if issuer.let_old_go(&self.order()).await.is_err() {
                        break;
                    }
                }
                Action::Remove => {
                    if issuer.remove(&self.stored.credential.account).await.is_err() {
                        break;
                    }
                }
                Action::Nothing | Action::Wait | Action::Hold => {}
            }
            if self.stored.credential.state == State::Revoked {
                break;
            }
        }
        Ok(finding)
    }
}

pub(super) fn row(rows: &[u8], id: &str) -> Vec<u8> {
    [rows, id.as_bytes()].concat()
}
