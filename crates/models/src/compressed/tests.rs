#![allow(clippy::unwrap_used)]
use super::*;
use crate::testing;
use rankstill_core::{Error, Query, ServingBytes, TopK};

/// What the tests compress.
fn base() -> Value {
    json!({"kind": "implicit_als", "dim": 8})
}

fn settings(entry: &Entry<dyn Compressor>) -> Value {
    let compress: Value = serde_json::from_str(entry.small).unwrap();
    json!({"model": base(), "compress": named(entry.name, compress)})
}

/// Runs a test of the registry for each compressor.
fn each(test: fn(&Entry<dyn Recipe>, &Value)) {
    let entry = MODELS.iter().find(|entry| entry.name == "compressed").unwrap();
    for compressor in COMPRESSORS {
        println!("{}", compressor.name);
        test(entry, &settings(compressor));
    }
}

#[test]
fn settings_round_trip() {
    each(testing::settings_round_trip);
    for entry in COMPRESSORS {
        let read =
            |settings: &Value| (entry.parse)(Config { path: "student.compress", value: settings });
        let compressor = read(&serde_json::from_str(entry.small).unwrap()).unwrap();
        assert_eq!(compressor.kind(), entry.name);
        let mut config = compressor.config();
        assert_eq!(read(&config).unwrap().config(), config);
        config["dimm"] = 3.into();
        let error = read(&config).err().unwrap().to_string();
        assert!(error.starts_with("student.compress.dimm: unknown"), "{error}");
    }
}

#[test]
fn every_compressed_model_saves_and_loads() {
    each(testing::save_and_load);
}

#[test]
fn every_compressed_model_ranks_for_every_query() {
    each(testing::ranks_for_every_query);
}

#[test]
fn every_compressed_model_has_the_same_bytes_on_any_number_of_threads() {
    each(testing::same_bytes_on_any_threads);
}

#[test]
fn every_compressed_model_finds_the_held_out_item() {
    each(testing::finds_the_held_out_item);
}

/// A model of the blocks, and its compressed form.
fn pair(model: Value, compress: Value) -> (Box<dyn Model>, Result<Box<dyn Model>>) {
    let train = testing::blocks();
    let parse = |value: &Value| registry::parse(MODELS, Config { path: "", value }).unwrap().1;
    let base = testing::fit(&*parse(&model), &train, 1);
    let config = Config { path: "compress", value: &compress };
    let compressor = registry::parse(COMPRESSORS, config).unwrap().1;
    let compressed = compressor.compress(&*base, &train, 1);
    (base, compressed)
}

#[test]
fn eight_bits_rank_as_the_exact_vectors_and_the_bytes_are_those_of_codes_and_scales() {
    for rotate in [false, true] {
        let compress = json!({"kind": "int", "bits": 8, "rotate": rotate});
        let (base, compressed) = pair(base(), compress);
        let compressed = compressed.unwrap();
        let train = testing::blocks();
        let queries: Vec<Query<'_>> = (0..48)
            .map(|user| Query { user: Some(user), history: train.history(user), hidden: &[] })
            .collect();
        let [exact, codes] = [&base, &compressed]
            .map(|model| model.rank(&queries, &TopK::unseen(1)).unwrap().lists().values().to_vec());
        assert_eq!(exact, codes);
        // 40 items fill a block of 64, with 8 bytes and a scale each; 48 users of 8 numbers.
        let rotation = if rotate { 4 * 64 } else { 0 };
        let bytes = ServingBytes { items: 64 * 12 + rotation, users: 48 * 32 };
        assert_eq!(compressed.serving_bytes(), bytes);
        assert_eq!(base.serving_bytes(), ServingBytes { items: 40 * 32, users: 48 * 32 });
    }
}

#[test]
fn an_item_bias_survives() {
    let model = json!({
        "kind": "bpr_mf", "dim": 8, "item_bias": true,
        "optimizer": {"kind": "adam", "learning_rate": 0.03},
        "train": {"epochs": 25, "batch_size": 64, "patience": 0}
    });
    let (base, compressed) = pair(model, json!({"kind": "int", "bits": 8}));
    let compressed = compressed.unwrap();
    for query in [Query::default(), Query { user: None, history: &[1, 2, 3, 4, 5], hidden: &[] }] {
        let [mut exact, mut codes] = [vec![0.0; 40], vec![0.0; 40]];
        base.score(&[query], &mut exact);
        compressed.score(&[query], &mut codes);
        for (a, b) in exact.iter().zip(&codes) {
            assert!((a - b).abs() < 0.05, "{exact:?} {codes:?}");
        }
    }
}

