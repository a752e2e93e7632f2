//! What comes back.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::error::{Error, ErrorKind};
use crate::resource::{Meta, Resource};
use crate::trace::Exchange;

/// What a server answered, and how it came by.
///
/// Stands for the resource itself wherever that is wanted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answer<T> {
    /// What was read: a resource, `Option` of one where a server may leave it out, or nothing.
    pub resource: T,
    /// The status.
    pub status: u16,
    /// The version of the resource: the `ETag` header, else `meta.version` where that is an entity tag.
    pub version: Option<EntityTag>,
    /// The requests behind it.
    pub exchange: Exchange,
}

impl<T> Answer<T> {
    /// The resource alone.
    pub fn into_inner(self) -> T {
        self.resource
    }
}

impl<T> Deref for Answer<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.resource
    }
}

impl<T> DerefMut for Answer<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.resource
    }
}

/// A version of a resource, as HTTP writes it: `W/"a330bc54f0671c9"` (RFC 9110 §8.8.3).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct EntityTag(String);

impl EntityTag {
    /// Most bytes of one.
    pub const BYTES_MAX: usize = 1024;

    /// Reads one.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where it is none; `meta.version` of some servers is a time, which no `If-Match` can hold.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let opaque = text
            .strip_prefix("W/")
            .unwrap_or(text)
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .filter(|opaque| opaque.bytes().all(|byte| byte > 0x20 && byte < 0x7f && byte != b'"'));
        match opaque {
            Some(_) if text.len() <= Self::BYTES_MAX => Ok(Self(text.to_owned())),
            _ => Err(Error::new(ErrorKind::Invalid).detail("this is no entity tag")),
        }
    }

    /// As HTTP writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The version of a resource that was read, where it is an entity tag.
    pub fn of(resource: &impl Resource) -> Option<Self> {
        Self::of_meta(resource.meta()?)
    }

    fn of_meta(meta: &Meta) -> Option<Self> {
        Self::parse(meta.version.as_deref()?).ok()
    }
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
