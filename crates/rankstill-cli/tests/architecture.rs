//! The invariants of `ARCHITECTURE.md`, held from the manifests and the file tree.
#![allow(clippy::unwrap_used)]

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::collections::{BTreeMap, BTreeSet};
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

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "rs");
    files(folder).into_iter().filter(is_rust).collect()
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
        let code = code(&path).replace("'unsafe-inline'", ""); // a word of the page's content policy
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
        crates.join("serve/src/http/tests"),
        crates.join("serve/src/server/signals.rs"),
        crates.join("core/src/atomic_write"),
        crates.join("serve/src/server/tls.rs"),
        crates.join("serve/src/server/tls"),
        crates.join("serve/src/store/embedded"),
    ];
    // `serve` has sockets of tokio's and a file of redb's. It opens a certificate, which is renewed, looks whether the event store's file
    // is still there, and whether the system ignores a signal.
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
fn files_are_changed_in_one_place() {
    let crates = root().join("crates");
    let seam = crates.join("core/src/atomic_write");
    let load_generator = crates.join("rankstill-cli/src/commands/bench");
    let words = [
        "fs::write",
        "fs::rename",
        "fs::create_dir",
        "fs::remove",
        " File::create",
        "File::options",
    ];
    for folder in [
        "core",
        "data",
        "models",
        "distill",
        "eval",
        "serve",
        "rankstill",
        "rankstill-cli",
        "python",
    ] {
        for path in sources(&crates.join(folder).join("src")) {
            if path.starts_with(&seam) || path.starts_with(&load_generator) {
                continue;
            }
            // Modules of tests.
            let tests = ["tests.rs", "faults.rs", "outages.rs"];
            if tests.iter().any(|tests| path.ends_with(tests))
                || path.parent().is_some_and(|p| p.ends_with("tests"))
            {
                continue;
            }
            for word in words {
                assert!(!code(&path).contains(word), "{} uses {word}", path.display());
            }
        }
    }
}

#[test]
fn only_serve_and_the_load_generator_know_the_network() {
    for package in metadata().workspace_packages() {
        let serves = package.name.as_str() == "rankstill-serve";
        for dependency in &package.dependencies {
            let network = SERVING.contains(&dependency.name.as_str());
            assert!(serves || !network, "{} depends on {}", package.name, dependency.name);
        }
    }
    let load_generator = root().join("crates/rankstill-cli/src/commands/bench");
    for folder in ["core", "data", "models", "distill", "eval", "rankstill", "rankstill-cli"] {
        for path in sources(&root().join("crates").join(folder).join("src")) {
            let name = path.with_extension("");
            for word in ["TcpListener", "TcpStream", "UdpSocket"] {
                let may = name.starts_with(&load_generator);
                assert!(may || !code(&path).contains(word), "{} uses {word}", path.display());
            }
        }
    }
}

#[test]
fn only_the_python_package_knows_python_and_arrow() {
    for package in metadata().workspace_packages() {
        let python = package.name.as_str() == "rankstill-python";
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let known = ["pyo3", "numpy"].contains(&name) || name.starts_with("arrow");
            assert!(python || !known, "{} depends on {name}", package.name);
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
    let all = files(&root().join("crates"));
    let (mut paths, mut names) = (0, 0);
    for line in text.lines() {
        let quoted: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
        // A row of the table of rooms begins with its folder; the files that it names are in there.
        let room = quoted.first().filter(|first| line.starts_with("| `") && first.contains('/'));
        for name in quoted.iter().map(|name| name.trim_end_matches('/')) {
            if name.contains([' ', '<', '*', ':', '(', '{']) {
                continue;
            }
            let is_path = ["crates/", "docs/", "examples/", "benches/"]
                .iter()
                .any(|folder| name.starts_with(folder))
                || name.ends_with(".md");
            if is_path {
                assert!(root().join(name).exists(), "ARCHITECTURE.md names {name}: not there");
                paths += 1;
            } else if name.ends_with(".rs") || name.ends_with(".sh") {
                let within = room.map_or(root(), |room| root().join(room));
                let mut there = all.iter().filter(|path| path.starts_with(&within));
                let found = there.any(|path| path.ends_with(name))
                    || room.is_none() && root().join("scripts").join(name).exists();
                assert!(found, "ARCHITECTURE.md names {name}: not in {}", within.display());
                names += 1;
            }
        }
    }
    assert!(paths >= 10 && names >= 10, "only {paths} paths and {names} files are named");
}

#[test]
fn contributing_shows_the_worked_examples_as_they_are() {
    let text = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let mut shown = 0;
    for part in text.split("<!-- crates/").skip(1) {
        let (path, rest) = part.split_once(" -->\n```rust\n").unwrap();
        let (program, _) = rest.split_once("\n```\n").unwrap();
        let file = fs::read_to_string(root().join("crates").join(path)).unwrap();
        assert_eq!(program, file.trim_end(), "CONTRIBUTING.md shows another crates/{path}");
        shown += 1;
    }
    assert_eq!(shown, 4, "a metric, a distiller, a model, an event store");
}

/// A module may use its ancestors and descendants; any other two must not need each other, directly or through others. Names
/// that a crate re-exports at its root count as the root's.
#[test]
fn modules_do_not_import_each_other_in_a_circle() {
    let (mut modules, mut circles) = (0, BTreeMap::new());
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let source = entry.unwrap().path().join("src");
        let imports = imports(&source);
        modules += imports.len();
        for module in imports.keys() {
            let mut way = vec![module.clone()];
            if let Some(circle) = circle(&imports, &mut way, &mut BTreeSet::new()) {
                let members: BTreeSet<String> = circle.iter().cloned().collect();
                circles.insert((source.clone(), members), circle.join(" -> "));
            }
        }
    }
    assert!(modules > 100, "only {modules} modules were read");
    assert!(circles.is_empty(), "modules import each other: {circles:#?}");
}

