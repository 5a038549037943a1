//! The model of a benchmark.

use super::USERS;
use anyhow::Result;
use rankstill::core::artefact::{Artefact, FORMAT, Manifest};
use rankstill::core::kernel::rng::Rng;
use rankstill::core::{Interactions, Lists, Tensors, Vocab};
use serde_json::{Value, json};

/// Matrix factorisation with random vectors. Their lengths are nearly equal, so the search can skip hardly any item; trained
/// models are faster. With `directions`, nine tenths of a vector's squared length lie in the span of this many random vectors,
/// a structure that a graph exploits.
pub fn random_model(n_items: usize, dim: usize, directions: Option<u16>) -> Result<Artefact> {
    let random = |purpose: u64, n: usize, std: f64| {
        let mut numbers = vec![0.0; n];
        Rng::keyed(1, [purpose]).fill_normal(&mut numbers, 0.0, std as f32);
        numbers
    };
    let normal = |purpose: u64, n: usize| {
        let Some(directions) = directions.map(usize::from) else {
            return random(purpose, n * dim, 1.0);
        };
        let spanning = random(3, directions * dim, (0.9 / directions as f64).sqrt());
        let shares = random(4 + purpose, n * directions, 1.0);
        let mut numbers = random(purpose, n * dim, 0.1f64.sqrt());
        for (vector, shares) in numbers.chunks_exact_mut(dim).zip(shares.chunks_exact(directions)) {
            for (share, direction) in shares.iter().zip(spanning.chunks_exact(dim)) {
                vector.iter_mut().zip(direction).for_each(|(x, y)| *x += share * y);
            }
        }
        numbers
    };
    let mut rng = Rng::keyed(1, [2]);
    let lines = (0..USERS).map(|_| (0..20).map(|_| rng.below(n_items as u32)).collect::<Vec<_>>());
    let history = Lists::from_iter(lines.collect::<Vec<_>>());
    let mut tensors = Tensors::default();
    tensors.insert("users", &[USERS, dim], normal(0, USERS));
    tensors.insert("items", &[n_items, dim], normal(1, n_items));
    Ok(Artefact {
        manifest: Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            name: "made up".into(),
            kind: "bpr_mf".into(),
            config: json!({ "dim": dim, "item_bias": false }),
            n_users: USERS,
            n_items,
            n_parameters: (USERS + n_items) * dim,
            card: Value::Null,
            files: std::collections::BTreeMap::new(),
        },
        tensors,
        users: Vocab::from_ints((0..USERS as i64).collect())?,
        items: Vocab::from_ints((0..n_items as i64).collect())?,
        history: Interactions::new(n_items, history, None, None)?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn random_vectors_lie_near_the_requested_directions() {
        // Sum of the squared shares of the spectrum: 1/8 if all eight directions are alike, about 2 * 0.46^2 if two dominate.
        let spread = |directions| {
            let (n, dim) = (2000, 8);
            let model = random_model(n, dim, directions).unwrap();
            let (items, ..) = model.tensors.matrix("items").unwrap();
            let covariance = |a: usize, b: usize| {
                items.chunks_exact(dim).map(|item| f64::from(item[a] * item[b])).sum::<f64>()
            };
            let pairs = (0..dim * dim).map(|at| covariance(at / dim, at % dim));
            let trace: f64 = (0..dim).map(|k| covariance(k, k)).sum();
            pairs.map(|x| x * x).sum::<f64>() / (trace * trace)
        };
        assert!((0.125..0.14).contains(&spread(None)), "{}", spread(None));
        assert!(spread(Some(2)) > 0.35, "{}", spread(Some(2)));
    }
}
