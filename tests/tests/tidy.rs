//! The rules of the house that a compiler does not hold: which crate may import which, how long a
//! file may be, and what may not be called where.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The longest a source file may be, its tests at the end not counted.
const FILE_LINES_MAX: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a folder of the workspace") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            if !path.ends_with("target") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for krate in ["protocol", "storage", "client", "broker", "tests", "benches", "models", "fuzz"] {
        sources(&root().join(krate), &mut found);
    }
    found
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a readable source");
            (path.strip_prefix(root()).expect("below the root").to_path_buf(), text)
        })
        .collect()
}

/// What a crate may not import, directly.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "takt-protocol",
        &["tokio", "quinn", "redb", "takt-storage", "takt-client", "takt-broker", "getrandom"],
    ),
    ("takt-storage", &["tokio", "quinn", "takt-client", "takt-broker"]),
    ("takt-client", &["takt-storage", "takt-broker", "redb"]),
];

#[test]
fn crates_import_only_downwards() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    for (name, forbidden) in FORBIDDEN {
        let package = packages.iter().find(|p| p["name"] == **name).expect("the crate is there");
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let imported = dependency["name"].as_str().expect("a name");
            let in_code = dependency["kind"].is_null();
            assert!(
                !in_code || !forbidden.contains(&imported),
                "{name} must not import {imported}"
            );
        }
    }
}

#[test]
fn no_file_is_too_long() {
    for (path, text) in all_sources() {
        let is_test = path.components().any(|c| c.as_os_str() == "tests")
            || path.file_name().is_some_and(|name| name == "tests.rs");
        let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = code.lines().count();
        assert!(
            is_test || lines <= FILE_LINES_MAX,
            "{} has {lines} lines; split it: at most {FILE_LINES_MAX}",
            path.display()
        );
    }
}

#[test]
fn files_are_touched_only_behind_the_disk_seam() {
    for (path, text) in all_sources() {
        let in_storage = path.starts_with("storage/src") && !path.starts_with("storage/src/disk");
        let is_test =
            path.components().any(|c| c.as_os_str() == "tests" || c.as_os_str() == "tests.rs");
        let pure = path.starts_with("protocol/src");
        let code = text.split("\n#[cfg(test)]\n").next().unwrap_or_default();
        for banned in ["std::fs", "File::open", "std::net"] {
            assert!(
                !(in_storage || pure) || is_test || !code.contains(banned),
                "{} uses {banned}; only storage/src/disk may",
                path.display()
            );
        }
    }
}

#[test]
fn no_bare_allow_and_no_unfinished_code() {
    for (path, text) in all_sources() {
        if path.ends_with("tidy.rs") {
            continue;
        }
        for (at, _) in text.match_indices("[allow(") {
            let exception = text[at..].split(']').next().unwrap_or_default();
            let reasoned = exception.contains("reason =");
            assert!(reasoned, "{} holds an exception without a reason", path.display());
        }
        for banned in ["todo!(", "unimplemented!(", "dbg!(", "#[ignore"] {
            assert!(!text.contains(banned), "{} holds {banned}", path.display());
        }
    }
}
