//! Filters for servers that cannot read all of them.

use super::print::{Grouping, Written};
use super::{CompareOp, Filter, Literal};
use crate::dialect::FilterForm;

impl Filter {
    /// A filter of that form that holds wherever this one does; `None` where only asking for everything would do.
    ///
    /// Where the answer is not equal to this filter, a server that is asked with it gives more than was wanted, and this
    /// filter has to be evaluated on what comes back.
    pub fn in_form(&self, form: FilterForm) -> Option<Self> {
        match form {
            FilterForm::Full | FilterForm::Grouped => Some(self.clone()),
            FilterForm::EqualAnd => self.equalities(),
            FilterForm::Equal => match self.equalities()? {
                Self::And(parts) => parts.into_iter().next(),
                single => Some(single),
            },
        }
    }

    /// The filter [in that form](Self::in_form), as it is written there.
    pub fn written(&self, form: FilterForm) -> Option<String> {
        let grouping = if form == FilterForm::Grouped { Grouping::Always } else { Grouping::ByPrecedence };
        self.in_form(form).map(|filter| Written(&filter, grouping).to_string())
    }

    fn equalities(&self) -> Option<Self> {
        match self {
            Self::Compare(_, CompareOp::Equal, literal) if *literal != Literal::Null => Some(self.clone()),
            Self::And(parts) => parts.iter().filter_map(Self::equalities).reduce(Self::and),
            _ => None,
        }
    }
}
