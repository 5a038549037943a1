//! Helpers of the tests of the commands. Not every test uses all of them.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub fn rankstill(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rankstill"));
    command.args(args);
    command
}

/// The standard output of a command, which must succeed.
pub fn ok(command: &mut Command) -> String {
    let output: Output = command.output().unwrap();
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{messages}");
    String::from_utf8(output.stdout).unwrap()
}

/// The error message of a command, which must fail without a panic.
pub fn error(args: &[&str]) -> String {
    let output = rankstill(args).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?} should have failed");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!message.contains("panicked"), "{message}");
    message
}

/// Every file of a run that holds no times: data, artefacts, rankings, metrics.
pub fn lasting(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![run.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(run).unwrap().to_str().unwrap().to_owned();
            let timed = ["report", "fit.json", "epochs.jsonl", "tradeoff.svg"];
            if !timed.iter().any(|part| name.contains(part)) {
                files.insert(name, fs::read(path).unwrap());
            }
        }
    }
    files
}

pub fn assert_same(a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>, what: &str) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>(), "{what}");
    for (name, bytes) in a {
        assert!(bytes == &b[name], "{name} differs: {what}");
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An experiment file in a temporary folder.
pub fn in_folder(experiment: &str) -> (tempfile::TempDir, PathBuf) {
    put(experiment, tempfile::tempdir().unwrap())
}

/// An experiment file in a temporary folder in memory, where syncing takes no time, if this machine has such a place.
pub fn in_memory(experiment: &str) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    put(experiment, root.unwrap())
}

fn put(experiment: &str, root: tempfile::TempDir) -> (tempfile::TempDir, PathBuf) {
    let path = root.path().join("small.toml");
    fs::write(&path, experiment).unwrap();
    (root, path)
}

/// An experiment with models of every kind, fitted in a second.
const EXPERIMENT: &str = r#"
name = "small"
[data]
simulate = { interactions = 6_000, seed = 3 }
filter = { user_core = 5 }
[evaluate]
metrics = ["ndcg@10", "map", "recall@20", "coverage@10", "overlap@10"]
latency_seconds = 0.0
groups = 0.5
[trajectory]
every = 1
[models.POP]
kind = "pop"
[models.ItemCF]
kind = "item_cf"
[models.BPR]
kind = "bpr_mf"
dim = 12
optimizer = { kind = "adam", mode = "exact", weight_decay = 1e-5, learning_rate = 0.01 }
train = { epochs = 4, batch_size = 64 }
[models.SGD]
kind = "bpr_mf"
dim = 6
optimizer = { kind = "sgd", learning_rate = 0.05 }
train = { epochs = 3 }
[models.MF-4]
kind = "bpr_mf"
dim = 4
optimizer = { kind = "adam", mode = "sparse", learning_rate = 0.01 }
train = { epochs = 6, batch_size = 64, validate_every = 2, patience = 1 }
[models."MF-4/RD"]
like = "MF-4"
distill = { kind = "rank_distil", teachers = ["BPR"], warm_up = 2, epsilon = 20 }
[models.Fossil]
kind = "fossil"
dim = 6
order = 3
train = { epochs = 4, batch_size = 64 }
[models."Fossil/RD"]
like = "Fossil"
dim = 4
optimizer = { kind = "adam", mode = "exact", learning_rate = 0.01 }
distill = { kind = "rank_distil", teachers = ["ItemCF"], loss = "list_wise", warm_up = 1, epsilon = 20 }
[models."Caser/RD"]
kind = "caser"
dim = 8
length = 3
horizontal_filters = 4
train = { epochs = 3, batch_size = 64 }
distill = { kind = "rank_distil", preset = "authors_code", teachers = ["Fossil"], warm_up = 1, epsilon = 20 }
[models.Ensemble]
kind = "ensemble"
members = ["ItemCF", "BPR", "Fossil"]
[models."MF-4/HetComp"]
like = "MF-4"
train = { epochs = 9 }
distill = { kind = "het_comp", teachers = ["ItemCF", "BPR", "Fossil"], k = 20, cutoff = 10, period = 2 }
"#;

pub fn experiment() -> (tempfile::TempDir, PathBuf) {
    in_folder(EXPERIMENT)
}
