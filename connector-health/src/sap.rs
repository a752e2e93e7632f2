//! SAP. **Built from SAP's documentation, not tried against SAP**: the tests' counterparts are fakes made from the same
//! documents.
//!
//! * [`BusinessUsers`]: business users of S/4HANA Cloud, over the SOAP services `ManageBusinessUserIn` and `QueryBusinessUserIn`
//!   (communication scenarios SAP_COM_0193 and SAP_COM_0093).
//! * [`AbapUsers`]: users of an AS ABAP of one's own, over BAPIs that any [`RfcTransport`] calls; [`SoapRfc`] calls them at
//!   `/sap/bc/soap/rfc`, where that service is switched on.
//!
//! SAP locks an account of an interface after five refused logons. A refused one is therefore not tried again until a probe is good.

use std::fmt;

use zeroize::Zeroizing;

mod abap;
mod business_user;
mod rfc;
mod soap;
mod xml;

pub use abap::{AbapSettings, AbapUsers, ROLES_END};
pub use business_user::{BATCH_MAX, BusinessUserSettings, BusinessUsers};
pub use rfc::{RfcAnswer, RfcCall, RfcRow, RfcTransport, RfcValue, SoapRfc};
#[doc(hidden)]
pub use xml::probe as probe_xml;
pub use xml::{XML_DEPTH_MAX, XML_ELEMENTS_MAX};

/// Who logs in to SAP. The password is never shown, and wiped when dropped.
#[derive(Clone)]
pub struct SapLogon {
    user: String,
    password: Zeroizing<String>,
}

impl SapLogon {
    /// This communication user or system user.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: Zeroizing::new(password.into()) }
    }

    fn basic(&self) -> Zeroizing<String> {
        use base64::Engine as _;
        let pair = Zeroizing::new(format!("{}:{}", self.user, *self.password));
        let encoded = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(pair.as_bytes()));
        Zeroizing::new(format!("Basic {}", *encoded))
    }
}

impl fmt::Debug for SapLogon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SapLogon").field("user", &self.user).finish_non_exhaustive()
    }
}
