//! What others make of what is written: their readers, their servers, and the vendors' own clients before ours.

use std::time::Duration;

use mfa_events::export::{Format, cef};
use mfa_events::store::Record;
use mfa_events::{Event, MfaFailure};
use serde_json::{Value, json};
use testbed::{Environment, Running, Toolbox};

use super::{acme, record, samples};
use crate::event::at;

/// Actors that imitate what comes after their field.
const HOSTILE: [&str; 12] = [
    "x src=198.51.100.9 act=none",
    "x\\ outcome=success",
    "x\\",
    "|",
    "=",
    "\\=",
    "\"] {\"event_type\":\"login.success\"}",
    "] [other@1 a=\"b\"]",
    "a b  c",
    "\u{2028}CEF:0|a|b|c|d|e|1|",
    "é😀\u{a0}x",
    "%{x} ${y} $(z) `w`",
];

fn hostile() -> Vec<Record> {
    let records = HOSTILE.iter().zip(1..).map(|(text, offset)| {
        let failure = MfaFailure::new(
            text,
            mfa_events::event::Method::Push,
            mfa_events::event::FailureReason::PushDenied,
        );
        let event: Event = failure.at(at()).target(text).message(text).try_into().unwrap();
        record(offset, event)
    });
    records.collect()
}

/// Runs Python over a JSON value on its standard input, which fails where the judge finds something.
pub(crate) fn judged(source: &str, arguments: &[&str], input: &Value) -> testbed::Output {
    let mut judge = Toolbox::find().unwrap().python_of(Environment::SiemPython).unwrap();
    judge.args(["-c", source]).args(arguments);
    let mut running = Running::spawn(judge).unwrap();
    running.write(input.to_string().as_bytes()).unwrap();
    running.close_stdin();
    running.wait(Duration::from_secs(120)).unwrap()
}

pub(crate) fn accepted(source: &str, arguments: &[&str], input: &Value) {
    let verdict = judged(source, arguments, input);
    assert!(verdict.status.success(), "{}{}", verdict.stdout_text(), verdict.stderr_text());
}

/// Reads each line with pycef, and compares what it found; then has cefevent write the same fields by its dictionary, which has all but
/// `outcome`, an event's outcome in the dictionary of ArcSight.
const READS_CEF: &str = r#"
import json, re, sys
import pycef
from cefevent import CEFEvent

def plain(text):
    return re.sub(r"\\(.)", r"\1", text)

for sent in json.load(sys.stdin):
    found = pycef.parse(sent["line"])
    assert found, sent["line"]
    extension = {key: plain(value) for key, value in found.items() if not key.startswith("Device") and key not in (
        "Name", "Severity", "CEFVersion")}
    assert extension == sent["fields"], (extension, sent["fields"])
    assert found["DeviceEventClassID"] == sent["type"], found
    event = CEFEvent(strict=True)
    raw = {key: value for key, value in sent["raw"].items() if key != "outcome"}
    for key, value in raw.items():
        event.set_field(key, value)
    event.set_prefix("severity", int(found["Severity"]))
    written = event.build_cef().split("|", 7)[7]
    for key, value in raw.items():
        if not value.strip() == value or "  " in value:
            continue
        escaped = value.replace("\\", "\\\\").replace("=", "\\=")
        assert f"{key}={escaped}" in written or re.fullmatch(r"-?[0-9.]+", value), (key, written)
"#;

#[test]
#[ignore = "needs pycef and cefevent: cargo xtask test"]
fn readers_of_cef_find_each_text_in_its_field() {
    let whole = samples().into_iter().map(|record| {
        let line = cef(&acme(), &record);
        let (labelled, raw) = fields(&line);
        json!({ "line": line, "type": record.event.event_type(), "fields": labelled, "raw": raw })
    });
    let forged = hostile().into_iter().zip(HOSTILE).map(|(record, text)| {
        let (line, text) = (cef(&acme(), &record), text.replace('\u{2028}', " "));
        let fields = json!({
            "rt": "1769850927042", "externalId": record.event.id(), "outcome": "failure", "duid": text, "reason": "push_denied",
            "msg": text, "mfa_method": "push", "target_id": text, "tenant_id": "acme",
        });
        json!({ "line": line, "type": "mfa.failure", "fields": fields, "raw": { "duid": text, "msg": text } })
    });
    accepted(READS_CEF, &[], &whole.chain(forged).collect());
}

/// What is in a line of a sample, in which nothing needs care: by key, and with the labels in place of keys.
fn fields(line: &str) -> (Value, Value) {
    let extension = line.splitn(8, '|').nth(7).unwrap();
    let mut pairs: Vec<(String, String)> = Vec::new();
    for word in extension.split(' ') {
        match word.split_once('=').filter(|(key, _)| !key.ends_with('\\')) {
            Some((key, value)) => pairs.push((key.to_owned(), value.to_owned())),
            None => pairs.last_mut().unwrap().1.push_str(&format!(" {word}")),
        }
    }
    for (_, value) in &mut pairs {
        *value = value.replace("\\=", "=").replace("\\\\", "\\");
    }
    let raw: serde_json::Map<String, Value> =
        pairs.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    let mut labelled = raw.clone();
    for (key, value) in &pairs {
        if let Some(of) = key.strip_suffix("Label") {
            labelled.remove(key);
            let held = labelled.remove(of).unwrap();
            labelled.insert(value.clone(), held);
        }
    }
    (labelled.into(), raw.into())
}

