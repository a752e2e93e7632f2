//! Environment variables that make programs run others, or load what the variable names.
//!
//! These are never passed on, whatever a policy says: a permitted `git log` with `GIT_PAGER=sh` is a shell. The table is as complete
//! as the manuals of common programs are; policies should name what they want passed on, such as `LANG` and `LC_*`.

/// Longest name of a variable that is passed on, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 128;

/// Whether this is a name as shells know it. Others (`BASH_FUNC_ls%%`) mean something to some shell.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

/// Whether some program takes the variable for something to run, load or be configured by.
pub(crate) fn is_dangerous(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    if HARMLESS.iter().any(|(prefix, whole)| name == *prefix || (!whole && name.starts_with(prefix))) {
        return false;
    }
    WHOLE.contains(&name.as_str())
        || FAMILIES.iter().any(|family| name.starts_with(family))
        || has_suffix(&name)
}

/// The family of dangerous variables to which everything that begins like this belongs.
pub(crate) fn family(prefix: &str) -> Option<&'static str> {
    let prefix = prefix.to_ascii_uppercase();
    FAMILIES.iter().find(|family| prefix.starts_with(**family)).copied().filter(|_| !may_be_harmless(&prefix))
}

fn may_be_harmless(prefix: &str) -> bool {
    HARMLESS.iter().any(|(harmless, _)| harmless.starts_with(prefix) || prefix.starts_with(harmless))
}

fn has_suffix(name: &str) -> bool {
    SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// Members of families below that are harmless; `true`: only the name itself.
const HARMLESS: &[(&str, bool)] = &[
    ("GIT_AUTHOR_", false),
    ("GIT_COMMITTER_", false),
    ("GIT_PROTOCOL", true),
    ("XDG_SESSION_", false),
    ("MYSQL_PWD", true),
];

/// Beginnings.
const FAMILIES: &[&str] = &[
    "ANSIBLE_",
    "BASH",
    "BUNDLE_",
    "CARGO_",
    "DBUS_",
    "DOCKER_",
    "DYLD_",
    "ELECTRON_",
    "EMACS",
    "GCONV",
    "GEM_",
    "GIO_",
    "GIT_",
    "GLIBC_",
    "GTK_",
    "HG",
    "JAVA_",
    "JDK_",
    "KRB5",
    "KUBE",
    "LDR_",
    "LD_",
    "LESS",
    "LIBGL",
    "LIBVA",
    "LUA_",
    "MALLOC_",
    "MYSQL_",
    "NODE_",
    "NPM_",
    "OPENSSL_",
    "PERL",
    "PHP",
    "PROMPT",
    "PYTHON",
    "QT_",
    "RES_",
    "RESOLV_",
    "RSYNC_",
    "RUBY",
    "RUSTC",
    "SSH_",
    "SSL_",
    "SUDO_",
    "SVN_",
    "SYSTEMD_",
    "TCL",
    "TERMINFO",
    "TMUX",
    "VIM",
    "XDG_",
    "_JAVA",
    "_RLD",
];

/// Ends.
const SUFFIXES: &[&str] = &[
    "PAGER",
    "EDITOR",
    "_ASKPASS",
    "_COMMAND",
    "_RSH",
    "_SSH",
    "_SHELL",
    "_PRELOAD",
    "_LIBRARY_PATH",
    "_WRAPPER",
    "_HOOK",
    "_OPTS",
    "_OPTIONS",
    "_PLUGINS",
    "_PLUGIN_PATH",
    "RC",
];

/// Whole names.
const WHOLE: &[&str] = &[
    "AWKLIBPATH",
    "AWKPATH",
    "BROWSER",
    "CC",
    "CDPATH",
    "CFLAGS",
    "CLASSPATH",
    "CURL_HOME",
    "CXX",
    "DISPLAY",
    "ENV",
    "EXINIT",
    "FCEDIT",
    "FIGNORE",
    "FPATH",
    "GETCONF_DIR",
    "GLOBIGNORE",
    "GNUPGHOME",
    "GOFLAGS",
    "HISTFILE",
    "HOME",
    "HOSTALIASES",
    "IFS",
    "LDFLAGS",
    "LIBPATH",
    "LIBRARY_PATH",
    "LOCALDOMAIN",
    "LOCPATH",
    "LOGNAME",
    "MAIL",
    "MAILPATH",
    "MAKEFILES",
    "MAKEFLAGS",
    "MANOPT",
    "MANPATH",
    "MORE",
    "NLSPATH",
    "NOTIFY_SOCKET",
    "OLDPWD",
    "PATH",
    "PGSERVICEFILE",
    "PGSYSCONFDIR",
    "PS0",
    "PS1",
    "PS2",
    "PS3",
    "PS4",
    "PWD",
    "RSH",
    "SHELL",
    "SHELLOPTS",
    "SHLIB_PATH",
    "TAPE",
    "TERMCAP",
    "TERMPATH",
    "TMPDIR",
    "TZDIR",
    "USER",
    "VISUAL",
    "XAUTHORITY",
    "ZDOTDIR",
    "_",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_programs_run_others_is_known() {
        for name in [
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "DYLD_INSERT_LIBRARIES",
            "BASH_ENV",
            "ENV",
            "PATH",
            "GIT_SSH",
            "GIT_SSH_COMMAND",
            "GIT_CONFIG_COUNT",
            "GIT_DIR",
            "PAGER",
            "MANPAGER",
            "SYSTEMD_PAGER",
            "EDITOR",
            "VISUAL",
            "KUBE_EDITOR",
            "PROMPT_COMMAND",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "PERL5LIB",
            "PERL5OPT",
            "PERLIO",
            "IFS",
            "LESSOPEN",
            "NODE_OPTIONS",
            "RUBYOPT",
            "JAVA_TOOL_OPTIONS",
            "_JAVA_OPTIONS",
            "TAR_OPTIONS",
            "RSYNC_RSH",
            "SSH_ASKPASS",
            "SUDO_ASKPASS",
            "npm_config_prefix",
            "ZDOTDIR",
            "SHELLOPTS",
            "INPUTRC",
            "PSQLRC",
            "GLIBC_TUNABLES",
            "HOSTALIASES",
            "VIMINIT",
            "MAVEN_OPTS",
        ] {
            assert!(is_dangerous(name), "{name}");
        }
        for name in [
            "LANG",
            "LC_ALL",
            "LC_CTYPE",
            "TZ",
            "COLORTERM",
            "GIT_AUTHOR_NAME",
            "GIT_PROTOCOL",
            "APP_STAGE",
            "NO_COLOR",
        ] {
            assert!(!is_dangerous(name), "{name}");
        }
        assert!(is_dangerous("GIT_PROTOCOL_FROM_USER") && is_dangerous("GIT_PROTOCOLX"));
    }

    #[test]
    fn only_plain_names_are_names() {
        for name in ["LANG", "_x", "a1"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "1a", "a-b", "BASH_FUNC_ls%%", "BASH_FUNC_ls()", "a=b", "é", "a\0", &"a".repeat(129)]
        {
            assert!(!is_name(name), "{name:?}");
        }
    }

    #[test]
    fn a_beginning_can_mean_nothing_but_dangers() {
        for prefix in ["LD_", "LD_PRE", "PYTHON", "BASH_"] {
            assert!(family(prefix).is_some(), "{prefix}");
        }
        for prefix in ["L", "LC_", "GIT_", "GIT_A", "GIT_AUTHOR_N", "P"] {
            assert!(family(prefix).is_none(), "{prefix}");
        }
    }
}
