//! Writing words so that a POSIX shell reads exactly those words back, and the probe that shows it does.
//!
//! Inside single quotes a POSIX shell gives no character a meaning except the closing quote. Three characters are written
//! outside the quotes all the same, behind a backslash: the quote itself, and `\` and `!`, to which fish and the C shells
//! give a meaning even inside. All of these shells, and the POSIX ones, read `'a'\\'b'` as `a\b`. The grammar refuses control
//! characters before anything is quoted; they never reach this module.
//!
//! That form is a second line of defence. The first is the probe, which shells other than POSIX ones do not pass: what is
//! sent was tested against `dash` and `bash`, and no further.
//!
//! What is sent always begins with `'`. That matters beyond the words themselves: `sshd` runs `$SHELL -c TEXT`,
//! and a shell reads a `TEXT` that begins with `-` as more options.

/// Appends `word`, quoted, to `out`.
pub fn quote_into(word: &str, out: &mut Vec<u8>) {
    out.reserve(word.len().saturating_add(2));
    out.push(b'\'');
    let mut rest = word.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\'' | b'\\' | b'!')) {
        let (plain, special) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        let (special, after) = special.split_at_checked(1).unwrap_or((special, &[]));
        out.extend_from_slice(plain);
        out.extend_from_slice(b"'\\");
        out.extend_from_slice(special);
        out.push(b'\'');
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'\'');
}

/// One word, quoted.
pub fn quote(word: &str) -> String {
    let mut out = String::with_capacity(word.len().saturating_add(2));
    out.push('\'');
    for c in word.chars() {
        if matches!(c, '\'' | '\\' | '!') {
            out.push_str("'\\");
            out.push(c);
            out.push('\'');
        } else {
            out.push(c);
        }
    }
    out.push('\'');
    out
}

/// Words that tell shells apart: each has a meaning, inside single quotes or at their edge, to some shell that is not POSIX.
const PROBE_WORDS: &[&str] = &[
    r"\",
    r"a\b",
    r"a\\b",
    r"x\",
    "; echo y #",
    r"\n",
    r"\t",
    "!!",
    "!#",
    "!#:0",
    "!-1",
    "!a",
    "!",
    "^a^b",
    "",
    "-n",
    "--",
    "~",
    "*",
    "$HOME",
    "`:`",
    "$(:)",
    "%PATH%",
    "{a,b}",
    "(:)",
    "[a]",
    "a b",
    "  ",
    "#",
    "@",
    "é漢𝄞",
];

fn probe_words() -> impl Iterator<Item = String> {
    let printable: String = (' '..='~').collect();
    std::iter::once(printable).chain(PROBE_WORDS.iter().map(|word| (*word).to_owned()))
}

/// The bytes that a target must print in answer to [`probe_command`]: every probe word twice, each followed by a newline.
pub fn probe_expected() -> Vec<u8> {
    let mut out = Vec::new();
    for word in probe_words().chain(probe_words()) {
        out.extend_from_slice(word.as_bytes());
        out.push(b'\n');
    }
    out
}

/// A command that prints [`probe_expected`] when the target's login shell reads quoted words as POSIX says.
///
/// Run it once per target before anything else. A target that answers anything else (fish, csh, PowerShell, a network
/// device) does not read what was checked, and must be refused. The words come once as [`quote`] writes them and once in bare
/// single quotes, which only a POSIX shell takes literally.
pub fn probe_command() -> Vec<u8> {
    let mut out = Vec::new();
    quote_into("printf", &mut out);
    out.push(b' ');
    quote_into(r"%s\n", &mut out);
    for word in probe_words() {
        out.push(b' ');
        quote_into(&word, &mut out);
    }
    for word in probe_words() {
        out.extend_from_slice(b" '");
        out.extend_from_slice(word.replace('\'', r"'\''").as_bytes());
        out.push(b'\'');
    }
    out
}