/// The package has the objects and the base of all classes; of the two classes that are used here it has none.
const READS_OCSF: &str = r#"
import json, sys
from py_ocsf_models.events.base_event import BaseEvent
from py_ocsf_models.objects.geolocation import GeoLocation
from py_ocsf_models.objects.metadata import Metadata

for event in json.load(sys.stdin):
    BaseEvent.model_validate(event)
    metadata = Metadata.model_validate(event["metadata"])
    assert not set(event["metadata"]) - set(Metadata.model_fields), set(event["metadata"])
    assert metadata.logged_time.isoformat() == "2026-01-31T09:15:27.042000+00:00", metadata.logged_time
    GeoLocation.model_validate(event.get("src_endpoint", {}).get("location", {}))
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"], event
"#;

#[test]
#[ignore = "needs py-ocsf-models: cargo xtask test"]
fn models_of_ocsf_read_the_events() {
    let events: Value = samples().iter().map(|record| mfa_events::export::ocsf(&acme(), record)).collect();
    accepted(READS_OCSF, &[], &events);
    // The judge knows a mistake.
    let mut wrong = events;
    wrong[0]["metadata"].as_object_mut().unwrap().remove("product");
    assert!(!judged(READS_OCSF, &[], &wrong).status.success());
}

/// Of findings the package has the whole class.
const READS_FINDINGS: &str = r#"
import json, sys
from py_ocsf_models.events.findings.detection_finding import DetectionFinding

for event in json.load(sys.stdin):
    finding = DetectionFinding.model_validate(event)
    assert finding.type_uid.value == event["type_uid"], finding
    unknown = set(event) - set(DetectionFinding.model_fields)
    assert not unknown, unknown
    unknown = set(event["finding_info"]) - set(type(finding.finding_info).model_fields)
    assert not unknown, unknown
"#;

#[test]
#[ignore = "needs py-ocsf-models: cargo xtask test"]
fn models_of_ocsf_read_the_alerts() {
    let findings: Value = super::formats::alerts().iter().map(mfa_events::export::ocsf_alert).collect();
    accepted(READS_FINDINGS, &[], &findings);
    let mut wrong = findings;
    wrong[0]["type_uid"] = 200_409.into();
    assert!(!judged(READS_FINDINGS, &[], &wrong).status.success());
}

#[cfg(feature = "export-syslog")]
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs rsyslog and syslog-ng: cargo xtask test"]
async fn syslog_servers_write_what_was_sent() {
    use mfa_events::export::{Frame, Syslog, SyslogSink};
    use testbed::{SyslogProgram, SyslogServer};

    for program in SyslogProgram::ALL {
        let server = SyslogServer::start(program).unwrap();
        let ca = server.ca_pem().unwrap();
        let records: Vec<Record> = samples().into_iter().chain(hostile()).collect();
        let syslog = Syslog::default().host_name("gateway-1").unwrap();
        let cef = syslog.clone().format(Format::Cef);
        let (port, tls_port) = (server.addr().port(), server.tls_addr().port());
        let sinks = [
            (syslog.clone(), SyslogSink::dangerous_plain("127.0.0.1", port, syslog.clone())),
            (
                syslog.clone(),
                SyslogSink::tls("localhost", tls_port, Some(ca.as_bytes()), syslog.clone()).unwrap(),
            ),
            (cef.clone(), SyslogSink::tls("127.0.0.1", tls_port, Some(ca.as_bytes()), cef).unwrap()),
        ];
        let mut expected = Vec::new();
        for (syslog, sink) in sinks {
            assert_eq!(settled(&sink, &records).await, Ok(records.len()), "{program:?}");
            expected.extend(records.iter().map(|record| written(&syslog.message(&acme(), record).unwrap())));
        }
        let sent = expected.len();
        let mut lines = server.lines(sent);
        assert!(lines.len() >= sent, "{program:?}: {} of {sent}", lines.len());
        // Connections have threads of their own there, and what was sent again is there again.
        lines.sort();
        lines.dedup();
        expected.sort();
        expected.dedup();
        assert_eq!(lines, expected, "{program:?}");
        if program == SyslogProgram::Rsyslog {
            let lines_only =
                SyslogSink::dangerous_plain("127.0.0.1", port, syslog.clone()).frame(Frame::LineFeed);
            let before = server.lines(sent).len();
            assert_eq!(settled(&lines_only, &records).await, Ok(records.len()));
            let lines = server.lines(before + records.len());
            assert!(lines.len() >= before + records.len(), "{} after {before}", lines.len());
        }
        // A certificate that nobody vouches for is none.
        let other = SyslogSink::tls("localhost", tls_port, None, syslog).unwrap();
        assert_eq!(settled(&other, &records).await, Err("TLS was refused".to_owned()));
    }
}

