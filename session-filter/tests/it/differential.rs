//! What our lexer reads, against what real shells read: for every line that we accept, `dash` and `bash` must see the
//! same words, both in the line as it was typed and in the bytes that we would send.
//!
//! Many lines go to one shell process. Each command of a line is prefixed with a function that prints its arguments,
//! each ended by NUL, and then a mark, so that lists and pipelines show their parts. The function fails or succeeds
//! as the operators need for every part to run.

use std::process::{Command, Stdio};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use session_filter::grammar::lex;
use session_filter::quote::{probe_command, probe_expected, quote};

const SHELLS: [&str; 2] = ["dash", "bash"];
const BATCH: usize = 500;

/// The shell is given its script as a file: there is a limit to the length of an argument.
fn run(shell: &str, script: &[u8]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("script");
    std::fs::write(&path, script).unwrap();
    let output = Command::new(shell)
        .arg(&path)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", "/home-must-not-appear")
        .env("LC_ALL", "C.UTF-8")
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {shell}: {error}"));
    assert!(output.status.success(), "{shell} failed: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{shell} complained: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// `line` with the printing function before its only command.
fn printing(line: &[u8]) -> Vec<u8> {
    [b"p ".as_slice(), line, b"\n"].concat()
}

/// What a script of `p …` lines must print.
fn expected(argv: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    for word in argv {
        out.extend_from_slice(word.as_bytes());
        out.push(0);
    }
    out.extend_from_slice(b"\x01\x00");
    out
}

const PRELUDE: &[u8] = b"p() { printf '%s\\0' \"$@\"; printf '\\001\\0'; }\n";

/// Compares a batch with one process, and finds the line at fault when it differs.
fn compare(shell: &str, lines: &[(Vec<u8>, Vec<String>)]) {
    let script: Vec<u8> = lines.iter().flat_map(|(line, _)| printing(line)).collect();
    let wanted: Vec<u8> = lines.iter().flat_map(|(_, argv)| expected(argv)).collect();
    if run(shell, &[PRELUDE, &script].concat()) == wanted {
        return;
    }
    for (line, argv) in lines {
        let got = run(shell, &[PRELUDE, &printing(line)].concat());
        assert!(
            got == expected(argv),
            "{shell} reads {:?} as {:?}, we as {argv:?}",
            String::from_utf8_lossy(line),
            String::from_utf8_lossy(&got),
        );
    }
    panic!("{shell}: the batch differs, though no line of it does");
}

/// Pieces that lines are made of: everything that means something to a shell, next to everything that does not.
fn line() -> impl Strategy<Value = String> {
    let piece = proptest::prop_oneof![
        6 => "[a-zA-Z0-9._/,:@%+^-]{1,6}",
        4 => " {1,2}",
        3 => "'[ -&(-~é漢]{0,8}'",
        3 => "\"[ #-\\[\\]-_a-~é]{0,8}\"",
        2 => "\\\\[ -~]",
        1 => "[é漢字ßΩ𝄞]{1,3}",
        1 => proptest::sample::select(vec!["=", "~", "#", "=~", ":~", "--", "-n", "if", "in", "{", "*", "!", "$", "&", "\\", "'", "\"", "a=b", "x~", "x#y", "[", "]", "^", "%1"]).prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 1..10).prop_map(|pieces| pieces.concat())
}

fn accepted(count: usize, seed: u8) -> Vec<(String, Vec<String>)> {
    let mut runner =
        TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]));
    let strategy = line();
    let mut lines = Vec::new();
    let mut tried = 0;
    while lines.len() < count {
        tried += 1;
        assert!(tried < count * 50, "only {} of {tried} lines were accepted", lines.len());
        let text = strategy.new_tree(&mut runner).unwrap().current();
        if let Ok(read) = lex(text.as_bytes())
            && let [argv] = read.commands()
        {
            lines.push((text, argv.clone()));
        }
    }
    lines
}

#[test]
#[ignore = "needs dash and bash: cargo xtask test"]
fn shells_read_accepted_lines_as_we_do() {
    let lines = accepted(20_000, 1);
    for shell in SHELLS {
        for batch in lines.chunks(BATCH) {
            let raw: Vec<_> =
                batch.iter().map(|(text, argv)| (text.as_bytes().to_vec(), argv.clone())).collect();
            compare(shell, &raw);
        }
    }
}

#[test]
#[ignore = "needs dash and bash: cargo xtask test"]
fn shells_read_what_we_send_as_what_we_checked() {
    let lines = accepted(20_000, 2);
    for shell in SHELLS {
        for batch in lines.chunks(BATCH) {
            let sent: Vec<_> = batch
                .iter()
                .map(|(text, argv)| (lex(text.as_bytes()).unwrap().quoted(), argv.clone()))
                .collect();
            compare(shell, &sent);
        }
    }
}

