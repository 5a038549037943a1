//! What is wrong with students and their teachers, found before any work.

use super::super::spec::{EvaluateSpec, FitOn, MeasuredPart};
use super::{PlannedModel, Source};
use anyhow::{Result, bail, ensure};

/// Refuses a method that would begin to teach after the student's last epoch.
pub(super) fn teaches_in_time(student: &PlannedModel) -> Result<()> {
    let Source::Fit { recipe, distil: Some(distil), .. } = &student.source else { return Ok(()) };
    let (Some(from), Some(plan)) = (distil.teaches_from(), recipe.training_plan()) else {
        return Ok(());
    };
    ensure!(
        from == 0 || from < plan.epochs,
        "models.{}.distill: {} first teaches in epoch {}, after its warm-up, and train.epochs is {}: it would never teach; set warm_up to \
         at most {}, or train.epochs to at least {}",
        student.name,
        distil.kind,
        from + 1,
        plan.epochs,
        plan.epochs.saturating_sub(1),
        from + 1
    );
    Ok(())
}

/// Refuses to measure on rows that models were fitted on, and a best model that cannot be fitted.
pub(super) fn what_is_measured(evaluate: &EvaluateSpec, models: &[PlannedModel]) -> Result<()> {
    ensure!(
        evaluate.part == MeasuredPart::Test || evaluate.fit_on != FitOn::TrainValid,
        "evaluate.part: models are fitted on the validation part (evaluate.fit_on = \"train+valid\") and cannot be measured on it; use \"test\""
    );
    for model in models {
        let Source::Ensemble { fusion, .. } = &model.source else { continue };
        ensure!(
            fusion.select == 0 || evaluate.fit_on != FitOn::TrainValid,
            "models.{}.fusion.select: members are chosen on validation data, on which evaluate.fit_on = \"train+valid\" fits them; give \
             fusion.weights",
            model.name
        );
        ensure!(
            fusion.user_weights == 0.0 || evaluate.best.is_none(),
            "models.{}.fusion.user_weights: the weights come from validation data, on which evaluate.best fits the members too; leave one of \
             them out",
            model.name
        );
    }
    let Some(best) = &evaluate.best else { return Ok(()) };
    let Some(model) = models.iter().find(|model| model.name == *best) else {
        let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
        bail!("evaluate.best: no model `{best}`; the models are {}", names.join(", "));
    };
    ensure!(
        matches!(model.source, Source::Fit { .. } | Source::Compressed { .. }),
        "evaluate.best: `{best}` is not fitted here; name a model that is, or a compressed one"
    );
    Ok(())
}

/// Refuses to compress what has no vectors.
pub(super) fn is_compressible(model: &PlannedModel, models: &[PlannedModel]) -> Result<()> {
    let Source::Compressed { of, .. } = model.source else { return Ok(()) };
    let what = match models[of].source {
        Source::Fit { .. } => return Ok(()),
        Source::Rankings { .. } => "a file of rankings",
        Source::Ensemble { .. } => "an ensemble",
        Source::Compressed { .. } => "compressed already",
    };
    bail!(
        "models.{}.like: `{}` is {what}; compress a fitted model whose score is a dot product (bpr_mf, implicit_als, light_gcn)",
        model.name,
        models[of].name
    );
}

/// Refuses, before any work, a teacher that cannot be trained together with its student.
pub(super) fn teachers_are_trainable(
    student: &PlannedModel,
    models: &[PlannedModel],
) -> Result<()> {
    let Source::Fit { distil: Some(distil), .. } = &student.source else { return Ok(()) };
    if !distil.distiller.requires().recipe {
        return Ok(());
    }
    for teacher in distil.teachers.iter().map(|&at| &models[at]) {
        let trainable = match &teacher.source {
            Source::Fit { recipe, .. } => recipe.trainable().is_some(),
            Source::Compressed { .. } | Source::Rankings { .. } | Source::Ensemble { .. } => false,
        };
        ensure!(
            trainable,
            "models.{}.distill.teachers: `{}` is not trained by gradient here, and {} trains its teacher together with the student; choose a \
             model that is (bpr_mf, light_gcn, caser), or a distiller that needs only rankings",
            student.name,
            teacher.name,
            distil.kind
        );
    }
    Ok(())
}

/// Refuses, before any work, a teacher without the vectors that a distiller compares.
pub(super) fn teachers_have_vectors(student: &PlannedModel, models: &[PlannedModel]) -> Result<()> {
    let Source::Fit { distil: Some(distil), .. } = &student.source else { return Ok(()) };
    if !distil.distiller.requires().vectors {
        return Ok(());
    }
    for teacher in distil.teachers.iter().map(|&at| &models[at]) {
        let what = match teacher.source {
            Source::Fit { .. } | Source::Compressed { .. } => continue,
            Source::Rankings { .. } => "a file of rankings",
            Source::Ensemble { .. } => "an ensemble",
        };
        bail!(
            "models.{}.distill.teachers: `{}` is {what} and has no vectors, which {} compares; choose a fitted model \
             whose score is a dot product (bpr_mf, implicit_als, light_gcn), or a distiller that needs only rankings",
            student.name,
            teacher.name,
            distil.kind
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::experiment::plan::ExperimentPlan;
    use crate::experiment::spec::Spec;
    use serde_json::{Value, json};

    #[test]
    fn unsuitable_teachers_are_refused_before_any_work() {
        let refused = |kind: &str, teacher: &str| {
            let spec = json!({
                "data": {"path": "log.tsv"},
                "models": {
                    "POP": {"kind": "pop"},
                    "MF": {"kind": "bpr_mf"},
                    "Both": {"kind": "ensemble", "members": ["POP", "MF"]},
                    "Student": {"kind": "bpr_mf", "distill": {"kind": kind, "teachers": [teacher]}},
                },
            });
            let spec: Spec = serde_json::from_value(spec).unwrap();
            ExperimentPlan::new(spec).err().map_or(String::new(), |error| error.to_string())
        };
        let about = |kind| refused(kind, "Both");
        assert!(about("de").starts_with("models.Student.distill.teachers: `Both` is an ensemble"));
        assert!(about("bd").starts_with("models.Student.distill.teachers: `Both` is not trained"));
        assert!(refused("bd", "POP").contains("`POP` is not trained by gradient"));
        assert_eq!(refused("bd", "MF") + &refused("de", "MF"), "");
    }

    #[test]
    fn a_method_that_would_never_teach_is_refused_with_both_settings() {
        let planned = |distill: Value| {
            let spec = json!({
                "data": {"path": "log.tsv"},
                "models": {
                    "MF": {"kind": "bpr_mf"},
                    "S": {"kind": "bpr_mf", "train": {"epochs": 8}, "distill": distill},
                },
            });
            let spec: Spec = serde_json::from_value(spec).unwrap();
            ExperimentPlan::new(spec).err().map_or(String::new(), |error| error.to_string())
        };
        let bd = |warm_up: usize| json!({"kind": "bd", "teachers": "MF", "warm_up": warm_up});
        assert_eq!(
            planned(bd(8)),
            "models.S.distill: bd first teaches in epoch 9, after its warm-up, and train.epochs is 8: it would never teach; set \
             warm_up to at most 7, or train.epochs to at least 9"
        );
        assert_eq!(planned(bd(7)), "");
        let of = json!([{"kind": "bd", "warm_up": 8}, {"kind": "ftd"}]);
        assert_eq!(planned(json!({"kind": "several", "teachers": "MF", "of": of})), "");
    }
}
