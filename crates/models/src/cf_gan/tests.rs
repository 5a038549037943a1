#![allow(clippy::unwrap_used)]
use super::learner::GanLearner;
use super::*;
use crate::parts::own_loss::{Alone, OwnLoss};
use crate::{MODELS, testing};
use rankstill_core::kernel::optimizer::Sgd;
use rankstill_core::{Batch, Cases, state};

fn sgd(learning_rate: f64) -> Optimizer {
    Optimizer::Sgd(Sgd { learning_rate, ..Sgd::default() })
}

/// Whose steps are slopes: one of the generator, none of the discriminator.
fn recipe(by: By, rate: f64) -> CfGan {
    CfGan {
        by,
        hidden: 6,
        steps: 1,
        discriminator: Discriminator { hidden: 5, steps: 1, optimizer: sgd(0.0) },
        zeros: 0.2,
        ones: 0.3,
        optimizer: sgd(rate),
        ..CfGan::default()
    }
}

#[test]
fn the_generator_follows_the_slope_of_its_loss() {
    let train = testing::blocks();
    for by in [By::Users, By::Items] {
        let (moving, still) = (recipe(by, 0.1), recipe(by, 0.0));
        let rows = match by {
            By::Users => train.clone(),
            By::Items => Arc::new(transposed(&train).unwrap()),
        };
        testing::step_is_slope_of_own_loss(
            (&Alone(&moving), &Alone(&still)),
            0.1,
            &rows,
            &OwnLoss,
            &[("generator.parameters", true)],
        );
    }
}

#[test]
fn the_discriminator_follows_the_slope_of_its_loss() {
    let train = testing::blocks();
    let recipe = |rate| {
        let discriminator = Discriminator { hidden: 5, steps: 1, optimizer: sgd(rate) };
        CfGan { discriminator, ..recipe(By::Users, 0.0) }
    };
    let cases = Cases::per_user(&train);
    let batch = Batch::new(&cases, &[3, 0, 17, 40, 9], 0, 1);
    let mut learner = GanLearner::random(&recipe(0.1), &train, 1);
    let before = learner.state();
    let drawn = learner.drawn(&batch);
    learner.discriminate(&drawn);
    let name = "discriminator.parameters";
    let len = before.get(name).unwrap().data.len();
    let old = before.f32s(name, len).unwrap().to_vec();
    let new = state::read(&learner.state(), "discriminator").unwrap().parameters;
    let loss = |i: usize, by: f32| {
        let (mut state, mut values) = (before.clone(), old.clone());
        values[i] += by;
        state.insert(name, &[len], values);
        GanLearner::resumed(&recipe(0.0), &train, &state).unwrap().discriminate(&drawn)
    };
    let mut moved = 0;
    for i in (0..len).step_by(3) {
        let step = f64::from(old[i] - new[i]) / 0.1;
        let slope = (loss(i, 3e-3) - loss(i, -3e-3)) / 6e-3 / 5.0;
        // Padding has slopes that are not followed.
        let close = (step - slope).abs() < 3e-4 + 5e-3 * slope.abs();
        assert!(close || step == 0.0, "{i}: {step} {slope}");
        moved += usize::from(step != 0.0);
    }
    assert!(moved > 20, "{moved}");
}

#[test]
fn both_modes_and_a_plain_autoencoder_pass_the_generic_tests() {
    let entry = MODELS.iter().find(|entry| entry.name == "cf_gan").unwrap();
    for (by, adversary) in [("users", 1.0), ("items", 1.0), ("users", 0.0), ("items", 0.0)] {
        let mut settings = testing::small(entry);
        settings["by"] = by.into();
        settings["adversary"] = adversary.into();
        settings["ones"] = (1.0 - adversary).into();
        settings["train"]["epochs"] = 3.into();
        testing::settings_round_trip(entry, &settings);
        testing::rate_decays(entry, &settings);
        testing::save_and_load(entry, &settings);
        testing::ranks_for_every_query(entry, &settings);
        testing::same_bytes_on_any_threads(entry, &settings);
        testing::resumes_to_the_same_bytes(entry, &settings);
    }
}

#[test]
fn nothing_that_pulls_upwards_is_refused() {
    let error = CfGan { adversary: 0.0, ..CfGan::default() }.check().unwrap_err().to_string();
    assert!(error.starts_with("adversary: must be above 0 where `ones` is 0"), "{error}");
}
