//! Which student is recommended, by its validation data.

use super::budget::{Budget, Kept};
use super::students::ENSEMBLE;
use crate::experiment::report::DISTILLED;
use crate::experiment::report::ModelResults;
use anyhow::{Context as _, Result};
use rankstill::eval::significance::{paired_t, pool};
use rankstill::eval::{ModelReport, Report};

/// What is recommended, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// A row of the report.
    pub recommended: String,
    /// For a reader, a sentence each.
    pub reasons: Vec<String>,
}

/// A row with its share of the ensemble's quality.
struct Row<'a> {
    model: &'a ModelReport,
    /// Of each case, by the first metric.
    values: Vec<f64>,
    /// By the first metric.
    kept: Kept,
    /// The smallest share by any metric.
    least: f64,
}

impl Row<'_> {
    fn bytes(&self) -> u64 {
        self.model.bytes_in_memory.unwrap_or(u64::MAX)
    }

    /// Whether it was neither taught nor made of one that was.
    fn is_plain(&self) -> bool {
        !self.model.family.starts_with(DISTILLED)
    }

    fn price(&self) -> String {
        let item = self.model.bytes_per_item.unwrap_or(0.0);
        let micros = self.model.latency.as_ref().map(|latency| latency.request_ms.median * 1e3);
        let micros = micros.map_or(String::new(), |micros| format!(", {micros:.0} us a request"));
        format!("{item:.0} bytes an item{micros}")
    }
}

/// Chooses from the rows of `report`. Their values case by case are in `results`.
///
/// # Errors
/// When there is no ensemble, or nothing that the budget allows.
pub fn choose(
    report: &Report,
    results: &[ModelResults],
    metrics: &[String],
    budget: &Budget,
) -> Result<Choice> {
    let values = |at: usize, metric: &String| -> Option<Vec<f64>> {
        results[at].cases.get(metric).and_then(|seeds| pool(seeds).ok())
    };
    let ensemble = report.models.iter().position(|model| model.name == ENSEMBLE);
    let ensemble = ensemble.context("no ensemble was measured")?;
    let rows = (0..report.models.len()).filter(|&at| at != ensemble).filter_map(|at| {
        let model = &report.models[at];
        model.artefact.as_ref()?; // what comes from a file cannot be served
        let kept = metrics
            .iter()
            .map(|metric| Some(Kept::of(&values(at, metric)?, &values(ensemble, metric)?)));
        let kept: Vec<Kept> = kept.collect::<Option<_>>()?;
        let least = kept.iter().map(|kept| kept.share).fold(f64::INFINITY, f64::min);
        Some(Row { model, values: values(at, metrics.first()?)?, kept: *kept.first()?, least })
    });
    let rows: Vec<Row<'_>> = rows.filter(|row| budget.allows(row.model)).collect();
    let best = rows.iter().max_by(|a, b| a.least.total_cmp(&b.least));
    let best = best.with_context(|| {
        let sizes = report.models.iter().filter_map(|model| model.bytes_in_memory);
        format!(
            "no model is within the budget; the smallest takes {} bytes",
            sizes.min().unwrap_or(0)
        )
    })?;
    let mut reasons = Vec::new();
    let chosen = match budget.share() {
        None => best,
        Some(share) => {
            let enough = rows.iter().filter(|row| row.least >= share);
            match enough.min_by(|a, b| a.bytes().cmp(&b.bytes()).then(b.least.total_cmp(&a.least)))
            {
                Some(row) => row,
                None => {
                    reasons.push(format!(
                        "No model within the budget keeps {:.0}% of the ensemble's quality; the best of them keeps {:.1}%.",
                        100.0 * share,
                        100.0 * best.least
                    ));
                    best
                }
            }
        }
    };
    let no_larger = |row: &&Row<'_>| row.is_plain() && row.bytes() <= chosen.bytes();
    let plain = rows.iter().filter(no_larger).max_by(|a, b| a.least.total_cmp(&b.least));
    let recommended = match plain {
        Some(plain) if !chosen.is_plain() => {
            let as_good = plain.least >= chosen.least;
            reasons.push(if as_good {
                let (plain, chosen) = (&plain.model.name, &chosen.model.name);
                format!("Nothing is gained by distilling on this log: {plain} is as good as {chosen} and no larger.")
            } else {
                gained(chosen, plain, &metrics[0])
            });
            if as_good { plain } else { chosen }
        }
        _ => chosen,
    };
    reasons.insert(
        0,
        format!(
            "{} is recommended: {}, and on validation data it keeps {} of the ensemble's {}.",
            recommended.model.name,
            recommended.price(),
            recommended.kept,
            metrics[0]
        ),
    );
    Ok(Choice { recommended: recommended.model.name.clone(), reasons })
}

/// What lists of a teacher add to the best model that is no larger and had none.
fn gained(taught: &Row<'_>, plain: &Row<'_>, metric: &str) -> String {
    let differences: Vec<f64> =
        taught.values.iter().zip(&plain.values).map(|(taught, plain)| taught - plain).collect();
    let (name, kept) = (&plain.model.name, plain.kept);
    let found = format!(
        "Without a teacher, the best model that is no larger is {name}, which keeps {kept}"
    );
    match paired_t(&differences) {
        Ok(test) if test.p >= 0.05 => format!(
            "{found}: little is gained by distilling on this log, for the difference in {metric} is not significant (p = {:.2}).",
            test.p
        ),
        _ => format!("{found}."),
    }
}
