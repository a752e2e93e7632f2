//! The compiled policy against the plainest reading of its text: every rule and pattern tried in the order of the file.

use proptest::prelude::*;
use session_filter::{Policy, Target, User, Verdict};

#[derive(Clone, Debug)]
struct Rule {
    users: Vec<&'static str>,
    targets: Vec<&'static str>,
    commands: Vec<&'static str>,
    pipelines: bool,
    lists: bool,
}

const USERS: [&str; 5] = ["alice", "bob", "role:x", "role:y", "*"];
const TARGETS: [&str; 5] = ["t1", "t2", "tag:u", "tag:v", "*"];
const COMMANDS: [&str; 9] = ["a", "a b", "a *", "a **", "a b ...", "/bin/a -x", "a 'b' ?", "c x* ...", "c"];
const LINES: [&str; 16] = [
    "a",
    "a b",
    "a c",
    "a -x",
    "a b -x",
    "a b c",
    "a b c d",
    "a x/y",
    "/bin/a -x",
    "c",
    "c xy",
    "c xy -z",
    "a ''",
    "a ../b",
    "b",
    "a b 'é'",
];

fn rule() -> impl Strategy<Value = Rule> {
    let some = |names: &'static [&'static str], most| proptest::sample::subsequence(names, 1..=most);
    (some(&USERS, 3), some(&TARGETS, 3), some(&COMMANDS, 4), any::<bool>(), any::<bool>()).prop_map(
        |(users, targets, commands, pipelines, lists)| Rule { users, targets, commands, pipelines, lists },
    )
}

fn named(names: &[&str], id: &str, labels: &[String], label: &str) -> bool {
    names.iter().any(|name| {
        *name == "*" || *name == id || labels.iter().any(|held| format!("{label}{held}") == *name)
    })
}

/// The meaning of the patterns above, each written out by hand.
fn matches(pattern: &str, argv: &[String]) -> bool {
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    let operand = |word: &str| !word.is_empty() && !word.starts_with('-') && !word.contains("..");
    match (pattern, words.as_slice()) {
        ("a", ["a"]) | ("a b", ["a", "b"]) | ("c", ["c"]) => true,
        ("a *", ["a", word]) => operand(word) && !word.contains('/'),
        ("a **", ["a", word]) => operand(word),
        ("a b ...", ["a", "b", ..]) => true,
        ("/bin/a -x", ["a" | "/bin/a", "-x"]) => true,
        ("a 'b' ?", ["a", "b", word]) => operand(word) && word.chars().count() == 1,
        ("c x* ...", ["c", word, ..]) => word.starts_with('x'),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn answers_as_the_plainest_reading_does(
        rules in prop::collection::vec(rule(), 0..6),
        user in prop::sample::select(vec!["alice", "bob", "carol"]),
        roles in prop::sample::subsequence(vec!["x", "y", "z"], 0..3),
        target in prop::sample::select(vec!["t1", "t2", "t3"]),
        tags in prop::sample::subsequence(vec!["u", "v", "w"], 0..3),
        lines in prop::collection::vec(prop::sample::select(LINES.to_vec()), 1..3),
        joint in prop::sample::select(vec!["|", ";", "&&", "||"]),
    ) {
        let text: String = rules.iter().map(|rule| format!(
            "[[permit]]\nusers={:?}\ntargets={:?}\npipelines={}\nlists={}\ncommands=[{}\n]\n",
            rule.users, rule.targets, rule.pipelines, rule.lists,
            rule.commands.iter().map(|command| format!("\n\"{command}\",")).collect::<String>(),
        )).collect();
        let policy = Policy::from_toml(&text).unwrap();
        let user = roles.iter().fold(User::new(user), |user, role| user.role(*role));
        let target = tags.iter().fold(Target::new(target), |target, tag| target.tag(*tag));
        let line = lines.join(joint);

        let parts = session_filter::grammar::lex(line.as_bytes()).unwrap();
        let joined = parts.commands().len() > 1;
        // One rule must permit every command and their joining.
        let expected: Option<Vec<&str>> = rules
            .iter()
            .filter(|rule| named(&rule.users, user.id(), user.roles(), "role:"))
            .filter(|rule| named(&rule.targets, target.id(), target.tags(), "tag:"))
            .filter(|rule| !joined || if joint == "|" { rule.pipelines } else { rule.lists })
            .find_map(|rule| {
                let first = |argv| rule.commands.iter().find(|pattern| matches(pattern, argv)).copied();
                parts.commands().iter().map(|argv| first(argv)).collect()
            });

        match policy.check(&user, &target, &line) {
            Verdict::Allow(permit) => {
                prop_assert_eq!(Some(permit.rules().map(|(pattern, _)| pattern).collect::<Vec<_>>()), expected, "{}", line);
                for ((pattern, number), argv) in permit.rules().zip(permit.commands()) {
                    let written = format!("\"{pattern}\",");
                    prop_assert_eq!(text.lines().nth(number - 1), Some(written.as_str()));
                    prop_assert_eq!(pattern == "/bin/a -x", argv[0] == "/bin/a");
                }
            }
            Verdict::Deny(denial) => prop_assert_eq!(None, expected, "{}", denial),
        }
    }
}