#[test]
#[ignore = "needs dash and bash: cargo xtask test"]
fn shells_read_any_quoted_words_back() {
    let mut runner =
        TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &[3; 32]));
    let strategy = proptest::collection::vec("[ -~é漢字𝄞]{0,12}", 1..6);
    let lines: Vec<(Vec<u8>, Vec<String>)> = (0..10_000)
        .map(|_| {
            let words: Vec<String> = strategy.new_tree(&mut runner).unwrap().current();
            let line: Vec<String> = words.iter().map(|word| quote(word)).collect();
            (line.join(" ").into_bytes(), words)
        })
        .collect();
    for shell in SHELLS {
        lines.chunks(BATCH).for_each(|batch| compare(shell, batch));
    }
}

#[test]
#[ignore = "needs dash and bash: cargo xtask test"]
fn shells_join_commands_as_we_read_them() {
    let parts = accepted(4_000, 4);
    // `p` succeeds, so `||` would skip what follows; `! p` fails. Each joint is chosen so that every part runs.
    for shell in SHELLS {
        let mut script = PRELUDE.to_vec();
        let mut wanted = Vec::new();
        script.extend_from_slice(b"f() { p \"$@\"; return 1; }\n");
        for (at, pair) in parts.chunks_exact(2).enumerate() {
            let [(first, argv), (second, more)] = pair else { continue };
            let (program, joint) = [("p", ";"), ("p", "&&"), ("f", "||")][at % 3];
            let typed = format!("{first}{joint}{second}");
            let read = lex(typed.as_bytes()).unwrap();
            assert_eq!(read.commands(), [argv.clone(), more.clone()], "{typed}");
            script.extend_from_slice(format!("{program} {first}{joint}p {second}\n").as_bytes());
            wanted.extend(expected(argv));
            wanted.extend(expected(more));
        }
        assert!(run(shell, &script) == wanted, "{shell} joins commands differently");
    }
}

#[test]
#[ignore = "needs dash and bash: cargo xtask test"]
fn shells_answer_the_probe() {
    for shell in SHELLS {
        let output =
            Command::new(shell).arg("-c").arg(String::from_utf8(probe_command()).unwrap()).output().unwrap();
        assert_eq!(output.stdout, probe_expected(), "{shell}");
    }
}

#[test]
#[ignore = "needs dash and bash: cargo xtask test"]
fn a_program_that_reads_like_an_option_stays_a_program() {
    let line = lex(b"-x marks").unwrap().quoted();
    for shell in SHELLS {
        let output =
            Command::new(shell).arg("-c").arg(String::from_utf8(line.clone()).unwrap()).output().unwrap();
        assert_eq!(output.status.code(), Some(127), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Directories whose names mean something to a shell, or to `cd`.
const DIRECTORIES: &[&str] = &[
    "plain", "it's", "-n", "--", "-", "a b", "$HOME", "`id`", r"a\b", "!x", "*", "~", "é漢", ";x", "#",
    "a&&b", "{a,b}", "-P",
];

#[test]
#[ignore = "needs dash and bash: cargo xtask test"]
fn shells_go_where_the_permit_says_and_nowhere_else() {
    let policy = session_filter::Policy::from_toml(
        "[[permit]]\nusers=['*']\ntargets=['*']\nmode='managed'\nlists=true\npipelines=true\ncommands=['/bin/pwd', '/bin/cat']\n",
    )
    .unwrap();
    let (user, target) = (session_filter::User::new("a"), session_filter::Target::new("t"));
    let facts = session_filter::Facts::at(chrono::DateTime::UNIX_EPOCH);
    let permitted = |line: &str, path: &str| {
        let path = session_filter::AbsolutePath::parse(path).unwrap();
        let directory = session_filter::Directory::At(path);
        policy.check_in(&user, &target, line.as_bytes(), &directory, &facts).permit().unwrap()
    };
    let root = tempfile::tempdir().unwrap();
    let root = root.path().canonicalize().unwrap();
    let root = root.to_str().unwrap();
    for name in DIRECTORIES {
        let path = format!("{root}/{name}");
        std::fs::create_dir(&path).unwrap();
        for (line, times) in [("pwd", 1), ("pwd; pwd", 2), ("pwd && pwd || pwd", 2), ("pwd | cat; pwd", 2)] {
            let wanted = format!("{path}\n").repeat(times);
            for shell in SHELLS {
                let got = run(shell, permitted(line, &path).bytes());
                assert_eq!(String::from_utf8_lossy(&got), wanted, "{shell}: {line} in {name}");
            }
        }
    }
    // A directory that is not there: nothing runs.
    for line in ["pwd", "pwd; pwd", "pwd || pwd"] {
        let permit = permitted(line, &format!("{root}/missing"));
        for shell in SHELLS {
            let output = Command::new(shell)
                .arg("-c")
                .arg(std::str::from_utf8(permit.bytes()).unwrap())
                .output()
                .unwrap();
            assert!(!output.status.success() && output.stdout.is_empty(), "{shell}: {line}");
        }
    }
}
