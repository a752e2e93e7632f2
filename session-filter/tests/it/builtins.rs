//! Builtins of real shells that a policy permits without an acknowledgement do not evaluate their arguments.

use std::process::Command;

use session_filter::Policy;
use session_filter::quote::quote;

/// Every name that bash and zsh have a builtin for, as they say themselves.
fn builtins() -> Vec<String> {
    let said = |shell: &str, line: &str| {
        let output = Command::new(shell).arg("-c").arg(line).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let all = said("bash", "compgen -b") + &said("zsh", "print -l ${(k)builtins}");
    let mut names: Vec<String> = all.lines().map(str::to_owned).collect();
    names.sort();
    names.dedup();
    assert!(names.len() > 80, "{names:?}");
    names
}

#[test]
#[ignore = "needs bash, dash and zsh: cargo xtask test"]
fn no_builtin_that_loads_with_free_arguments_runs_what_stands_in_them() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("mark");
    let hostile = format!("a[$(touch {})]", mark.display());
    let mut tried = 0;
    let mut evaluated = Vec::new();
    for name in builtins() {
        let rule =
            format!("[[permit]]\nusers=['a']\ntargets=['t']\ncommands=[{:?}]\n", format!("{name} ..."));
        if Policy::from_toml(&rule).is_err() {
            // Refused, or no word that the grammar knows.
            continue;
        }
        tried += 1;
        for shape in [
            &["X"][..],
            &["-v", "X"],
            &["-v", "X", "%s", "x"],
            &["-n", "X"],
            &["X", "-eq", "1"],
            &["-p", "X"],
            &["a", "X", "-a"],
            &["-C", "X"],
            &["-x", "X"],
            &["X", "X", "X"],
        ] {
            let words = shape.iter().map(|word| if *word == "X" { hostile.as_str() } else { word });
            let line: Vec<String> = std::iter::once(name.as_str()).chain(words).map(quote).collect();
            for shell in ["dash", "bash", "zsh"] {
                let mut command = Command::new("timeout");
                command.args(["5", shell, "-c", &line.join(" ")]).current_dir(dir.path());
                let _ = command.stdin(std::process::Stdio::null()).output().unwrap();
                if std::fs::remove_file(&mark).is_ok() {
                    evaluated.push(format!("{shell}: {}", line.join(" ")));
                }
            }
        }
    }
    assert!(evaluated.is_empty(), "{evaluated:#?}");
    assert!(tried > 3, "{tried} builtins load");
}
