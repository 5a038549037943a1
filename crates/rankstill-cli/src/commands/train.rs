//! `rankstill train`: one model, fitted on a prepared folder or a log and written as an artefact.

use crate::experiment::plan::ExperimentPlan;
use crate::experiment::spec::Spec;
use crate::experiment::tree::set;
use crate::progress::Screen;
use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The options that `train` and `distill` share.
#[derive(Args)]
pub struct Common {
    /// A folder made by `prepare`, or a log.
    #[arg(long)]
    pub data: PathBuf,
    /// The folder of the run. The artefact is written to models/NAME/seed-N/artefact inside.
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// Change a setting of the model, such as dim=64, or of the experiment, such as evaluate.dialect=rd. Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The seed; the same seed gives the same bytes.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

#[derive(Args)]
pub struct Options {
    /// The kind of model; see `rankstill list models`.
    #[arg(long)]
    model: String,
    #[command(flatten)]
    common: Common,
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    let model = json!({"kind": options.model});
    let mut tree = experiment(&options.common);
    tree["models"] = json!({&options.model: model});
    let spec = finish(tree, &options.common.set, &options.model)?;
    super::run::show(&ExperimentPlan::new(spec)?, &options.common.out, screen)
}

/// An experiment on the data of the options, without models.
pub fn experiment(common: &Common) -> Value {
    json!({"name": "train", "seeds": [common.seed], "data": {"path": common.data}})
}

/// Lays the overrides over the experiment. Keys that begin with one of its tables change it, all others the model `name`.
pub fn finish(mut tree: Value, overrides: &[String], name: &str) -> Result<Spec> {
    for one in overrides {
        let table = one.split(['.', '=']).next().unwrap_or_default();
        if matches!(table, "data" | "evaluate" | "models") {
            set(&mut tree, one)?;
        } else {
            set(&mut tree, &format!("models.\"{name}\".{one}"))?;
        }
    }
    Spec::of_tree(&tree)
}
