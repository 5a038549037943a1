#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing;
use rankstill_core::kernel::dropout::Dropout;
use rankstill_core::kernel::optimizer::Sgd;
use rankstill_core::kernel::simd::{Isa, force};
use rankstill_core::{Batch, Data, Factored, ItemId, Lists, Query, Scorer, Slate, Span, TopK};

const RATE: f64 = 0.5;

fn by_sgd(conv_activation: Activation, fc_activation: Activation, dropout: f64) -> Caser {
    Caser {
        dim: 5,
        length: 3,
        targets: 2,
        vertical_filters: 2,
        horizontal_filters: 4,
        dropout,
        conv_activation,
        fc_activation,
        optimizer: Optimizer::Sgd(Sgd { learning_rate: RATE, weight_decay: 0.0 }),
        ..Caser::default()
    }
}

/// The model by its definition, in f64, from its saved arrays.
struct Naive<'a> {
    recipe: &'a Caser,
    arrays: Vec<(String, Vec<usize>, Vec<f64>)>,
}

impl<'a> Naive<'a> {
    fn new(recipe: &'a Caser, tensors: &Tensors) -> Self {
        let array = |(name, tensor): (&str, &rankstill_core::Tensor)| match &tensor.data {
            Data::F32(data) => {
                let data = data.iter().map(|&x| f64::from(x)).collect();
                (name.to_owned(), tensor.shape.clone(), data)
            }
            _ => panic!("{name} is no array of floats"),
        };
        Self { recipe, arrays: tensors.iter().map(array).collect() }
    }

    /// One element, by its indices.
    fn at<const N: usize>(&self, name: &str, place: [usize; N]) -> f64 {
        let (_, shape, data) = self.arrays.iter().find(|(found, ..)| found == name).unwrap();
        assert_eq!(shape.len(), N, "{name}");
        let mut flat = 0;
        for (&at, &size) in place.iter().zip(shape) {
            assert!(at < size, "{name}: {place:?} of {shape:?}");
            flat = flat * size + at;
        }
        data[flat]
    }

    /// `[z; u; 1]`, with the bits of the concatenation that are kept, if some are dropped.
    fn query(
        &self,
        user: usize,
        history: &[ItemId],
        n_items: usize,
        kept: Option<&[u64]>,
    ) -> Vec<f64> {
        let Caser { dim, length, vertical_filters, horizontal_filters, .. } = *self.recipe;
        let phi = |activation: Activation, x: f64| match activation {
            Activation::Relu => x.max(0.0),
            Activation::Identity => x,
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Tanh => x.tanh(),
        };
        let last = &history[history.len().saturating_sub(length)..];
        let mut window = vec![n_items; length - last.len()];
        window.extend(last.iter().map(|&item| item as usize));
        let mut concat = Vec::new();
        for v in 0..vertical_filters {
            for k in 0..dim {
                concat.push(window.iter().enumerate().fold(
                    self.at("vertical.bias", [v]),
                    |sum, (i, &item)| {
                        sum + self.at("vertical.weight", [v, i]) * self.at("items", [item, k])
                    },
                ));
            }
        }
        for h in 1..=length {
            let (weight, bias) = (format!("horizontal.{h}.weight"), format!("horizontal.{h}.bias"));
            for f in 0..horizontal_filters {
                let at = |p: usize| {
                    let mut sum = self.at(&bias, [f]);
                    for r in 0..h {
                        for k in 0..dim {
                            sum +=
                                self.at(&weight, [f, r, k]) * self.at("items", [window[p + r], k]);
                        }
                    }
                    phi(self.recipe.conv_activation, sum)
                };
                concat.push((0..=length - h).map(at).fold(f64::NEG_INFINITY, f64::max));
            }
        }
        if let Some(mask) = kept {
            let scale = 1.0 / (1.0 - self.recipe.dropout);
            for (i, x) in concat.iter_mut().enumerate() {
                *x *= if mask[i / 64] >> (i % 64) & 1 == 1 { scale } else { 0.0 };
            }
        }
        let z = (0..dim).map(|j| {
            let sum = concat.iter().enumerate().fold(self.at("full.bias", [j]), |sum, (i, x)| {
                sum + self.at("full.weight", [j, i]) * x
            });
            phi(self.recipe.fc_activation, sum)
        });
        let user = (0..dim).map(|j| self.at("users", [user, j]));
        z.chain(user).chain([1.0]).collect()
    }

