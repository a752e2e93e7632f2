//! The life of credentials: a crash at every step, a target that goes wrong at every call, and what recovery makes of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::TimeDelta;
use vault_core::audit::{EventType, Outcome};
use vault_core::id::{AccountName, SessionId, TargetId};
use vault_core::saga::{Fault, Finding, Issuer, IssuerError, MemoryIssuer, Order, Purpose, State};
use vault_core::store::{Batch, Row};
use vault_core::vault::{CredentialError, Ended, Issued};
use vault_core::{MemoryStore, Standing, Store, StoreError, Vault, VaultError};

use crate::fixture::{Fixture, KEY, at, by};

const HOUR: TimeDelta = TimeDelta::hours(1);

fn target() -> TargetId {
    TargetId::new("orders-db").unwrap()
}

fn session() -> SessionId {
    SessionId::new("s-1").unwrap()
}

fn admin() -> AccountName {
    AccountName::new("admin").unwrap()
}

fn issuers(issuer: &MemoryIssuer) -> BTreeMap<TargetId, Arc<dyn Issuer>> {
    BTreeMap::from([(target(), Arc::new(issuer.clone()) as Arc<dyn Issuer>)])
}

/// Recovery until nothing waits, long enough after for everything to have settled.
async fn recovered(vault: &Vault, issuer: &MemoryIssuer) {
    for round in 0..5 {
        let now = at(1_000 + 100 * round);
        let recovered =
            vault.recover_credentials(&issuers(issuer), None, 100, &by("root"), now).await.unwrap();
        if recovered.waiting.is_empty() {
            return;
        }
    }
    panic!("recovery waits for a target that answers");
}

#[tokio::test]
async fn a_session_has_an_account_of_its_own_and_it_goes_with_it() {
    let fixture = Fixture::new().await;
    let (vault, issuer, alice) = (&fixture.vault, MemoryIssuer::new(), by("Alice O'Hara"));
    let records = fixture.records();
    let issued = vault.issue(&issuer, &target(), &session(), HOUR, &alice, at(0)).await.unwrap();
    let name = issued.inject(|account, secret| {
        assert!(issuer.lets_in(account, secret));
        assert_eq!(secret.expose().len(), 32);
        account.clone()
    });
    assert!(name.as_str().len() <= 32 && name.as_str().contains("_aliceohar_"), "{name}");
    assert!(name.as_str().ends_with(&issued.credential().id));
    assert_eq!(vault.credential(&issued.credential().id).await.unwrap().state, State::Active);
    assert!(vault.orphans(&issuer, &target()).await.unwrap().is_empty());
    let other = vault.issue(&issuer, &target(), &session(), HOUR, &alice, at(0)).await.unwrap();
    assert_ne!(other.credential().account, name);

    let id = issued.credential().id.clone();
    assert_eq!(vault.end_credential(&issuer, &id, &alice, at(1)).await.unwrap(), Ended::Gone);
    assert_eq!(issuer.names(), [other.credential().account.clone()]);
    assert_eq!(
        vault.end_credential(&issuer, &id, &alice, at(2)).await.unwrap(),
        Ended::Gone,
        "already absent"
    );
    let unknown = vault.end_credential(&issuer, "0123456789abcdef", &alice, at(2)).await;
    assert!(matches!(unknown, Err(CredentialError::Absent)));
    // The account on the target tells person and session in the records.
    let events = fixture.audit.events();
    let traced: Vec<_> =
        events[records..].iter().filter(|event| event.account_name.as_ref() == Some(&name)).collect();
    let types: Vec<_> = traced.iter().map(|event| (event.event_type, event.outcome)).collect();
    assert_eq!(
        types,
        [
            (EventType::CredentialIssued, Outcome::Unknown),
            (EventType::CredentialIssued, Outcome::Success),
            (EventType::CredentialRevoked, Outcome::Unknown),
            (EventType::CredentialRevoked, Outcome::Success),
        ]
    );
    assert!(
        traced.iter().all(|event| event.session_id == Some(session()) && event.target_id == Some(target()))
    );
}

