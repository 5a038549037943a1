//! Whether the student that was kept is one that its method has taught, and for how many epochs it was trained.

use super::epochs;
use super::plan::{PlannedModel, Source};
use anyhow::Result;
use rankstill::core::keeps_start;
use std::path::Path;

/// Why the student that was kept in `folder` is the one that its method has not taught; `None` if it was taught, or is no student.
///
/// # Errors
/// When the lines of its epochs are damaged.
pub(super) fn untaught(planned: &PlannedModel, seed: u64, folder: &Path) -> Result<Option<String>> {
    let Source::Fit { distil: Some(distil), .. } = &planned.source else { return Ok(None) };
    let Some(from) = distil.teaches_from() else {
        return Ok(Some(format!(
            "the weight of what {} teaches is 0: it is the student alone, not distilled",
            distil.kind
        )));
    };
    let Some(kept) = kept_epochs(folder)? else { return Ok(None) };
    if kept == 0 {
        return Ok(Some(format!(
            "with seed {seed} no epoch was better than what training began with, which is kept: it is not distilled; what {} teaches does not \
             help by the validation metric",
            distil.kind
        )));
    }
    Ok((kept <= from).then(|| {
        format!(
            "with seed {seed} the model of epoch {kept} was best and is kept, and {} first teaches in epoch {}: it is the student alone, not \
             distilled; set distill.warm_up below {kept}, or a longer train.patience",
            distil.kind,
            from + 1
        )
    }))
}

/// The epochs that a model was trained for, up to the state that was kept: the best one where it was validated, else the last; 0 where
/// none was better than what training began with. `None` for models that do not train by epochs.
///
/// # Errors
/// When the lines of the epochs are damaged.
pub(super) fn kept_epochs(folder: &Path) -> Result<Option<usize>> {
    let epochs = epochs::reports(folder)?;
    let Some(kept) = epochs.iter().rev().find(|epoch| epoch.best).or(epochs.last()) else {
        return Ok(None);
    };
    Ok(Some(if keeps_start(kept.start, kept.valid) { 0 } else { kept.epoch + 1 }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::experiment::EPOCHS;
    use crate::experiment::plan::ExperimentPlan;
    use crate::experiment::spec::Spec;
    use rankstill::core::EpochReport;
    use serde_json::json;
    use std::fs;

    #[test]
    fn a_student_kept_from_before_the_first_lesson_is_not_distilled() {
        let spec = json!({
            "data": {"path": "log.tsv"},
            "models": {
                "T": {"kind": "bpr_mf"},
                "S": {"kind": "bpr_mf", "distill": {"kind": "bd", "teachers": "T", "warm_up": 2}},
                "0": {"kind": "bpr_mf", "distill": {"kind": "ftd", "teachers": "T", "lambda": 0.0}},
            },
        });
        let spec: Spec = serde_json::from_value(spec).unwrap();
        let plan = ExperimentPlan::new(spec).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let kept_after = |start: Option<f64>, best: &[bool]| {
            let line = |(epoch, &best): (usize, &bool)| {
                let report = EpochReport {
                    epoch,
                    epochs: 9,
                    loss: 0.5,
                    valid: start.map(|_| 0.5),
                    best,
                    start,
                    seconds: 0.1,
                };
                serde_json::to_string(&report).unwrap() + "\n"
            };
            let text: String = best.iter().enumerate().map(line).collect();
            fs::write(folder.path().join(EPOCHS), text).unwrap();
            untaught(&plan.models[plan.at("S")], 7, folder.path()).unwrap()
        };
        let kept = |best: &[bool]| kept_after(None, best);
        let second = kept(&[true, true, false, false]).unwrap();
        assert!(second.contains("seed 7 the model of epoch 2"), "{second}");
        assert!(second.contains("teaches in epoch 3"), "{second}");
        assert_eq!(kept(&[true, true, true]), None);
        assert_eq!(kept(&[false, false, false]), None, "without validation the last is kept");
        assert!(kept(&[false, false]).is_some());
        let start = kept_after(Some(0.5), &[true, false, false]).unwrap();
        assert!(start.contains("no epoch was better than what training began with"), "{start}");
        assert_eq!(kept_epochs(folder.path()).unwrap(), Some(0));
        assert_eq!(kept_after(Some(0.4), &[true, true, true]), None, "what was taught is better");
        assert_eq!(untaught(&plan.models[plan.at("T")], 7, folder.path()).unwrap(), None);
        let never = untaught(&plan.models[plan.at("0")], 7, folder.path()).unwrap().unwrap();
        assert!(never.contains("ftd teaches is 0"), "{never}");
    }
}
