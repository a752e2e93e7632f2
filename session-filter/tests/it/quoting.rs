//! Quoting, and the probe that shows whether a target undoes it.

use proptest::prelude::*;
use session_filter::grammar::lex;
use session_filter::quote::{probe_command, probe_expected, quote, quote_into};

#[test]
fn quotes_every_word_alike() {
    for (word, quoted) in
        [("", "''"), ("a", "'a'"), ("a'b", r"'a'\''b'"), ("'", r"''\'''"), ("-c", "'-c'"), ("$x", "'$x'")]
    {
        assert_eq!(quote(word), quoted);
    }
}

#[test]
fn what_other_shells_read_inside_quotes_stays_outside_of_them() {
    for (word, quoted) in
        [(r"a\b", r"'a'\\'b'"), (r"x\", r"'x'\\''"), ("!!", r"''\!''\!''"), (r"\'", r"''\\''\'''")]
    {
        assert_eq!(quote(word), quoted);
    }
}

#[test]
fn the_probe_holds_every_printable_ascii_character_and_reads_back() {
    let expected = probe_expected();
    assert!((b' '..=b'~').all(|byte| expected.contains(&byte)));
    let line = lex(&probe_command()).unwrap();
    let words = &line.commands()[0];
    assert_eq!(words[..2], ["printf", r"%s\n"]);
    let printed: String = words[2..].iter().map(|word| format!("{word}\n")).collect();
    assert_eq!(printed.as_bytes(), expected);
}

proptest! {
    #[test]
    fn both_forms_agree(word in "\\PC*") {
        let mut bytes = Vec::new();
        quote_into(&word, &mut bytes);
        prop_assert_eq!(bytes, quote(&word).into_bytes());
    }
}
