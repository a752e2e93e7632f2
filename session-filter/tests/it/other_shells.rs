//! Login shells that are not POSIX: refused by the probe, and held off by the form of quoting even if they were not.

use std::process::Command;

use session_filter::quote::{probe_command, probe_expected, quote};

fn output(shell: &str, line: &[u8]) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt as _;
    Command::new(shell).arg("-c").arg(std::ffi::OsStr::from_bytes(line)).output().unwrap().stdout
}

#[test]
#[ignore = "needs dash, bash, zsh, fish and tcsh: cargo xtask test"]
fn posix_shells_pass_the_probe_and_others_do_not() {
    for shell in ["dash", "bash", "zsh"] {
        assert_eq!(output(shell, &probe_command()), probe_expected(), "{shell}");
    }
    for shell in ["fish", "tcsh"] {
        assert_ne!(output(shell, &probe_command()), probe_expected(), "{shell}");
    }
}

/// Words that broke out of single quotes in fish (a backslash at the end of a word) and in tcsh (history in quotes).
#[test]
#[ignore = "needs dash, bash, zsh, fish and tcsh: cargo xtask test"]
fn words_that_broke_out_of_single_quotes_stay_words() {
    for words in [
        &[r"x\", "; echo INJECTED #"][..],
        &["; echo INJECTED ;", "!#:1"],
        &["!!", "!-1", "!#", "!a", "^a^b"],
        &[r"a\\b", r"\n", r"\'", r"'\", r"\\"],
    ] {
        let mut line = r"'printf' '%s'\\'n'".to_owned();
        let mut expected = String::new();
        for word in words {
            line.push(' ');
            line.push_str(&quote(word));
            expected.push_str(word);
            expected.push('\n');
        }
        for shell in ["dash", "bash", "zsh", "fish", "tcsh"] {
            let printed = String::from_utf8(output(shell, line.as_bytes())).unwrap();
            assert_eq!(printed, expected, "{shell}: {line}");
        }
    }
}
