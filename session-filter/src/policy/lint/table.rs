//! The table of programs that run programs.

use super::Reach::{Always, Assignment, Builtin, Bundle, Operand, Operands, Prefix, Short, Terminal, Word};
use super::{Feature, Program};

macro_rules! table {
    ($([$($name:literal),+ $(,)?] { $($reach:expr => $reason:literal),+ $(,)? })*) => {
        /// Each program with the ways from it to others.
        pub(super) static TABLE: &[Program] = &[$(Program {
            names: &[$($name),+],
            features: &[$(Feature { reach: $reach, reason: $reason }),+],
        }),*];
    };
}

table! {
    // Shells and what runs a command line.
    ["sh", "ash", "bash", "busybox", "csh", "dash", "elvish", "fish", "ksh", "ksh93", "lksh", "mksh", "nu", "oksh", "osh",
     "pdksh", "posh", "pwsh", "rbash", "rc", "rksh", "rssh", "lshell", "sash", "tcsh", "toybox", "coreutils", "cmd", "powershell", "vtysh", "cli", "clish", "ksshell", "xonsh", "yash", "zsh"]
        { Always => "is a shell or contains one" }
    [".", "alias", "bind", "builtin", "command", "complete", "eval", "exec", "enable", "fc", "mapfile", "readarray",
     "shopt", "source", "trap", "hash", "export", "declare", "readonly", "set"]
        { Always => "is a shell builtin that runs or redefines commands" }

    // What bash, zsh or a Korn shell takes for arithmetic, a variable's name or a command among its arguments.
    ["-", "[", "autoload", "bg", "break", "compgen", "continue", "dirs", "disown", "emulate", "exit", "fg", "float", "functions", "getopts",
     "bindkey", "bye", "compadd", "comparguments", "compcall", "compctl", "compdescribe", "compfiles", "compgroups", "compopt", "compquote", "compset",
     "comptags", "comptry", "compvalues", "disable", "echotc", "echoti", "getln", "history", "limit", "log", "private", "pushln", "r", "rehash",
     "suspend", "ttyctl", "unalias", "unfunction", "unhash", "unlimit", "zcompile", "zformat", "zregexparse",
     "integer", "jobs", "let", "local", "logout", "noglob", "popd", "print", "printf", "pushd", "read", "return", "sched",
     "setopt", "shift", "test", "typeset", "ulimit", "umask", "unset", "unsetopt", "vared", "wait", "whence", "where",
     "zle", "zmodload", "zparseopts", "zstyle"]
        { Builtin => "is a shell builtin that can evaluate its arguments; name the program by its path" }

    // Runs the command that its arguments name.
    ["ansible", "ansible-playbook", "at", "batch", "capsh", "catchsegv", "cgexec", "chrt", "chroot", "cpulimit", "daemonize",
     "dbus-launch", "dbus-run-session", "dumb-init", "env", "envdir", "expect", "faketime", "fakeroot", "firejail", "flock",
     "gosu", "heaptrack", "hyperfine", "ionice", "ld.so", "linux32", "linux64", "ltrace", "nice", "nohup",
     "nsenter", "numactl", "parallel", "perf", "pexec", "proot", "proxychains", "rlwrap", "run-one", "run-parts",
     "runuser", "s6-setuidgid", "sem", "setarch", "setlock", "setpriv", "setsid", "setuidgid", "softlimit", "ssh-agent",
     "sshpass", "stap", "start-stop-daemon", "stdbuf", "strace", "su-exec", "systemd-inhibit", "systemd-run",
     "taskset", "time", "timeout", "tini", "tmate", "torify", "torsocks", "unbuffer", "unshare", "valgrind", "watch",
     "xargs", "xvfb-run", "i386", "x86_64", "uname26", "run0", "systemd-cat", "systemd-socket-activate", "chpst", "prlimit", "aa-exec",
     "choom", "openvt", "eatmydata", "multitime", "trickle", "uclampset", "pee", "chronic", "ifne", "gtester", "xdotool",
     "run-mailcap", "runcon", "bwrap", "nsjail", "minijail0", "cset", "schedtool", "nocache", "catatonit", "execlineb", "xe", "apply", "ccache",
     "sccache", "distcc", "bear", "fakechroot", "agetty", "getty", "grc", "direnv", "ldd", "genie", "csvtool", "scrot", "daemon", "detach",
     "ssh-argv0", "tsocks", "proxychains4", "parallel-rsync", "s6-envdir", "s6-softlimit", "s6-setlock", "s6-sudo", "scriptlive"]
        { Operand => "runs the program that its arguments name" , Always => "runs other programs" }
    ["doas", "pkexec", "su", "sudo", "sudoedit", "dzdo", "sg", "newgrp", "login", "machinectl", "pfexec", "op", "ksu", "sudo-rs", "su-rs", "newrole"]
        { Always => "runs commands as another user" }
    ["byobu", "dtach", "abduco", "mosh", "mosh-server", "screen", "script", "scriptreplay", "tmux", "ttyd", "gotty",
     "zellij", "dvtm", "minicom", "cu", "tip", "picocom"]
        { Always => "opens a terminal with a shell" }

    // Interpreters.
    ["awk", "gawk", "mawk", "nawk", "original-awk", "goawk"] { Operand => "runs programs with system() and pipes",
        Short('f') => "runs a program file", Short('e') => "runs program text", Prefix("--file") => "runs a program file",
        Prefix("--source") => "runs program text", Short('i') => "loads program text",
        Prefix("--include") => "loads program text", Prefix("--exec") => "runs a program file", Short('E') => "runs a program file",
        Prefix("--load") => "loads machine code", Short('l') => "loads machine code",
        Prefix("-W") => "runs a program file" }
    ["bpftrace", "bun", "clojure", "cpan", "crystal", "deno", "dotnet", "elixir", "erl", "escript", "ghci", "gimp",
     "go", "groovy", "guile", "iex", "irb", "jjs", "jrunscript", "jshell", "julia", "lua", "luajit", "m4", "mono", "node",
     "nodejs", "npm", "npx", "ocaml", "octave", "perl", "perlbug", "php", "pnpm", "pry", "puppet", "pypy", "python",
     "ipython", "R", "Rscript", "racket", "raku", "rake", "rscript", "ruby", "runghc", "sbcl", "scala", "swipl",
     "tclsh", "tclkit", "wish", "yarn", "java", "gcc", "cc", "g++", "c++", "clang", "rustc", "cargo", "msgfilter",
     "pdb", "pip", "pipx", "uv", "gem", "bundle", "bundler", "composer", "easy_install", "poetry", "virtualenv", "cowsay",
     "cowthink", "ansible-test", "salt", "salt-call", "chef-client", "knife", "terraform", "vagrant", "jupyter", "mvn",
     "gradle", "ant", "scons", "cmake", "ctest", "ninja", "just", "task", "meson", "bazel", "ghc", "c89", "c99",
     "cobc", "gfortran", "tcc", "ld", "as", "javac", "kotlin", "kotlinc", "swift", "nim", "zig", "rdmd", "dmd", "ldc2", "micropython", "jython", "jruby",
     "rhino", "qjs", "js", "ts-node", "tsx", "rbenv", "pyenv", "asdf", "mise", "prove", "cpanm", "instmodsh", "expectk", "jimsh", "scheme", "csi", "gsi",
     "clisp", "ecl", "gforth", "byebug", "latexmk", "facter", "msfconsole", "sqlmap", "conda", "mamba", "ansible-console", "ansible-galaxy",
     "ansible-pull", "ansible-vault", "ansible-doc", "terragrunt", "tofu", "packer", "cdist", "autoconf", "autoheader",
     "automake", "autoreconf", "bashbug", "neofetch", "needrestart", "opencode", "pic", "procmail", "rsyslogd", "syslog-ng", "rustdoc", "rustfmt",
     "rustup", "mypy", "tsc", "pygmentize", "runscript", "jtag", "volatility", "xpad", "jcmd", "jattach", "salt-minion", "chef-solo", "puppet-agent", "cf-agent",
     "rabbitmqctl", "rabbitmq-plugins", "ejabberdctl", "asterisk", "fs_cli", "varnishadm", "varnishd", "logstash", "telegraf", "zabbix_agentd",
     "sysdig", "falco", "trace-cmd", "bpftool", "init", "telinit", "systemd", "rpcclient", "wpa_supplicant"]
        { Operand => "runs code that its arguments or files name", Always => "runs code" }
    ["make", "gmake", "bmake", "pmake"] { Always => "runs the commands of a makefile or of its arguments" }
    ["dc", "bc"] { Operand => "runs a file whose text may call a shell", Always => "runs text from its input, which may call a shell" }
    ["sed", "gsed", "ssed"] { Operand => "its `e`, `w` and `r` commands run programs and write files",
        Short('e') => "its `e` and `w` commands run programs and write files", Short('f') => "runs a script file",
        Prefix("--expression") => "its `e` and `w` commands run programs and write files", Prefix("--file") => "runs a script file",
        Short('i') => "rewrites files", Prefix("--in-place") => "rewrites files" }

    // Editors and pagers.
    ["ed", "red", "emacs", "emacsclient", "elvis", "ex", "gvim", "hx", "jed", "jmacs", "joe", "jove", "jpico", "jstar", "kak",
     "mcedit", "mg", "micro", "ne", "neovim", "nvi", "nvim", "nvimdiff", "rjoe", "rvim", "rview", "vi", "view", "vim", "vim.basic",
     "vim.tiny", "vimdiff", "vimtutor", "vise", "zile", "ee", "edit", "editor", "sensible-editor", "select-editor", "visudo",
     "vipw", "vigr", "mc", "ranger", "nnn", "lf", "vifm", "tig", "lazygit", "sc", "visidata", "vd", "gedit", "vile", "dte", "ispell", "aspell", "ncdu", "iftop", "k9s", "lazydocker", "ctop"]
        { Always => "is an editor or browser that opens a shell and writes files" }
    ["nano", "pico", "rnano"] { Always => "is an editor that runs commands and writes files" }
    ["less", "more", "most", "pg", "pager", "lv", "zless", "zmore", "xzless", "xzmore", "bzless", "bzmore", "lesspipe",
     "sensible-pager", "bat", "batcat", "xmore", "zstdless", "lzless", "lzmore"] { Always => "is a pager that opens a shell and other files" }
    ["man", "info", "pinfo", "perldoc", "ri", "pydoc", "apport-cli", "eb", "yelp"] { Always => "shows text in a pager that opens a shell" }
    ["systemctl"] { Word("edit") => "opens an editor", Word("link") => "installs units that run programs",
        Word("enable") => "installs units that run programs", Word("set-environment") => "changes what services run with",
        Word("import-environment") => "changes what services run with", Word("set-property") => "changes what services run with",
        Word("switch-root") => "runs another init", Word("revert") => "changes what services run", Word("bind") => "mounts files",
        Word("mount-image") => "mounts files",
        Short('H') => "connects with ssh", Prefix("--host") => "connects with ssh", Short('M') => "enters a container",
        Prefix("--machine") => "enters a container", Prefix("--root") => "acts on other files",
        Prefix("--image") => "acts on other files",
        Terminal(&["--no-pager", "start", "stop", "restart", "reload", "is-active", "is-enabled", "is-failed"]) => "shows text in a pager that may open a shell; add `--no-pager`" }
    ["journalctl"] { Prefix("--root") => "reads other files", Prefix("--image") => "reads other files", Prefix("--machine") => "enters a container",
        Short('M') => "enters a container",
        Terminal(&["--no-pager", "-f", "--follow"]) => "shows text in a pager that may open a shell; add `--no-pager`" }
    ["loginctl", "timedatectl", "hostnamectl", "localectl", "networkctl", "coredumpctl", "resolvectl", "busctl", "bootctl", "userdbctl", "oomctl", "homectl", "portablectl", "systemd-analyze", "systemd-cgls", "systemd-resolve"] {
        Short('H') => "connects with ssh", Prefix("--host") => "connects with ssh", Short('M') => "enters a container",
        Prefix("--machine") => "enters a container", Word("debug") => "runs a debugger", Word("gdb") => "runs a debugger",
        Prefix("--debugger") => "runs a debugger", Word("edit") => "opens an editor", Word("call") => "calls any service of the system",
        Terminal(&["--no-pager"]) => "shows text in a pager that may open a shell; add `--no-pager`" }

    // Finds, archives and copies.
    ["find", "gfind", "bfs"] { Word("-exec") => "runs programs on what it finds", Word("-execdir") => "runs programs on what it finds",
        Word("-ok") => "runs programs on what it finds", Word("-okdir") => "runs programs on what it finds",
        Word("-delete") => "deletes what it finds", Prefix("-fprint") => "writes files", Prefix("-fls") => "writes files",
        Prefix("-files0-from") => "reads other files" }
    ["fd", "fdfind"] { Short('x') => "runs programs on what it finds", Short('X') => "runs programs on what it finds",
        Prefix("--exec") => "runs programs on what it finds" }
    ["locate", "updatedb"] { Prefix("--output") => "writes files", Short('o') => "writes files" }
    ["tar", "gtar", "bsdtar", "star"] { Prefix("--checkpoint-action") => "runs programs", Prefix("--to-command") => "runs programs",
        Prefix("--use-compress-program") => "runs programs", Prefix("--info-script") => "runs programs", Prefix("--new-volume-script") => "runs programs",
        Prefix("--rsh-command") => "runs programs", Prefix("--rmt-command") => "runs programs", Bundle('I') => "runs programs", Bundle('F') => "runs programs",
        Prefix("--extract") => "writes files", Prefix("--get") => "writes files", Bundle('x') => "writes files", Prefix("--create") => "writes files",
        Bundle('c') => "writes files", Bundle('T') => "takes options from a file", Prefix("--files-from") => "takes options from a file",
        Bundle('r') => "writes files", Bundle('u') => "writes files", Bundle('A') => "writes files" }
    ["cpio", "pax", "ar", "zip", "unzip", "7z", "7za", "7zr", "rar", "unrar", "ark", "dar", "unsquashfs", "mksquashfs"]
        { Operand => "writes files, and can run programs", Always => "writes files, and can run programs" }
    ["gzip", "bzip2", "xz", "zstd", "lz4", "gunzip", "bunzip2", "unxz", "unzstd", "compress", "uncompress"] { Operand => "replaces files" }
    ["rsync"] { Operand => "copies files, also over ssh", Prefix("--rsh") => "runs programs", Short('e') => "runs programs",
        Prefix("--rsync-path") => "runs programs", Prefix("--daemon") => "serves files", Prefix("--server") => "writes files" }
    ["scp", "sftp-server", "internal-sftp"] { Always => "reads and writes files beyond path rules" }
    ["sftp", "ftp", "lftp", "tftp", "ncftp", "rcp", "rclone", "smbclient", "unison", "ncftpget", "ncftpput"]
        { Operand => "copies files and runs programs (`-S`, `-o ProxyCommand`, `!`)", Always => "copies files and runs programs" }
    ["ssh", "autossh", "slogin", "rsh", "rlogin", "rexec", "telnet", "dbclient", "plink", "ssh-copy-id", "ssh-keyscan", "sshuttle", "sshfs", "check_by_ssh", "pscp", "psftp", "tsh",
     "pssh", "parallel-ssh", "clush", "pdsh", "cssh"]
        { Operand => "connects elsewhere and runs programs (`-o ProxyCommand`)", Always => "runs programs" }
    ["ssh-keygen", "ssh-add"] { Short('D') => "loads machine code", Short('s') => "loads machine code", Short('f') => "writes files",
        Operand => "reads or writes key files" }
    ["nc", "ncat", "netcat", "socat", "cryptcat", "openbsd-netcat", "nc.traditional", "nc.openbsd", "telnetd", "chisel", "ngrok", "stunnel"]
        { Operand => "connects anywhere and runs programs", Always => "connects anywhere and runs programs" }
    ["curl", "wget", "aria2c", "axel", "lynx", "links", "elinks", "w3m", "links2", "lwp-download", "lwp-request", "GET", "POST", "rtorrent", "transmission-cli", "check_ssl_cert", "http", "https", "xh", "fetch"]
        { Operand => "fetches from anywhere and writes files", Always => "fetches from anywhere and writes files" }
    ["uniq"] { Operands(2) => "writes files" }
    ["shuf", "iconv", "tree", "recode"] { Short('o') => "writes files", Prefix("--output") => "writes files" }
    ["dmidecode"] { Prefix("--dump-bin") => "writes files", Prefix("--from-dump") => "reads other files" }
    ["doveadm"] { Word("exec") => "runs programs" }
    ["plymouth"] { Prefix("--command") => "runs programs" }
    ["fail2ban-client"] { Word("set") => "sets programs to run", Word("add") => "sets programs to run", Short('c') => "takes settings from a file" }
    ["yt-dlp", "youtube-dl", "tailscale", "socket", "winexe", "wmic", "psexec", "ab"] { Operand => "connects anywhere and can run programs or write files" }
    ["postconf"] { Short('e') => "sets programs to run", Assignment => "sets programs to run", Short('M') => "sets programs to run",
        Short('c') => "takes settings from a file" }
    ["update-initramfs", "mkinitramfs", "dracut", "update-grub", "grub-mkconfig", "grub2-mkconfig", "grub-install", "unattended-upgrade", "depmod"]
        { Always => "changes what the system runs when it starts" }
    ["dos2unix", "unix2dos", "qpdf", "arj", "nasm", "makemap", "postmap", "zic", "bcftools", "dump", "restore", "xfsdump", "highlight"]
        { Operand => "writes files, and some run programs" }
    ["yq"] { Short('i') => "writes files", Prefix("--inplace") => "writes files" }
    ["pidstat"] { Short('e') => "runs the program that its arguments name" }
    ["dmesg"] { Short('H') => "shows text in a pager that opens a shell", Prefix("--human") => "shows text in a pager that opens a shell" }
    ["systemd-notify"] { Prefix("--exec") => "runs the program that its arguments name" }
    ["dbus-send", "gdbus", "qdbus"] { Operand => "calls any service of the system" }
    ["sysctl"] { Assignment => "sets what the system runs", Short('w') => "sets what the system runs", Prefix("--write") => "sets what the system runs",
        Short('p') => "takes settings from a file", Short('f') => "takes settings from a file", Prefix("--load") => "takes settings from a file", Prefix("--system") => "takes settings from files" }
    ["systemd-tmpfiles", "systemd-sysusers", "systemd-mount", "systemd-firstboot"] { Operand => "writes files", Prefix("--create") => "writes files",
        Prefix("--clean") => "removes files", Prefix("--remove") => "removes files", Prefix("--purge") => "removes files", Prefix("--root") => "writes files",
        Prefix("--image") => "writes files", Prefix("--inline") => "writes files", Prefix("--replace") => "writes files" }
    ["usermod", "useradd", "userdel", "adduser", "deluser", "addgroup", "groupadd", "groupmod", "gpasswd", "chpasswd", "newusers", "passwd", "chage"]
        { Operand => "changes accounts" , Prefix("--root") => "changes accounts", Prefix("--stdin") => "changes accounts" }
    ["chsh", "chfn"] { Always => "changes what a login runs" }
    ["xsltproc", "xmllint", "exiftool", "enscript", "certbot", "easyrsa", "dstat", "genisoimage", "mkisofs", "xorriso", "varnishncsa", "espeak", "tic"]
        { Operand => "writes files, and can run programs", Short('o') => "writes files", Prefix("--output") => "writes files", Prefix("-if") => "runs code",
          Prefix("-config") => "loads code", Prefix("--pre-hook") => "runs programs", Prefix("--post-hook") => "runs programs", Prefix("--manual-auth-hook") => "runs programs",
          Prefix("--deploy-hook") => "runs programs", Prefix("--shell") => "opens an editor", Short('w') => "writes files" }
    ["cron", "crond", "atd", "dropbear", "dropbearmulti", "inetd", "xinetd", "busybox-extras"] { Always => "runs programs for whoever connects or when time comes" }
    ["git-shell"] { Always => "is a part of git that runs programs" }
    ["split"] { Prefix("--filter") => "runs programs", Operand => "writes files" }
    ["cp", "mv", "install", "ln", "dd", "tee", "sponge", "csplit", "truncate", "shred", "rename", "mmv", "patch", "xxd", "uudecode",
     "logsave", "link"]
        { Operand => "writes files, also startup files that run programs", Short('T') => "writes files" }
    ["chmod", "chown", "chgrp", "setfacl", "chattr", "setcap", "chcon", "mknod", "mount", "umount", "losetup", "insmod", "modprobe", "kexec",
     "ldconfig", "update-alternatives", "debugfs", "mkfs", "fsck", "fdisk", "sfdisk", "gdisk", "sgdisk", "cfdisk", "wipefs", "swapon", "parted"]
        { Operand => "changes who may do what, or what the system runs" }
    ["sort"] { Prefix("--compress-program") => "runs programs", Prefix("--output") => "writes files", Short('o') => "writes files",
        Prefix("--files0-from") => "reads other files" }
    ["rg", "ripgrep"] { Prefix("--pre") => "runs programs", Prefix("--hostname-bin") => "runs programs", Short('f') => "reads other files" }
    ["ag", "ack"] { Prefix("--pager") => "runs programs", Prefix("--output") => "runs code", Prefix("--ackrc") => "loads code" }
    ["diff", "sdiff", "diff3", "cmp", "colordiff"] { Short('o') => "writes files and runs an editor", Prefix("--output") => "writes files",
        Prefix("--diff-program") => "runs programs", Prefix("--editor") => "runs programs" }
    ["tcpdump", "tshark", "dumpcap", "wireshark"] { Short('z') => "runs programs", Short('w') => "writes files", Short('W') => "writes files",
        Short('r') => "reads other files", Prefix("--postrotate-command") => "runs programs", Short('X') => "loads code", Short('V') => "reads other files",
        Short('F') => "reads other files" }
    ["nmap"] { Prefix("-script") => "runs code", Prefix("--script") => "runs code", Prefix("--interactive") => "opens a shell", Prefix("-o") => "writes files",
        Short('A') => "runs code", Prefix("--datadir") => "loads code", Prefix("-sC") => "runs code", Prefix("--resume") => "takes options from a file",
        Prefix("-iL") => "reads other files" }
    ["top", "htop", "atop", "btop", "iotop", "glances"] { Terminal(&["-b", "-bn1", "--batch"]) => "is interactive and may run programs or kill processes; use its batch mode" }
    ["ip", "tc", "bridge", "ss", "nstat"] { Word("netns") => "runs programs in another namespace", Prefix("-batch") => "takes commands from a file",
        Word("exec") => "runs programs",
        Word("vrf") => "runs programs", Short('D') => "writes files", Short('F') => "reads other files" }
    ["iptables", "ip6tables", "iptables-save", "iptables-restore", "nft", "arptables", "ebtables"] { Prefix("--modprobe") => "runs programs", Short('M') => "runs programs",
        Short('f') => "takes commands from a file", Prefix("--file") => "takes commands from a file", Short('i') => "takes commands" }

    // Version control.
    ["git"] { Short('c') => "runs programs that settings name", Prefix("--config-env") => "runs programs that settings name", Prefix("--exec-path") => "runs programs",
        Prefix("--upload-pack") => "runs programs", Prefix("--receive-pack") => "runs programs", Prefix("--exec") => "runs programs",
        Short('C') => "reads settings that name programs", Prefix("--git-dir") => "reads settings that name programs", Prefix("--work-tree") => "writes files",
        Short('p') => "opens a pager", Prefix("--paginate") => "opens a pager", Prefix("--ext-diff") => "runs programs", Prefix("--textconv") => "runs programs",
        Prefix("--output") => "writes files", Prefix("--open-files-in-pager") => "runs programs", Short('O') => "runs programs", Prefix("--template") => "installs hooks",
        Word("config") => "sets programs to run", Word("difftool") => "runs programs", Word("mergetool") => "runs programs", Word("bisect") => "runs programs",
        Word("rebase") => "runs programs and editors", Word("filter-branch") => "runs programs", Word("submodule") => "runs programs", Word("commit") => "opens an editor and runs hooks",
        Word("clone") => "writes files and runs hooks", Word("pull") => "writes files and runs hooks", Word("fetch") => "runs programs that settings name",
        Word("push") => "runs hooks and programs that settings name", Word("checkout") => "writes files and runs hooks", Word("merge") => "writes files and runs hooks",
        Word("am") => "writes files and runs hooks", Word("apply") => "writes files", Word("init") => "installs hooks", Word("worktree") => "writes files",
        Word("archive") => "writes files and runs programs", Word("grep") => "opens a pager", Word("help") => "opens a pager", Word("daemon") => "runs programs",
        Word("shell") => "runs programs", Word("send-email") => "runs programs", Word("svn") => "runs programs", Word("instaweb") => "runs programs", Word("maintenance") => "schedules programs",
        Word("hook") => "runs programs", Word("remote") => "runs programs that settings name", Word("ls-remote") => "runs programs that settings name", Word("stash") => "writes files and runs hooks",
        Word("alias") => "sets programs to run", Word("branch") => "may open an editor", Word("tag") => "may open an editor", Word("notes") => "opens an editor",
        Word("replace") => "may open an editor", Word("reset") => "writes files", Word("restore") => "writes files", Word("switch") => "writes files and runs hooks",
        Word("cherry-pick") => "writes files and runs hooks", Word("revert") => "writes files and runs hooks", Word("citool") => "runs programs", Word("gui") => "runs programs",
        Word("cvsserver") => "runs programs", Word("web--browse") => "runs programs", Word("credential") => "runs programs",
        Terminal(&["--no-pager"]) => "shows text in a pager that may open a shell; add `--no-pager`" }
    ["hg", "svn", "svnadmin", "bzr", "brz", "cvs", "darcs", "fossil", "p4", "jj", "etckeeper"] { Always => "runs programs that settings name" }

    // Databases.
    ["psql", "pgcli"] { Always => "opens a shell with \\! and runs programs with COPY … PROGRAM" }
    ["mysql", "mariadb", "mycli", "mysqlsh"] { Always => "opens a shell with \\! and system" }
    ["sqlite3", "sqlite", "litecli"] { Always => "opens a shell with .shell and writes files" }
    ["mongo", "mongosh", "redis-cli", "valkey-cli", "keydb-cli", "cqlsh", "sqlplus", "isql", "usql", "duckdb", "clickhouse-client", "influx", "ldapvi", "impala-shell", "hive", "beeline"]
        { Always => "runs code or opens a shell" }
    ["pg_dump", "pg_dumpall", "pg_restore", "mysqldump", "mariadb-dump", "mongodump", "pg_basebackup"] { Short('f') => "writes files", Prefix("--file") => "writes files",
        Short('r') => "writes files", Prefix("--result-file") => "writes files", Short('T') => "writes files", Prefix("--tab") => "writes files",
        Prefix("--compress") => "may run programs", Short('o') => "writes files", Prefix("--out") => "writes files", Short('D') => "writes files", Prefix("--pgdata") => "writes files" }

    // Containers and clusters.
    ["docker", "podman", "nerdctl"] { Word("exec") => "runs programs in containers", Word("run") => "runs programs in containers",
        Word("create") => "makes containers that run programs", Word("build") => "runs programs", Word("buildx") => "runs programs", Word("compose") => "runs programs in containers",
        Word("cp") => "writes files", Word("attach") => "attaches to programs", Word("start") => "starts containers", Word("commit") => "changes images", Word("load") => "changes images",
        Word("import") => "changes images", Word("plugin") => "loads code", Word("update") => "changes containers", Word("save") => "writes files", Word("export") => "writes files",
        Word("container") => "runs programs in containers", Word("service") => "runs programs in containers", Word("stack") => "runs programs in containers", Word("swarm") => "joins clusters",
        Word("play") => "runs programs in containers", Word("kube") => "runs programs in containers", Word("unshare") => "runs programs", Word("machine") => "runs programs", Word("system") => "runs programs",
        Word("volume") => "mounts files", Word("context") => "connects elsewhere", Word("pull") => "changes images", Word("push") => "sends images away", Word("debug") => "runs programs",
        Word("image") => "changes images", Word("generate") => "writes files", Word("quadlet") => "installs units", Word("pod") => "starts containers", Word("restart") => "starts containers",
        Short('H') => "connects elsewhere", Prefix("--host") => "connects elsewhere", Short('c') => "connects elsewhere", Prefix("--context") => "connects elsewhere",
        Prefix("--config") => "runs programs that settings name", Prefix("--url") => "connects elsewhere", Prefix("--remote") => "connects elsewhere" }
    ["kubectl", "oc", "k3s", "microk8s"] { Word("exec") => "runs programs in containers", Word("run") => "runs programs in containers",
        Word("debug") => "runs programs in containers", Word("attach") => "attaches to programs", Word("cp") => "writes files", Word("edit") => "opens an editor",
        Word("apply") => "makes workloads that run programs", Word("create") => "makes workloads that run programs", Word("patch") => "changes what workloads run",
        Word("replace") => "changes what workloads run", Word("set") => "changes what workloads run", Word("port-forward") => "opens tunnels", Word("proxy") => "opens tunnels",
        Word("config") => "sets programs to run", Word("plugin") => "runs programs", Word("diff") => "runs programs", Word("rsh") => "opens a shell", Word("kubectl") => "runs any of the rest",
        Word("ctr") => "runs programs in containers", Word("crictl") => "runs programs in containers", Word("rsync") => "writes files", Word("kustomize") => "runs programs", Word("scale") => "starts workloads",
        Word("rollout") => "changes what workloads run", Word("autoscale") => "starts workloads", Word("expose") => "opens services", Word("certificate") => "makes credentials", Word("server") => "runs programs",
        Prefix("--kubeconfig") => "runs programs that settings name", Prefix("--as") => "acts as someone else", Prefix("--server") => "connects elsewhere", Short('s') => "connects elsewhere",
        Prefix("--token") => "acts as someone else", Prefix("--raw") => "sends any request", Short('f') => "reads other files", Prefix("--filename") => "reads other files",
        Short('k') => "reads other files", Prefix("--context") => "connects elsewhere", Prefix("--cluster") => "connects elsewhere", Prefix("--user") => "acts as someone else" }
    ["helm", "lxc", "lxc-attach", "lxc-execute", "lxc-start", "incus", "virsh", "ctr", "crictl", "runc", "crun", "buildah", "skopeo", "toolbox", "distrobox", "flatpak", "snap", "apptainer", "singularity",
     "systemd-nspawn", "qemu-system-x86_64", "qemu-img", "virt-install", "kind", "minikube", "nomad", "consul", "vault", "argocd", "docker-compose", "podman-compose", "limactl", "multipass", "colima", "k3d", "eksctl", "tkn"]
        { Operand => "runs programs in containers or machines", Always => "runs programs" }

    // Schedules, packages, services, mail.
    ["crontab", "anacron"] { Operand => "schedules programs", Short('e') => "opens an editor", Short('r') => "removes what is scheduled" }
    ["dpkg", "dpkg-query", "dpkg-deb"] { Short('i') => "runs the scripts of packages", Prefix("--install") => "runs the scripts of packages", Short('r') => "runs the scripts of packages",
          Prefix("--remove") => "runs the scripts of packages", Short('P') => "runs the scripts of packages", Prefix("--purge") => "runs the scripts of packages",
          Prefix("--configure") => "runs the scripts of packages", Short('a') => "runs the scripts of packages", Prefix("--triggers-only") => "runs the scripts of packages",
          Prefix("--unpack") => "writes files", Short('x') => "writes files", Short('X') => "writes files", Prefix("--extract") => "writes files",
          Prefix("--vextract") => "writes files", Short('e') => "writes files", Prefix("--control") => "writes files", Short('R') => "writes files",
          Prefix("--raw-extract") => "writes files", Short('b') => "writes files", Prefix("--build") => "writes files", Prefix("--pre-invoke") => "runs programs",
          Prefix("--post-invoke") => "runs programs", Prefix("--status-logger") => "runs programs", Prefix("--root") => "runs programs", Prefix("--instdir") => "runs programs",
          Prefix("--admindir") => "reads other files", Prefix("--force") => "changes what the system runs", Prefix("--set-selections") => "changes what the system runs",
          Prefix("--merge-avail") => "reads other files", Prefix("--update-avail") => "reads other files",
          Terminal(&["--no-pager", "-s", "--status", "--version", "-S", "-W"]) => "shows text in a pager that may open a shell; add `--no-pager`" }
    ["apt", "apt-get", "apt-cache", "apt-mark", "apt-config", "apt-key", "add-apt-repository", "aptitude", "nala", "dnf5", "microdnf", "rpmquery", "rpmverify", "rpmdb", "rpmbuild", "xbps-install", "dnf", "yum", "rpm", "zypper", "pacman", "apk", "emerge", "brew", "nix", "nix-env", "nix-shell", "guix", "pkg", "dpkg-reconfigure", "alien", "checkinstall"]
        { Word("install") => "runs the scripts of packages", Word("changelog") => "opens a pager", Word("update") => "runs programs that settings name", Word("upgrade") => "runs the scripts of packages",
          Word("dist-upgrade") => "runs the scripts of packages", Word("full-upgrade") => "runs the scripts of packages", Word("remove") => "runs the scripts of packages", Word("purge") => "runs the scripts of packages",
          Word("reinstall") => "runs the scripts of packages", Word("source") => "runs programs", Word("build-dep") => "runs the scripts of packages", Word("edit-sources") => "opens an editor",
          Word("localinstall") => "runs the scripts of packages", Word("shell") => "opens a shell", Word("develop") => "opens a shell", Word("run") => "runs programs", Word("add") => "runs the scripts of packages",
          Word("download") => "writes files", Word("autoremove") => "runs the scripts of packages", Word("satisfy") => "runs the scripts of packages",
          Short('o') => "sets programs to run", Prefix("--option") => "sets programs to run", Short('c') => "sets programs to run", Prefix("--config-file") => "sets programs to run", Prefix("--pre-invoke") => "runs programs",
          Short('i') => "runs the scripts of packages", Prefix("--install") => "runs the scripts of packages", Short('U') => "runs the scripts of packages", Short('e') => "runs the scripts of packages", Short('S') => "runs the scripts of packages",
          Prefix("--eval") => "runs code", Short('E') => "runs code", Prefix("--define") => "runs code", Short('D') => "runs code", Prefix("--pipe") => "runs programs", Prefix("--root") => "runs programs", Prefix("--admindir") => "reads other files",
          Prefix("--setopt") => "sets programs to run", Prefix("--plugin") => "loads code", Short('r') => "runs the scripts of packages", Prefix("--configure") => "runs the scripts of packages", Prefix("--remove") => "runs the scripts of packages",
          Prefix("--purge") => "runs the scripts of packages", Short('P') => "runs the scripts of packages", Prefix("--unpack") => "writes files", Short('x') => "writes files", Prefix("--rcfile") => "runs programs", Prefix("--load") => "loads code" }
    ["service", "invoke-rc.d", "initctl", "rc-service", "sv", "supervisorctl", "monit", "runit", "pm2", "launchctl", "svc"]
        { Prefix("../") => "runs programs by path", Prefix("./") => "runs programs by path", Prefix("/") => "runs programs by path", Word("add") => "starts programs", Word("reread") => "starts programs", Word("load") => "installs programs", Word("submit") => "installs programs" }
    ["mail", "mailx", "mutt", "neomutt", "sendmail", "exim", "exim4", "alpine", "pine", "nail", "s-nail", "bsd-mailx", "heirloom-mailx", "msmtp", "telegram-cli", "irssi", "weechat"]
        { Operand => "runs programs (`~!`, `-Ospool`)", Always => "runs programs" }

    // Debuggers and others.
    ["gdb", "gdbserver", "lldb", "cgdb", "ddd", "r2", "radare2", "rr", "dtrace", "bcc", "crash", "drgn", "py-spy", "rbspy", "jdb", "delve", "dlv", "gcore", "kgdb"]
        { Always => "runs programs and changes running ones" }
    ["openssl"] { Word("engine") => "loads machine code", Prefix("-engine") => "loads machine code", Prefix("-provider") => "loads machine code", Word("-out") => "writes files", Prefix("-out") => "writes files",
        Word("s_client") => "connects anywhere", Word("s_server") => "serves anywhere", Word("enc") => "writes files", Prefix("-config") => "loads machine code", Word("req") => "loads settings", Prefix("-writerand") => "writes files",
        Prefix("-keylogfile") => "writes files", Prefix("-sess_out") => "writes files" }
    ["gpg", "gpg2", "gpgsm", "gpg-agent"] { Prefix("--agent-program") => "runs programs", Prefix("--photo-viewer") => "runs programs", Prefix("--output") => "writes files", Short('o') => "writes files",
        Prefix("--options") => "takes options from a file", Prefix("--homedir") => "takes options from a file", Prefix("--pinentry-program") => "runs programs", Prefix("--exec-path") => "runs programs", Prefix("--dirmngr-program") => "runs programs",
        Prefix("--import") => "changes trust", Prefix("--edit-key") => "changes trust", Prefix("--keyserver") => "connects anywhere" }
    ["logrotate", "dmsetup", "lvm", "mdadm", "zpool", "zfs", "multipath", "smartd", "dhclient", "udevadm", "auditctl", "augtool", "wpa_cli", "hostapd", "pppd", "openvpn", "wg-quick", "ifup", "ifdown",
     "iscsiadm", "snmpd", "snmptrapd", "xterm", "gnome-terminal", "konsole", "rxvt", "urxvt", "alacritty", "kitty", "foot", "st", "x-terminal-emulator", "xdg-open", "open", "zathura", "ghostscript", "gs", "latex", "pdflatex", "xelatex",
     "lualatex", "tex", "pdftex", "luatex", "xetex", "dvips", "groff", "troff", "nroff", "pandoc", "ffmpeg", "convert", "magick", "gnuplot", "maxima", "matlab", "octave-cli", "sas", "whiptail", "dialog", "fzf", "sk", "gum", "entr",      "incron", "watchman", "watchexec", "nodemon", "aws", "gcloud", "az", "ecs-cli", "sls", "pulumi", "msgattrib", "msgcat", "msgconv", "msgmerge", "msguniq", "tdbtool", "xmodmap", "ginsh", "hping3", "ipmitool", "slsh",      "setfont", "loadkeys", "nsupdate", "ntpdate", "restic", "borg", "duplicity", "tarsnap", "rdiff-backup", "rsnapshot", "bacula", "bconsole", "kpartx", "opkg", "scanmem", "ssmtp", "tasksh"]
        { Operand => "can run programs that its arguments or settings name", Always => "can run programs that its settings name" }
    ["nginx", "apache2", "apache2ctl", "apachectl", "httpd", "haproxy", "php-fpm", "mysqld", "postgres", "named", "sshd", "dnsmasq"] { Short('c') => "takes settings from a file", Short('C') => "takes settings",
        Short('g') => "takes settings", Short('f') => "takes settings from a file", Short('D') => "takes settings", Short('o') => "takes settings", Short('p') => "takes settings from elsewhere", Short('e') => "writes files", Short('d') => "takes settings from elsewhere",
        Prefix("--conf") => "takes settings from a file", Prefix("--init-file") => "takes commands from a file", Prefix("--plugin") => "loads code", Prefix("--dhcp-script") => "runs programs", Short('y') => "takes settings from a file", Short('r') => "takes settings from elsewhere" }
}
