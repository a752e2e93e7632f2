//! What a person sees, kept in files. `BLESS=1` writes them anew.

use std::path::PathBuf;

/// Compares with the file, what differs from run to run being masked: ports, identifiers, times and versions.
pub fn check(name: &str, text: &str) {
    let text = masked(text);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, kept, "{} differs; BLESS=1 renews it", path.display());
}

fn masked(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        out.push_str(mask_words(line).trim_end());
        out.push('\n');
    }
    out
}

/// Words that look like something that is new each time become a name of the same kind.
fn mask_words(line: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    let end = |word: &mut String, out: &mut String| {
        out.push_str(&mask(word));
        word.clear();
    };
    for c in line.chars() {
        if c.is_ascii_alphanumeric() || "-_.:".contains(c) {
            word.push(c);
        } else {
            end(&mut word, &mut out);
            out.push(c);
        }
    }
    end(&mut word, &mut out);
    out
}

fn mask(word: &str) -> String {
    let hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit());
    if let Some(port) = word.strip_prefix("127.0.0.1:") {
        let rest = port.trim_start_matches(|c: char| c.is_ascii_digit());
        return format!("127.0.0.1:PORT{rest}");
    }
    let plain: String = word.chars().filter(|c| *c != '-').collect();
    if plain.len() == 32 && hex(&plain) {
        return "ID".to_owned();
    }
    if word.len() >= 19 && word.starts_with("20") && word.contains('T') && word.matches(':').count() == 2 {
        return "TIME".to_owned();
    }
    match word.strip_prefix("provisioner-probe-") {
        Some(run) if run.len() >= 8 => {
            "provisioner-probe-RUN".to_owned() + run.trim_start_matches(|c: char| c.is_ascii_hexdigit())
        }
        _ => word.to_owned(),
    }
}
