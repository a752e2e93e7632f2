use std::collections::BTreeSet;
use std::future::Future;

use futures::StreamExt;

use crate::connector::{
    Access, Confirmation, Connector, Effect, Found, ListedAccount, Operation, Right, Target,
};
use crate::event::{Attribute, Attributes, Changes};
use crate::id::{EntitlementId, PersonId};

/// An account as it is seen without the connector: through the application's own interface, or its database.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// Whether its owner can log in.
    pub access: Access,
    /// Its unique value of the name that the subject gave.
    pub name: Option<String>,
    /// Its value of the attribute that the subject gave.
    pub attribute: Option<String>,
    /// Its rights.
    pub rights: BTreeSet<EntitlementId>,
}

/// A connector with an application behind it, and a way to look at the application that does not lead through the connector.
pub trait Subject: Send + Sync {
    /// The connector.
    fn connector(&self) -> &dyn Connector;
    /// A unique attribute, the user name say.
    fn unique_name(&self) -> String;
    /// Another attribute, whose values are text.
    fn attribute_name(&self) -> String;
    /// A right that the application has.
    fn right(&self) -> EntitlementId;
    /// All accounts of a person.
    fn accounts_of(&self, person: &PersonId) -> impl Future<Output = Vec<Seen>> + Send;
    /// Has the application carry out the next write and lose its answer. Answers whether it can.
    fn lose_next_answer(&self) -> Loss;
    /// A value of the unique attribute, which no account has; `word` is one of at most 7 letters.
    fn unique_value(&self, word: &str) -> String {
        format!("conformance-{word}")
    }
    /// Whether the application changes the unique attribute of an account that is there.
    fn renaming(&self) -> Renaming {
        Renaming::Possible
    }
}

/// Whether an account can get another value of the unique attribute.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Renaming {
    /// It can, and the account of somebody who left gives up a name that is not its own any more.
    Possible,
    /// It never can: a rename fails, and a name that is kept is a residual.
    Never,
}

/// Whether a subject can lose answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Loss {
    /// The next one is lost.
    Armed,
    /// It cannot; what needs it is not checked.
    Impossible,
}

struct Suite<'a, S> {
    subject: &'a S,
}

/// Runs every check of a connector. The application has no accounts of people whose identifiers begin with `conformance-`.
pub async fn connector<S: Subject>(subject: &S) {
    let suite = Suite { subject };
    subject.connector().probe().await.expect("the probe of a healthy application is good");
    suite.leaving_without_an_account().await;
    suite.a_life().await;
    suite.names_are_given_anew().await;
    suite.leavers_give_up_names().await;
    suite.lost_answers().await;
}

fn person(name: &str) -> PersonId {
    PersonId::new(format!("conformance-{name}")).unwrap()
}

