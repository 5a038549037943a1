//! Folders and files survive two of a command at once, kills, links and flipped bits.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use common::{assert_same, error, in_folder, lasting, ok, rankstill, text};
use rankstill::core::{Artefact, Data};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A teacher with the states of its training, and a student.
const EXPERIMENT: &str = r#"
name = "folders"
[data]
simulate = { interactions = 2_000, seed = 3 }
[evaluate]
metrics = ["ndcg@10"]
latency_seconds = 0.0
[trajectory]
every = 1
[models.POP]
kind = "pop"
[models.MF]
kind = "bpr_mf"
dim = 4
train = { epochs = 4, batch_size = 256 }
[models.Student]
kind = "bpr_mf"
dim = 2
train = { epochs = 4, batch_size = 256 }
distill = { kind = "het_comp", teachers = ["MF"], k = 10, cutoff = 5, period = 1 }
"#;

/// So that a run takes as long as it is wanted to.
const LONG: [&str; 4] = ["--set", "models.MF.train.epochs=100000", "--set", "checkpoint_seconds=0"];

fn run(file: &Path, out: &Path) -> Command {
    rankstill(&["run", text(file), "--out", text(out), "--quiet", "--threads", "1"])
}

/// A run that has written its first checkpoint.
fn begun(file: &Path, out: &Path) -> Child {
    let child = run(file, out).args(LONG).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(|| out.join("models/MF/seed-1/checkpoint.safetensors").exists());
    child
}

