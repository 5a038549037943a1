//! `rankstill recommend`: recommendations of an artefact for many users, in bounded memory.

use crate::batch::{Asked, Batch, known_user, known_users};
use crate::progress::Screen;
use crate::reading::{Reading, hinted};
use crate::shards::Shard;
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use rankstill::artefact::{self, Loaded};
use rankstill::data::read_log;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Options {
    /// An artefact made by `run`, `train` or `distill`.
    artefact: PathBuf,
    /// The file to write: .parquet, .tsv, .csv or .jsonl.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Recommend to every user of the artefact.
    #[arg(long, conflicts_with_all = ["user", "users", "histories"])]
    all: bool,
    /// Recommend to this user. Repeatable.
    #[arg(long, value_name = "ID")]
    user: Vec<String>,
    /// Recommend to the users in this file, one id per line. Ids that the artefact does not know are counted and passed over.
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// Recommend to each user of this log, known or not, by the items that it has of them and nothing else.
    #[arg(long, value_name = "LOG", conflicts_with_all = ["user", "users"])]
    histories: Option<PathBuf>,
    /// The format of the histories, if it is not detected; see `rankstill list formats`.
    #[arg(long, requires = "histories")]
    format: Option<String>,
    /// An option of reading the histories, such as read.columns.user=uid. Repeatable.
    #[arg(long, value_name = "KEY=VALUE", requires = "histories")]
    set: Vec<String>,
    /// Items per user.
    #[arg(long, default_value_t = 10)]
    k: usize,
    /// Also recommend items that the user has already seen.
    #[arg(long)]
    with_seen: bool,
    /// Write only part I of N, such as 3/8, to a file next to `--out`. Several machines can write parts at the same time; an
    /// existing part is kept.
    #[arg(long, value_name = "I/N", conflicts_with = "shards")]
    shard: Option<Shard>,
    /// Write all users in N parts. After an interruption, the same command writes the missing parts.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    shards: Option<u32>,
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    let loaded = artefact::load(&options.artefact)?;
    let asked = asked(options, &loaded, screen)?;
    for (name, file) in [("--users", &options.users), ("--histories", &options.histories)] {
        let same = |path: &Path| path.canonicalize().ok();
        if let Some(file) = file {
            ensure!(
                same(file) != same(&options.out),
                "--out {}: is the file of {name}, which would be lost; name another file",
                options.out.display()
            );
        }
    }
    let batch = Batch {
        artefact: &options.artefact,
        loaded: &loaded,
        asked: &asked,
        k: options.k,
        with_seen: options.with_seen,
    };
    let shards = match (options.shard, options.shards) {
        (Some(shard), _) => vec![shard],
        (_, Some(n)) => Shard::all(n as usize)?,
        _ => return batch.write(&options.out, screen),
    };
    batch.write_parts(&shards, &options.out, screen)?;
    Ok(())
}

fn asked(options: &Options, loaded: &Loaded, screen: &Screen) -> Result<Asked> {
    if options.all {
        return Ok(Asked::everyone(loaded));
    }
    let artefact = &options.artefact;
    if let Some(file) = &options.histories {
        let reading = Reading::parse(options.format.as_deref(), &options.set, &[])?;
        let log = read_log(file, &reading.of(Reading::ALL)?, &mut |_, _| ());
        let log = hinted(log, "--set read.")?.log;
        let (asked, unknown) = Asked::histories(log, &loaded.artefact.items);
        if unknown > 0 {
            let (file, artefact) = (file.display(), artefact.display());
            screen.say(format!("{file}: {unknown} rows are on items that {artefact} does not know; they are passed over"));
        }
        return Ok(asked);
    }
    let known = |id: &String| known_user(loaded, artefact, id);
    let mut found = options.user.iter().map(known).collect::<Result<Vec<_>>>()?;
    if let Some(file) = &options.users {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let text = text.trim_start_matches('\u{feff}'); // a byte order mark is no part of an id
        let ids: Vec<&str> = text.lines().map(str::trim).filter(|id| !id.is_empty()).collect();
        found.extend(known_users(loaded, (artefact, file), &ids, screen)?);
    }
    if found.is_empty() {
        bail!("no users: give --all, --user ID, --users FILE or --histories LOG");
    }
    Ok(Asked::Users(found))
}