#[tokio::test]
async fn secrets_are_shown_by_nothing() {
    let fixture = Fixture::new().await;
    let issuer = MemoryIssuer::new();
    let issued =
        fixture.vault.issue(&issuer, &target(), &session(), HOUR, &by("alice"), at(0)).await.unwrap();
    let secret = issued.inject(|_, secret| secret.clone());
    let id = &issued.credential().id;
    let known = fixture.vault.credential(id).await.unwrap();
    let shown = format!("{issued:?} {known:?} {issuer:?} {:?}", fixture.audit.events());
    assert!(!shown.contains(secret.expose()));
    fixture.vault.end_credential(&issuer, id, &by("alice"), at(1)).await.unwrap();
    let again = fixture.vault.credential_secret(id, &by("eve"), at(2)).await;
    assert!(matches!(again, Err(CredentialError::Absent)));
}

#[tokio::test]
async fn without_a_record_no_target_is_asked() {
    let fixture = Fixture::new().await;
    let (vault, issuer, root) = (&fixture.vault, MemoryIssuer::new(), by("root"));
    let issued = vault.issue(&issuer, &target(), &session(), HOUR, &root, at(0)).await.unwrap();
    issuer.plant(admin(), "old");
    let names = issuer.names();
    fixture.audit.break_down();
    let unrecorded = |error| matches!(error, CredentialError::Vault(VaultError::Unrecorded(_)));
    let issue = vault.issue(&issuer, &target(), &session(), HOUR, &root, at(1)).await;
    assert!(unrecorded(issue.unwrap_err()));
    let end = vault.end_credential(&issuer, &issued.credential().id, &root, at(1)).await;
    assert!(unrecorded(end.unwrap_err()));
    let rotate = vault.rotate_account(&issuer, &target(), &admin(), &"old".into(), &root, at(1)).await;
    assert!(unrecorded(rotate.unwrap_err()));
    assert_eq!(issuer.names(), names);
    assert!(issuer.lets_in(&admin(), &"old".into()));
    issued.inject(|account, secret| assert!(issuer.lets_in(account, secret)));
    // Recovery that has something to do does not do it, either.
    fixture.audit.mend();
    issuer.go_wrong([Fault::Hang, Fault::Hang]);
    vault.issue(&issuer, &target(), &session(), HOUR, &root, at(2)).await.unwrap_err();
    issuer.catch_up();
    fixture.audit.break_down();
    let recover = vault.recover_credentials(&issuers(&issuer), None, 10, &root, at(1_000)).await;
    assert!(unrecorded(recover.unwrap_err()));
}

#[tokio::test]
async fn lifetimes_are_possible_ones() {
    let fixture = Fixture::new().await;
    for lifetime in [TimeDelta::zero(), -HOUR, TimeDelta::MAX] {
        let issuer = MemoryIssuer::new();
        let issue = fixture.vault.issue(&issuer, &target(), &session(), lifetime, &by("a"), at(0)).await;
        assert!(matches!(issue, Err(CredentialError::Lifetime)));
        assert!(issuer.names().is_empty());
    }
}

/// After whatever happened: whoever has a credential can use it, nobody else's account is left, and at its time everything is gone.
async fn check(place: &str, vault: &Vault, issuer: &MemoryIssuer, handed_out: Option<Issued>, ended: bool) {
    recovered(vault, issuer).await;
    assert!(vault.orphans(issuer, &target()).await.unwrap().is_empty(), "{place}: an orphan");
    for account in issuer.names() {
        let id = account.as_str().rsplit_once('_').unwrap().1;
        assert_eq!(vault.credential(id).await.unwrap().state, State::Active, "{place}");
        assert!(!ended, "{place}: it was ended");
    }
    if let Some(issued) = &handed_out
        && vault.credential(&issued.credential().id).await.is_ok()
    {
        issued.inject(|account, secret| assert!(issuer.lets_in(account, secret), "{place}: lost"));
    }
    if handed_out.is_none() {
        // Whoever finds the session dead ends it, also where its credential came to nobody.
        let pending = vault.end_session(&issuers(issuer), &session(), &by("root"), at(3_000)).await.unwrap();
        assert!(pending.is_empty(), "{place}");
    } else {
        // And where nobody does, it ends at its time.
        let expired =
            vault.recover_credentials(&issuers(issuer), None, 10, &by("root"), at(3_601)).await.unwrap();
        assert!(expired.waiting.is_empty(), "{place}");
    }
    assert!(issuer.names().is_empty(), "{place}: an orphan");
}

