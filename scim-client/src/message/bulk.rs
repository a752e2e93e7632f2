//! `BulkRequest` and `BulkResponse` (RFC 7644 §3.7).

use std::fmt;

use serde::{Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::attributes;
use crate::message::{PatchOp, without_password};
use crate::resource::AttributeValue;
use crate::resource::keyword::keywords;
use crate::urn;

attributes! {
    /// Several requests in one.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct BulkRequest {
        /// [`urn::BULK_REQUEST`].
        "schemas" => schemas: Vec<String>,
        /// After so many errors the server stops; without it, it goes on to the end.
        "failOnErrors" => fail_on_errors: Option<u64>,
        /// In this order, unless references between them ask for another.
        "Operations" => operations: Vec<BulkOperation>,
    }
}

attributes! {
    /// One request of several.
    /// `Debug` shows no password.
    #[derive(Clone, Default, PartialEq)]
    #[non_exhaustive]
    pub struct BulkOperation {
        /// What to do.
        "method" => method: Option<BulkMethod>,
        /// The client's name for it; others refer to what it makes by `bulkId:` and this. Needed for POST.
        "bulkId" => bulk_id: Option<String>,
        /// The entity tag that the resource must have.
        "version" => version: Option<String>,
        /// Where, below the base: `/Users`, `/Users/2819c223`.
        "path" => path: Option<String>,
        /// The resource or the [`PatchOp`]; none for DELETE.
        "data" => data: Option<Value>,
    }
}

impl fmt::Debug for BulkOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkOperation")
            .field("method", &self.method)
            .field("bulk_id", &self.bulk_id)
            .field("version", &self.version)
            .field("path", &self.path)
            .field("data", &self.data.clone().map(without_password))
            .finish_non_exhaustive()
    }
}

keywords! {
    /// What to do.
    pub enum BulkMethod {
        /// Create.
        Post = "POST",
        /// Replace.
        Put = "PUT",
        /// Change.
        Patch = "PATCH",
        /// Delete.
        Delete = "DELETE",
    }
}

attributes! {
    /// What became of several requests.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct BulkResponse {
        /// [`urn::BULK_RESPONSE`].
        "schemas" => schemas: Vec<String>,
        /// One for each operation that the server came to, in any order.
        "Operations" => operations: Vec<BulkResult>,
    }
}

attributes! {
    /// What became of one request of several.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct BulkResult {
        /// What was to be done.
        "method" => method: Option<BulkMethod>,
        /// The client's name for it.
        "bulkId" => bulk_id: Option<String>,
        /// The entity tag that the resource has now.
        "version" => version: Option<String>,
        /// Where the resource is; missing where it was not made.
        "location" => location: Option<String>,
        /// As alone it would be answered.
        "status" => status: Option<BulkStatus>,
        /// The body of the answer: an error always has one.
        "response" => response: Option<Value>,
    }
}

/// The status of one request of several: `"201"`. Reads also a number, and an object with `code`. What else stands there
/// is read as none: one status that nobody understands must not take those of the other requests away.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BulkStatus(pub u16);

impl BulkStatus {
    /// Whether it is one of 200 to 299.
    pub fn is_success(self) -> bool {
        (200..300).contains(&self.0)
    }
}

impl Serialize for BulkStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

attributes! {
    #[derive(Default)]
    struct CodedStatus, bare as code {
        "code" => code: Option<String>,
    }
}

impl AttributeValue for BulkStatus {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        let code = CodedStatus::read(deserializer)?.and_then(|status| status.code);
        // Some write the reason after the number: `201 Created`.
        Ok(code.and_then(|code| code.split_ascii_whitespace().next()?.parse().ok()).map(Self))
    }
}

impl BulkRequest {
    /// Of these operations.
    pub fn of(operations: Vec<BulkOperation>) -> Self {
        Self { schemas: vec![urn::BULK_REQUEST.to_owned()], operations, ..Self::default() }
    }
}

impl BulkOperation {
    /// Creates a resource below `path` (`/Users`), which others call `bulkId:` and `bulk_id`.
    ///
    /// # Errors
    /// Where the resource cannot be written as JSON.
    pub fn create(
        path: impl Into<String>,
        bulk_id: impl Into<String>,
        resource: &impl Serialize,
    ) -> Result<Self, serde_json::Error> {
        let data = Some(serde_json::to_value(resource)?);
        Ok(Self { bulk_id: Some(bulk_id.into()), data, ..Self::of(BulkMethod::Post, path) })
    }

    /// Replaces the resource at `path` (`/Users/2819c223`).
    ///
    /// # Errors
    /// Where the resource cannot be written as JSON.
    pub fn replace(path: impl Into<String>, resource: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self { data: Some(serde_json::to_value(resource)?), ..Self::of(BulkMethod::Put, path) })
    }

    /// Changes the resource at `path`.
    ///
    /// # Errors
    /// Where the changes cannot be written as JSON.
    pub fn patch(path: impl Into<String>, changes: &PatchOp) -> Result<Self, serde_json::Error> {
        Ok(Self { data: Some(serde_json::to_value(changes)?), ..Self::of(BulkMethod::Patch, path) })
    }

    /// Deletes the resource at `path`.
    pub fn delete(path: impl Into<String>) -> Self {
        Self::of(BulkMethod::Delete, path)
    }

    fn of(method: BulkMethod, path: impl Into<String>) -> Self {
        Self { method: Some(method), path: Some(path.into()), ..Self::default() }
    }
}