    /// The summed loss of [`testing::RaggedLists`].
    fn loss(&self, batch: &Batch<'_>, lists: &Lists<ItemId>, masks: &[Option<Vec<u64>>]) -> f64 {
        let mut loss = 0.0;
        for (at, mask) in masks.iter().enumerate() {
            let query = batch.case(at).query;
            let n_items = batch.cases.n_items();
            let user = query.user.unwrap() as usize;
            let x = self.query(user, query.history, n_items, mask.as_deref());
            for (k, &item) in lists.row(at).iter().enumerate() {
                let score = x
                    .iter()
                    .enumerate()
                    .fold(0.0, |sum, (j, x)| sum + x * self.at("outputs", [item as usize, j]));
                loss += 0.5 * (score - (k as f64 - 1.0)).powi(2);
            }
        }
        loss
    }
}

#[test]
fn a_step_is_the_slope_of_the_definition_for_every_parameter() {
    use Activation::{Identity, Relu, Sigmoid, Tanh};
    let train = testing::blocks();
    for (conv, fc, dropout) in
        [(Identity, Sigmoid, 0.5), (Relu, Relu, 0.0), (Tanh, Identity, 0.25), (Sigmoid, Tanh, 0.0)]
    {
        let recipe = by_sgd(conv, fc, dropout);
        // Short histories among them: of a user's first items.
        let mut spans = Vec::new();
        for user in 0..12usize {
            let line = train.items().range(user);
            let begin = line.start..line.start + user % 5;
            let targets = begin.end..begin.end + 1;
            let hidden = targets.clone();
            spans.push(Span { user: Some(user as u32), history: begin, hidden, targets });
        }
        let timeline = Arc::new(train.items().values().to_vec());
        let cases = Cases::new(40, timeline, spans).unwrap();
        let rows: Vec<u32> = (0..12).rev().collect();
        let batch = Batch::new(&cases, &rows, 3, 1);
        let slate = testing::RaggedLists.slate(&batch);
        let Slate::Lists { listed, .. } = &slate else { panic!("lists") };

        let mut learner = recipe.init(&train, 1).unwrap();
        let before = learner.tensors();
        let reported = learner.step(&batch, &slate, &testing::RaggedLists);
        let after = learner.tensors();

        let mask = |at: usize| {
            let mut mask = vec![0; 1];
            Dropout::new(dropout).draw(&mut batch.rng(at, learner::DROPOUT), &mut mask);
            (dropout > 0.0).then_some(mask)
        };
        let masks: Vec<_> = (0..12).map(mask).collect();
        let mut naive = Naive::new(&recipe, &before);
        let loss = naive.loss(&batch, listed, &masks);
        assert!((reported - loss).abs() < 1e-5 * loss, "{reported} {loss}");
        let mut moved = 0;
        for array in 0..naive.arrays.len() {
            let name = naive.arrays[array].0.clone();
            let Data::F32(new) = &after.get(&name).unwrap().data else { panic!("floats") };
            let mut of_array = 0;
            assert_eq!(naive.arrays[array].2.len(), new.len());
            for (i, &new) in new.iter().enumerate() {
                const EPS: f64 = 1e-6;
                let old = naive.arrays[array].2[i];
                let mut at = |by: f64| {
                    naive.arrays[array].2[i] = old + by;
                    naive.loss(&batch, listed, &masks)
                };
                let (up, down) = (at(EPS), at(-EPS));
                at(0.0);
                let slope = (up - down) / (2.0 * EPS) / batch.len() as f64;
                let step = (old - f64::from(new)) / RATE;
                of_array += usize::from(step != 0.0);
                let off = (step - slope).abs();
                assert!(off < 1e-6 + 1e-4 * slope.abs(), "{name}[{i}]: {step}, slope {slope}");
            }
            assert!(of_array > 0, "nothing of {name} moved");
            moved += of_array;
        }
        assert!(moved > 300, "{moved}");
    }
}

