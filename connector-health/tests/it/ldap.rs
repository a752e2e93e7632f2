mod directory;
mod hostile;
mod names;

#[cfg(feature = "conformance")]
pub(crate) use directory::{connect, settings};

/// The tag of the operation in the request that these bytes begin with.
pub(crate) fn operation(request: &[u8]) -> Option<u8> {
    let head = if *request.get(1)? < 0x80 { 2 } else { 2 + usize::from(request[1] & 0x7f) };
    let id_bytes = usize::from(*request.get(head + 1)?);
    request.get(head + 2 + id_bytes).copied()
}