/// The process dies at one of its calls to the outside: before that happens, or after it and before the answer.
#[derive(Clone)]
pub(crate) struct Life {
    calls: Arc<AtomicUsize>,
    dies_at: usize,
    after: bool,
}

enum Fate {
    Lives,
    DiesAfter,
    Dead,
}

impl Life {
    pub(crate) fn new(dies_at: usize, after: bool) -> Self {
        Self { calls: Arc::default(), dies_at, after }
    }

    fn call(&self) -> Fate {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        match call.cmp(&self.dies_at) {
            std::cmp::Ordering::Less => Fate::Lives,
            std::cmp::Ordering::Equal if self.after => Fate::DiesAfter,
            _ => Fate::Dead,
        }
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.calls.load(Ordering::SeqCst) > self.dies_at
    }
}

pub(crate) struct MortalStore(pub(crate) MemoryStore, pub(crate) Life);

#[async_trait]
impl Store for MortalStore {
    async fn read(&self, key: &[u8]) -> Result<Option<Row>, StoreError> {
        if self.1.is_dead() { Err(StoreError::Stopped) } else { self.0.read(key).await }
    }

    async fn scan(
        &self,
        p: &[u8],
        after: Option<&[u8]>,
        max: usize,
    ) -> Result<Vec<(Vec<u8>, Row)>, StoreError> {
        if self.1.is_dead() { Err(StoreError::Stopped) } else { self.0.scan(p, after, max).await }
    }

    async fn generation(&self) -> Result<u64, StoreError> {
        self.0.generation().await
    }

    async fn commit(&self, batch: Batch) -> Result<u64, StoreError> {
        match self.1.call() {
            Fate::Lives => self.0.commit(batch).await,
            Fate::DiesAfter => {
                self.0.commit(batch).await?;
                Err(StoreError::Unknown("dead".into()))
            }
            Fate::Dead => Err(StoreError::Unknown("dead".into())),
        }
    }
}

pub(crate) struct MortalIssuer<I>(pub(crate) I, pub(crate) Life);

impl<I> MortalIssuer<I> {
    async fn call(&self, done: impl Future<Output = Result<(), IssuerError>>) -> Result<(), IssuerError> {
        let dead = || Err(IssuerError::Unanswered("dead".into()));
        match self.1.call() {
            Fate::Lives => done.await,
            Fate::DiesAfter => done.await.and_then(|()| dead()),
            Fate::Dead => dead(),
        }
    }
}

#[async_trait]
impl<I: Issuer> Issuer for MortalIssuer<I> {
    async fn apply(&self, order: &Order<'_>) -> Result<(), IssuerError> {
        self.call(self.0.apply(order)).await
    }

    async fn probe(&self, order: &Order<'_>) -> Finding {
        match self.1.call() {
            Fate::Lives => self.0.probe(order).await,
            Fate::DiesAfter | Fate::Dead => Finding::Unknown,
        }
    }

    async fn let_old_go(&self, order: &Order<'_>) -> Result<(), IssuerError> {
        self.call(self.0.let_old_go(order)).await
    }

    async fn remove(&self, account: &AccountName) -> Result<(), IssuerError> {
        self.call(self.0.remove(account)).await
    }

    async fn accounts(&self, prefix: &str) -> Result<Vec<AccountName>, IssuerError> {
        self.0.accounts(prefix).await
    }

    fn settle(&self) -> TimeDelta {
        self.0.settle()
    }
}

#[tokio::test]
async fn a_crash_at_every_step_of_a_session_leaves_no_orphan_and_no_lost_secret() {
    let mut steps = 0;
    for after in [false, true] {
        for dies_at in 0.. {
            let fixture = Fixture::new().await;
            let (issuer, alice, life) = (MemoryIssuer::new(), by("alice"), Life::new(dies_at, after));
            let mortal = MortalIssuer(issuer.clone(), life.clone());
            let store = MortalStore(fixture.store.clone(), life.clone());
            let vault = Vault::open(store, fixture.audit.clone()).unseal(&KEY, &alice, at(0)).await.unwrap();
            let issued = vault.issue(&mortal, &target(), &session(), HOUR, &alice, at(1)).await.ok();
            let mut ended = false;
            if let Some(issued) = &issued {
                let end = vault.end_credential(&mortal, &issued.credential().id, &alice, at(2)).await;
                ended = matches!(end, Ok(Ended::Gone));
            }
            let next = fixture.reopened().await;
            check(&format!("dies at {dies_at}, {after}"), &next, &issuer, issued, ended).await;
            if !life.is_dead() {
                assert!(ended);
                steps = dies_at;
                break;
            }
        }
    }
    // Intent, apply, Applied, probe, Verified, Active; Revoking, probe, remove, probe, Revoked.
    assert_eq!(steps, 11);
}

