//! Programs that run programs.

use session_filter::Policy;
use session_filter::policy::lint;

fn load(mode: &str, command: &str, acknowledge: &str) -> Result<Policy, String> {
    let text = format!(
        "[[permit]]\nusers = [\"a\"]\ntargets = [\"t\"]\nmode = \"{mode}\"\ncommands = ['''{command}''']\n\
         acknowledge = [{acknowledge}]\n"
    );
    Policy::from_toml(&text).map_err(|error| error.to_string())
}

#[test]
fn refuses_patterns_that_reach_other_programs() {
    for command in [
        "vi",
        "vim *",
        "/usr/bin/vim.tiny ...",
        "less /var/log/syslog",
        "man *",
        "bash",
        "/bin/sh",
        "python3.11 -V",
        "perl5.36",
        "awk *",
        "awk -f x",
        "find / -exec *",
        "find ...",
        "find / -delete",
        "tar ...",
        "tar xf *",
        "tar -xzf a.tgz",
        "tar --checkpoint-action=*",
        "tar --to-c=id",
        "tar -cIf *",
        "tar *",
        "ssh *",
        "ssh host -o *",
        "scp ...",
        "rsync ...",
        "rsync -e * a b",
        "git -c * status",
        "git *",
        "git ...",
        "git clone *",
        "git --upload-pack=x fetch",
        "psql",
        "mysql ...",
        "systemctl ...",
        "systemctl * nginx",
        "systemctl edit nginx",
        "systemctl -H * status",
        "journalctl --root=**",
        "docker exec * id",
        "docker ...",
        "kubectl exec *",
        "kubectl *",
        "xargs *",
        "env",
        "env *",
        "nice *",
        "nohup *",
        "timeout 5 *",
        "timeout 5 id",
        "sudo *",
        "sudo id",
        "su",
        "watch *",
        "script",
        "screen",
        "tmux",
        "busybox ls",
        "tee *",
        "dd ...",
        "cp * *",
        "mv * *",
        "install ...",
        "crontab -e",
        "crontab *",
        "at now",
        "gdb",
        "strace *",
        "nano *",
        "emacs",
        "ed",
        "sed -i *",
        "sed -e * x",
        "sed *",
        "eval ...",
        "exec *",
        ". *",
        "source *",
        "sort --comp=x",
        "sort -o * x",
        "zip ...",
        "curl *",
        "nc *",
        "apt-get install *",
        "apt-get -o *",
        "rg --pre=*",
        "rg ...",
    ] {
        let refused = load("exec-only", command, "").expect_err(command);
        assert!(refused.starts_with("line 5, column 13: "), "{refused}");
        assert!(refused.contains("acknowledge = ["), "{refused}");
        let name = command.split(' ').next().unwrap().rsplit('/').next().unwrap();
        let acknowledged = load("exec-only", command, &format!("\"{name} is known to run others\""));
        assert!(acknowledged.is_ok(), "{command}: {acknowledged:?}");
    }
}

#[test]
fn admits_patterns_that_cannot_reach_them() {
    for command in [
        "systemctl status *",
        "systemctl restart nginx",
        "systemctl is-active *",
        "journalctl -u nginx --since *",
        "df -h",
        "uptime",
        "ls ...",
        "cat /etc/os-release",
        "cat /var/log/**",
        "echo ...",
        "tar --version",
        "tar tf backup.tar",
        "tar -tvf backup.tar",
        "find /var/log -name *",
        "find /var/log -newer *",
        "git status",
        "git log --oneline",
        "crontab -l",
        "docker ps",
        "docker logs *",
        "kubectl get pods",
        "kubectl logs *",
        "sort *",
        "sort -n /var/log/x",
        "ip -brief addr",
        "apt-get --version",
        "hexdump -C *",
        "ps aux",
        "ps -ef",
        "head -n 5 *",
        "grep -r * /etc",
        "id",
        "rg error /var/log",
    ] {
        if let Err(error) = load("exec-only", command, "") {
            panic!("{error}");
        }
    }
}

#[test]
fn every_acknowledgement_names_its_program() {
    assert!(load("exec-only", "vi", "\"vim grants a shell\"").is_err());
    assert!(load("exec-only", "vi", "\"vi\"").unwrap_err().contains("column 16: an acknowledgement is"));
    assert!(load("exec-only", "/usr/bin/vi", "\"vi grants a shell\"").is_ok());
    assert!(load("exec-only", "/usr/bin/vi", "\"/usr/bin/vi grants a shell\"").is_ok());
    let unneeded = load("exec-only", "df", "\"vi grants a shell\"").unwrap();
    assert_eq!(unneeded.warnings()[0].to_string(), "line 6, column 16: nothing here needs `vi` acknowledged");
}

#[test]
fn warns_about_pagers_where_there_is_a_terminal() {
    let warnings = |mode: &str, command: &str| load(mode, command, "").unwrap().warnings().len();
    assert_eq!(warnings("managed", "systemctl status *"), 1);
    assert_eq!(warnings("managed", "systemctl --no-pager status *"), 0);
    assert_eq!(warnings("managed", "systemctl restart nginx"), 0);
    assert_eq!(warnings("exec-only", "systemctl status *"), 0);
}

#[test]
fn the_table_is_sound() {
    let mut seen = std::collections::HashSet::new();
    for program in lint::programs() {
        assert!(!program.features().is_empty());
        for name in program.names() {
            assert!(seen.insert(name), "`{name}` stands in the table twice");
        }
        for feature in program.features() {
            assert!(!feature.reason().is_empty() && !feature.reason().ends_with('.'), "{feature:?}");
        }
    }
    assert!(lint::program("/usr/bin/python3.12").is_some());
    assert!(lint::program("perl5.36.0").is_some());
    assert!(lint::program("df").is_none());
}