#[test]
fn queries_are_those_of_the_definition_alone_and_together() {
    let train = testing::blocks();
    let recipe = Caser { dropout: 0.5, ..by_sgd(Activation::Tanh, Activation::Sigmoid, 0.5) };
    let net = CaserModel::random(&recipe, &train, 1);
    let naive = Naive::new(&recipe, &net.tensors());
    let queries: Vec<Query<'_>> = (0..48)
        .map(|user| Query {
            user: Some(user),
            history: &train.history(user)[..user as usize % 7],
            hidden: &[],
        })
        .collect();
    let mut together = vec![0.0; 48 * 11];
    net.embed(&queries, &mut together);
    let mut scores = vec![0.0; 48 * 40];
    net.score(&queries, &mut scores);
    for (user, query) in queries.iter().enumerate() {
        let mut alone = vec![0.0; 11];
        net.embed(&[*query], &mut alone);
        assert_eq!(alone, together[user * 11..][..11]);
        let expected = naive.query(user, query.history, 40, None);
        for (x, y) in alone.iter().zip(&expected) {
            assert!((f64::from(*x) - y).abs() < 1e-5);
        }
        for item in 0..40 {
            let score =
                (0..11).fold(0.0, |sum, j| sum + expected[j] * naive.at("outputs", [item, j]));
            assert!((f64::from(scores[user * 40 + item]) - score).abs() < 1e-5);
        }
    }
}

#[test]
fn a_step_learns_from_slates_of_every_shape() {
    let train = testing::blocks();
    // Windows of one item: nothing to choose among, so that slopes over a distance are slopes.
    let recipe = Caser { length: 1, ..by_sgd(Activation::Tanh, Activation::Sigmoid, 0.0) };
    for (name, objective) in testing::shapes() {
        println!("{name}");
        let cases = Cases::windows(&train, 1, 2);
        testing::learner_gradient(&recipe, RATE, &train, &cases, &*objective);
    }
}

#[test]
fn parameters_are_as_many_as_in_table_3_of_the_paper() {
    let count = |n_users: usize, n_items, dim| {
        let histories = Lists::from_iter((0..n_users).map(|_| Vec::new()));
        let train = Arc::new(Interactions::new(n_items, histories, None, None).unwrap());
        let optimizer = Optimizer::Sgd(Sgd::default());
        let learner = Caser { dim, optimizer, ..Caser::default() }.init(&train, 1).unwrap();
        let stored = learner.tensors().n_numbers();
        assert_eq!(learner.n_parameters(), stored + 2 * dim + 1, "all but the padding's output");
        learner.n_parameters()
    };
    assert_eq!(count(13_149, 14_009, 100), 5_584_102);
    assert_eq!(count(13_149, 14_009, 50), 2_794_102);
    let millions = |n: usize| (n as f64 / 1e4).round() / 100.0;
    assert_eq!(millions(count(10_100, 23_400, 50)), 4.06);
    assert_eq!(millions(count(10_100, 23_400, 20)), 1.64);
}

#[test]
fn first_values_are_spread_as_documented() {
    let histories = Lists::from_iter((0..500).map(|_| Vec::new()));
    let train = Arc::new(Interactions::new(700, histories, None, None).unwrap());
    let tensors = Caser::default().init(&train, 1).unwrap().tensors();
    let values = |name: &str| match &tensors.get(name).unwrap().data {
        Data::F32(data) => data.clone(),
        _ => panic!("{name}"),
    };
    let std = |values: &[f32]| {
        let squares = values.iter().map(|&x| f64::from(x) * f64::from(x));
        (squares.sum::<f64>() / values.len() as f64).sqrt()
    };
    assert!((std(&values("users")) * 100.0 - 1.0).abs() < 0.02);
    assert!((std(&values("items")) * 100.0 - 1.0).abs() < 0.02);
    let outputs = values("outputs");
    let weights: Vec<f32> = outputs.chunks(201).flat_map(|row| &row[..200]).copied().collect();
    assert!((std(&weights) * 200.0 - 1.0).abs() < 0.02);
    assert!(outputs.iter().skip(200).step_by(201).all(|&bias| bias == 0.0));
    for (name, inputs) in [
        ("vertical.weight", 5.0),
        ("vertical.bias", 5.0),
        ("horizontal.3.weight", 300.0),
        ("horizontal.3.bias", 300.0),
        ("full.weight", 280.0),
        ("full.bias", 280.0),
    ] {
        let (bound, values) = (1.0 / f64::sqrt(inputs), values(name));
        let most = values.iter().fold(0.0f64, |most, &x| most.max(f64::from(x.abs())));
        assert!(most <= bound + 1e-7 && most > 0.3 * bound, "{name}: {most} of {bound}");
        if values.len() > 1000 {
            assert!((std(&values) / bound - 1.0 / 3f64.sqrt()).abs() < 0.01, "{name}");
        }
    }
}

