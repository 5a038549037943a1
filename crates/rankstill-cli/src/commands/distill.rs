//! `rankstill distill`: one student, taught by artefacts or files of rankings.

use super::train::{Common, experiment, finish};
use crate::experiment::compress::robust;
use crate::experiment::outside;
use crate::experiment::plan::ExperimentPlan;
use crate::progress::Screen;
use crate::reading::Reading;
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
pub struct Options {
    /// The kind of the student; see `rankstill list models`.
    #[arg(long)]
    student: String,
    /// An artefact, or a file of rankings: another system's, or rankings.parquet of a run. Repeatable.
    #[arg(long, value_name = "FOLDER|FILE", required = true)]
    teacher: Vec<PathBuf>,
    /// The distiller; see `rankstill list distillers`. Change its settings with --set distill.KEY=VALUE. Default for `bpr_mf` and `fism`:
    /// as `compress` teaches them, list-wise (`rrd`, mode `direct`), with its settings of the student; for others `rank_distil`.
    #[arg(long)]
    distiller: Option<String>,
    /// The format of the files of rankings, if it is not detected. Other options of reading are set with --set read.KEY=VALUE, such as
    /// read.columns.user=uid.
    #[arg(long)]
    format: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// What `--set dim=N` says, which decides the rate too.
fn dimensions(overrides: &[String]) -> Option<usize> {
    overrides.iter().rev().find_map(|one| one.strip_prefix("dim=")?.trim().parse().ok())
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    let mut tree = experiment(&options.common);
    let (read, rest): (Vec<String>, Vec<String>) =
        options.common.set.iter().cloned().partition(|one| one.starts_with("read."));
    let reading = Reading::parse(options.format.as_deref(), &read, &[])?;
    let mut models = outside::teachers(&options.teacher, &reading)?;
    let teachers: Vec<String> = models.keys().cloned().collect();
    let (mut settings, mut distill) = match &options.distiller {
        Some(kind) => (json!({"kind": options.student}), json!({"kind": kind})),
        None => robust(&options.student, dimensions(&rest))
            .unwrap_or_else(|| (json!({"kind": options.student}), json!({"kind": "rank_distil"}))),
    };
    distill["teachers"] = json!(teachers);
    settings["distill"] = distill;
    let student = format!("{} distilled", options.student);
    models.insert(student.clone(), settings);
    tree["models"] = models.into();
    let spec = finish(tree, &rest, &student)?;
    super::run::show(&ExperimentPlan::new(spec)?, &options.common.out, screen)
}
