//! Who may know whom: the seven library crates are useful alone, so none of them may lean on another, and there is no
//! other library that they could all lean on.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, TargetKind};

const SEVEN: [&str; 7] = [
    "audit-log",
    "connector-health",
    "device-trust",
    "mfa-events",
    "scim-client",
    "session-filter",
    "vault-core",
];
const TESTBED: &str = "testbed";

/// As much of a package as the rule speaks about.
#[derive(Debug, Clone)]
struct Package {
    name: String,
    library: bool,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Clone)]
struct Dependency {
    name: String,
    origin: Origin,
    kind: DependencyKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Path,
    Registry,
}

/// Every breach of the rule, one sentence each.
fn breaches(packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for package in packages {
        let name = package.name.as_str();
        let is_one_of_seven = SEVEN.contains(&name);
        if package.library && !is_one_of_seven && name != TESTBED {
            found.push(format!("`{name}` is a library package beside the seven and `{TESTBED}`"));
        }
        for dependency in &package.dependencies {
            let on = dependency.name.as_str();
            // By name, so that a published copy from a registry is no way round the rule.
            if (is_one_of_seven || name == TESTBED) && SEVEN.contains(&on) {
                found.push(format!("`{name}` depends on `{on}`, one of the seven"));
            } else if is_one_of_seven && dependency.origin == Origin::Path {
                if on != TESTBED {
                    found.push(format!("`{name}` depends on `{on}` by path"));
                } else if dependency.kind != DependencyKind::Development {
                    found.push(format!("`{name}` depends on `{TESTBED}` other than for its tests"));
                }
            }
        }
    }
    found
}

fn packages(metadata: &Metadata) -> Vec<Package> {
    let of = |package: &&cargo_metadata::Package| Package {
        name: package.name.to_string(),
        library: package.targets.iter().any(|target| {
            target.kind.iter().any(|kind| {
                !matches!(
                    kind,
                    TargetKind::Bin
                        | TargetKind::Bench
                        | TargetKind::CustomBuild
                        | TargetKind::Example
                        | TargetKind::Test
                )
            })
        }),
        dependencies: package
            .dependencies
            .iter()
            .map(|dependency| Dependency {
                name: dependency.name.clone(),
                origin: if dependency.path.is_some() { Origin::Path } else { Origin::Registry },
                kind: dependency.kind,
            })
            .collect(),
    };
    metadata.workspace_packages().iter().map(of).collect()
}

fn read(manifest: &Path) -> Metadata {
    MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn the_workspace_keeps_the_rule() {
    let packages = packages(&read(&root().join("Cargo.toml")));
    let ours = packages.iter().filter(|package| SEVEN.contains(&package.name.as_str())).count();
    assert!(ours > 0, "none of the seven was found: {packages:?}");
    let found = breaches(&packages);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn fuzz_packages_know_only_the_crate_they_fuzz() {
    for name in SEVEN {
        let dir = root().join(name).canonicalize();
        let Ok(dir) = dir else { continue };
        let manifest = dir.join("fuzz").join("Cargo.toml");
        if !manifest.is_file() {
            continue;
        }
        for package in read(&manifest).packages {
            for dependency in package.dependencies {
                let Some(path) = dependency.path else {
                    assert!(!SEVEN.contains(&dependency.name.as_str()), "{manifest:?}: {}", dependency.name);
                    continue;
                };
                assert_eq!(path.canonicalize_utf8().unwrap(), dir, "{manifest:?}: {}", dependency.name);
            }
        }
    }
}

#[test]
fn each_kind_of_breach_is_seen() {
    let package = |name: &str, library, on: Option<(&str, Origin, DependencyKind)>| Package {
        name: name.to_owned(),
        library,
        dependencies: on
            .into_iter()
            .map(|(name, origin, kind)| Dependency { name: name.to_owned(), origin, kind })
            .collect(),
    };
    use DependencyKind::{Build, Development, Normal};
    for (breach, why) in [
        (package("audit-log", true, Some(("vault-core", Origin::Path, Normal))), "on another"),
        (package("audit-log", true, Some(("vault-core", Origin::Path, Development))), "for tests"),
        (package("audit-log", true, Some(("vault-core", Origin::Registry, Normal))), "by registry"),
        (package("audit-log", true, Some(("testbed", Origin::Path, Normal))), "testbed at run time"),
        (package("audit-log", true, Some(("testbed", Origin::Path, Build))), "testbed when built"),
        (package("audit-log", true, Some(("benches", Origin::Path, Development))), "other path"),
        (package("testbed", true, Some(("audit-log", Origin::Path, Normal))), "testbed knows"),
        (package("common", true, None), "a shared floor"),
    ] {
        assert_eq!(breaches(std::slice::from_ref(&breach)).len(), 1, "{why}: {breach:?}");
    }
    for allowed in [
        package("audit-log", true, Some(("testbed", Origin::Path, Development))),
        package("audit-log", true, Some(("serde", Origin::Registry, Normal))),
        package("auditor", false, Some(("audit-log", Origin::Path, Normal))),
        package("testbed", true, Some(("tempfile", Origin::Registry, Normal))),
    ] {
        assert_eq!(breaches(std::slice::from_ref(&allowed)), Vec::<String>::new());
    }
}