#[test]
fn sums_over_histories_stay_sums_and_users_cost_nothing() {
    let train = testing::blocks();
    for item_bias in [false, true] {
        let model = json!({
            "kind": "fism", "dim": 8, "item_bias": item_bias,
            "optimizer": {"kind": "adam", "learning_rate": 0.03},
            "train": {"epochs": 25, "batch_size": 64, "patience": 0}
        });
        for compress in [
            json!({"kind": "int", "bits": 8}),
            json!({"kind": "int", "bits": 8, "rotate": true}),
            json!({"kind": "itq", "rounds": 10}),
            json!({"kind": "pq", "parts": 8 + usize::from(item_bias)}),
            json!({"kind": "ivf", "lists": 4, "probes": 4}),
        ] {
            let (base, compressed) = pair(model.clone(), compress.clone());
            let compressed = compressed.unwrap();
            let (mut exact, mut codes) = (vec![0.0; 40], vec![0.0; 40]);
            let mut found = 0;
            for user in 0..48 {
                let history = train.history(user);
                let [known, stranger] = [Some(user), None].map(|user| {
                    compressed.score(&[Query { user, history, hidden: &[] }], &mut codes);
                    codes.clone()
                });
                assert_eq!(known, stranger);
                base.score(&[Query { user: None, history, hidden: &[] }], &mut exact);
                let query = Query { user: None, history, hidden: &[] };
                let first = compressed.rank(&[query], &TopK::unseen(1)).unwrap();
                found += usize::from(first.items(0) == [testing::held_out(user)]);
                if compress["kind"] == "int" {
                    let range = exact.iter().fold(0.0f32, |most, x| most.max(x.abs()));
                    for (a, b) in exact.iter().zip(&codes) {
                        assert!((a - b).abs() < 0.03 * range, "{a} {b} of {range}");
                    }
                }
            }
            assert!(found >= 46, "{compress}: {found}");
            let tensors = compressed.tensors();
            assert!(tensors.get("users").is_none() && compressed.serving_bytes().users == 0);
            // 64 lines of 8 numbers and a scale hold the vectors that are summed.
            assert!(compressed.serving_bytes().items > 64 * 12);
            let config = Config { path: "compress", value: &compress };
            let compressor = registry::parse(COMPRESSORS, config).unwrap().1;
            let again = compressor.load(&tensors).unwrap();
            let queries = [Query { user: None, history: &[3, 1, 4], hidden: &[] }];
            let [ours, theirs] =
                [&again, &compressed].map(|model| model.rank(&queries, &TopK::unseen(9)).unwrap());
            assert_eq!(ours, theirs);
        }
        for compress in [
            json!({"kind": "truncate", "dim": 4}),
            json!({"kind": "prune"}),
            json!({"kind": "dmf"}),
            json!({"kind": "itq", "users": "signs"}),
        ] {
            let error = pair(model.clone(), compress).1.err().unwrap().to_string();
            assert!(error.starts_with("compress: this model has no vectors of users"), "{error}");
        }
    }
}

#[test]
fn what_has_no_vectors_is_refused() {
    for (model, why) in [
        (json!({"kind": "item_cf"}), "not products of vectors"),
        (
            json!({"kind": "mult_vae", "hidden": 8, "latent": 4, "train": {"epochs": 1}}),
            "from the history",
        ),
    ] {
        let error = pair(model, json!({"kind": "int"})).1.err().unwrap();
        assert!(matches!(&error, Error::Config { key, .. } if key == "compress"));
        assert!(error.to_string().contains(why), "{error}");
    }
    let error = pair(base(), json!({"kind": "truncate", "dim": 9})).1.err().unwrap().to_string();
    assert_eq!(error, "compress.dim: must be at most the model's 8, is 9");
}

#[test]
fn wrong_settings_are_named() {
    for (settings, starts) in [
        (json!({"modell": base()}), "m.modell: unknown field"),
        (
            json!({"model": base(), "compress": {"kind": "zip"}}),
            "m.compress.kind: unknown kind `zip`",
        ),
        (
            json!({"model": base(), "compress": {"kind": "int", "bits": 5}}),
            "m.compress.bits: must be 8, 6, 4, 3, 2 or 1",
        ),
        (
            json!({"model": {"kind": "implicit_als", "dims": 3}, "compress": {"kind": "int"}}),
            "m.model.dims: unknown",
        ),
    ] {
        let error = testing::parse_error("compressed", "m", &settings);
        assert!(error.starts_with(starts), "{error}");
    }
}
