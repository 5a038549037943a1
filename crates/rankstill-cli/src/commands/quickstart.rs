//! `rankstill quickstart`: a teacher, a student and the distilled student on simulated data, within a minute.

use anyhow::Result;
use clap::Args;
use rankstill_cli::experiment::plan::ExperimentPlan;
use rankstill_cli::experiment::spec::Spec;
use rankstill_cli::progress::Screen;
use std::path::PathBuf;

const EXPERIMENT: &str = include_str!("quickstart.toml");

#[derive(Args)]
pub struct Options {
    /// The folder of the run.
    #[arg(long, value_name = "FOLDER", default_value = "runs/quickstart")]
    out: PathBuf,
    /// Change any setting, such as models."MF-16".dim=16. Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The seed.
    #[arg(long)]
    seed: Option<u64>,
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    let mut spec = Spec::parse(EXPERIMENT, &options.set)?;
    if let Some(seed) = options.seed {
        spec.seeds = vec![seed];
    }
    super::run::show(&ExperimentPlan::new(spec)?, &options.out, screen)?;
    let out = options.out.display();
    screen.say(format!(
        "
Next steps
  rankstill inspect {out}                     show the contents of the run
  rankstill recommend {out}/models/MF-16-RD/seed-1/artefact --all --k 10 --out recommendations.tsv
  rankstill run experiments/rd-mf.toml --set data.path=YOUR_LOG --out runs/mine
                                            the same with your own log: CSV, TSV, Parquet, JSON lines, …"
    ));
    Ok(())
}
