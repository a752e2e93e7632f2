//! What `command.started` says of a permit.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use session_filter::event::{RecordingPosition, Subject};
use session_filter::record::{MemoryRecorder, Recorded};
use session_filter::{AbsolutePath, Directory, Facts, Policy, Target, User};

async fn started(
    rule: &str,
    line: &[u8],
    directory: Directory,
    position: Option<RecordingPosition>,
) -> Value {
    let text = format!("redact = ['secret']\n[[permit]]\nusers = ['alice']\ntargets = ['*']\n{rule}\n");
    let policy = Policy::from_toml(&text).unwrap_or_else(|error| panic!("{error}"));
    let facts = Facts::at(DateTime::UNIX_EPOCH);
    let verdict = policy.check_in(&User::new("alice"), &Target::new("web-1"), line, &directory, &facts);
    let permit = verdict.permit().expect("permitted");
    let recorder = MemoryRecorder::default();
    let redact = |text: &str| policy.redact(text);
    let now = DateTime::<Utc>::UNIX_EPOCH;
    let _ =
        Recorded::command(&recorder, Subject::default(), "c-1", permit, position, redact, now).await.unwrap();
    serde_json::to_value(&recorder.events()[0]).unwrap()
}

const MANAGED: &str = "mode = 'managed'\ncommands = ['cat *', 'vi *']\ndirectories = ['/srv']\nacknowledge = ['vi grants a shell']";

#[tokio::test]
async fn a_command_elsewhere_is_on_record_with_directory_files_and_place() {
    let srv = Directory::At(AbsolutePath::parse("/srv").unwrap());
    let event = started(MANAGED, b"cat notes", srv, Some(RecordingPosition::new("r-1", 5, 7))).await;
    assert_eq!(event["event_type"], "command.started");
    assert_eq!(event["argv"], json!([["cat", "notes"]]));
    assert_eq!((&event["directory"], &event["files"]), (&json!("/srv"), &json!(["/srv/notes"])));
    assert_eq!(
        (&event["recording_id"], &event["at_ms"], &event["offset"]),
        (&json!("r-1"), &json!(5), &json!(7))
    );
    assert_eq!((event.get("nested_uncontrolled"), event.get("message")), (None, None));
}

#[tokio::test]
async fn what_nothing_checks_is_said_on_record() {
    let event = started(MANAGED, b"vi x", Directory::Home, None).await;
    assert_eq!(event["nested_uncontrolled"], true);
    assert_eq!(event["message"], "the program can run others, which nothing checks");
    assert_eq!((event.get("directory"), &event["files"]), (None, &json!(["~/x"])));

    let event =
        started("mode = 'unrestricted'", b"for f in /etc/*; do cat $f; done", Directory::Home, None).await;
    assert_eq!(event["command"], "for f in /etc/*; do cat $f; done");
    assert_eq!((&event["rule"], event.get("argv"), event.get("files")), (&json!("unrestricted"), None, None));
    assert_eq!(event["nested_uncontrolled"], true);
    assert_eq!(event["message"], "unrestricted: nothing was checked");
}

#[tokio::test]
async fn a_redacted_line_gives_no_files_away() {
    let event = started(MANAGED, b"cat secret", Directory::Home, None).await;
    assert_eq!(event["redacted"], true);
    assert!(!event.to_string().contains("secret"), "{event}");
    assert_eq!((event.get("argv"), event.get("files")), (None, None));
}
