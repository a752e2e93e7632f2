//! Attributes of the enterprise extension of `User` (RFC 7643 §4.3).

use super::attribute::{Attribute, Text};
use super::parts::Manager;
use crate::path::AttributePath;

super::resource::attributes! {
    Some(crate::urn::ENTERPRISE_USER);
    /// The number of the employee.
    employee_number "employeeNumber": Attribute<Text>;
    /// The cost centre.
    cost_center "costCenter": Attribute<Text>;
    /// The organisation.
    organization "organization": Attribute<Text>;
    /// The division.
    division "division": Attribute<Text>;
    /// The department.
    department "department": Attribute<Text>;
    /// The manager.
    manager "manager": Manager;
}
