//! The lexer on its own: properties that hold for any bytes.

use proptest::prelude::*;
use session_filter::grammar::{FaultReason, Operator, lex};
use session_filter::limits::{ARGV_WORDS_MAX, LINE_BYTES_MAX, LINE_COMMANDS_MAX};
use session_filter::quote::quote;

#[test]
fn reads_words_as_a_shell_does() {
    let line = lex(br#"a 'b c' "d e" f\ g h'i'"j"\k ''"#).unwrap();
    assert_eq!(line.commands(), [["a", "b c", "d e", "f g", "hijk", ""]]);
    assert!(line.operators().is_empty());
}

#[test]
fn reads_operators_between_commands() {
    let line = lex(b"a|b||c&&d;e").unwrap();
    assert_eq!(line.commands().len(), 5);
    assert_eq!(line.operators(), [Operator::Pipe, Operator::Or, Operator::And, Operator::Then]);
    assert_eq!(line.quoted(), b"'a' | 'b' || 'c' && 'd' ; 'e'");
}

#[test]
fn limits_are_exact() {
    let fault = |line: &str| lex(line.as_bytes()).map(drop).map_err(|fault| fault.reason());
    assert_eq!(fault(&"x".repeat(LINE_BYTES_MAX)), Ok(()));
    assert_eq!(fault(&"x".repeat(LINE_BYTES_MAX + 1)), Err(FaultReason::LineTooLong));
    assert_eq!(fault(&"x ".repeat(ARGV_WORDS_MAX)), Ok(()));
    assert_eq!(fault(&"x ".repeat(ARGV_WORDS_MAX + 1)), Err(FaultReason::TooManyWords));
    assert_eq!(fault(&vec!["x"; LINE_COMMANDS_MAX].join(";")), Ok(()));
    assert_eq!(fault(&vec!["x"; LINE_COMMANDS_MAX + 1].join(";")), Err(FaultReason::TooManyCommands));
}

#[test]
fn quoting_a_reserved_word_makes_it_a_program() {
    assert_eq!(lex(b"if").map_err(|fault| fault.reason()), Err(FaultReason::ReservedWord));
    assert_eq!(lex(b"'if'").unwrap().quoted(), b"'if'");
    assert_eq!(lex(b"echo if").unwrap().quoted(), b"'echo' 'if'");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn never_panics_and_places_faults_inside_the_line(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(fault) = lex(&bytes) {
            prop_assert!(fault.position() <= bytes.len());
        }
    }

    #[test]
    fn reads_back_what_it_would_send(line in r#"[ -~é漢]{0,60}"#) {
        if let Ok(read) = lex(line.as_bytes()) {
            let again = lex(&read.quoted()).unwrap();
            prop_assert_eq!(read.commands(), again.commands());
            prop_assert_eq!(read.operators(), again.operators());
        }
    }

    #[test]
    fn quoted_words_read_back(words in prop::collection::vec("[ -~é漢字]{0,12}", 1..8)) {
        prop_assume!(!words[0].is_empty());
        let line: Vec<String> = words.iter().map(|word| quote(word)).collect();
        let read = lex(line.join(" ").as_bytes()).unwrap();
        prop_assert_eq!(read.commands(), [words]);
    }

    #[test]
    fn what_is_sent_holds_no_control_characters(line in r#"[\x00-\x7f]{0,60}"#) {
        if let Ok(read) = lex(line.as_bytes()) {
            prop_assert!(read.quoted().iter().all(|byte| (b' '..=b'~').contains(byte)));
        }
    }
}
