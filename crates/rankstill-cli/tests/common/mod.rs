//! What the tests of the commands have in common. Not every test uses all of it.
#![allow(dead_code, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub fn rankstill(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rankstill"));
    command.args(args);
    command
}

/// What it printed; it must succeed.
pub fn ok(command: &mut Command) -> String {
    let output: Output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{told}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it complained of; it must fail, and in order.
pub fn error(args: &[&str]) -> String {
    let output = rankstill(args).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?} should have failed");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!told.contains("panicked"), "{told}");
    told
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An experiment file in a folder of its own.
pub fn in_folder(experiment: &str) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("small.toml");
    fs::write(&path, experiment).unwrap();
    (root, path)
}