#[tokio::test]
async fn a_crash_at_every_step_of_a_rotation_loses_no_secret() {
    for (issuer, expected) in [(MemoryIssuer::new as fn() -> _, 8), (MemoryIssuer::taking_two, 11)] {
        let mut steps = 0;
        for after in [false, true] {
            for dies_at in 0.. {
                let fixture = Fixture::new().await;
                let (issuer, root, life) = (issuer(), by("root"), Life::new(dies_at, after));
                let place = format!("dies at {dies_at}, {after}");
                issuer.plant(admin(), "old");
                let mortal = MortalIssuer(issuer.clone(), life.clone());
                let store = MortalStore(fixture.store.clone(), life.clone());
                let vault =
                    Vault::open(store, fixture.audit.clone()).unseal(&KEY, &root, at(0)).await.unwrap();
                let rotated =
                    vault.rotate_account(&mortal, &target(), &admin(), &"old".into(), &root, at(1)).await;
                let next = fixture.reopened().await;
                recovered(&next, &issuer).await;
                let rows = fixture.store.scan(b"credential/", None, 10).await.unwrap();
                match rows.as_slice() {
                    // Before the intent nothing is asked of the target.
                    [] => assert!(issuer.lets_in(&admin(), &"old".into()), "{place}"),
                    [(key, _)] => {
                        let id = std::str::from_utf8(&key[b"credential/".len()..]).unwrap();
                        let known = next.credential_secret(id, &root, at(2_000)).await.unwrap();
                        known.inject(|account, secret| {
                            assert_eq!(account, &admin());
                            assert!(issuer.lets_in(account, secret), "{place}: lost");
                        });
                        assert!(
                            !issuer.lets_in(&admin(), &"old".into()),
                            "{place}: the old one was not let go"
                        );
                        if let Ok(rotated) = &rotated {
                            let same = rotated.inject(|_, secret| known.inject(|_, other| secret == other));
                            assert!(same, "{place}");
                        }
                    }
                    rows => panic!("{place}: {} rows", rows.len()),
                }
                if !life.is_dead() {
                    rotated.unwrap();
                    steps = dies_at;
                    break;
                }
            }
        }
        assert!(steps >= expected, "{steps} steps");
    }
}

#[tokio::test]
async fn one_write_that_fails_leaves_no_account_that_nobody_has() {
    use crate::faults::{Failing, Failure};
    for failure in [Failure::Before, Failure::Lost, Failure::After] {
        for write in 0.. {
            let fixture = Fixture::new().await;
            let (issuer, alice) = (MemoryIssuer::new(), by("alice"));
            let store = Failing::new(fixture.store.clone());
            store.fail_at(write, failure);
            let vault =
                Vault::open(store.clone(), fixture.audit.clone()).unseal(&KEY, &alice, at(0)).await.unwrap();
            let place = format!("write {write}, {failure:?}");
            let issued = vault.issue(&issuer, &target(), &session(), HOUR, &alice, at(1)).await;
            match &issued {
                Ok(issued) => {
                    issued.inject(|account, secret| assert!(issuer.lets_in(account, secret), "{place}"));
                    let ended = vault.end_credential(&issuer, &issued.credential().id, &alice, at(2)).await;
                    assert!(ended.is_err() || issuer.names().is_empty(), "{place}");
                }
                Err(_) => assert!(issuer.names().is_empty(), "{place}: nobody has it"),
            }
            // In the same process.
            recovered(&vault, &issuer).await;
            let pending = vault.end_session(&issuers(&issuer), &session(), &alice, at(3_000)).await.unwrap();
            assert!(pending.is_empty() && issuer.names().is_empty(), "{place}");
            assert!(fixture.store.scan(b"credential/", None, 10).await.unwrap().is_empty(), "{place}");
            if store.writes() <= write {
                break;
            }
        }
    }
}

