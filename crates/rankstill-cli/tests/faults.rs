//! Every change of the disk that a command makes is stopped and failed in turn: the same command afterwards gives the same bytes,
//! or says what is wrong and what to do. `RANKSTILL_ALL_FAULTS=1` fails every change in every way; else each fails in one way, and
//! all ways take their turns.
#![allow(clippy::unwrap_used)]

mod common;

use common::{assert_same, in_memory, lasting, ok, rankstill, text};
use rankstill::core::atomic_write::faults::KINDS;
use std::path::Path;
use std::process::Command;

/// What is ready before the command runs, the command, and how its results are read.
struct Case<'a> {
    name: &'a str,
    args: &'a [&'a str],
    /// The folder that the command writes; made anew for each fault.
    place: &'a Path,
    /// What lies in the folder before.
    before: &'a dyn Fn(),
}

impl Case<'_> {
    fn command(&self) -> Command {
        let mut command = rankstill(self.args);
        command.args(["--quiet", "--threads", "1"]);
        command
    }

    fn fresh(&self) {
        _ = std::fs::remove_dir_all(self.place);
        std::fs::create_dir_all(self.place).unwrap();
        (self.before)();
    }

    /// Returns the number of changes that the command makes, and of faults that were tried.
    fn try_every_fault(&self) -> (usize, usize) {
        self.fresh();
        ok(&mut self.command());
        let whole = lasting(self.place);
        let everything = std::env::var_os("RANKSTILL_ALL_FAULTS").is_some();
        let mut tried = 0;
        for at in 1.. {
            let kinds = KINDS.iter().enumerate();
            for (_, (kind, _)) in kinds.filter(|(turn, _)| everything || turn % 4 == at % 4) {
                self.fresh();
                let fault = format!("{at}:{kind}");
                let output = self.command().env("RANKSTILL_FAULT", &fault).output().unwrap();
                let said = String::from_utf8(output.stderr).unwrap();
                if !said.contains("fault ") {
                    assert!(output.status.success(), "{}: {said}", self.name);
                    return (at - 1, tried);
                }
                tried += 1;
                let what = format!("{}: {kind} at change {at}: {said}", self.name);
                assert!(!said.contains("panicked"), "{what}");
                match output.status.code() {
                    Some(137) => assert_eq!(*kind, "kill", "{what}"),
                    Some(1) => assert!(said.contains("error: ") && said.contains('/'), "{what}"),
                    code => assert_eq!(code, Some(0), "{what}"),
                }
                let again = self.command().output().unwrap();
                let after = String::from_utf8(again.stderr).unwrap();
                assert!(again.status.success(), "{what}\nthen {after}");
                assert_same(&whole, &lasting(self.place), &what);
            }
        }
        unreachable!("a command makes only so many changes")
    }
}

const EXPERIMENT: &str = r#"
name = "faults"
checkpoint_seconds = 0.0
[data]
simulate = { interactions = 1_000, seed = 3 }
[evaluate]
metrics = ["ndcg@10"]
latency_seconds = 0.0
[trajectory]
every = 1
states = 2
[models.Teacher]
kind = "bpr_mf"
dim = 2
train = { epochs = 2, batch_size = 1024 }
[models.HetComp]
kind = "bpr_mf"
dim = 2
train = { epochs = 2, batch_size = 1024 }
distill = { kind = "het_comp", teachers = ["Teacher"], k = 5, cutoff = 3, period = 1 }
[models.RD]
kind = "bpr_mf"
dim = 2
train = { epochs = 1, batch_size = 1024 }
distill = { kind = "rank_distil", teachers = ["Teacher"], k = 5, warm_up = 0 }
"#;

#[test]
fn a_run_survives_every_fault_of_the_disk() {
    let (root, file) = in_memory(EXPERIMENT);
    let place = root.path().join("place");
    let out = place.join("run");
    let args = ["run", text(&file), "--out", text(&out)];
    let case = Case { name: "run", args: &args, place: &place, before: &|| {} };
    let (changes, tried) = case.try_every_fault();
    println!("run: {changes} changes, {tried} faults");
    assert!(changes > 100, "{changes}");
}

#[test]
fn prepare_survives_every_fault_of_the_disk() {
    let (root, _) = in_memory("");
    let (log, place) = (root.path().join("log.tsv"), root.path().join("place"));
    ok(&mut rankstill(&["simulate", "--interactions", "1000", "--quiet", "--out", text(&log)]));
    let data = place.join("data");
    let args = ["prepare", text(&log), "--out", text(&data), "--replace"];
    for earlier in [false, true] {
        let before = || {
            if earlier {
                ok(rankstill(&args).args(["--set", "filter.user_core=3", "--quiet"]));
            }
        };
        let case = Case { name: "prepare", args: &args, place: &place, before: &before };
        let (changes, tried) = case.try_every_fault();
        println!("prepare, replacing {earlier}: {changes} changes, {tried} faults");
        assert!(changes > 25, "{changes}");
    }
}

#[test]
fn recommend_survives_every_fault_of_the_disk() {
    let (root, file) = in_memory(EXPERIMENT);
    let run = root.path().join("run");
    let only = ["--set", "only=[\"Teacher\"]", "--quiet"];
    ok(rankstill(&["run", text(&file), "--out", text(&run)]).args(only));
    let artefact = run.join("models/Teacher/seed-1/artefact");
    let place = root.path().join("place");
    let out = place.join("lists.tsv");
    let args =
        ["recommend", text(&artefact), "--all", "--k", "5", "--out", text(&out), "--shards", "3"];
    let case = Case { name: "recommend", args: &args, place: &place, before: &|| {} };
    let (changes, tried) = case.try_every_fault();
    println!("recommend: {changes} changes, {tried} faults");
    assert!(changes > 15, "{changes}");
}