/// Sends a batch as a follower does, again where the connection broke: rsyslog 8.2302 ends one new connection in twenty unread where an
/// earlier one has just ended.
#[cfg(feature = "export-syslog")]
async fn settled(sink: &mfa_events::export::SyslogSink, records: &[Record]) -> Result<usize, String> {
    use mfa_events::export::Sink as _;

    let mut tries = 0;
    loop {
        tries += 1;
        match sink.send(&acme(), records).await.map_err(|error| error.to_string()) {
            Err(why) if why == "the connection broke" && tries < 10 => {}
            outcome => return outcome,
        }
    }
}

/// A message as the server's template has it: what it parsed, between tabs.
#[cfg(feature = "export-syslog")]
fn written(message: &str) -> String {
    let mut parts = message.splitn(7, ' ');
    let priority = parts.next().unwrap().trim_start_matches('<').split_once('>').unwrap().0.to_owned();
    let (_, host, app, _, kind) =
        (parts.next(), parts.next().unwrap(), parts.next().unwrap(), parts.next(), parts.next().unwrap());
    let rest = parts.next().unwrap();
    // The element ends with the first bracket behind a quotation mark that is not escaped.
    let mut end = 0;
    let bytes = rest.as_bytes();
    let mut at = 0;
    while end == 0 {
        match bytes[at] {
            b'\\' => at += 1,
            b']' => end = at + 1,
            _ => {}
        }
        at += 1;
    }
    let (element, body) = rest.split_at(end);
    format!("{priority}\t{host}\t{app}\t{kind}\t{element}\t{}", body.trim_start())
}

/// Sends two records with Splunk's handler, and with a wrong token one that must be refused.
#[cfg(feature = "export-http")]
const SENDS_BY_HEC: &str = r#"
import json, logging, sys
import requests
from splunk_hec_handler import SplunkHecHandler

port, token = int(sys.argv[1]), sys.argv[2]
logger = logging.getLogger("test")
logger.setLevel(logging.INFO)
handler = SplunkHecHandler("127.0.0.1", token, port=port, proto="http", source="judge", sourcetype="_json", index="main")
logger.addHandler(handler)
logger.info({"user": "alice", "tries": 3, "time": 1533530023})
logger.warning("plain text")
logger.removeHandler(handler)
logger.addHandler(SplunkHecHandler("127.0.0.1", "wrong", port=port, proto="http"))
try:
    logger.error("refused")
except requests.exceptions.HTTPError as error:
    assert error.response.status_code == 403
else:
    raise AssertionError("a wrong token was taken")
"#;

#[cfg(feature = "export-http")]
#[test]
#[ignore = "needs splunk-hec-handler: cargo xtask test"]
fn splunks_handler_is_taken_by_the_receiver_that_ours_is_tried_with() {
    use super::receivers::{Receiver, TOKEN};

    let receiver = Receiver::hec();
    accepted(SENDS_BY_HEC, &[&receiver.addr().port().to_string(), TOKEN], &Value::Null);
    let entries = receiver.batches().concat();
    assert_eq!(entries.len(), 2, "{entries:?}");
    assert_eq!((&entries[0]["event"]["user"], &entries[0]["source"]), (&json!("alice"), &json!("judge")));
}

/// Uploads more than fits into one call with Microsoft's client, and with a wrong token one that must be refused.
#[cfg(feature = "export-http")]
const SENDS_BY_AZURE: &str = r#"
import json, sys, time
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.monitor.ingestion import LogsIngestionClient

class Credential:
    def __init__(self, token):
        self.token = token

    def get_token(self, *scopes, **kwargs):
        assert scopes == ("https://monitor.azure.com/.default",), scopes
        return AccessToken(self.token, int(time.time()) + 3600)

def upload(token, logs):
    client = LogsIngestionClient(f"http://127.0.0.1:{sys.argv[1]}", Credential(token))
    client.upload(rule_id="dcr-0123456789abcdef", stream_name="Custom-MfaEvents_CL", logs=logs, enforce_https=False)

rows = json.load(sys.stdin)
upload(sys.argv[2], rows)
try:
    upload("wrong", rows[:1])
except ClientAuthenticationError as error:
    assert error.status_code == 401
else:
    raise AssertionError("a wrong token was taken")
"#;

#[cfg(feature = "export-http")]
#[test]
#[ignore = "needs azure-monitor-ingestion: cargo xtask test"]
fn microsofts_client_is_taken_by_the_receiver_that_ours_is_tried_with() {
    use super::receivers::{Receiver, TOKEN};

    let receiver = Receiver::sentinel();
    let rows: Vec<Value> =
        (0..500).map(|_| mfa_events::export::sentinel_row(&acme(), &samples()[0])).collect();
    let long: Vec<Value> = rows
        .into_iter()
        .map(|mut row| {
            row["message"] = "x".repeat(4_000).into();
            row
        })
        .collect();
    accepted(SENDS_BY_AZURE, &[&receiver.addr().port().to_string(), TOKEN], &long.clone().into());
    let batches = receiver.batches();
    assert!(batches.len() > 1);
    assert_eq!(batches.concat(), long);
}