#[test]
fn rows_of_unknown_users_teach_nothing() {
    testing::unknown_users_teach_nothing(&by_sgd(Activation::Identity, Activation::Sigmoid, 0.5));
}

#[test]
fn exact_and_dense_adam_are_one_model_and_sparse_is_another() {
    let train = testing::blocks();
    let by = |mode| {
        let adam = Adam { mode, learning_rate: 0.01, weight_decay: 1e-3, ..Adam::default() };
        let plan = Plan { epochs: 3, batch_size: 50, ..Plan::default() };
        let recipe =
            Caser { dim: 7, optimizer: Optimizer::Adam(adam), train: plan, ..Caser::default() };
        testing::fit(&recipe, &train, 1).tensors()
    };
    assert!(by(AdamMode::Exact) == by(AdamMode::Dense));
    assert!(by(AdamMode::Exact) != by(AdamMode::Sparse));
}

#[test]
fn instruction_sets_with_fma_train_to_the_same_bytes() {
    let train = testing::blocks();
    let plan = Plan { epochs: 3, batch_size: 70, ..Plan::default() };
    let recipe =
        Caser { dim: 20, fc_activation: Activation::Tanh, train: plan, ..Caser::default() };
    let sets = Isa::ALL.into_iter().filter(|isa| isa.is_available() && isa.is_fused());
    let models: Vec<Tensors> = sets
        .map(|isa| {
            // All tests of this process use it meanwhile; by this very claim, that changes none of their results.
            force(Some(isa));
            testing::fit(&recipe, &train, 1).tensors()
        })
        .collect();
    force(None);
    assert!(models.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn the_batch_that_a_case_is_in_does_not_matter_to_its_mask() {
    // By SGD a step over two cases is the mean of the steps over each of them alone, from the same start.
    let train = testing::blocks();
    let recipe = by_sgd(Activation::Identity, Activation::Sigmoid, 0.5);
    let cases = recipe.cases(&train);
    let moved = |rows: &[u32]| {
        let mut learner = recipe.init(&train, 1).unwrap();
        let flat = |tensors: &Tensors| {
            let floats = tensors.iter().flat_map(|(_, tensor)| match &tensor.data {
                Data::F32(data) => data.clone(),
                _ => Vec::new(),
            });
            floats.map(f64::from).collect::<Vec<_>>()
        };
        let before = flat(&learner.tensors());
        let batch = Batch::new(&cases, rows, 2, 9);
        learner.step(&batch, &testing::RaggedLists.slate(&batch), &AllOnes);
        let after = flat(&learner.tensors());
        before.iter().zip(after).map(|(a, b)| a - b).collect::<Vec<_>>()
    };
    struct AllOnes;
    impl Objective for AllOnes {
        fn slate(&self, _: &Batch<'_>) -> Slate {
            unreachable!("the test makes it")
        }
        fn loss(
            &self,
            _: rankstill_core::Row<'_>,
            scores: rankstill_core::Scores<'_>,
            grad: rankstill_core::Grad<'_>,
        ) -> f32 {
            grad.listed.fill(1.0);
            scores.listed.iter().sum()
        }
    }
    let alone = [moved(&[11]), moved(&[60])];
    let both = moved(&[11, 60]);
    for (i, both) in both.iter().enumerate() {
        let mean = (alone[0][i] + alone[1][i]) / 2.0;
        assert!((both - mean).abs() < 1e-6, "{i}: {both} {mean}");
    }
}

#[test]
fn new_users_are_scored_from_their_history() {
    let train = testing::blocks();
    let recipe = Caser {
        dim: 8,
        length: 3,
        horizontal_filters: 4,
        dropout: 0.2,
        optimizer: Optimizer::Adam(Adam { learning_rate: 0.01, ..Adam::default() }),
        train: Plan { epochs: 25, batch_size: 64, ..Plan::default() },
        ..Caser::default()
    };
    let model = testing::fit(&recipe, &train, 1);
    for (user, block) in [(None, 2u32), (Some(77), 0), (None, 3)] {
        // Two known items, and an unknown one between them.
        let history = [block * 10 + 3, 4_000_000, block * 10 + 8];
        let ranked =
            model.rank(&[Query { user, history: &history, hidden: &[] }], &TopK::unseen(8));
        let ranked = ranked.unwrap();
        assert!(ranked.items(0).iter().all(|item| item / 10 == block), "{:?}", ranked.items(0));
    }
}

#[test]
fn the_window_is_the_end_of_the_history_padded_from_the_left() {
    let train = testing::blocks();
    let net = CaserModel::random(&by_sgd(Activation::Relu, Activation::Relu, 0.0), &train, 1);
    let window = |history: &[ItemId]| {
        let mut out = [0; 3];
        net.window(history, &mut out);
        out
    };
    assert_eq!(window(&[1, 2, 3, 4, 5]), [3, 4, 5]);
    assert_eq!(window(&[7]), [40, 40, 7]);
    assert_eq!(
        window(&[1, 2, 99, 40, 3]),
        [1, 2, 3],
        "what is not in the catalogue is passed over"
    );
    assert_eq!(window(&[]), [40; 3]);
}

#[test]
fn models_that_do_not_fit_the_recipe_are_refused() {
    let train = testing::blocks();
    let recipe = by_sgd(Activation::Relu, Activation::Relu, 0.0);
    let tensors = recipe.init(&train, 1).unwrap().tensors();
    let message = |recipe: &Caser, tensors: &Tensors| {
        ModelConfig::load(recipe, tensors).err().unwrap().to_string()
    };
    let error = message(&Caser { dim: 6, ..recipe.clone() }, &tensors);
    assert_eq!(error, "tensor `users`: expected rows of 6, found 5");
    let error = message(&Caser { length: 4, ..recipe.clone() }, &tensors);
    assert!(error.starts_with("tensor `vertical.weight`"), "{error}");
    let mut fewer = tensors.clone();
    fewer.insert("items", &[40, 5], vec![0.0; 200]);
    let error = message(&recipe, &fewer);
    assert!(error.contains("as many rows as outputs and one, which are 41, found 40"), "{error}");
    let mut turned = tensors.clone();
    turned.insert("full.weight", &[22, 5], vec![0.0; 110]);
    let error = message(&recipe, &turned);
    assert_eq!(error, "tensor `full.weight`: expected the shape [5, 22], found [22, 5]");
    assert!(recipe.resume(&train, &tensors).is_err());
}

#[test]
fn invalid_settings_are_named_in_full() {
    use serde_json::json;
    let error = |settings| testing::parse_error("caser", "teacher", &settings);
    assert!(error(json!({"dim": 0})).starts_with("teacher.dim: must be from 1"));
    assert!(error(json!({"length": 65})).starts_with("teacher.length: must be from 1 to 64"));
    assert!(error(json!({"dropout": 1.0})).starts_with("teacher.dropout: must be from 0"));
    assert!(error(json!({"horizontal_filters": 0})).starts_with("teacher.horizontal_filters:"));
    let huge = json!({"dim": 4096, "length": 64, "horizontal_filters": 1024});
    assert!(error(huge).contains("weights"));
    let typo = error(json!({"conv_activation": "rleu"}));
    assert!(typo.contains("teacher.conv_activation") && typo.contains("identity"), "{typo}");
}

#[test]
fn every_optimiser_and_activation_passes_the_generic_tests() {
    use serde_json::json;
    let entry = crate::MODELS.iter().find(|entry| entry.name == "caser").unwrap();
    for (activation, optimizer, targets) in [
        ("tanh", json!({"kind": "adam", "mode": "sparse", "learning_rate": 0.01}), 1),
        ("relu", json!({"kind": "adam", "mode": "dense", "learning_rate": 0.01}), 2),
    ] {
        let settings = json!({
            "dim": 10, "length": 4, "targets": targets, "horizontal_filters": 3, "dropout": 0.1,
            "conv_activation": activation, "fc_activation": activation, "optimizer": optimizer,
            "train": {"epochs": 25, "batch_size": 48, "validate_every": 3, "patience": 6},
        });
        crate::testing::same_bytes_on_any_threads(entry, &settings);
        crate::testing::resumes_to_the_same_bytes(entry, &settings);
        crate::testing::finds_the_held_out_item(entry, &settings);
    }
}
