//! What is known at the moment of a decision, and where it comes from.

use std::net::IpAddr;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::gate::SessionRequest;

/// What is known about a session at one moment.
///
/// A fact that is not known is `None`, and a rule that needs it does not hold: what cannot be established does not
/// open a door.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// The moment of the decision.
    pub now: DateTime<Utc>,
    /// Where the client connects from.
    pub source_ip: Option<IpAddr>,
    /// ISO 3166-1 alpha-2 code of the country that the address belongs to, in capitals.
    pub country: Option<String>,
    /// Standing of the address from 0 (known bad) to 100 (known good).
    pub reputation: Option<u8>,
    /// Standing of the device, in the words of whoever judges it: `enrolled`, `unknown`, `revoked`.
    pub device: Option<String>,
    /// When the person last passed a second factor.
    pub mfa_at: Option<DateTime<Utc>>,
    /// Risk of the session from 0 (none) to 100.
    pub risk: Option<u8>,
}

impl Facts {
    /// Nothing known but the time.
    pub fn at(now: DateTime<Utc>) -> Self {
        Self { now, source_ip: None, country: None, reputation: None, device: None, mfa_at: None, risk: None }
    }

    /// The client connects from `address`.
    #[must_use]
    pub fn source_ip(mut self, address: IpAddr) -> Self {
        self.source_ip = Some(address);
        self
    }

    /// The address belongs to this country (ISO 3166-1 alpha-2).
    #[must_use]
    pub fn country(mut self, code: impl Into<String>) -> Self {
        self.country = Some(code.into());
        self
    }

    /// The address has this standing, 0 to 100.
    #[must_use]
    pub fn reputation(mut self, standing: u8) -> Self {
        self.reputation = Some(standing);
        self
    }

    /// The device has this standing.
    #[must_use]
    pub fn device(mut self, standing: impl Into<String>) -> Self {
        self.device = Some(standing.into());
        self
    }

    /// The person last passed a second factor at this moment.
    #[must_use]
    pub fn mfa_at(mut self, moment: DateTime<Utc>) -> Self {
        self.mfa_at = Some(moment);
        self
    }

    /// The session carries this risk, 0 to 100.
    #[must_use]
    pub fn risk(mut self, risk: u8) -> Self {
        self.risk = Some(risk);
        self
    }
}

/// Where facts come from. Fill in what there is; what is left out stays unknown, and rules that need it do not hold.
///
/// Implementors promise: an answer within the time a person waits for a command (a slow source delays every
/// command whose policy needs it); `None` rather than a guess when the source cannot be reached; no side effects,
/// since the future may be dropped at any moment. A wrong answer opens a session that policy meant to keep shut.
///
/// Only what some rule of the policy in force needs is asked for.
#[async_trait]
pub trait FactSource: Send + Sync {
    /// ISO 3166-1 alpha-2 code of the country that `address` belongs to.
    async fn country(&self, address: IpAddr) -> Option<String> {
        let _ = address;
        None
    }

    /// Standing of `address` from 0 (known bad) to 100 (known good).
    async fn reputation(&self, address: IpAddr) -> Option<u8> {
        let _ = address;
        None
    }

    /// Standing of the device that the session comes from.
    async fn device(&self, request: &SessionRequest) -> Option<String> {
        let _ = request;
        None
    }

    /// When the person last passed a second factor.
    async fn mfa_at(&self, request: &SessionRequest) -> Option<DateTime<Utc>> {
        let _ = request;
        None
    }

    /// Risk of the session from 0 (none) to 100.
    async fn risk(&self, request: &SessionRequest) -> Option<u8> {
        let _ = request;
        None
    }
}

/// Knows nothing: every rule that needs more than the time and the source address does not hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFacts;

#[async_trait]
impl FactSource for NoFacts {}
