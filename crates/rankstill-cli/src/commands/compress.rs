//! `rankstill compress`: the best small ranker for a log.

use crate::experiment::compress::{Budget, Effort, Micros, Request, Share, Size, compress};
use crate::experiment::spec::{DataSpec, SplitFiles};
use crate::experiment::{data, outside, tree::set};
use crate::progress::Screen;
use crate::reading::Reading;
use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};
use rankstill::core::registry::Config;
use rankstill::data::split::SplitConfig;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Options {
    /// A log in any known format, or a folder made by `prepare`. Omit it with --train and --test.
    log: Option<PathBuf>,
    /// The folder of the run. If it holds an unfinished run of this command, that run is resumed.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Your own teacher: an artefact, or a file of rankings. It is one more candidate for the ensemble. Repeatable.
    #[arg(long, value_name = "FOLDER|FILE")]
    teacher: Vec<PathBuf>,
    /// Which teachers are fitted here: `auto`, those that fit the log, or `none`, only those of --teacher.
    #[arg(long, value_enum, default_value_t)]
    portfolio: Portfolio,
    /// The share of the ensemble's quality that the student must keep: the smallest that does is recommended. Default 97%, unless
    /// --max-bytes or --max-latency is given.
    #[arg(long, value_name = "SHARE")]
    keep: Option<Share>,
    /// The memory that the student may take, such as 5MB; or that of an item's side alone, such as 40B/item.
    #[arg(long, value_name = "SIZE")]
    max_bytes: Option<Size>,
    /// The median time of a request, such as 200us.
    #[arg(long, value_name = "TIME")]
    max_latency: Option<Micros>,
    /// How much is tried.
    #[arg(long, value_enum, default_value_t)]
    effort: Effort,
    /// How the log is split; see `rankstill list splits`. Default: each user's rows in order of time, at random where there are no
    /// times.
    #[arg(long, value_name = "KIND")]
    split: Option<String>,
    /// The training part of a ready-made split.
    #[arg(long, conflicts_with_all = ["log", "split"], requires = "test")]
    train: Option<PathBuf>,
    /// The validation part of a ready-made split. Default: a tenth of each user's training rows, drawn at random.
    #[arg(long, requires = "train")]
    valid: Option<PathBuf>,
    /// The test part of a ready-made split.
    #[arg(long, requires = "train")]
    test: Option<PathBuf>,
    /// The format of the log, if it is not detected; see `rankstill list formats`.
    #[arg(long)]
    format: Option<String>,
    /// Change any setting of `read`, `filter`, `split`, `mask` and `history`, such as filter.user_core=5. Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The seed of every draw.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Fit and measure the final models once with each of these seeds; the search is made with the first.
    #[arg(long, value_delimiter = ',', value_name = "N,N,…", conflicts_with = "seed")]
    seeds: Vec<u64>,
}

/// Which teachers are fitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Portfolio {
    /// Those that fit the size and kind of the log.
    #[default]
    Auto,
    /// None: the teachers are those of --teacher.
    None,
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    let portfolio = options.portfolio == Portfolio::Auto;
    ensure!(
        portfolio || !options.teacher.is_empty(),
        "--portfolio none: leaves no teacher; name one with --teacher"
    );
    let seeds = if options.seeds.is_empty() { vec![options.seed] } else { options.seeds.clone() };
    let request = Request {
        data: of_log(options, screen)?,
        teachers: outside::teachers(&options.teacher, &Reading::default())?,
        portfolio,
        budget: Budget {
            keep: options.keep,
            max_bytes: options.max_bytes,
            max_latency: options.max_latency,
        },
        effort: options.effort,
        seeds,
    };
    show(&request, &options.out, screen)
}

/// Compresses, and prints the table and what to do next.
pub fn show(request: &Request, out: &Path, screen: &Screen) -> Result<()> {
    let report = compress(request, out, screen)?;
    if screen.json {
        return screen.print(serde_json::to_string_pretty(&report)?);
    }
    screen.print(report.terminal())?;
    report.notes.iter().for_each(|note| screen.say(note));
    let out = out.display();
    screen.say(format!(
        "
Next steps
  {out}/report.html                               the report
  rankstill serve {out}/best                      serve the recommended model
  rankstill recommend {out}/best --all --k 10 --out recommendations.tsv
  rankstill run {out}/experiment.toml --out DIR   fit and measure the same models again"
    ));
    Ok(())
}

/// The log, and how it is split.
fn of_log(options: &Options, screen: &Screen) -> Result<DataSpec> {
    let mut tree = json!({});
    for one in &options.set {
        set(&mut tree, one)?;
    }
    let chosen = tree.get("split").is_some();
    let mut spec: DataSpec = Config { path: "", value: &tree }.read()?;
    if let Some(format) = &options.format {
        spec.read.format = Some(format.clone());
    }
    match (&options.log, &options.train, &options.test) {
        (Some(log), None, None) => {
            ensure!(
                log.as_os_str() != "-",
                "LOG: is standard input, which can be read once only; write it to a file"
            );
            spec.path = Some(log.clone());
            if let Some(kind) = &options.split {
                ensure!(!chosen, "--split: is also given by --set split; leave one of them out");
                spec.split = SplitConfig::of(kind);
            } else if !chosen && !data::is_prepared(log) && !data::has_times(&spec, screen)? {
                screen.say("the log has no times: each user's rows are split at random");
                spec.split = SplitConfig::of("random");
            }
        }
        (None, Some(train), Some(test)) => {
            spec.split = SplitConfig::of("ready_made");
            if options.valid.is_none() {
                spec.split.options.insert("valid_from_train".into(), json!(0.1));
            }
            let (train, test) = (train.clone(), test.clone());
            spec.parts = Some(SplitFiles { train, valid: options.valid.clone(), test });
        }
        _ => bail!("nothing to compress: give a log, or --train and --test"),
    }
    spec.split.resolve().context("--split")?;
    Ok(spec)
}