const FAULTS: [Fault; 5] = [Fault::None, Fault::Refuse, Fault::Hang, Fault::LoseAnswer, Fault::Late];

#[tokio::test]
async fn a_target_that_goes_wrong_at_every_call_keeps_no_account() {
    for number in 0..FAULTS.len().pow(4) {
        let faults = [0, 1, 2, 3].map(|digit| FAULTS[number / FAULTS.len().pow(digit) % FAULTS.len()]);
        let fixture = Fixture::new().await;
        let (vault, issuer, alice) = (&fixture.vault, MemoryIssuer::new(), by("alice"));
        // Into the way up, and into the way down.
        for into_the_end in [false, true] {
            if !into_the_end {
                issuer.go_wrong(faults);
            }
            let issued = vault.issue(&issuer, &target(), &session(), HOUR, &alice, at(1)).await.ok();
            let place = format!("{faults:?} {into_the_end}");
            if into_the_end {
                issuer.go_wrong(faults);
            }
            let mut ended = false;
            if let Some(issued) = &issued {
                let id = &issued.credential().id;
                match vault.end_credential(&issuer, id, &alice, at(2)).await.unwrap() {
                    Ended::Gone => ended = true,
                    Ended::Pending => {
                        // Nothing is forgotten, also where the target is asked while it is down.
                        let down =
                            vault.recover_credentials(&issuers(&issuer), None, 10, &alice, at(3)).await;
                        down.unwrap();
                    }
                }
                assert!(!ended || issuer.names().is_empty(), "{place}");
            }
            issuer.catch_up();
            recovered(vault, &issuer).await;
            assert!(issuer.names().is_empty(), "{place}: an orphan");
            assert!(fixture.store.scan(b"credential/", None, 10).await.unwrap().is_empty(), "{place}");
        }
    }
}

#[tokio::test]
async fn what_may_still_be_made_is_waited_for() {
    let fixture = Fixture::new().await;
    let (vault, issuer, root) = (&fixture.vault, MemoryIssuer::new(), by("root"));
    issuer.go_wrong([Fault::Late]);
    let late = vault.issue(&issuer, &target(), &session(), HOUR, &root, at(0)).await;
    assert!(matches!(late, Err(CredentialError::Target(IssuerError::Unanswered(_)))));
    let soon = vault.recover_credentials(&issuers(&issuer), None, 10, &root, at(29)).await.unwrap();
    assert_eq!((soon.waiting.len(), soon.changed.len()), (1, 0), "absent so far");
    issuer.catch_up();
    assert_eq!(issuer.names().len(), 1, "there it is");
    let then = vault.recover_credentials(&issuers(&issuer), None, 10, &root, at(30)).await.unwrap();
    assert_eq!((then.waiting.len(), then.changed.len()), (0, 1));
    assert_eq!(then.changed[0].state, State::Revoked);
    assert!(issuer.names().is_empty());
}

#[tokio::test]
async fn a_restored_vault_takes_nothing_away_until_it_is_confirmed() {
    let fixture = Fixture::new().await;
    let (issuer, root) = (MemoryIssuer::new(), by("root"));
    let issued = fixture.vault.issue(&issuer, &target(), &session(), HOUR, &root, at(0)).await.unwrap();
    issuer.go_wrong([Fault::None, Fault::Hang, Fault::Hang]);
    fixture.vault.issue(&issuer, &target(), &session(), HOUR, &root, at(0)).await.unwrap_err();
    issuer.catch_up();
    let backup = fixture.store.snapshot();
    // Since the backup: one more, which the restored vault does not know.
    fixture.vault.issue(&issuer, &target(), &session(), HOUR, &root, at(1)).await.unwrap();
    let names = issuer.names();
    assert_eq!(names.len(), 3);

    let sealed = Vault::open(backup, fixture.audit.clone());
    let vault = sealed.unseal_restored(&KEY, &root, at(2)).await.unwrap();
    assert_eq!(vault.standing().await.unwrap(), Standing::Restored);
    let held = vault.recover_credentials(&issuers(&issuer), None, 10, &root, at(1_000)).await.unwrap();
    assert_eq!(issuer.names(), names);
    assert_eq!((held.changed.len(), held.waiting.len()), (0, 1));
    let id = &issued.credential().id;
    let refused = vault.end_credential(&issuer, id, &root, at(1_001)).await;
    assert!(matches!(refused, Err(CredentialError::Restored)));
    assert_eq!(vault.orphans(&issuer, &target()).await.unwrap().len(), 1, "the one it does not know is told");
    vault.confirm_restore(&root, at(1_002)).await.unwrap();
    recovered(&vault, &issuer).await;
    assert_eq!(issuer.names().len(), 2);
    assert_eq!(vault.end_credential(&issuer, id, &root, at(3_000)).await.unwrap(), Ended::Gone);
}

