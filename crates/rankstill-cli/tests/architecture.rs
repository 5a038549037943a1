//! The invariants of `ARCHITECTURE.md`, held from the manifests and the file tree.
#![allow(clippy::unwrap_used)]

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SIBLINGS: [&str; 5] = [
    "rankstill-data",
    "rankstill-models",
    "rankstill-distill",
    "rankstill-eval",
    "rankstill-serve",
];

/// What `serve` alone may depend on: the network, threads that wait for it, and the event store.
const SERVING: [&str; 9] = [
    "axum",
    "hyper",
    "hyper-util",
    "redb",
    "tokio",
    "tokio-postgres",
    "tokio-postgres-rustls",
    "tokio-rustls",
    "tower",
];

/// What a newcomer must not wait for.
const HEAVY: [&str; 12] = [
    "arrow",
    "datafusion",
    "ballista",
    "polars",
    "candle-core",
    "burn",
    "tch",
    "lightgbm3",
    "perpetual",
    "prost",
    "tokio-postgres",
    "usearch",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn metadata() -> Metadata {
    let about = Command::new("rustc").arg("-vV").output().unwrap().stdout;
    let about = String::from_utf8(about).unwrap();
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    // What other platforms need was never downloaded.
    let options = ["--offline", "--locked", "--filter-platform", host];
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(options.map(str::to_owned))
        .exec()
        .unwrap()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

/// The code of a file: what stands before its tests, comments taken off.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap();
    let lines = code.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn no_sibling_depends_on_a_sibling() {
    let metadata = metadata();
    for name in SIBLINGS {
        let package = metadata.packages.iter().find(|package| package.name.as_str() == name);
        let package = package.unwrap_or_else(|| panic!("{name} is not in the workspace"));
        for dependency in &package.dependencies {
            let ours = dependency.name.starts_with("rankstill");
            assert!(
                !ours || dependency.name == "rankstill-core",
                "{name} depends on {}: siblings see core alone",
                dependency.name
            );
        }
    }
}

#[test]
fn core_stands_on_nothing_of_the_project() {
    let metadata = metadata();
    let core = metadata.packages.iter().find(|p| p.name.as_str() == "rankstill-core").unwrap();
    let ours: Vec<_> =
        core.dependencies.iter().filter(|d| d.name.starts_with("rankstill")).collect();
    assert!(ours.is_empty(), "core depends on {ours:?}");
}

#[test]
fn kernels_import_nothing_of_the_project() {
    for path in sources(&root().join("crates/core/src/kernel")) {
        for line in code(&path).lines().filter(|line| line.contains("crate::")) {
            assert!(
                line.replace("crate::kernel", "").find("crate::").is_none(),
                "{}: `{}` leaves the kernels",
                path.display(),
                line.trim()
            );
        }
    }
}

#[test]
fn only_kernels_hold_unsafe_code() {
    let kernels = root().join("crates/core/src/kernel");
    for path in sources(&root().join("crates")) {
        if path.starts_with(&kernels) || path.ends_with("tests/architecture.rs") {
            continue;
        }
        let code = code(&path);
        let word = code.split(|c: char| !c.is_alphanumeric() && c != '_').find(|w| *w == "unsafe");
        assert!(word.is_none(), "{} holds `unsafe`", path.display());
        assert!(!code.contains("allow(unsafe_code"), "{} allows it", path.display());
    }
}

#[test]
fn only_those_who_may_open_files_do() {
    let crates = root().join("crates");
    let may = [
        crates.join("data"),
        crates.join("rankstill-cli"),
        crates.join("core/src/answers/file.rs"),
        crates.join("core/src/artefact.rs"),
        crates.join("core/src/artefact/tests.rs"),
        crates.join("core/src/atomic_write.rs"),
        crates.join("serve/src/tls.rs"),
        crates.join("serve/src/tls"),
    ];
    // `serve` has sockets of tokio's and a file of redb's, and opens nothing itself but a certificate, which is renewed.
    for folder in ["core", "models", "distill", "eval", "serve"] {
        for path in sources(&crates.join(folder).join("src")) {
            if may.iter().any(|may| path.starts_with(may)) {
                continue;
            }
            let words =
                ["std::fs", "File::open", "File::create", "fs::read", "fs::write", "std::net"];
            let words = &words[..words.len() - usize::from(folder == "serve")];
            for word in words {
                assert!(!code(&path).contains(word), "{} uses {word}", path.display());
            }
        }
    }
}

#[test]
fn serve_alone_knows_the_network() {
    for package in metadata().workspace_packages() {
        let serves = package.name.as_str() == "rankstill-serve";
        for dependency in &package.dependencies {
            let network = SERVING.contains(&dependency.name.as_str());
            assert!(serves || !network, "{} depends on {}", package.name, dependency.name);
        }
    }
    for folder in ["core", "data", "models", "distill", "eval"] {
        for path in sources(&root().join("crates").join(folder).join("src")) {
            for word in ["TcpListener", "TcpStream", "UdpSocket", "SocketAddr"] {
                assert!(!code(&path).contains(word), "{} uses {word}", path.display());
            }
        }
    }
}

#[test]
fn heavy_engines_are_not_in_the_default_build() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().unwrap();
    let front = metadata.packages.iter().find(|p| p.name.as_str() == "rankstill-cli").unwrap();
    let (mut seen, mut next) = (BTreeSet::new(), vec![front.id.clone()]);
    while let Some(id) = next.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        let node = resolve.nodes.iter().find(|node| node.id == id).unwrap();
        let built = node.deps.iter().filter(|dependency| {
            dependency.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development)
        });
        next.extend(built.map(|dependency| dependency.pkg.clone()));
    }
    let names: BTreeSet<&str> = metadata
        .packages
        .iter()
        .filter(|p| seen.contains(&p.id))
        .map(|p| p.name.as_str())
        .collect();
    assert!(names.contains("rankstill-core"), "the walk found the project itself");
    for heavy in HEAVY {
        assert!(!names.contains(heavy), "{heavy} is in the default build");
    }
}

#[test]
fn every_path_that_the_architecture_names_exists() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut checked = 0;
    for quoted in text.split('`').skip(1).step_by(2) {
        let path = quoted.trim_end_matches('/');
        let looks_like_one = !path.contains([' ', '<', '*', ':', '(', '{'])
            && (path.starts_with("crates/") || path.starts_with("docs/") || path.ends_with(".md"));
        if looks_like_one {
            assert!(root().join(path).exists(), "ARCHITECTURE.md names {path}, which is not there");
            checked += 1;
        }
    }
    assert!(checked >= 10, "ARCHITECTURE.md names only {checked} paths");
}
