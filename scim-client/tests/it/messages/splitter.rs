//! Lists, whole and in pieces.

use proptest::prelude::*;
use scim_client::message::{ListResponse, Page};
use scim_client::read::{ListSplitter, ReadError, ReadErrorKind, ReadLimits, from_slice};
use scim_client::resource::{DynamicResource, User};

const LIST: &str = r#"{
  "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
  "totalResults": "3", "note": {"Resources": [1, "]"]},
  "Resources": [
    {"userName": "a\"}]", "x": [[{}]]} ,
    {"userName": "b"},{}
  ],
  "startIndex": 1, "itemsPerPage": 3.0, "nextCursor": "YkU3OF86Pz0rGv"
}"#;

/// What a splitter makes of pieces of such sizes.
fn split(list: &[u8], sizes: &[usize], limits: ReadLimits) -> Result<(Vec<Vec<u8>>, Page), ReadError> {
    let mut splitter = ListSplitter::new(limits);
    let (mut elements, mut rest) = (Vec::new(), list);
    let mut sizes = sizes.iter().copied().cycle();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(sizes.next().unwrap_or(usize::MAX).clamp(1, rest.len()));
        rest = after;
        let mut input = piece;
        while let Some(element) = splitter.next(&mut input)? {
            assert_eq!(element.index(), elements.len() as u64);
            let offset = usize::try_from(element.position().offset).unwrap();
            assert_eq!(element.bytes(), &list[offset..offset + element.bytes().len()]);
            elements.push(element.bytes().to_vec());
        }
        assert!(input.is_empty());
    }
    splitter.finish().map(|page| (elements, page))
}

#[test]
fn reads_a_list_and_its_envelope() {
    let list: ListResponse<User> = from_slice(LIST.as_bytes(), &ReadLimits::default()).unwrap();
    assert_eq!(list.resources[0].user_name, "a\"}]".into());
    assert_eq!(list.resources.len(), 3);
    assert_eq!(
        (list.page.total_results, list.page.items_per_page, list.page.start_index),
        (Some(3), Some(3), Some(1))
    );
    assert_eq!(list.page.next_cursor.as_deref(), Some("YkU3OF86Pz0rGv"));
}

#[test]
fn gives_the_same_in_pieces_of_any_size() {
    let whole: ListResponse<DynamicResource> = from_slice(LIST.as_bytes(), &ReadLimits::default()).unwrap();
    for size in 1..LIST.len() {
        let (elements, page) = split(LIST.as_bytes(), &[size], ReadLimits::default()).unwrap();
        assert_eq!(page, whole.page);
        let elements: Vec<DynamicResource> =
            elements.iter().map(|element| from_slice(element, &ReadLimits::default()).unwrap()).collect();
        assert_eq!(elements, whole.resources);
    }
}

