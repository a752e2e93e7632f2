//! `SearchRequest` (RFC 7644 §3.4.3).

use crate::attributes;
use crate::filter::Filter;
use crate::path::AttributePath;
use crate::resource::keyword::keywords;
use crate::urn;

attributes! {
    /// What to list; sent to `/.search` as a body, and by GET as a query.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct SearchRequest {
        /// [`urn::SEARCH_REQUEST`].
        "schemas" => schemas: Vec<String>,
        /// Only these attributes.
        "attributes" => attributes: Vec<AttributePath>,
        /// All but these attributes.
        "excludedAttributes" => excluded_attributes: Vec<AttributePath>,
        /// Only resources that are like this.
        "filter" => filter: Option<Filter>,
        /// In the order of this attribute.
        "sortBy" => sort_by: Option<AttributePath>,
        /// In which direction.
        "sortOrder" => sort_order: Option<SortOrder>,
        /// From this resource on, the first being 1.
        "startIndex" => start_index: Option<u64>,
        /// At most so many.
        "count" => count: Option<u64>,
        /// From this place on; empty for the first page (RFC 9865).
        "cursor" => cursor: Option<String>,
    }
}

keywords! {
    /// The direction of an order.
    pub enum SortOrder {
        /// The smallest first.
        Ascending = "ascending",
        /// The largest first.
        Descending = "descending",
    }
}

impl SearchRequest {
    /// For everything.
    pub fn new() -> Self {
        Self { schemas: vec![urn::SEARCH_REQUEST.to_owned()], ..Self::default() }
    }
}
