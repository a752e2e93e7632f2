//! What happens to the people of a company in a day, and when its systems say so: late, twice, and in another order.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use connector_health::event::{Attribute, Attributes, Changes};
use connector_health::{ConnectorId, EntitlementId, Event, EventId, PersonId};

/// Groups of each application.
pub(crate) const GROUPS: usize = 4;
/// Applications that one department works with.
pub(crate) const USED: usize = 8;
pub(crate) const DEPARTMENTS: usize = 20;

/// What happened to somebody.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum What {
    Joined { name: String },
    Renamed { name: String },
    Titled(String),
    Managed(usize),
    Granted(usize),
    Revoked(usize),
    Left,
    Returned { name: String },
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    pub(crate) number: usize,
    pub(crate) person: usize,
    pub(crate) at: DateTime<Utc>,
    pub(crate) what: What,
    /// When the company's systems say it.
    pub(crate) said_at: DateTime<Utc>,
    /// And say it again.
    pub(crate) again_at: Option<DateTime<Utc>>,
    /// Of a whole department that is closed, said in one breath.
    pub(crate) of_mass: bool,
}

/// The company and its day.
pub(crate) struct Feed {
    pub(crate) people: usize,
    pub(crate) applications: usize,
    /// Which applications each department works with.
    pub(crate) used: Vec<Vec<usize>>,
    /// Applications that keep the accounts of leavers, so that names are not given anew there.
    pub(crate) keeping: Vec<bool>,
    /// What everybody's accounts have beside that.
    pub(crate) common: Attributes,
    /// In the order in which it happened.
    pub(crate) happened: Vec<Happened>,
}

pub(crate) fn person(number: usize) -> PersonId {
    PersonId::new(format!("p{number:05}")).unwrap()
}

pub(crate) fn connector(number: usize) -> ConnectorId {
    ConnectorId::new(format!("app-{number:02}")).unwrap()
}

pub(crate) fn group(number: usize) -> EntitlementId {
    EntitlementId::new(format!("g{number}")).unwrap()
}

/// How somebody is, judged in the order in which things happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    pub(crate) is_active: bool,
    pub(crate) has_left: bool,
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    pub(crate) manager: Option<usize>,
    pub(crate) rights: BTreeSet<usize>,
}

impl Standing {
    pub(crate) fn happen(&mut self, what: &What) {
        match what {
            What::Joined { name } => {
                *self =
                    Self { is_active: true, name: name.clone(), has_left: self.has_left, ..Self::default() };
            }
            What::Returned { name } => {
                *self = Self { is_active: true, name: name.clone(), has_left: true, ..Self::default() };
            }
            What::Renamed { name } => self.name.clone_from(name),
            What::Titled(title) => self.title = Some(title.clone()),
            What::Managed(by) => self.manager = Some(*by),
            What::Granted(right) => drop(self.rights.insert(*right)),
            What::Revoked(right) => drop(self.rights.remove(right)),
            What::Left => {
                self.is_active = false;
                self.has_left = true;
                self.rights.clear();
            }
        }
    }
}

impl Feed {
    /// A day of a company of so many people with so many applications.
    pub(crate) fn new(
        dice: &mut fastrand::Rng,
        midnight: DateTime<Utc>,
        hours: i64,
        people: usize,
        keeping: Vec<bool>,
    ) -> Self {
        let applications = keeping.len();
        let used = (0..DEPARTMENTS).map(|_| {
            let mut all: Vec<usize> = (0..applications).collect();
            dice.shuffle(&mut all);
            all.truncate(USED.min(applications));
            all
        });
        let used = used.collect();
        let mut feed =
            Self { people, applications, used, keeping, common: Attributes::new(), happened: Vec::new() };
        feed.found(midnight);
        feed.live(dice, midnight, hours);
        feed
    }

    pub(crate) fn department(&self, person: usize) -> usize {
        person % DEPARTMENTS
    }

    pub(crate) fn applications_of(&self, person: usize) -> &[usize] {
        &self.used[self.department(person)]
    }

    /// Everybody who is there when the day begins.
    fn found(&mut self, midnight: DateTime<Utc>) {
        for number in 0..self.people {
            let at = midnight - TimeDelta::days(30) + TimeDelta::milliseconds(number as i64);
            let what = What::Joined { name: format!("n{number}") };
            self.add(number, at, what, midnight, None, false);
        }
    }

    fn add(
        &mut self,
        person: usize,
        at: DateTime<Utc>,
        what: What,
        said_at: DateTime<Utc>,
        again_at: Option<DateTime<Utc>>,
        of_mass: bool,
    ) {
        let number = self.happened.len();
        self.happened.push(Happened { number, person, at, what, said_at, again_at, of_mass });
    }

