//! Filters, pages and order.

use super::*;

pub(super) async fn all(_subject: &Subject) {}