#[tokio::test]
async fn a_rotated_account_that_somebody_else_changed_is_put_into_quarantine() {
    let fixture = Fixture::new().await;
    let (vault, issuer, root) = (&fixture.vault, MemoryIssuer::new(), by("root"));
    issuer.plant(admin(), "old");
    let rotated =
        vault.rotate_account(&issuer, &target(), &admin(), &"old".into(), &root, at(0)).await.unwrap();
    issuer.plant(admin(), "changed");
    let records = fixture.records();
    let recovered = vault.recover_credentials(&issuers(&issuer), None, 10, &root, at(1)).await.unwrap();
    assert_eq!(recovered.changed[0].state, State::Quarantined);
    let events = fixture.audit.events();
    let alarm = events[records..].iter().find(|event| event.alarm).expect("an alarm");
    assert_eq!(
        (alarm.event_type, alarm.account_name.clone()),
        (EventType::CredentialQuarantined, Some(admin()))
    );
    // It stays there.
    let again = vault.recover_credentials(&issuers(&issuer), None, 10, &root, at(2)).await.unwrap();
    assert!(again.changed.is_empty() && again.waiting.is_empty());
    assert!(issuer.lets_in(&admin(), &"changed".into()));
    assert_eq!(rotated.credential().purpose, Purpose::Rotation);
    let gone =
        vault.rotate_account(&MemoryIssuer::new(), &target(), &admin(), &"x".into(), &root, at(3)).await;
    assert!(matches!(gone, Err(CredentialError::Quarantined)));
}

#[tokio::test]
async fn an_account_is_rotated_from_what_is_stored_and_never_back() {
    let fixture = Fixture::new().await;
    let (vault, issuer, root) = (&fixture.vault, MemoryIssuer::new(), by("root"));
    issuer.plant(admin(), "old");
    let rotate =
        async |now| vault.rotate_account(&issuer, &target(), &admin(), &"old".into(), &root, at(now)).await;
    let first = rotate(0).await.unwrap();
    let second = rotate(1).await.unwrap();
    second.inject(|account, secret| assert!(issuer.lets_in(account, secret)));
    let recovered = vault.recover_credentials(&issuers(&issuer), None, 10, &root, at(2)).await.unwrap();
    assert_eq!((recovered.seen, recovered.changed.len(), recovered.waiting.len()), (1, 0, 0));

    // One that did not come to its end is taken to it before another begins.
    issuer.go_wrong([Fault::None, Fault::LoseAnswer]);
    rotate(3).await.unwrap_err();
    assert!(matches!(rotate(4).await, Err(CredentialError::Unfinished)));
    issuer.catch_up();
    vault.recover_credentials(&issuers(&issuer), None, 10, &root, at(5)).await.unwrap();
    let fourth = rotate(6).await.unwrap();
    fourth.inject(|account, secret| assert!(issuer.lets_in(account, secret)));

    let id = &fourth.credential().id;
    assert!(matches!(vault.end_credential(&issuer, id, &root, at(7)).await, Err(CredentialError::Stays)));
    assert_eq!(issuer.names(), [admin()]);

    // The target comes back from a backup of long ago: a person is told, and tells what it lets in with.
    first.inject(|account, secret| issuer.plant(account.clone(), secret.clone()));
    let recovered = vault.recover_credentials(&issuers(&issuer), None, 10, &root, at(8)).await.unwrap();
    assert_eq!(recovered.changed[0].state, State::Quarantined);
    let known = first.inject(|_, secret| secret.clone());
    let mended = vault.rotate_account(&issuer, &target(), &admin(), &known, &root, at(9)).await.unwrap();
    mended.inject(|account, secret| assert!(issuer.lets_in(account, secret)));
    assert!(!issuer.lets_in(&admin(), &known));
}

