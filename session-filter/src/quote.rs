//! Writing words so that a POSIX shell reads exactly those words back, and the probe that shows it does.
//!
//! Inside single quotes a POSIX shell gives no character a meaning except the closing quote, so one form serves
//! for every word: `'…'`, with `'\''` for a quote. The grammar refuses control characters before anything is
//! quoted; they never reach this module.
//!
//! What is sent always begins with `'`. That matters beyond the words themselves: `sshd` runs `$SHELL -c TEXT`,
//! and a shell reads a `TEXT` that begins with `-` as more options.

/// Appends `word`, quoted, to `out`.
pub fn quote_into(word: &str, out: &mut Vec<u8>) {
    out.reserve(word.len().saturating_add(2));
    out.push(b'\'');
    let mut pieces = word.split('\'');
    if let Some(first) = pieces.next() {
        out.extend_from_slice(first.as_bytes());
    }
    for piece in pieces {
        out.extend_from_slice(br"'\''");
        out.extend_from_slice(piece.as_bytes());
    }
    out.push(b'\'');
}

/// One word, quoted.
pub fn quote(word: &str) -> String {
    let mut out = String::with_capacity(word.len().saturating_add(2));
    out.push('\'');
    out.push_str(&word.replace('\'', r"'\''"));
    out.push('\'');
    out
}

/// The bytes that a target must print in answer to [`probe_command`]: every printable ASCII character, then
/// letters of two, three and four UTF-8 bytes. No newline follows.
pub fn probe_expected() -> Vec<u8> {
    let mut text: String = (' '..='~').collect();
    text.push_str("é漢𝄞");
    text.into_bytes()
}

/// A command that prints [`probe_expected`] when the target's login shell reads quoted words as POSIX says.
///
/// Run it once per target before anything else. A target that answers anything else (csh, PowerShell, a network
/// device) does not read what was checked, and must be refused.
pub fn probe_command() -> Vec<u8> {
    let mut out = Vec::new();
    quote_into("printf", &mut out);
    out.push(b' ');
    quote_into("%s", &mut out);
    out.push(b' ');
    quote_into(&String::from_utf8_lossy(&probe_expected()), &mut out);
    out
}
