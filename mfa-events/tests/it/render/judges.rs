//! What Microsoft's parser and pySigma say.

use std::time::Duration;

use mfa_events::Rules;
use mfa_events::render::{Form, RenderError};
use serde_json::{Value, json};
use testbed::{Environment, Running, Toolbox};

use super::{LANGUAGES, told};
use crate::export::judges::{accepted, judged};

/// Texts that would end what they stand in.
const HOSTILE: [&str; 5] = [
    "``` | delete ```",
    "x\n.drop table MfaEvents_CL",
    "x\"\nlevel: low\n---\ntitle: \"y",
    "*/ ; // \u{2028} y",
    "\\\" ' ] } $x$ `y`",
];

fn rendered(ends: &[&str]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for rule in &Rules::published() {
        let texts = HOSTILE.iter().map(|text| told(rule, text, text)).chain([rule.clone()]);
        for (number, rule) in texts.enumerate() {
            for (end, render) in LANGUAGES.iter().filter(|(end, _)| ends.contains(end)) {
                match render(&rule, Form::Sliding) {
                    Ok(text) => all.push((format!("{}.{number}.{end}", rule.id), text)),
                    Err(RenderError::NotSayable { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
    all
}

#[cfg(feature = "export-http")]
/// Parses and binds each query against a table, and prints what is wrong.
const READS_KQL: &str = r#"
import { createRequire } from "node:module";
import fs from "node:fs";
const require = createRequire(process.cwd() + "/");
require("@kusto/language-service-next/bridge.js");
require("@kusto/language-service-next/Kusto.Language.Bridge.js");
const { Language } = globalThis.Kusto;
const symbols = Language.Symbols;
const { columns, queries } = JSON.parse(fs.readFileSync(0, "utf8"));
const declared = columns.map(([name, type]) => `${name}: ${type}`).join(", ");
const table = new symbols.TableSymbol.$ctor7("MfaEvents_CL", `(${declared})`, null);
const database = new symbols.DatabaseSymbol.ctor("db", [table]);
const globals = Language.GlobalState.Default.WithDatabase(database);
let failed = false;
for (const [name, query] of queries) {
    const code = Language.KustoCode.ParseAndAnalyze(query, globals);
    const found = code.GetDiagnostics();
    for (let i = 0; i < found.Count; i++) {
        const one = found.getItem(i);
        failed = true;
        console.log(`${name}: ${one.Severity}: ${one.Message} at ${JSON.stringify(query.substr(one.Start, 40))}`);
    }
    const result = code.ResultType;
    if (!result || !result.GetColumn || !result.GetColumn("rule")) {
        failed = true;
        console.log(`${name}: it has no column rule`);
    }
}
process.exit(failed ? 1 : 0);
"#;

#[cfg(feature = "export-http")]
fn read_kql(queries: &[(String, String)]) -> testbed::Output {
    let judge = Toolbox::find().unwrap().node_of(Environment::SiemNode, READS_KQL).unwrap();
    let mut running = Running::spawn(judge).unwrap();
    running.write(json!({ "columns": COLUMNS, "queries": queries }).to_string().as_bytes()).unwrap();
    running.close_stdin();
    running.wait(Duration::from_secs(300)).unwrap()
}

#[cfg(feature = "export-http")]
const COLUMNS: &[(&str, &str)] = mfa_events::export::SENTINEL_COLUMNS;

#[cfg(feature = "export-http")]
#[test]
#[ignore = "needs @kusto/language-service-next: cargo xtask test"]
fn microsofts_parser_finds_nothing_in_the_queries() {
    let queries = rendered(&["sliding.kql", "tumbling.kql"]);
    assert!(queries.len() > 6 * 20, "{}", queries.len());
    let verdict = read_kql(&queries);
    assert!(verdict.status.success(), "{}{}", verdict.stdout_text(), verdict.stderr_text());
    // The judge knows mistakes: of form, and of a column that is not there.
    for wrong in ["MfaEvents_CL | wher x", "MfaEvents_CL | extend rule = no_such_column"] {
        let verdict = read_kql(&[("wrong".to_owned(), wrong.to_owned())]);
        assert!(!verdict.status.success(), "{wrong}");
    }
}

/// Reads each collection, converts it, and prints what is wrong. The title must come back as it was given, control characters aside.
const READS_SIGMA: &str = r#"
import json, sys
from sigma.backends.splunk import SplunkBackend
from sigma.collection import SigmaCollection
from sigma.exceptions import SigmaError

converted = 0
for name, text in json.load(sys.stdin):
    collection = SigmaCollection.from_yaml(text)
    assert not collection.errors, (name, collection.errors)
    try:
        queries = SplunkBackend().convert(collection)
    except (NotImplementedError, SigmaError) as error:
        assert "temporal_ordered" in text, (name, error)
        continue
    assert len(queries) == 1 and "| bin _time span=" in queries[0], (name, queries)
    converted += 1
print(converted)
"#;

#[test]
#[ignore = "needs pysigma: cargo xtask test"]
fn pysigma_reads_the_correlations_and_converts_them() {
    let texts: Value = rendered(&["sigma.yml"]).into_iter().map(|(name, text)| json!([name, text])).collect();
    accepted(READS_SIGMA, &[], &texts);
    let converted = judged(READS_SIGMA, &[], &texts).stdout_text();
    assert!(converted.trim().parse::<u32>().unwrap() >= 6 * 4, "{converted}");
    let wrong = json!([["wrong", "title: x\nlogsource: {}\ndetection: {}\n"]]);
    assert!(!judged(READS_SIGMA, &[], &wrong).status.success());
}