#[tokio::test]
async fn one_credential_that_cannot_be_read_keeps_no_other_from_ending() {
    let fixture = Fixture::new().await;
    let (vault, issuer, root) = (&fixture.vault, MemoryIssuer::new(), by("root"));
    for _ in 0..3 {
        vault.issue(&issuer, &target(), &session(), HOUR, &root, at(0)).await.unwrap();
    }
    let rows = fixture.store.scan(b"credential/", None, 10).await.unwrap();
    let broken = Batch::new().put(rows[1].0.clone(), b"x".to_vec()).put(*b"credential/\xff", b"x".to_vec());
    fixture.store.commit(broken).await.unwrap();
    let altered = vault.end_session(&issuers(&issuer), &session(), &root, at(1)).await.unwrap_err();
    assert!(matches!(altered, CredentialError::Vault(VaultError::Altered)));
    assert_eq!(issuer.names().len(), 1);
    let recovered = vault.recover_credentials(&issuers(&issuer), None, 10, &root, at(4_000)).await.unwrap();
    assert_eq!(recovered.unreadable.len(), 2);
    // Accounts of what cannot be read are no orphans: that is an error.
    assert!(vault.orphans(&issuer, &target()).await.is_err());
}

#[tokio::test]
async fn an_account_that_comes_back_with_a_backup_of_the_target_is_told() {
    let fixture = Fixture::new().await;
    let (vault, issuer, root) = (&fixture.vault, MemoryIssuer::new(), by("root"));
    let issued = vault.issue(&issuer, &target(), &session(), HOUR, &root, at(0)).await.unwrap();
    vault.end_credential(&issuer, &issued.credential().id, &root, at(1)).await.unwrap();
    let account = issued.credential().account.clone();
    issuer.plant(account.clone(), "x");
    issuer.plant(AccountName::new("somebody").unwrap(), "x");
    assert_eq!(vault.orphans(&issuer, &target()).await.unwrap(), [account]);
}

/// Looks for what is to be recovered while a credential is being made.
struct Curious {
    inside: MemoryIssuer,
    vault: Vault,
    seen: Mutex<Vec<(usize, usize, usize)>>,
}

#[async_trait]
impl Issuer for Curious {
    async fn apply(&self, order: &Order<'_>) -> Result<(), IssuerError> {
        self.inside.apply(order).await?;
        let found =
            self.vault.recover_credentials(&issuers(&self.inside), None, 10, &by("root"), at(5_000)).await;
        let found = found.unwrap();
        self.seen.lock().unwrap().push((found.seen, found.changed.len(), found.waiting.len()));
        Ok(())
    }

    async fn probe(&self, order: &Order<'_>) -> Finding {
        self.inside.probe(order).await
    }

    async fn let_old_go(&self, order: &Order<'_>) -> Result<(), IssuerError> {
        self.inside.let_old_go(order).await
    }

    async fn remove(&self, account: &AccountName) -> Result<(), IssuerError> {
        self.inside.remove(account).await
    }

    async fn accounts(&self, prefix: &str) -> Result<Vec<AccountName>, IssuerError> {
        self.inside.accounts(prefix).await
    }

    fn settle(&self) -> TimeDelta {
        self.inside.settle()
    }
}

#[tokio::test]
async fn recovery_does_not_take_away_what_is_being_made() {
    let fixture = Fixture::new().await;
    let curious =
        Curious { inside: MemoryIssuer::new(), vault: fixture.vault.clone(), seen: Mutex::default() };
    let issued =
        fixture.vault.issue(&curious, &target(), &session(), HOUR, &by("alice"), at(0)).await.unwrap();
    assert_eq!(*curious.seen.lock().unwrap(), [(1, 0, 0)]);
    issued.inject(|account, secret| assert!(curious.inside.lets_in(account, secret)));
}

