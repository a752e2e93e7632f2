//! The enterprise extension of `User` (RFC 7643 §4.3).

use crate::asserted::Asserted;
use crate::attributes;
use crate::resource::Extension;
use crate::urn;

attributes! {
    /// What an organisation knows of its people.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct EnterpriseUser {
        /// The person's number.
        "employeeNumber" => employee_number: Asserted<String>,
        /// Cost centre.
        "costCenter" => cost_center: Asserted<String>,
        /// Organisation.
        "organization" => organization: Asserted<String>,
        /// Division.
        "division" => division: Asserted<String>,
        /// Department.
        "department" => department: Asserted<String>,
        /// Whom the person reports to.
        "manager" => manager: Asserted<Manager>,
    }
}

attributes! {
    /// Whom a person reports to. Some servers send only the identifier.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct Manager, bare as value {
        /// The manager's identifier with the same server.
        "value" => value: Asserted<String>,
        /// Where the manager is.
        "$ref" => reference: Asserted<String>,
        /// The manager's name to show, which only the server writes.
        "displayName" => display_name: Asserted<String>,
    }
}

impl Extension for EnterpriseUser {
    const SCHEMA: &'static str = urn::ENTERPRISE_USER;
}
