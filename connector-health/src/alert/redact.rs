//! What an error said, without what it should not have said.

/// Most bytes of a sample.
pub const SAMPLE_BYTES_MAX: usize = 240;

/// Longest word without a space that is kept, where it looks like a secret.
const PLAIN_CHARS_MAX: usize = 19;

/// `text` with addresses of people, credentials, queries of URLs and whatever looks like a token replaced by `…`, control characters
/// by spaces, and cut to [`SAMPLE_BYTES_MAX`].
///
/// A second line of defence: errors should hold nothing of this in the first place, and a name without a mark is not found.
pub fn redact(text: &str) -> String {
    let mut redacted = String::new();
    let mut hide_next = false;
    let words = text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty());
    for word in words.take(SAMPLE_BYTES_MAX) {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric()).to_ascii_lowercase();
        let shown = match std::mem::take(&mut hide_next) {
            true => "…".to_owned(),
            false => hide(word),
        };
        // `Authorization: Bearer …`, `password: …`
        hide_next = matches!(bare.as_str(), "bearer" | "basic" | "negotiate")
            || (word.ends_with([':', '=']) && names_secret(&bare));
        if shown == "…" && redacted.ends_with('…') {
            continue;
        }
        let space = usize::from(!redacted.is_empty());
        if redacted.len().saturating_add(shown.len()).saturating_add(space)
            > SAMPLE_BYTES_MAX.saturating_sub('…'.len_utf8())
        {
            redacted.push('…');
            break;
        }
        if space > 0 {
            redacted.push(' ');
        }
        redacted.push_str(&shown);
    }
    redacted
}

fn hide(word: &str) -> String {
    if word.contains('@') {
        return "…".to_owned();
    }
    // Of a URL, where it leads and no more: a path names people, a query carries tokens.
    if let Some((scheme, rest)) = word.split_once("://") {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let more = if host.len() < rest.len() { "/…" } else { "" };
        return format!("{scheme}://{host}{more}");
    }
    // What follows a name of a secret is hidden to the end, whatever stood before it: `{"user":"ann","password":"x"}`.
    for (at, _) in word.match_indices(['=', ':']) {
        if let Some((name, value)) = word.split_at_checked(at)
            && names_secret(name.rsplit(['=', ':', ',', '&', ';']).next().unwrap_or(name))
            && value.len() > 1
        {
            return format!("{}=…", plain(name));
        }
    }
    plain(word)
}

/// Without what looks like a token.
fn plain(word: &str) -> String {
    let mut shown = String::new();
    let mut run = String::new();
    for c in word.chars().chain(['\0']) {
        if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | '/' | '~' | '=') {
            run.push(c);
            continue;
        }
        let digits = run.chars().any(|c| c.is_ascii_digit());
        let token = run.chars().count() > PLAIN_CHARS_MAX && (digits || !run.contains(['_', '-', '.', '/']));
        shown.push_str(if token { "…" } else { &run });
        run.clear();
        if c != '\0' {
            shown.push(c);
        }
    }
    shown
}

fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["authorization", "cookie", "key", "passwd", "password", "pwd", "secret", "signature", "token"]
        .iter()
        .any(|secret| name.contains(secret))
}