#[test]
fn imports_are_found_in_every_form() {
    let modules: BTreeSet<String> =
        ["", "a", "a::b", "c", "c::d"].into_iter().map(str::to_owned).collect();
    let code =
        "use crate::{a::b::{self, X}, c as other, Root};\nuse super::d;\nfn f() { crate::a::g(); }";
    let found: Vec<String> = imported(code, "c::e", &modules).into_iter().collect();
    assert_eq!(found, ["a", "a::b", "c", "c::d"]);
}

/// Of each module of a crate the other modules that it names.
fn imports(source: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let module = |path: &Path| {
        let inside = path.strip_prefix(source).unwrap().with_extension("");
        let parts = inside.iter().map(|part| part.to_str().unwrap());
        parts.filter(|part| !["lib", "main", "mod"].contains(part)).collect::<Vec<_>>().join("::")
    };
    let files: Vec<PathBuf> =
        sources(source).into_iter().filter(|path| !path.ends_with("tests.rs")).collect();
    let modules: BTreeSet<String> = files.iter().map(|path| module(path)).collect();
    let of = |path: &PathBuf| {
        let name = module(path);
        let mut found = imported(&code(path), &name, &modules);
        found.retain(|other| !is_within(other, &name) && !is_within(&name, other));
        (name, found)
    };
    files.iter().map(of).filter(|(name, _)| !name.is_empty()).collect()
}

/// The modules that `code`, which stands in module `here`, names by paths from the crate's root or a parent.
fn imported(code: &str, here: &str, modules: &BTreeSet<String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (start, base) in [("crate::", ""), ("super::", parent(here))] {
        for (at, _) in code.match_indices(start) {
            let word =
                code[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
            let chained = code[..at].ends_with("super::");
            if !word && !chained {
                let (mut base, mut rest) = (base, &code[at + start.len()..]);
                while let Some(further) = rest.strip_prefix("super::") {
                    (base, rest) = (parent(base), further);
                }
                leaves(rest, base, modules, &mut found);
            }
        }
    }
    found
}

/// Follows a path, or a group of paths in braces, as far as modules go.
fn leaves(rest: &str, base: &str, modules: &BTreeSet<String>, found: &mut BTreeSet<String>) {
    if let Some(group) = rest.strip_prefix('{') {
        let (mut depth, mut begin) = (0, 0);
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    leaves(group[begin..at].trim_start(), base, modules, found);
                    begin = at + 1;
                    if c == '}' {
                        return;
                    }
                }
                _ => {}
            }
        }
        return;
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let name = &rest[..end];
    let module = if base.is_empty() { name.to_owned() } else { format!("{base}::{name}") };
    if name == "self" || !modules.contains(&module) {
        found.insert(base.to_owned());
    } else if let Some(further) = rest[end..].strip_prefix("::") {
        leaves(further, &module, modules, found);
    } else {
        found.insert(module);
    }
    found.remove("");
}

fn parent(module: &str) -> &str {
    module.rsplit_once("::").map_or("", |(parent, _)| parent)
}

/// Whether `inner` is `outer` or below it.
fn is_within(inner: &str, outer: &str) -> bool {
    inner == outer || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with("::"))
}

/// A way from the last module of `way` back to its first.
fn circle(
    imports: &BTreeMap<String, BTreeSet<String>>,
    way: &mut Vec<String>,
    seen: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    let here = way[way.len() - 1].clone();
    for next in imports.get(&here).into_iter().flatten() {
        if *next == way[0] {
            return Some(way.clone());
        }
        if seen.insert(next.clone()) {
            way.push(next.clone());
            if let Some(found) = circle(imports, way, seen) {
                return Some(found);
            }
            way.pop();
        }
    }
    None
}