#[test]
fn reads_lists_of_other_shapes() {
    for (list, expected) in [
        (r#"{"Resources": null, "totalResults": 0}"#, 0),
        (r#"{"totalResults": 0}"#, 0),
        (r#"{"Resources": []}"#, 0),
        (r#"{"resources": [{}, {}]}"#, 2),
        (r#"{"\u0052esources": [{}, {}]}"#, 2),
        (r#"{"Resources": {"userName": "a"}, "totalResults": 1}"#, 1),
        (r#"[{"userName": "a"}, {"userName": "b"}]"#, 2),
        ("\u{feff} [ ]\n", 0),
        ("\u{feff}{}", 0),
    ] {
        let whole: ListResponse<User> = from_slice(list.as_bytes(), &ReadLimits::default()).unwrap();
        assert_eq!(whole.resources.len(), expected, "{list}");
        for size in 1..=list.len() {
            let (elements, page) = split(list.as_bytes(), &[size], ReadLimits::default()).unwrap();
            assert_eq!(elements.len(), expected, "{list}");
            assert_eq!(page, whole.page, "{list}");
        }
    }
}

#[test]
fn refuses_what_is_no_list_at_the_place_where_it_is_not() {
    for (list, offset) in [
        ("", 0),
        ("null", 0),
        (" \u{feff}{}", 1),
        ("[]\u{c}", 2),
        ("{\u{c}}", 1),
        ("\"Resources\"", 0),
        (r#"{"Resources": [{} {}]}"#, 18),
        (r#"{"Resources": [{},]}"#, 18),
        (r#"{"Resources": [,{}]}"#, 15),
        (r#"{"Resources": [{}]} x"#, 20),
        (r#"{"Resources": [{}]"#, 18),
        (r#"{"Resources": [{"a": "]}"#, 24),
        (r#"{"Resources" [{}]}"#, 13),
        (r#"{"Resources": [{}], "startIndex": {}}"#, 35),
        (r#"{"Resources": [{}], "startIndex": 1, "x": tru}"#, 45),
        (r#"{"startIndex": {}, "Resources": []}"#, 16),
        (r#"{"Resources": [{}], "resources": []}"#, 21),
        ("\u{feff}{\"Resources\": [{}], \"startIndex\": {}}", 38),
    ] {
        for size in 1..=list.len().max(1) {
            let error = split(list.as_bytes(), &[size], ReadLimits::default()).unwrap_err();
            assert!(error.position().offset.abs_diff(offset) <= 11, "{list}: {error}");
        }
        let error = split(list.as_bytes(), &[usize::MAX], ReadLimits::default()).unwrap_err();
        assert_eq!(error.position().offset, offset, "{list}: {error}");
    }
}

#[test]
fn names_the_element_and_its_place_in_the_whole_list() {
    let list = b"{\"Resources\": [{\"userName\": \"a\"},\n {\"emails\": [{\"primary\": 9}]}]}";
    let mut splitter = ListSplitter::new(ReadLimits::default());
    let mut rest = &list[..];
    splitter.next(&mut rest).unwrap().unwrap().read::<User>().unwrap();
    let error = splitter.next(&mut rest).unwrap().unwrap().read::<User>().unwrap_err();
    assert_eq!(error.path(), "Resources[1].emails[0].primary");
    assert_eq!((error.position().offset, error.position().line, error.position().column), (59, 2, 26));
}

#[test]
fn each_limit_ends_a_list() {
    let limits = ReadLimits::default().with(|limits| {
        limits.element_bytes_max = 21;
        limits.envelope_bytes_max = 30;
        limits.depth_max = 3;
        limits.values_max = 4;
    });
    for size in 1..50 {
        let refused = |list: &str| {
            let error = split(list.as_bytes(), &[size], limits).unwrap_err();
            assert!(error.is_limit());
            (error.kind().clone(), error.path().to_owned())
        };
        split(br#"{"Resources": [{"a": [[]], "b": 123}]}"#, &[size], limits).unwrap();
        let element = "Resources[0]".to_owned();
        assert_eq!(
            refused(r#"{"Resources": [{"a": [[]], "b": 1234}]}"#),
            (ReadErrorKind::TooLong { bytes_max: 21 }, element.clone()),
        );
        assert_eq!(
            refused(r#"{"Resources": [{"a": [[[]]]}]}"#),
            (ReadErrorKind::TooDeep { depth_max: 3 }, element.clone()),
        );
        assert_eq!(
            refused(r#"{"Resources": [[1,2,3,4,5]]}"#),
            (ReadErrorKind::TooMany { values_max: 4 }, element),
        );
        let long = format!(r#"{{"x": "{}"}}"#, "y".repeat(30));
        assert_eq!(refused(&long), (ReadErrorKind::TooLong { bytes_max: 30 }, String::new()));
    }
}

#[test]
fn holds_one_element_of_many() {
    let mut splitter = ListSplitter::new(ReadLimits::default().with(|limits| {
        limits.bytes_max = 100;
        limits.element_bytes_max = 100;
        limits.envelope_bytes_max = 100;
    }));
    let mut total = 0;
    let mut feed = |piece: &str| {
        let mut rest = piece.as_bytes();
        while let Some(element) = splitter.next(&mut rest).unwrap() {
            assert!(element.read::<User>().unwrap().user_name.value().is_some());
            total += 1;
        }
    };
    feed(r#"{"totalResults": 100000, "Resources": [{"userName": "first"}"#);
    for _ in 1..100_000 {
        feed(r#", {"userName": "#);
        feed(r#""bjensen"}"#);
    }
    feed("]}");
    assert_eq!(total, 100_000);
    assert_eq!(splitter.finish().unwrap().total_results, Some(100_000));
}

proptest! {
    #[test]
    fn never_panics_and_agrees_with_itself(
        list in r#"([\[\]{},:"\\ ]|"Resources"|"a"|1|null|\n){0,40}"#,
        sizes in prop::collection::vec(1_usize..8, 1..5),
    ) {
        let whole = split(list.as_bytes(), &[usize::MAX], ReadLimits::default());
        let pieces = split(list.as_bytes(), &sizes, ReadLimits::default());
        prop_assert_eq!(whole.is_ok(), pieces.is_ok());
        if let (Ok(whole), Ok(pieces)) = (whole, pieces) {
            prop_assert_eq!(whole, pieces);
        }
    }

    #[test]
    fn takes_what_a_reader_of_the_whole_takes(
        list in r#"\{("Resources":\[(\{\}|\{"a":[0-9]\}|1)(,(\{\}|\[\]|null)){0,3}\]|"totalResults":[0-9]{1,3}|"x":\[\]|,){0,4}\}"#,
    ) {
        let whole = from_slice::<ListResponse<serde_json::Value>>(list.as_bytes(), &ReadLimits::default());
        let pieces = split(list.as_bytes(), &[3], ReadLimits::default());
        prop_assert_eq!(whole.is_ok(), pieces.is_ok(), "{}: {:?} {:?}", list, whole, pieces);
        if let (Ok(whole), Ok((elements, page))) = (whole, pieces) {
            prop_assert_eq!(elements.len(), whole.resources.len());
            prop_assert_eq!(page, whole.page);
        }
    }
}
