//! Who may look at sessions and end them, through the control socket.

use std::str::FromStr;

use serde::Deserialize;

use crate::users::place;

/// What an operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// See who is in, and what runs.
    List,
    /// See what a session's terminal shows.
    Watch,
    /// End a session.
    Terminate,
}

impl Role {
    const ALL: [Self; 3] = [Self::List, Self::Watch, Self::Terminate];

    /// As the settings file has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Watch => "watch",
            Self::Terminate => "terminate",
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OperatorToml {
    account: Option<String>,
    uid: Option<u32>,
    roles: Vec<Role>,
}

/// The accounts of this machine that may use the control socket.
#[derive(Debug, Clone)]
pub(crate) struct Operators(Vec<Operator>);

#[derive(Debug, Clone)]
struct Operator {
    uid: u32,
    roles: Vec<Role>,
}

/// Why somebody may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotPermitted {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Operators {
    /// As long as the settings name nobody: the proxy's own account and root, with all roles.
    pub(crate) fn own_account_and_root() -> Self {
        let own = rustix::process::geteuid().as_raw();
        Self([own, 0].map(|uid| Operator { uid, roles: Role::ALL.to_vec() }).to_vec())
    }

    /// The operators of a settings file. Once somebody is named, root and the proxy's own account are operators only if they are, too.
    pub(crate) fn parse(listed: &[toml::Spanned<OperatorToml>], text: &str) -> Result<Self, String> {
        if listed.is_empty() {
            return Ok(Self::own_account_and_root());
        }
        let mut operators: Vec<Operator> = Vec::new();
        for spanned in listed {
            let at = place(text, spanned.span().start);
            let operator = spanned.get_ref();
            let uid = match (&operator.account, operator.uid) {
                (Some(account), None) => uid_of(account).ok_or_else(|| {
                    format!("{at}: operator: `{account}` is not in /etc/passwd; `uid` names accounts from elsewhere")
                })?,
                (None, Some(uid)) => uid,
                _ => return Err(format!("{at}: an operator has either an `account` or a `uid`")),
            };
            if operator.roles.is_empty() {
                return Err(format!("{at}: an operator without roles may do nothing"));
            }
            if operators.iter().any(|other| other.uid == uid) {
                return Err(format!("{at}: the account with uid {uid} is listed twice"));
            }
            operators.push(Operator { uid, roles: operator.roles.clone() });
        }
        Ok(Self(operators))
    }

    /// Whether the account may do this.
    pub(crate) fn may(&self, uid: u32, role: Role) -> Result<(), NotPermitted> {
        let name = name_of(uid);
        match self.0.iter().find(|operator| operator.uid == uid) {
            None => Err(NotPermitted {
                code: "not_an_operator",
                message: format!("`{name}` is not an operator of this proxy"),
            }),
            Some(operator) if !operator.roles.contains(&role) => Err(NotPermitted {
                code: "no_role",
                message: format!("`{name}` does not have the role `{}`", role.name()),
            }),
            Some(_) => Ok(()),
        }
    }

    /// Whether somebody else than the proxy's own account and root is among them.
    pub(crate) fn has_others(&self) -> bool {
        let own = rustix::process::geteuid().as_raw();
        self.0.iter().any(|operator| operator.uid != own && operator.uid != 0)
    }
}

/// The login name of a user id, from the passwd file.
pub(crate) fn name_of(uid: u32) -> String {
    fields_of("/etc/passwd", |fields| fields.get(2).and_then(|text| text.parse().ok()) == Some(uid))
        .and_then(|fields| fields.into_iter().next())
        .unwrap_or_else(|| format!("uid {uid}"))
}

fn uid_of(account: &str) -> Option<u32> {
    number_of("/etc/passwd", account)
}

/// The id of a group, by name from the group file or by number.
pub(crate) fn gid_of(group: &str) -> Option<u32> {
    number_of("/etc/group", group).or_else(|| u32::from_str(group).ok())
}

fn number_of(file: &str, name: &str) -> Option<u32> {
    let fields = fields_of(file, |fields| fields.first().is_some_and(|first| first == name))?;
    fields.get(2)?.parse().ok()
}

/// The first line of a file like /etc/passwd that `matches`.
fn fields_of(file: &str, matches: impl Fn(&[String]) -> bool) -> Option<Vec<String>> {
    let listed = std::fs::read_to_string(file).unwrap_or_default();
    let mut lines = listed.lines().map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>());
    lines.find(|fields| matches(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        operator: Vec<toml::Spanned<OperatorToml>>,
    }

    fn parse(text: &str) -> Result<Operators, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        Operators::parse(&file.operator, text)
    }

    #[test]
    fn an_operator_may_do_what_the_roles_say_and_nobody_else_may_do_anything() {
        let operators =
            parse("[[operator]]\naccount = \"daemon\"\nroles = [\"list\", \"watch\"]\n\n[[operator]]\nuid = 4242\nroles = [\"terminate\"]\n")
                .unwrap();
        let daemon = uid_of("daemon").unwrap();
        assert_eq!(operators.may(daemon, Role::Watch), Ok(()));
        assert_eq!(operators.may(4242, Role::Terminate), Ok(()));
        let refused = operators.may(daemon, Role::Terminate).unwrap_err();
        assert_eq!(
            (refused.code, refused.message.as_str()),
            ("no_role", "`daemon` does not have the role `terminate`")
        );
        // Not even root, once somebody is named.
        assert_eq!(operators.may(0, Role::List).unwrap_err().code, "not_an_operator");
        assert!(operators.has_others());
        let own = Operators::own_account_and_root();
        assert_eq!(own.may(0, Role::Terminate), Ok(()));
        assert_eq!(
            own.may(4242, Role::List).unwrap_err().message,
            "`uid 4242` is not an operator of this proxy"
        );
        assert!(!own.has_others());
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, expected) in [
            (
                "[[operator]]\naccount = \"nobody-here\"\nroles = [\"list\"]\n",
                "`nobody-here` is not in /etc/passwd",
            ),
            ("[[operator]]\nroles = [\"list\"]\n", "either an `account` or a `uid`"),
            (
                "[[operator]]\naccount = \"root\"\nuid = 0\nroles = [\"list\"]\n",
                "either an `account` or a `uid`",
            ),
            ("[[operator]]\nuid = 7\nroles = []\n", "without roles"),
            (
                "[[operator]]\nuid = 7\nroles = [\"list\"]\n[[operator]]\nuid = 7\nroles = [\"list\"]\n",
                "listed twice",
            ),
            ("[[operator]]\nuid = 7\nroles = [\"rule\"]\n", "unknown variant"),
        ] {
            let mistake = parse(text).unwrap_err();
            assert!(mistake.contains(expected) && mistake.contains("line "), "{mistake}");
        }
    }
}