    fn live(&mut self, dice: &mut fastrand::Rng, midnight: DateTime<Utc>, hours: i64) {
        let last = (hours - 2) * 3_600_000;
        // A third of all people have something happen to them.
        let count = (self.people / 3).max(100);
        let mut times: Vec<i64> = (0..count).map(|_| dice.i64(60_000..last)).collect();
        let closing = (dice.usize(..DEPARTMENTS), dice.i64(last / 4..last / 2));
        times.push(closing.1);
        times.sort_unstable();
        times.dedup();
        let mut standings: Vec<Standing> = self
            .happened
            .iter()
            .map(|joined| {
                let mut standing = Standing::default();
                standing.happen(&joined.what);
                standing
            })
            .collect();
        let mut free: Vec<String> = Vec::new();
        let mut fresh = 0;
        for time in times {
            let at = midnight + TimeDelta::milliseconds(time);
            let soon = at + TimeDelta::milliseconds(dice.i64(500..20_000));
            if time == closing.1 {
                for number in (0..standings.len()).filter(|number| number % DEPARTMENTS == closing.0) {
                    if standings[number].is_active {
                        standings[number].happen(&What::Left);
                        self.add(number, at, What::Left, soon, None, true);
                    }
                }
                continue;
            }
            let late = dice.u8(..100) < 15;
            let said_at = if late { at + TimeDelta::seconds(dice.i64(20..1_800)) } else { soon };
            let again_at = (dice.u8(..100) < 10).then(|| said_at + TimeDelta::seconds(dice.i64(1..3_600)));
            let mut name = |free: &mut Vec<String>, dice: &mut fastrand::Rng| {
                if !free.is_empty() && dice.bool() {
                    return free.swap_remove(dice.usize(..free.len()));
                }
                fresh += 1;
                format!("x{fresh}")
            };
            let (who, what) = match dice.u8(..100) {
                0..12 => (standings.len(), What::Joined { name: name(&mut free, dice) }),
                roll => {
                    // Somebody who is there, or for a return somebody who was.
                    let wanted = roll >= 22;
                    let found = (0..50).map(|_| dice.usize(..standings.len()));
                    let found = found.into_iter().find(|who| {
                        standings[*who].is_active == wanted && (wanted || self.department(*who) != closing.0)
                    });
                    let Some(who) = found else { continue };
                    let standing = &standings[who];
                    match roll {
                        ..22 => (who, What::Returned { name: name(&mut free, dice) }),
                        22..44 => {
                            free.push(standing.name.clone());
                            (who, What::Left)
                        }
                        44..56 => {
                            free.push(standing.name.clone());
                            let last = free.len() - 1;
                            let new = name(&mut free, dice);
                            // Their own name is no new one.
                            let new = if new == standing.name { format!("y{last}-{who}") } else { new };
                            (who, What::Renamed { name: new })
                        }
                        56..72 => (who, What::Titled(format!("title {time}"))),
                        72..80 => {
                            let by =
                                dice.usize(..self.people / DEPARTMENTS) * DEPARTMENTS + who % DEPARTMENTS;
                            if by == who || !standings[by].is_active {
                                continue;
                            }
                            (who, What::Managed(by))
                        }
                        _ => {
                            let right = dice.usize(..GROUPS);
                            let had = standing.rights.contains(&right);
                            (who, if had { What::Revoked(right) } else { What::Granted(right) })
                        }
                    }
                }
            };
            if who == standings.len() {
                standings.push(Standing::default());
            }
            standings[who].happen(&what);
            self.add(who, at, what, said_at, again_at, false);
        }
    }

    /// The name in one application.
    pub(crate) fn name_in(&self, application: usize, person: usize, name: &str) -> String {
        if self.keeping[application] { format!("{name}.{person}") } else { name.to_owned() }
    }

    pub(crate) fn id(happened: usize, application: usize) -> EventId {
        EventId::new(format!("hr-{happened}-{application}")).unwrap()
    }

    /// What the applications are told.
    pub(crate) fn events(&self, happened: &Happened) -> Vec<Event> {
        let who = person(happened.person);
        let of = |application: usize| {
            let id = connector(application);
            let unique = |name: &str| Attribute::Unique(self.name_in(application, happened.person, name));
            let account = |name: &str| {
                let mut account = self.common.clone();
                account.insert("userName".to_owned(), unique(name));
                account
            };
            let draft = match &happened.what {
                What::Joined { name } => Event::provision(&id, &who, account(name)),
                What::Returned { name } => Event::reactivate(&id, &who, account(name)),
                What::Renamed { name } => {
                    Event::update(&id, &who, Changes::from([("userName".to_owned(), Some(unique(name)))]))
                }
                What::Titled(title) => {
                    let title = Some(Attribute::from(title.as_str()));
                    Event::update(&id, &who, Changes::from([("title".to_owned(), title)]))
                }
                What::Managed(by) => {
                    let by = Some(Attribute::Person(person(*by)));
                    Event::update(&id, &who, Changes::from([("manager".to_owned(), by)]))
                }
                What::Granted(right) => Event::grant(&id, &who, &group(*right)),
                What::Revoked(right) => Event::revoke(&id, &who, &group(*right)),
                What::Left => Event::deprovision(&id, &who),
            };
            draft.occurred_at(happened.at).named(Self::id(happened.number, application))
        };
        self.applications_of(happened.person).iter().map(|application| of(*application)).collect()
    }

    /// How everybody is in the end.
    pub(crate) fn standings(&self) -> BTreeMap<usize, Standing> {
        let mut standings = BTreeMap::<usize, Standing>::new();
        for happened in &self.happened {
            standings.entry(happened.person).or_default().happen(&happened.what);
        }
        standings
    }
}

impl Feed {
    /// The same day where applications know nothing of managers.
    pub(crate) fn without_managers(&mut self) {
        for happened in &mut self.happened {
            if matches!(happened.what, What::Managed(_)) {
                happened.what = What::Titled(format!("under {}", happened.number));
            }
        }
    }
}
