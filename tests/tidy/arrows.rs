//! Who may import whom. The cores know no runtime and no I/O, and the programs do not know each other.

use std::collections::BTreeSet;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use crate::root;

/// For each crate, which of ours it may import.
const ARROWS: &[(&str, &[&str])] = &[
    ("muster-schemas", &[]),
    ("muster-mqtt", &["muster-schemas"]),
    ("muster-routing", &["muster-schemas"]),
    ("muster-tpm", &["muster-schemas"]),
    ("muster-trust", &["muster-schemas"]),
    ("muster-seal", &["muster-schemas"]),
    ("muster-suit", &["muster-schemas"]),
    ("muster-sign", &["muster-schemas", "muster-suit"]),
    ("muster-items", &["muster-schemas"]),
    ("muster-exports", &["muster-schemas", "muster-items"]),
    ("muster-policy", &["muster-schemas", "muster-items"]),
    ("muster-influx", &["muster-schemas", "muster-items"]),
    ("muster-backup", &["muster-schemas", "muster-seal", "muster-broker"]),
    ("muster-screen", &["muster-schemas", "muster-seal", "muster-items"]),
    ("muster-slots", &["muster-schemas"]),
    ("muster-campaign", &["muster-schemas"]),
    ("muster-artifacts", &["muster-schemas"]),
    ("muster-ddi", &["muster-schemas"]),
    ("muster-actors", &["muster-schemas"]),
    ("muster-broker", &["muster-schemas", "muster-mqtt", "muster-routing", "muster-actors", "muster-tpm"]),
    (
        "muster-hub",
        &[
            "muster-schemas",
            "muster-mqtt",
            "muster-routing",
            "muster-actors",
            "muster-tpm",
            "muster-trust",
            "muster-broker",
            "muster-seal",
            "muster-items",
            "muster-exports",
            "muster-policy",
            "muster-influx",
            "muster-backup",
            "muster-screen",
            "muster-artifacts",
            "muster-ddi",
        ],
    ),
    (
        "muster-edge",
        &[
            "muster-schemas",
            "muster-mqtt",
            "muster-routing",
            "muster-actors",
            "muster-tpm",
            "muster-trust",
            "muster-seal",
            "muster-slots",
            "muster-suit",
            "muster-broker",
        ],
    ),
    (
        "muster-simulators",
        &[
            "muster-schemas",
            "muster-mqtt",
            "muster-routing",
            "muster-actors",
            "muster-tpm",
            "muster-trust",
            "muster-seal",
            "muster-items",
            "muster-slots",
            "muster-broker",
            "muster-hub",
            "muster-edge",
        ],
    ),
];

/// Crates that hold cores: bytes in, bytes out. The TPM's device side is behind a feature and may block a thread.
const PURE: &[&str] = &[
    "muster-schemas",
    "muster-mqtt",
    "muster-routing",
    "muster-tpm",
    "muster-trust",
    "muster-seal",
    "muster-suit",
    "muster-items",
    "muster-policy",
    "muster-screen",
    "muster-slots",
    "muster-campaign",
    "muster-ddi",
];

/// What a pure crate must not import: runtimes and I/O.
const RUNTIMES: &[&str] =
    &["actix", "actix-rt", "actix-web", "fjall", "mio", "tokio", "tokio-rustls", "ureq"];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata runs")
}

/// What a crate always imports: neither for its tests only, nor behind a feature.
fn imports(package: &Package) -> BTreeSet<String> {
    let ours = package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal && !d.optional);
    ours.map(|d| d.name.clone()).collect()
}

#[test]
fn every_arrow_between_our_crates_is_one_that_the_design_draws() {
    for package in metadata().packages {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| package.name.as_str() == *name) else {
            assert_eq!(package.name.as_str(), "muster-tests", "a new crate needs its arrows in this table");
            continue;
        };
        for import in imports(&package).iter().filter(|name| name.starts_with("muster-")) {
            assert!(allowed.contains(&import.as_str()), "{} must not import {import}", package.name);
        }
    }
}

#[test]
fn cores_know_no_runtime_and_no_io() {
    for package in metadata().packages.iter().filter(|p| PURE.contains(&p.name.as_str())) {
        for import in imports(package) {
            assert!(!RUNTIMES.contains(&import.as_str()), "{} is pure, but imports {import}", package.name);
        }
    }
}

#[test]
fn the_hub_links_no_tpm_library() {
    for package in metadata().packages.iter().filter(|p| p.name.as_str() == "muster-hub") {
        let tpm =
            package.dependencies.iter().find(|d| d.name == "muster-tpm").expect("the hub verifies evidence");
        assert!(!tpm.features.iter().any(|f| f == "device"), "the hub must not enable muster-tpm/device");
    }
}

#[test]
fn only_tests_import_the_simulators() {
    for package in metadata().packages {
        let imports_it = package.dependencies.iter().any(|d| d.name == "muster-simulators");
        assert!(
            !imports_it || package.name.as_str() == "muster-tests",
            "{} imports the simulators",
            package.name
        );
    }
}

#[test]
fn our_crates_obey_the_workspace_lints() {
    for package in metadata().packages {
        let manifest = std::fs::read_to_string(&package.manifest_path).expect("readable");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{} has lints of its own", package.name);
    }
}
