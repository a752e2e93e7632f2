//! `ListResponse` (RFC 7644 §3.4.2, RFC 9865).

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::attributes;
use crate::resource::{DUPLICATE, read_entries, write_entries};
use crate::urn;

attributes! {
    /// What a list says of itself.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct Page {
        /// [`urn::LIST_RESPONSE`].
        "schemas" => schemas: Vec<String>,
        /// How many resources there are on all pages.
        "totalResults" => total_results: Option<u64>,
        /// Which of all resources is the first one here, from 1.
        "startIndex" => start_index: Option<u64>,
        /// How many are here.
        "itemsPerPage" => items_per_page: Option<u64>,
        /// The cursor of the page before (RFC 9865).
        "previousCursor" => previous_cursor: Option<String>,
        /// The cursor of the next page, where there is one (RFC 9865).
        "nextCursor" => next_cursor: Option<String>,
    }
}

/// Some resources of one kind, or of several.
///
/// Reads also a bare array, `"Resources": null` and a single resource without an array.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ListResponse<R> {
    /// What the list says of itself.
    pub page: Page,
    /// The resources.
    pub resources: Vec<R>,
}

impl<R> ListResponse<R> {
    /// All there are.
    pub fn of(resources: Vec<R>) -> Self {
        let here = u64::try_from(resources.len()).ok();
        let page = Page {
            schemas: vec![urn::LIST_RESPONSE.to_owned()],
            total_results: here,
            items_per_page: here,
            start_index: Some(1),
            ..Page::default()
        };
        Self { page, resources }
    }
}

const RESOURCES: &str = "Resources";

impl<R: Serialize> Serialize for ListResponse<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        write_entries(&self.page, &mut map)?;
        map.serialize_entry(RESOURCES, &self.resources)?;
        map.end()
    }
}

impl<'de, R: Deserialize<'de>> Deserialize<'de> for ListResponse<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

struct ListVisitor<R>(PhantomData<R>);

impl<'de, R: Deserialize<'de>> Visitor<'de> for ListVisitor<R> {
    type Value = ListResponse<R>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let mut resources = None;
        let page = read_entries(map, |name, map| {
            if !name.eq_ignore_ascii_case(RESOURCES) {
                return Ok(false);
            }
            if resources.is_some() {
                return Err(A::Error::custom(DUPLICATE));
            }
            let Resources(found) = map.next_value()?;
            resources = Some(found);
            Ok(true)
        })?;
        Ok(ListResponse { page, resources: resources.unwrap_or_default() })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        let Resources(resources) = ResourcesVisitor(PhantomData).visit_seq(seq)?;
        Ok(ListResponse { page: Page::default(), resources })
    }
}

/// The resources, in an array or not.
struct Resources<R>(Vec<R>);

impl<'de, R: Deserialize<'de>> Deserialize<'de> for Resources<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ResourcesVisitor(PhantomData))
    }
}

struct ResourcesVisitor<R>(PhantomData<R>);

impl<'de, R: Deserialize<'de>> Visitor<'de> for ResourcesVisitor<R> {
    type Value = Resources<R>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of resources")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut resources = Vec::new();
        while let Some(resource) = seq.next_element()? {
            resources.push(resource);
        }
        Ok(Resources(resources))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Ok(Resources(vec![R::deserialize(MapAccessDeserializer::new(map))?]))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Resources(Vec::new()))
    }
}
