//! Text that nobody sees.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Text that nobody sees: no `Display`, no `Serialize`, nothing of it in `Debug`, not even its length. Compared in constant time where
/// lengths are equal, overwritten when dropped.
///
/// It is wiped, but not locked in memory: it may reach swap space. [`memory`](crate::memory) says what is done about core dumps.
///
/// ```compile_fail
/// println!("{}", vault_core::SecretString::from("hunter2"));       // no `Display`
/// ```
/// ```compile_fail
/// serde_json::to_string(&vault_core::SecretString::from("hunter2")); // no `Serialize`
/// ```
#[derive(Clone)]
pub struct SecretString(Zeroizing<String>);

impl SecretString {
    /// From text, which is taken over, not copied.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text. Whoever copies it answers for the copy.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretString {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for SecretString {
    fn from(text: &str) -> Self {
        Self::new(text.to_owned())
    }
}

impl PartialEq for SecretString {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for SecretString {}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretString(…)")
    }
}