impl<S: Subject> Suite<'_, S> {
    fn target(&self, who: &PersonId, known: Option<&Confirmation>, name: &str) -> Target {
        let account = known.and_then(|known| known.account.clone());
        let unique = [(self.subject.unique_name(), name.to_owned())].into();
        Target { person: who.clone(), account, unique }
    }

    async fn ensure(&self, operation: &Operation) -> Confirmation {
        let answer = self.subject.connector().ensure(operation).await;
        answer.unwrap_or_else(|failure| panic!("{operation:?} failed: {failure}"))
    }

    /// Does it twice: the second time it must be so already, or at least succeed.
    async fn twice(&self, operation: &Operation) -> Confirmation {
        let first = self.ensure(operation).await;
        let second = self.ensure(operation).await;
        assert_ne!(second.found, Found::Changed, "{operation:?} changed something when repeated");
        first
    }

    async fn only_account(&self, who: &PersonId) -> Seen {
        let mut accounts = self.subject.accounts_of(who).await;
        assert_eq!(accounts.len(), 1, "{who} has one account");
        accounts.remove(0)
    }

    fn account(&self, target: Target, name: &str, value: &str) -> Operation {
        let attributes = Attributes::from([
            (self.subject.unique_name(), Attribute::Unique(name.to_owned())),
            (self.subject.attribute_name(), Attribute::from(value)),
        ]);
        Operation::Account { target, attributes, rights: BTreeSet::new() }
    }

    async fn has_no_access(&self, who: &PersonId) {
        for account in self.subject.accounts_of(who).await {
            assert_eq!(account.access, Access::Disabled, "{who} has left");
            assert!(account.rights.is_empty(), "{who} has left and has rights: {:?}", account.rights);
        }
    }

    async fn leaving_without_an_account(&self) {
        let who = person("nobody");
        let target = self.target(&who, None, &self.subject.unique_value("nobody"));
        let left = self.ensure(&Operation::Deprovision { target: target.clone() }).await;
        assert_eq!(left.found, Found::Absent, "an account that is absent is as good as none");
        let (entitlement, right) = (self.subject.right(), Right::Revoked);
        self.ensure(&Operation::Entitlement { target: target.clone(), entitlement, right }).await;
        self.ensure(&Operation::Strip { target, keep: BTreeSet::new() }).await;
        assert_eq!(self.subject.accounts_of(&who).await, [], "looking for somebody makes no account");
    }

    async fn a_life(&self) {
        let who = person("alice");
        let name = &self.subject.unique_value("alice");
        let made = self.twice(&self.account(self.target(&who, None, name), name, "one")).await;
        let seen = self.only_account(&who).await;
        assert_eq!((seen.access, seen.name.as_deref()), (Access::Active, Some(name.as_str())));
        assert_eq!(seen.attribute.as_deref(), Some("one"));
        let target = self.target(&who, Some(&made), name);
        let listed: Vec<_> = self.subject.connector().accounts().collect().await;
        let is_listed = listed.into_iter().any(|listed: Result<ListedAccount, _>| {
            listed.is_ok_and(|listed| {
                listed.person.as_ref() == Some(&who) || Some(listed.account) == made.account
            })
        });
        assert!(is_listed, "the account is in the listing");
        let entitlement = self.subject.right();
        let right = |right| Operation::Entitlement {
            target: target.clone(),
            entitlement: entitlement.clone(),
            right,
        };
        self.twice(&right(Right::Granted)).await;
        assert!(
            self.only_account(&who).await.rights.contains(&entitlement),
            "a right that is granted is had"
        );
        self.twice(&right(Right::Revoked)).await;
        assert!(!self.only_account(&who).await.rights.contains(&entitlement), "one that is revoked is not");
        self.ensure(&right(Right::Granted)).await;
        self.twice(&Operation::Deprovision { target: target.clone() }).await;
        self.has_no_access(&who).await;
        // The application may refuse this; it must not bring anybody back.
        let set = Some(Attribute::from("two"));
        let changes = Changes::from([(self.subject.attribute_name(), set)]);
        drop(
            self.subject.connector().ensure(&Operation::Attributes { target: target.clone(), changes }).await,
        );
        self.has_no_access(&who).await;
        self.ensure(&Operation::Strip { target: target.clone(), keep: [entitlement.clone()].into() }).await;
        self.has_no_access(&who).await;
        let again = self.ensure(&self.account(target, name, "three")).await;
        let seen = self.only_account(&who).await;
        assert_eq!((seen.access, seen.attribute.as_deref()), (Access::Active, Some("three")));
        assert!(seen.rights.is_empty(), "rights of the time before do not come back");
        self.ensure(&Operation::Deprovision { target: self.target(&who, Some(&again), name) }).await;
    }

    /// Somebody takes the name that another has given up; the other then leaves.
    async fn names_are_given_anew(&self) {
        let (first, second) = (person("first"), person("second"));
        let (name, new) = (&self.subject.unique_value("shared"), &self.subject.unique_value("renamed"));
        let made = self.ensure(&self.account(self.target(&first, None, name), name, "first")).await;
        let changes = Changes::from([(self.subject.unique_name(), Some(Attribute::Unique(new.clone())))]);
        let rename = Operation::Attributes { target: self.target(&first, Some(&made), new), changes };
        if self.subject.renaming() == Renaming::Never {
            let renamed = self.subject.connector().ensure(&rename).await;
            assert!(renamed.is_err(), "what cannot be renamed is not said to be: {renamed:?}");
            self.ensure(&Operation::Deprovision { target: self.target(&first, Some(&made), name) }).await;
            return self.has_no_access(&first).await;
        }
        self.twice(&rename).await;
        let other = self.ensure(&self.account(self.target(&second, None, name), name, "second")).await;
        assert_eq!(self.only_account(&second).await.name.as_ref(), Some(name));
        // The hint is out of date, and the account is not known: the first create's answer may have been lost.
        self.ensure(&Operation::Deprovision { target: self.target(&first, None, name) }).await;
        self.has_no_access(&first).await;
        assert_eq!(
            self.only_account(&second).await.access,
            Access::Active,
            "a stranger of the same name stays"
        );
        self.ensure(&Operation::Deprovision { target: self.target(&second, Some(&other), name) }).await;
    }

    /// Somebody leaves before a rename of theirs was carried out: what it would have freed is free, and what it would have taken, too.
    async fn leavers_give_up_names(&self) {
        let leaver = person("leaver");
        let (old, new) = (&self.subject.unique_value("old"), &self.subject.unique_value("new"));
        let made = self.ensure(&self.account(self.target(&leaver, None, old), old, "leaver")).await;
        let leave = Operation::Deprovision { target: self.target(&leaver, Some(&made), new) };
        let left = self.twice(&leave).await;
        self.has_no_access(&leaver).await;
        let names: Vec<_> =
            self.subject.accounts_of(&leaver).await.into_iter().filter_map(|seen| seen.name).collect();
        if self.subject.renaming() == Renaming::Never {
            let is_said = names.is_empty() || !left.residuals.is_empty();
            return assert!(is_said, "a name that cannot be given up is a residual");
        }
        assert!(!names.contains(old), "a leaver's account keeps a name that a rename would have freed");
        assert!(!names.contains(new), "a leaver's account takes a name that it has no use for");
        assert!(left.residuals.is_empty(), "nothing is left to do by hand: {:?}", left.residuals);
        let heirs = [(person("heir"), old), (person("other"), new)];
        for (heir, name) in &heirs {
            let claimed = self.ensure(&self.account(self.target(heir, None, name), name, "heir")).await;
            assert_eq!(self.only_account(heir).await.name.as_ref(), Some(*name));
            self.ensure(&leave).await;
            self.has_no_access(&leaver).await;
            assert_eq!(self.only_account(heir).await.access, Access::Active, "who has the name now stays");
            self.ensure(&Operation::Deprovision { target: self.target(heir, Some(&claimed), name) }).await;
        }
        // Coming back brings a name again.
        let back = &self.subject.unique_value("back");
        let target = self.target(&leaver, left.account.is_some().then_some(&left), back);
        let made = self.ensure(&self.account(target, back, "back")).await;
        let seen = self.only_account(&leaver).await;
        assert_eq!((seen.access, seen.name.as_ref()), (Access::Active, Some(back)));
        self.ensure(&Operation::Deprovision { target: self.target(&leaver, Some(&made), back) }).await;
    }

    async fn lost_answers(&self) {
        let who = person("lost");
        let name = &self.subject.unique_value("lost");
        if self.subject.lose_next_answer() == Loss::Impossible {
            return;
        }
        let create = self.account(self.target(&who, None, name), name, "one");
        match self.subject.connector().ensure(&create).await {
            Ok(_) => {}
            Err(failure) => assert_eq!(failure.effect(), Effect::Unknown, "{failure} may have had an effect"),
        }
        self.ensure(&create).await;
        self.only_account(&who).await;
        self.ensure(&Operation::Deprovision { target: self.target(&who, None, name) }).await;
        self.has_no_access(&who).await;
    }
}
