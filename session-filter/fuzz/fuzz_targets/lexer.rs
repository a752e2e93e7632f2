//! Any bytes as a command line. What is accepted must read back from the bytes that would be sent, hold nothing that a
//! terminal or a shell could act on, and be denied or permitted by a policy on exactly those words.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use session_filter::grammar::lex;
use session_filter::{Policy, Target, User, Verdict};

static EVERYTHING: LazyLock<Policy> = LazyLock::new(|| {
    let text = "[[permit]]\nusers=['*']\ntargets=['*']\ncommands=['echo ...', 'ls **', '/bin/cat /var/**']\npipelines=true\nlists=true\n";
    Policy::from_toml(text).expect("the policy is sound")
});

fuzz_target!(|line: &[u8]| {
    let facts = session_filter::Facts::at(chrono::DateTime::UNIX_EPOCH);
    let verdict = EVERYTHING.check_with(&User::new("a"), &Target::new("t"), line, &facts);
    let read = match (lex(line), &verdict) {
        (Ok(read), _) => read,
        (Err(fault), Verdict::Deny(denial)) => {
            assert!(fault.position() <= line.len());
            assert_eq!(denial.code(), fault.reason().code());
            assert!(denial.to_string().chars().all(|c| !c.is_control()));
            return;
        }
        (Err(fault), Verdict::Allow(_)) => panic!("permitted although {fault}"),
    };

    let sent = read.quoted();
    let again = lex(&sent).expect("what is sent is in the grammar");
    assert_eq!(read.commands(), again.commands());
    assert_eq!(read.operators(), again.operators());
    assert!(sent.starts_with(b"'"));
    assert!(read.commands().iter().all(|argv| argv.first().is_some_and(|program| !program.is_empty())));
    let text = std::str::from_utf8(&sent).expect("words are UTF-8");
    assert!(text.chars().all(|c| !c.is_control()));

    match verdict {
        Verdict::Allow(permit) => {
            let bytes = lex(permit.bytes()).expect("what is sent is in the grammar");
            assert!(bytes.commands().iter().map(Vec::as_slice).eq(permit.commands()));
            for (typed, sent) in read.commands().iter().zip(permit.commands()) {
                assert_eq!(typed.get(1..), sent.get(1..));
                assert!(["echo", "ls", "/bin/cat"].contains(&sent[0].as_str()));
            }
        }
        Verdict::Deny(denial) => {
            let shown = denial.to_string();
            assert!(shown.chars().all(|c| !c.is_control()));
        }
    }
});
