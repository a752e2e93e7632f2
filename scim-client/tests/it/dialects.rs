//! Dialects: what each preset changes, where that is from, and what goes over the wire.

use std::fmt::Write as _;
use std::path::Path;

use scim_client::dialect::{Dialect, Preset};

mod service;
mod switches;
mod wire;

/// Compares with a file of the crate; with `BLESS=1` in the environment, writes it.
fn golden(file: &str, seen: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, seen).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(seen, expected, "{} (BLESS=1 writes it anew)", path.display());
}

#[test]
fn the_documentation_names_every_switch_and_its_source() {
    let mut page = String::from(
        "# Dialects\n\n\
         Every preset of `scim_client::dialect`, each switch with what the vendor's documentation says and where. All of it is\n\
         derived from documents; none of it was tried with the vendor's service. A switch that is not listed is as\n\
         `Dialect::rfc7644()` has it. This page is written by a test from the same table as the code.\n",
    );
    for preset in Preset::ALL {
        writeln!(page, "\n## {} (`{}`)\n", preset.title, preset.name).unwrap();
        if preset.switches.is_empty() {
            page.push_str(
                "The base of all others: as RFC 7644 says; what is optional there is discovered.\n",
            );
            continue;
        }
        page.push_str("| switch | value | because | document |\n|---|---|---|---|\n");
        for switch in preset.switches {
            writeln!(
                page,
                "| `{}` | `{}` | {} | {} |",
                switch.field, switch.value, switch.says, switch.source
            )
            .unwrap();
        }
    }
    golden("docs/dialects.md", &page);
}

#[test]
fn a_preset_is_found_by_its_name() {
    for preset in Preset::ALL {
        assert_eq!(preset.dialect().name, preset.name);
        assert_eq!(Preset::named(preset.name).unwrap().dialect(), preset.dialect());
    }
    assert!(Preset::named("Slack").is_none());
    assert_eq!(Dialect::default(), Dialect::rfc7644());
}