#[tokio::test]
async fn what_has_expired_is_taken_away_and_what_has_not_stays() {
    let fixture = Fixture::new().await;
    let (vault, issuer, root) = (&fixture.vault, MemoryIssuer::new(), by("root"));
    let short = vault.issue(&issuer, &target(), &session(), HOUR, &root, at(0)).await.unwrap();
    let other = SessionId::new("s-2").unwrap();
    let long = vault.issue(&issuer, &target(), &other, HOUR * 2, &root, at(0)).await.unwrap();
    let recover =
        async |now| vault.recover_credentials(&issuers(&issuer), None, 10, &root, at(now)).await.unwrap();
    assert!(recover(3_599).await.changed.is_empty());
    issuer.go_wrong([Fault::Hang, Fault::Hang]);
    assert_eq!(recover(3_600).await.waiting.len(), 2, "a target that is down is asked again");
    assert_eq!(issuer.names().len(), 2);
    assert_eq!(recover(3_700).await.changed[0].id, short.credential().id);
    assert_eq!(issuer.names(), [long.credential().account.clone()]);
    let none = vault.end_session(&BTreeMap::new(), &session(), &root, at(3_800)).await.unwrap();
    assert!(none.is_empty());
    let pending = vault.end_session(&BTreeMap::new(), &other, &root, at(3_800)).await.unwrap();
    assert_eq!(pending.len(), 1, "nobody to ask the target");
    assert!(vault.end_session(&issuers(&issuer), &other, &root, at(3_800)).await.unwrap().is_empty());
    assert!(issuer.names().is_empty());
}

/// Lets others go first at each call.
pub(crate) struct Yielding(pub(crate) MemoryStore);

#[async_trait]
impl Store for Yielding {
    async fn read(&self, key: &[u8]) -> Result<Option<Row>, StoreError> {
        tokio::task::yield_now().await;
        self.0.read(key).await
    }

    async fn scan(
        &self,
        p: &[u8],
        after: Option<&[u8]>,
        max: usize,
    ) -> Result<Vec<(Vec<u8>, Row)>, StoreError> {
        self.0.scan(p, after, max).await
    }

    async fn generation(&self) -> Result<u64, StoreError> {
        self.0.generation().await
    }

    async fn commit(&self, batch: Batch) -> Result<u64, StoreError> {
        tokio::task::yield_now().await;
        let done = self.0.commit(batch).await;
        tokio::task::yield_now().await;
        done
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_nothing_behind() {
    let (mut given_up, mut polls_max) = (0, 0);
    while given_up == polls_max {
        let fixture = Fixture::new().await;
        let (issuer, alice) = (MemoryIssuer::new(), by("alice"));
        let store = Yielding(fixture.store.clone());
        let vault = Vault::open(store, fixture.audit.clone()).unseal(&KEY, &alice, at(0)).await.unwrap();
        let (target, session) = (target(), session());
        let mut issue = Box::pin(vault.issue(&issuer, &target, &session, HOUR, &alice, at(0)));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let polled =
            (0..=polls_max).map(|_| issue.as_mut().poll(&mut context)).find(std::task::Poll::is_ready);
        drop(issue);
        polls_max += 1;
        match polled {
            Some(std::task::Poll::Ready(issued)) => {
                let id = issued.unwrap().credential().id.clone();
                assert_eq!(vault.end_credential(&issuer, &id, &alice, at(1)).await.unwrap(), Ended::Gone);
            }
            _ => given_up += 1,
        }
        // In the same process: nobody is said to be working at it any more.
        recovered(&vault, &issuer).await;
        let expired =
            vault.recover_credentials(&issuers(&issuer), None, 10, &alice, at(3_600)).await.unwrap();
        assert!(expired.waiting.is_empty());
        assert!(issuer.names().is_empty(), "given up after {polls_max} polls");
    }
    assert!(given_up >= 8, "{given_up}");
}

#[tokio::test]
async fn two_vaults_on_one_target_know_their_own() {
    let (one, two) = (Fixture::new().await, Fixture::new().await);
    let issuer = MemoryIssuer::new();
    one.vault.issue(&issuer, &target(), &session(), HOUR, &by("a"), at(0)).await.unwrap();
    two.vault.issue(&issuer, &target(), &session(), HOUR, &by("b"), at(0)).await.unwrap();
    let ids = (one.vault.id().await.unwrap(), two.vault.id().await.unwrap());
    if ids.0.as_bytes()[..2] != ids.1.as_bytes()[..2] {
        assert!(one.vault.orphans(&issuer, &target()).await.unwrap().is_empty());
        assert!(two.vault.orphans(&issuer, &target()).await.unwrap().is_empty());
    }
}