fn wait_for(there: impl Fn() -> bool) {
    let began = Instant::now();
    while !there() {
        assert!(began.elapsed() < Duration::from_secs(60), "never comes");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// What a command says that must fail, without a panic.
fn fails(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{command:?}: {message}");
    assert!(!message.contains("panicked"), "{message}");
    message
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at.min(bytes.len() - 1);
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_second_run_in_the_folder_is_refused_and_a_kill_frees_it() {
    let (root, file) = in_folder(EXPERIMENT);
    let out = root.path().join("two");
    let mut first = begun(&file, &out);
    let refused = fails(run(&file, &out).args(LONG));
    assert!(refused.contains("/two: another process is writing it; wait"), "{refused}");
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(out.join(".rankstill-lock").exists(), "a kill leaves it");
    let mut next = run(&file, &out).args(LONG).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(next.try_wait().unwrap().is_none(), "it goes on");
    signal(&next, "-TERM");
    next.wait().unwrap();
    assert!(!out.join(".rankstill-lock").exists(), "it has ended in order");
}

#[test]
fn runs_that_begin_at_one_moment_leave_the_figures_of_one() {
    let (root, file) = in_folder(EXPERIMENT);
    let whole = root.path().join("whole");
    ok(&mut run(&file, &whole));
    for at in 0..8 {
        let out = root.path().join(format!("both-{at}"));
        let both: Vec<Child> =
            (0..2).map(|_| run(&file, &out).stderr(Stdio::piped()).spawn().unwrap()).collect();
        let ended: Vec<Output> = both.into_iter().map(|c| c.wait_with_output().unwrap()).collect();
        assert!(ended.iter().any(|one| one.status.success()), "{ended:?}");
        for one in ended.iter().filter(|one| !one.status.success()) {
            let message = String::from_utf8_lossy(&one.stderr);
            assert!(message.contains("another process is writing it"), "{message}");
        }
        assert_same(&lasting(&whole), &lasting(&out), "two at once");
    }
}

#[test]
fn sigterm_saves_and_the_run_goes_on() {
    let (root, file) = in_folder(EXPERIMENT);
    for (name, code) in [("-TERM", 143), ("-INT", 130)] {
        let out = root.path().join(name);
        let mut child = begun(&file, &out);
        signal(&child, name);
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{name}");
        let saved = fs::metadata(out.join("models/MF/seed-1/checkpoint.safetensors")).unwrap();
        assert!(saved.len() > 0);
        let mut again = begun(&file, &out); // from there
        signal(&again, "-KILL");
        again.wait().unwrap();
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let (root, file) = in_folder(EXPERIMENT);
    let out = root.path().join("run");
    let mut child = begun(&file, &out);
    signal(&child, "-STOP"); // both signals wait for it
    signal(&child, "-TERM");
    signal(&child, "-INT");
    signal(&child, "-CONT");
    let code = child.wait().unwrap().code();
    assert!(matches!(code, Some(130 | 143)), "{code:?}");
}

#[test]
fn what_a_killed_run_leaves_is_known() {
    let (root, file) = in_folder(EXPERIMENT);
    let (whole, out) = (root.path().join("whole"), root.path().join("kz"));
    ok(&mut run(&file, &whole));
    fs::create_dir_all(&out).unwrap();
    for name in
        ["experiment.toml.4242.part", "experiment.toml.00ff00ff00ff00ff.part", ".rankstill-lock"]
    {
        fs::write(out.join(name), "half").unwrap();
    }
    ok(&mut run(&file, &out));
    let model = out.join("models/MF/seed-1");
    fs::create_dir(model.join("artefact.123.part")).unwrap();
    fs::write(model.join("artefact.123.part/manifest.json"), "half").unwrap();
    ok(&mut run(&file, &out));
    assert_same(&lasting(&whole), &lasting(&out), "without what was left");
    // Somebody else's folder is not touched.
    let other = root.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("letter.part"), "dear").unwrap();
    let refused = fails(&mut run(&file, &other));
    assert!(refused.contains("is not empty and holds no experiment.toml"), "{refused}");
    assert_eq!(fs::read_dir(&other).unwrap().count(), 1);
}

#[test]
fn a_flipped_bit_is_refused_by_name_and_there_is_a_way_on() {
    let (root, file) = in_folder(EXPERIMENT);
    let out = root.path().join("run");
    let mut child = begun(&file, &out);
    signal(&child, "-TERM");
    child.wait().unwrap();
    let checkpoint = out.join("models/MF/seed-1/checkpoint.safetensors");
    flip(&checkpoint, usize::MAX);
    let refused = fails(run(&file, &out).args(LONG));
    assert!(refused.contains("checkpoint.safetensors: is damaged"), "{refused}");
    assert!(refused.contains("remove this file to fit the model from its beginning"), "{refused}");
    fs::remove_file(&checkpoint).unwrap();
    let mut child = begun(&file, &out);
    signal(&child, "-KILL");
    child.wait().unwrap();

    // A finished run, of which a later command needs what was kept.
    let whole = root.path().join("whole");
    ok(&mut run(&file, &whole));
    let model = Path::new("models/MF/seed-1");
    for (name, again, way_on) in [
        ("data/train.parquet", "", "remove "),
        ("models/MF/seed-1/epochs.jsonl", "", "remove this folder to fit the model again"),
        ("models/MF/seed-1/artefact/tensors.safetensors", "", ""),
        (
            "models/MF/seed-1/trajectory/state-0.lists",
            "models/Student",
            "remove the model's folder",
        ),
        ("models/MF/seed-1/trajectory/states.json", "models/Student", "remove the model's folder"),
    ] {
        let copy = root.path().join("copy");
        assert!(
            Command::new("cp").args(["-r", text(&whole), text(&copy)]).status().unwrap().success()
        );
        if !again.is_empty() {
            fs::remove_dir_all(copy.join(again)).unwrap(); // so that it is taught again
        }
        let path = copy.join(name);
        flip(&path, fs::metadata(&path).unwrap().len() as usize / 2);
        let refused = fails(&mut run(&file, &copy));
        let (_, short) = name.rsplit_once('/').unwrap();
        assert!(refused.contains(short) && refused.contains(way_on), "{name}: {refused}");
        // What the message says.
        let gone = if name.starts_with("data") { Path::new("data") } else { model };
        fs::remove_dir_all(copy.join(gone)).unwrap();
        ok(&mut run(&file, &copy));
        assert_same(&lasting(&whole), &lasting(&copy), name);
        fs::remove_dir_all(&copy).unwrap();
    }
}

#[test]
fn a_run_with_more_seeds_adds_them() {
    let (root, file) = in_folder(EXPERIMENT);
    let (whole, grown) = (root.path().join("whole"), root.path().join("grown"));
    ok(run(&file, &whole).args(["--seeds", "1,2"]));
    ok(run(&file, &grown).args(["--seeds", "1"]));
    let first = grown.join("models/MF/seed-1/artefact/manifest.json");
    let made = fs::metadata(&first).unwrap().modified().unwrap();
    ok(run(&file, &grown).args(["--seeds", "1,2"]));
    assert_same(&lasting(&whole), &lasting(&grown), "seeds one after the other");
    assert_eq!(fs::metadata(&first).unwrap().modified().unwrap(), made, "the first seed is kept");
    let refused = fails(run(&file, &grown).args(["--seeds", "2"]));
    assert!(refused.contains("belongs to a different experiment"), "{refused}");
}

#[test]
fn a_model_of_another_seed_is_not_taken_for_this_ones() {
    let (root, file) = in_folder(EXPERIMENT);
    let out = root.path().join("run");
    ok(run(&file, &out).args(["--seeds", "1,2"]));
    let models = out.join("models/MF");
    fs::remove_dir_all(models.join("seed-1/artefact")).unwrap();
    fs::rename(models.join("seed-2/artefact"), models.join("seed-1/artefact")).unwrap();
    let refused = fails(run(&file, &out).args(["--seeds", "1,2"]));
    assert!(refused.contains("MF/seed-1/artefact: is not the model of this run"), "{refused}");
    assert!(refused.contains("its seed is 2, here it is 1; remove"), "{refused}");
}

/// The artefacts of a popular and a factored model.
fn artefacts() -> (tempfile::TempDir, [PathBuf; 2]) {
    let (root, file) = in_folder(EXPERIMENT);
    let out = root.path().join("run");
    ok(run(&file, &out).args(["--set", "only=[\"POP\",\"MF\"]"]));
    let at = |name: &str| out.join("models").join(name).join("seed-1/artefact");
    (root, ["POP", "MF"].map(at))
}

#[test]
fn shards_of_two_models_or_options_are_never_mixed() {
    let (root, models) = artefacts();
    for at in 0..10 {
        let out = root.path().join(format!("l{at}.tsv"));
        let begin = |of: usize| {
            let (model, k) = (text(&models[of % 2]), (2 + of / 2).to_string());
            let mut command = rankstill(&["recommend", model, "--all", "--quiet", "--k", &k]);
            let shard = format!("{}/6", of + 1);
            command.args(["--out", text(&out), "--shard", &shard]).stderr(Stdio::piped());
            command.spawn().unwrap()
        };
        let all: Vec<Child> = (0..6).map(begin).collect();
        let ended: Vec<Output> = all.into_iter().map(|c| c.wait_with_output().unwrap()).collect();
        let refused: Vec<_> = ended.iter().filter(|one| !one.status.success()).collect();
        assert_eq!(refused.len(), 5, "{ended:?}");
        for one in refused {
            let message = String::from_utf8_lossy(&one.stderr);
            assert!(message.contains(".parts.json: the parts next to it"), "{message}");
            assert!(message.contains("have another model"), "{message}");
        }
    }
}

#[test]
fn recommend_writes_neither_over_its_users_nor_infinite_scores() {
    let (root, [_, model]) = artefacts();
    let users = root.path().join("users.tsv");
    fs::write(&users, "1\n2\n").unwrap();
    let link = root.path().join("link.tsv");
    std::os::unix::fs::symlink(&users, &link).unwrap();
    for out in [&users, &link] {
        let args = ["recommend", text(&model), "--users", text(&users), "--out", text(out)];
        let refused = error(&args);
        assert!(refused.contains("is the file of --users"), "{refused}");
    }
    assert_eq!(fs::read_to_string(&users).unwrap(), "1\n2\n");

    let mut huge = Artefact::read(&model).unwrap();
    let scaled = huge.tensors.iter().map(|(name, tensor)| {
        let data = match tensor.data.floats() {
            Some(floats) => Data::F32(floats.iter().map(|x| x * 1e25).collect()),
            None => tensor.data.clone(),
        };
        (name.to_owned(), tensor.shape.clone(), data)
    });
    let scaled: Vec<_> = scaled.collect();
    for (name, shape, data) in scaled {
        huge.tensors.insert(&name, &shape, data);
    }
    let large = root.path().join("large");
    huge.write(&large).unwrap();
    let out = root.path().join("inf.tsv");
    let refused = error(&["recommend", text(&large), "--all", "--out", text(&out)]);
    assert!(refused.contains("large: gives the score") && !out.exists(), "{refused}");
}

#[test]
fn a_linked_data_set_is_replaced_behind_its_link() {
    let root = tempfile::tempdir().unwrap();
    let (log, real, link) =
        (root.path().join("log.tsv"), root.path().join("real"), root.path().join("link"));
    ok(&mut rankstill(&["simulate", "--interactions", "1000", "--quiet", "--out", text(&log)]));
    let prepare = ["prepare", text(&log), "--replace", "--quiet", "--out"];
    ok(rankstill(&prepare).arg(&real));
    let before = fs::read(real.join("manifest.json")).unwrap();
    std::os::unix::fs::symlink("real", &link).unwrap();
    ok(rankstill(&prepare).arg(&link).args(["--set", "filter.user_core=2"]));
    assert!(link.is_symlink());
    assert_ne!(fs::read(real.join("manifest.json")).unwrap(), before);
    fs::write(root.path().join("real.1.old"), "of an earlier version").unwrap();
    ok(rankstill(&prepare).arg(&real));
}

/// Whether processes can be put into a namespace of their own, as containers are.
fn in_namespace(command: &Command) -> Option<Command> {
    let unshare = |inner: &[&std::ffi::OsStr]| {
        let mut outer = Command::new("unshare");
        outer.args(["--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]).args(inner);
        outer
    };
    let may = unshare(&["true".as_ref()]).output().is_ok_and(|output| output.status.success());
    if !may {
        println!("skipped: processes cannot be put into a namespace here");
        return None;
    }
    let inner: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    Some(unshare(&inner))
}

#[test]
fn containers_whose_processes_have_the_same_id_do_not_collide() {
    let root = tempfile::tempdir().unwrap();
    let (log, data) = (root.path().join("log.tsv"), root.path().join("data"));
    ok(&mut rankstill(&["simulate", "--interactions", "20000", "--quiet", "--out", text(&log)]));
    let prepare = ["prepare", text(&log), "--replace", "--quiet", "--out", text(&data)];
    let Some(mut one) = in_namespace(&rankstill(&prepare)) else { return };
    for _ in 0..6 {
        let both: Vec<Child> = (0..2)
            .map(|_| one.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
            .collect();
        let ended: Vec<Output> = both.into_iter().map(|c| c.wait_with_output().unwrap()).collect();
        assert!(ended.iter().any(|one| one.status.success()), "{ended:?}");
        for one in ended.iter().filter(|one| !one.status.success()) {
            let message = String::from_utf8_lossy(&one.stderr);
            assert!(message.contains("/data: another process is writing it"), "{message}");
        }
        ok(&mut rankstill(&["inspect", text(&data)]));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2, "nothing is left");
    }
}

#[test]
fn what_cannot_be_printed_is_an_error() {
    let Ok(full) = File::options().write(true).open("/dev/full") else {
        println!("skipped: this machine has no /dev/full");
        return;
    };
    for args in [&["list"][..], &["completions", "bash"], &["list", "--json"]] {
        let said = fails(rankstill(args).stdout(full.try_clone().unwrap()));
        assert!(said.contains("standard output"), "{said}");
    }
    assert!(ok(&mut rankstill(&["completions", "bash"])).contains("rankstill"));
}
