//! Rules about the workspace itself: which crate may use which, and that the default build needs neither C nor Python.

use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

/// Which of our crates a crate may depend on (dev-dependencies are exempt). The table of ARCHITECTURE.md.
const MAY_USE: &[(&str, &[&str])] = &[
    ("care-kernels", &[]),
    ("care-nn", &["care-kernels"]),
    ("care-backbone", &["care-nn", "care-kernels"]),
    ("care-heads", &["care-backbone", "care-nn", "care-kernels", "care-types"]),
    ("care-types", &[]),
    ("care-data", &["care-types"]),
    ("care-map", &["care-types"]),
    ("care-miou", &["care-types"]),
    (
        "care-engine",
        &[
            "care-heads",
            "care-backbone",
            "care-nn",
            "care-kernels",
            "care-types",
            "care-data",
            "care-map",
            "care-miou",
        ],
    ),
    ("care-report", &["care-types"]),
    ("care-cli", &["care-engine", "care-report", "care-map", "care-miou", "care-data", "care-types"]),
    // Tests only: what its own library needs, the rest are dev-dependencies.
    ("care-golden", &["care-nn"]),
];

/// What a crate never uses, even from outside.
const NEVER: &[(&str, &[&str])] = &[
    ("care-kernels", &["candle-core", "serde"]),
    ("care-nn", &["image"]),
    ("care-backbone", &["image", "care-types"]),
    ("care-heads", &["image"]),
    ("care-types", &["candle-core", "image", "rayon"]),
    ("care-data", &["candle-core"]),
    ("care-map", &["candle-core", "image"]),
    ("care-miou", &["candle-core", "image"]),
    ("care-report", &["candle-core"]),
    ("care-cli", &["candle-core"]),
];

/// Crates that build or find C, or bring Python.
const C_OR_PYTHON: &[&str] = &[
    "cc",
    "cmake",
    "pkg-config",
    "bindgen",
    "nasm-rs",
    "autotools",
    "vcpkg",
    "system-deps",
    "pyo3",
    "pyo3-ffi",
    "cxx",
];

/// `links` keys of crates without a native library: the key only keeps a second copy out of the tree.
const LINKS_NOTHING: &[&str] = &["rayon-core"];

fn cargo(args: &[&str]) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let out = Command::new(env!("CARGO")).args(args).current_dir(root).output().expect("cargo runs");
    assert!(out.status.success(), "cargo {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("cargo prints UTF-8")
}

fn metadata() -> Value {
    serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--locked"]))
        .expect("cargo metadata prints JSON")
}

/// The workspace's packages: name and the names of its normal and build dependencies.
fn members(metadata: &Value) -> Vec<(String, BTreeSet<String>)> {
    let ids: BTreeSet<&str> =
        metadata["workspace_members"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    let packages =
        metadata["packages"].as_array().unwrap().iter().filter(|p| ids.contains(p["id"].as_str().unwrap()));
    packages
        .map(|p| {
            let deps = p["dependencies"].as_array().unwrap().iter().filter(|d| d["kind"] != "dev");
            (
                p["name"].as_str().unwrap().to_owned(),
                deps.map(|d| d["name"].as_str().unwrap().to_owned()).collect(),
            )
        })
        .collect()
}

#[test]
fn arrows_point_only_where_the_table_allows() {
    let members = members(&metadata());
    let names: BTreeSet<&str> = members.iter().map(|m| m.0.as_str()).collect();
    let mut wrong = Vec::new();
    for (name, deps) in &members {
        let Some((_, allowed)) = MAY_USE.iter().find(|m| m.0 == name) else {
            wrong.push(format!("{name} is not in the table"));
            continue;
        };
        let never = NEVER.iter().find(|n| n.0 == name).map_or(&[][..], |n| n.1);
        for dep in deps {
            if names.contains(dep.as_str()) && !allowed.contains(&dep.as_str())
                || never.contains(&dep.as_str())
            {
                wrong.push(format!("{name} -> {dep}"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that the table does not have: {}", wrong.join(", "));
}

#[test]
fn the_default_build_and_its_tests_need_no_c_and_no_python() {
    let tree = cargo(&["tree", "--workspace", "--locked", "--edges", "normal,build,dev", "--prefix", "none"]);
    let used: BTreeSet<&str> = tree.lines().filter_map(|l| l.split_whitespace().next()).collect();
    assert!(used.contains("candle-core"), "cargo tree lists the dependencies");
    let found: Vec<&&str> = C_OR_PYTHON.iter().filter(|c| used.contains(**c)).collect();
    assert!(found.is_empty(), "the tree contains {found:?}");
    let metadata = metadata();
    let native: Vec<&str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|p| !p["links"].is_null())
        .map(|p| p["name"].as_str().unwrap())
        .filter(|n| used.contains(n) && !LINKS_NOTHING.contains(n))
        .collect();
    assert!(native.is_empty(), "these link a native library: {native:?}");
}
