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
        "/lib64/ld-linux-x86-64.so.2 ...",
        "/lib/ld-musl-x86_64.so.1 *",
        "/lib64/ld-2.31.so *",
        "ld.so *",
        "run0 *",
        "systemd-cat *",
        "coreutils ...",
        "prlimit *",
        "aa-exec ...",
        "choom ...",
        "sudo-rs *",
        "chronic *",
        "pidstat -e *",
        "run-mailcap *",
        "bash-static",
        "zsh-beta",
        "busybox.static ls",
        "sash",
        "/usr/bin/sh.distrib",
        "vim.nox",
        "vim.gtk3 *",
        "emacs-nox",
        "ncdu",
        "ghc -e *",
        "x86_64-linux-gnu-gcc-12 *",
        "python3-dbg",
        "python3.11d",
        "php8.2-cgi *",
        "valkey-cli",
        "rpmquery --eval *",
        "exiftool *",
        "sshfs *",
        "crond",
        "dropbearmulti ...",
        "uniq * *",
        "uniq ...",
        "shuf -o * /etc/passwd",
        "iconv --output=*",
        "tree -o *",
        "sysctl *",
        "sysctl kernel.core_pattern=*",
        "systemd-tmpfiles --create",
        "usermod ...",
        "chsh",
        "passwd *",
        "sfdisk *",
        "mkfs.ext4 *",
        "/usr/lib/git-core/git-rebase *",
        "gtimeout 5 *",
        "docker-compose up",
        "ip -ba *",
        "ip --batch *",
        "nmap -script *",
        "openssl x509 --engine *",
        "dpkg -i *",
        "dpkg-deb -x *",
        "visudo",
        "more /etc/motd",
        "man ls",
        "ftp",
        "python3",
        "dmesg -H",
        "asterisk -rx *",
        "yt-dlp --exec *",
        "yt-dlp ...",
        "doveadm exec *",
        "postconf *",
        "autoreconf",
        "dos2unix *",
    ] {
        let refused = load("exec-only", command, "").expect_err(command);
        assert!(refused.starts_with("line 5, column 13: "), "{refused}");
        assert!(refused.contains("acknowledge = ["), "{refused}");
        let name = command.split(' ').next().unwrap().rsplit('/').next().unwrap();
        let acknowledged = load("exec-only", command, &format!("\"{name} anything\""));
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
        "uniq -c *",
        "uniq",
        "sysctl net.ipv4.ip_forward",
        "sysctl -a",
        "shuf -n 1 *",
        "iconv -f latin1 *",
        "tree /var/log",
        "rc-update show",
        "ip -f inet addr",
        "ip -br addr",
        "dpkg -l",
        "dpkg-query -W *",
        "fdisk -l",
        "dmesg -T",
        "dmidecode -t memory",
        "doveadm who",
        "fail2ban-client status sshd",
        "postconf -n",
        "ldconfig -p",
        "shasum *",
        "sha256sum *",
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
fn an_acknowledgement_covers_the_ways_that_it_names() {
    let loads = |command: &str, acknowledge: &str| load("exec-only", command, acknowledge).is_ok();
    assert!(loads("find / -exec id", "'find runs programs on what it finds'"));
    assert!(loads("find / -exec id", "'find runs programs'"));
    assert!(!loads("find / -exec id", "'find deletes what it finds'"));
    assert!(!loads("find / -exec id", "'find deletes'"));
    assert!(!loads("find / -exec id", "'find run'"), "not in the middle of a word");
    assert!(!loads("find / -exec id -delete", "'find runs programs'"));
    assert!(loads("find / -exec id -delete", "'find runs programs', 'find deletes what it finds'"));
    assert!(loads("find ...", "'find anything'"));
    assert!(!loads("find ...", "'find runs programs'"));
    // Where every use is a danger, no words could name a harmless one.
    assert!(loads("env *", "'env is known'") && loads("env", "'env is known'"));
    let refused = load("exec-only", "find / -delete -fls x", "'find runs programs'").unwrap_err();
    assert!(
        refused.ends_with(r#"acknowledge = ["find deletes what it finds", "find writes files"]"#),
        "{refused}"
    );
    let refused = load("exec-only", "find ...", "").unwrap_err();
    assert!(
        refused
            .ends_with(r#"; and more; if that is meant, add to this rule acknowledge = ["find anything"]"#),
        "{refused}"
    );
}

#[test]
fn what_a_mistake_suggests_is_enough() {
    for command in [
        "find / -delete",
        "git clone *",
        "tar xf *",
        "tar ...",
        "psql",
        "env *",
        "sysctl *",
        "awk *",
        "curl *",
    ] {
        let refused = load("exec-only", command, "").unwrap_err();
        let (_, suggested) = refused.rsplit_once("acknowledge = [").unwrap();
        let loaded = load("exec-only", command, suggested.trim_end_matches(']'));
        assert!(loaded.is_ok_and(|policy| policy.warnings().is_empty()), "{command}: {refused}");
    }
}

#[test]
fn warns_about_pagers_where_there_is_a_terminal() {
    let warnings = |mode: &str, command: &str| {
        let policy = load(mode, command, "").unwrap();
        policy.warnings().iter().filter(|warning| !warning.message.contains("only at home")).count()
    };
    for command in [
        "systemctl status *",
        "git log",
        "git diff *",
        "journalctl -u nginx",
        "dpkg -l",
        "top",
        "timedatectl",
        "systemctl status start",
        "systemctl status -- --no-pager",
    ] {
        assert_eq!((warnings("managed", command), warnings("exec-only", command)), (1, 0), "{command}");
    }
    for command in [
        "systemctl --no-pager status *",
        "systemctl status --no-pager *",
        "systemctl restart nginx",
        "git --no-pager log",
        "journalctl -f",
        "dpkg --no-pager -l",
        "top -b -n 1",
    ] {
        assert_eq!(warnings("managed", command), 0, "{command}");
    }
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

/// Bash runs `id` for `printf -v 'a[$(id)]' x`: quoting does not keep a builtin from evaluating its arguments.
#[test]
fn builtins_that_evaluate_their_arguments_need_a_path_or_an_acknowledgement() {
    for command in [
        "printf ...",
        "printf * *",
        "test ...",
        "test -f *",
        "read *",
        "let *",
        "unset *",
        "compgen ...",
        "noglob ...",
    ] {
        let refused = load("exec-only", command, "").unwrap_err();
        assert!(refused.contains("by its path") || refused.contains("builtin"), "{command}: {refused}");
    }
    for command in [
        "/usr/bin/printf ...",
        "/usr/bin/test -f *",
        "printf hello",
        "test -f /etc/passwd",
        "echo ...",
        "pwd",
    ] {
        load("exec-only", command, "").unwrap();
    }
    load("exec-only", "printf ...", "'printf anything'").unwrap();
}
