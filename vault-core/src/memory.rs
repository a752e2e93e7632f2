//! What is done so that keys stay in memory and nowhere else.
//!
//! Keys of an unsealed vault lie in pages of their own that the system is asked not to write to swap space; a system may refuse
//! ([`Vault::keys_are_locked`](crate::Vault::keys_are_locked) says so). They are overwritten when the vault is sealed or dropped. Secrets
//! that were read, and what the ciphers keep while they work, are overwritten, too, but lie in ordinary memory.
//!
//! A page cannot be kept out of core dumps without unsafe code. [`forbid_dumps`] does it for the process as a whole.

use std::fmt;
use std::io;

use zeroize::Zeroize as _;

/// Asks the system not to write this process's memory to a file when it crashes, and on Linux not to let other processes of the same
/// account look into it. For the whole process and for good, so it is the program's to call, early, and not this crate's.
///
/// # Errors
/// Where the system refuses.
pub fn forbid_dumps() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

pub(crate) const KEY_BYTES: usize = 32;

// Whole pages, because locks of pages do not add up: unlocking one key would unlock its neighbour.
#[cfg(target_arch = "x86_64")]
const PAGE_BYTES: usize = 4096;
#[cfg(not(target_arch = "x86_64"))]
const PAGE_BYTES: usize = 16384;

#[cfg_attr(target_arch = "x86_64", repr(align(4096)))]
#[cfg_attr(not(target_arch = "x86_64"), repr(align(16384)))]
struct Page {
    key: [u8; KEY_BYTES],
    _rest: [u8; PAGE_BYTES - KEY_BYTES],
}

/// A key in a page of its own.
pub(crate) struct KeyPage {
    /// Before the page, so that it is unlocked before it is freed.
    lock: Option<region::LockGuard>,
    page: Box<Page>,
}

impl KeyPage {
    fn zeroed() -> Self {
        let page = Box::new(Page { key: [0; KEY_BYTES], _rest: [0; PAGE_BYTES - KEY_BYTES] });
        let lock = region::lock(std::ptr::from_ref::<Page>(&page), PAGE_BYTES).ok();
        Self { lock, page }
    }

    /// A copy of these bytes.
    pub(crate) fn from_bytes(key: &[u8; KEY_BYTES]) -> Self {
        let mut made = Self::zeroed();
        made.page.key.copy_from_slice(key);
        made
    }

    /// Random, made in its place.
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut made = Self::zeroed();
        getrandom::fill(&mut made.page.key)?;
        Ok(made)
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.page.key
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8; KEY_BYTES] {
        &mut self.page.key
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.lock.is_some()
    }
}

impl Drop for KeyPage {
    fn drop(&mut self) {
        self.page.key.zeroize();
    }
}

impl fmt::Debug for KeyPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPage(…)")
    }
}
