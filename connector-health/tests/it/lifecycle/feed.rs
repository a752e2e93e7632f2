//! Feeds and their differences.

use super::*;

fn columns() -> Columns {
    Columns {
        status: Some(Status {
            column: "status".into(),
            works_here: vec!["active".into()],
            left: vec!["terminated".into()],
        }),
        last_day: Some("until".into()),
        ..Columns::of_person("id")
    }
}

fn read(feed: &str) -> Result<Snapshot, String> {
    Snapshot::from_csv(feed.as_bytes(), &columns()).map_err(|error| error.to_string())
}

fn staff(ids: std::ops::Range<u32>) -> Snapshot {
    let rows: String = ids.map(|id| format!("p{id},active,,Staff\n")).collect();
    read(&format!("id,status,until,dept\n{rows}")).unwrap()
}

#[test]
fn what_changed_is_said() {
    let before = read(
        "id,status,until,dept\n1,active,,Sales\n2,active,2026-03-31,Sales\n3,active,,Sales\n4,terminated,,X\n",
    );
    let after = read(
        "\u{feff}id,status,until,dept\r\n1,active,,\"R&D, Pune\"\r\n2,active,,Sales\r\n3,terminated,,Sales\r\n5,active,2026-12-31,New\r\n4,active,,X\r\n",
    );
    let facts = diff(&before.unwrap(), after.unwrap(), FeedGuard::default()).facts;
    let json = serde_json::to_value(&facts).unwrap();
    let words: Vec<_> = json.as_array().unwrap().iter().map(|fact| fact["type"].as_str().unwrap()).collect();
    assert_eq!(words, ["leaver", "mover", "last_day", "joiner", "joiner", "last_day"]);
    assert_eq!(
        json[1]["changes"],
        serde_json::json!([{"name": "dept", "before": "Sales", "after": "R&D, Pune"}])
    );
    assert_eq!(json[2], serde_json::json!({"type": "last_day", "person": "2", "day": null}));
}

#[test]
fn a_feed_that_is_cut_short_lets_nobody_go() {
    let before = staff(0..1000);
    let difference = diff(&before, staff(0..500), FeedGuard::default());
    assert_eq!(difference.facts, []);
    let held = difference.held.unwrap();
    assert!(held.to_string().starts_with("500 of 1000 would leave at once"), "{held}");
    // The next feed is whole again: nobody left.
    let again = diff(&difference.next, staff(0..1000), FeedGuard::default());
    assert_eq!((again.facts, again.held), (vec![], None));
    // It is not: they are held again, until someone approves.
    let again = diff(&difference.next, staff(0..500), FeedGuard::default());
    let (facts, next) = again.next.approve(again.held.unwrap());
    assert_eq!(facts.len(), 500);
    assert_eq!(next, staff(0..500));
}

#[test]
fn a_few_leavers_go_whatever_their_share() {
    let difference = diff(&staff(0..6), staff(0..1), FeedGuard::default());
    assert_eq!((difference.facts.len(), difference.held), (5, None));
}

#[test]
fn mistakes_have_line_and_column() {
    let cases = [
        ("id,status,until\n1,active\n", "line 2, column 1: there are 2 fields, and the header has 3"),
        (
            "id,status,until\n1,active,\n2,on leave,\n",
            "line 3, column 3: `on leave` is not known to mean working here or having left",
        ),
        (
            "id,status,until\n\n\"a,b\",active,31.12.2026\n",
            "line 3, column 14: `31.12.2026` is not a date such as 2026-12-31",
        ),
        ("id,status,until\n1,active,\n1,active,\n", "line 3, column 1: `1` was in line 2 already"),
        ("id,status,until\n,active,\n", "line 2, column 1: an identifier must not be empty"),
        ("id,status\n", "line 1, column 1: no column is called `until`"),
        ("id,status,until,id\n", "line 1, column 17: two columns are called `id`"),
        (
            "id,status,until\n1,active,\n2,acti",
            "line 3, column 1: the last line has no line break: the feed may be cut short",
        ),
        (
            "id,status,until,note\n1,active,,\"unclosed\n2,active,,\n",
            "line 3, column 1: a quote is not closed: the feed may be cut short",
        ),
        ("", "line 1, column 1: the header is missing"),
    ];
    for (feed, message) in cases {
        assert_eq!(read(feed).unwrap_err(), message, "{feed:?}");
    }
    let not_text = Snapshot::from_csv(b"id,status,until\n1,\xff,\n", &columns()).unwrap_err();
    assert_eq!(not_text.to_string(), "line 2, column 3: this is not UTF-8");
}

#[test]
fn a_mistake_does_not_act_on_a_terminal() {
    let message = read("id,status,until\n1,\u{1b}[2J,\n").unwrap_err();
    assert!(message.chars().all(|c| !c.is_control()), "{message:?}");
}

proptest! {
    #[test]
    fn facts_lead_from_one_snapshot_to_the_next(before in rows(), after in rows()) {
        let (before, after) = (snapshot(&before), snapshot(&after));
        let guard = FeedGuard { leavers_min: 100, leavers_percent: 100 };
        let difference = diff(&before, after.clone(), guard);
        let mut here: BTreeMap<PersonId, (Option<NaiveDate>, BTreeMap<String, String>)> = before
            .entries()
            .filter(|e| e.works_here)
            .map(|e| (e.person.clone(), (e.last_day, e.attributes.clone())))
            .collect();
        for fact in difference.facts {
            match fact {
                Fact::Joiner(entry) => {
                    prop_assert!(here.insert(entry.person, (None, entry.attributes)).is_none());
                }
                Fact::Leaver { person, .. } => prop_assert!(here.remove(&person).is_some()),
                Fact::LastDay { person, day } => here.get_mut(&person).unwrap().0 = day,
                Fact::Mover { person, changes } => {
                    for change in changes {
                        let attributes = &mut here.get_mut(&person).unwrap().1;
                        prop_assert_eq!(attributes.get(&change.name), change.before.as_ref());
                        match change.after {
                            Some(value) => attributes.insert(change.name, value),
                            None => attributes.remove(&change.name),
                        };
                    }
                }
                _ => unreachable!(),
            }
        }
        let expected: BTreeMap<_, _> = after
            .entries()
            .filter(|e| e.works_here)
            .map(|e| (e.person.clone(), (e.last_day, e.attributes.clone())))
            .collect();
        prop_assert_eq!(here, expected);
    }

    #[test]
    fn any_bytes_are_a_snapshot_or_mistakes(feed in "(id,status,until\n)?[a-c0-2,\"\n\r é]{0,60}\n?") {
        if let Err(error) = Snapshot::from_csv(feed.as_bytes(), &columns()) {
            prop_assert!(!error.mistakes().is_empty());
        }
    }
}

type Row = (u8, bool, Option<u32>, Option<u8>);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    proptest::collection::vec(
        (0..8u8, any::<bool>(), proptest::option::of(1..28u32), proptest::option::of(0..3u8)),
        0..8,
    )
}

fn snapshot(rows: &[Row]) -> Snapshot {
    let entries: BTreeMap<u8, Entry> = rows
        .iter()
        .map(|(id, works_here, until, dept)| {
            let entry = Entry {
                person: PersonId::new(format!("p{id}")).unwrap(),
                works_here: *works_here,
                last_day: until.map(|date| day(2026, 2, date)),
                attributes: dept.iter().map(|dept| ("dept".to_owned(), dept.to_string())).collect(),
            };
            (*id, entry)
        })
        .collect();
    Snapshot::of(entries.into_values()).unwrap()
}
