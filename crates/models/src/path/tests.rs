#![allow(clippy::unwrap_used)]
use super::model::Log;
use super::*;
use crate::parts::baskets::distinct;
use crate::{ItemCf, MODELS, testing};
use rankstill_core::kernel::eigen;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{Lists, Query};
use serde_json::json;

fn log(n_items: usize, lines: Vec<Vec<u32>>) -> Arc<Interactions> {
    Arc::new(Interactions::new(n_items, Lists::from_iter(lines), None, None).unwrap())
}

fn scores(model: &dyn Model, user: Option<u32>, history: &[u32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; model.n_items()];
    model.score(&[Query { user, history, hidden: &[] }], &mut out);
    out
}

/// Square and other matrices of rows of `n` numbers.
fn times(a: &[f64], b: &[f64], inner: usize, n: usize) -> Vec<f64> {
    let row = |row: &[f64]| {
        (0..n).map(|j| (0..inner).map(|k| row[k] * b[k * n + j]).sum()).collect::<Vec<f64>>()
    };
    a.chunks(inner).flat_map(row).collect()
}

/// The module's equation with dense matrices in `f64`.
fn naive(recipe: &Path, train: &Interactions, history: &[u32]) -> Vec<f64> {
    let (n_users, n) = (train.n_users(), train.n_items());
    let mut r = vec![0.0f64; n_users * n];
    for user in 0..n_users {
        train.history(user as u32).iter().for_each(|&item| r[user * n + item as usize] = 1.0);
    }
    let d_user = |u: usize| r[u * n..][..n].iter().sum::<f64>().max(1.0);
    let d_item = |i: usize| (0..n_users).map(|u| r[u * n + i]).sum::<f64>().max(1.0);
    let mut h = vec![0.0; n];
    history.iter().for_each(|&item| h[item as usize] = 1.0);

    let mut p = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..n {
            let both: f64 = (0..n_users)
                .map(|u| r[u * n + i] * r[u * n + j] * d_user(u).powf(-recipe.neighbour_degree))
                .sum();
            let entry = d_item(i).powf(-recipe.history_degree)
                * both
                * d_item(j).powf(-recipe.target_degree);
            p[i * n + j] = if both > 0.0 { entry.powf(recipe.power) } else { 0.0 };
        }
    }
    if recipe.neighbours > 0 {
        for j in 0..n {
            let mut others: Vec<usize> = (0..n).filter(|&i| i != j).collect();
            others.sort_by(|&a, &b| p[b * n + j].total_cmp(&p[a * n + j]).then(a.cmp(&b)));
            others.iter().skip(recipe.neighbours).for_each(|&i| p[i * n + j] = 0.0);
        }
    }

    // The low-rank term, from the whole decomposition of M'M.
    let LowRank { rank, weight, filter, .. } = recipe.low_rank;
    let mut low = vec![0.0; n];
    if rank > 0 {
        let m: Vec<f64> =
            (0..n_users * n).map(|at| r[at] / (d_user(at / n) * d_item(at % n)).sqrt()).collect();
        let turned: Vec<f64> =
            (0..n * n_users).map(|at| m[at % n_users * n + at / n_users]).collect();
        let (squares, vectors) = eigen::symmetric(&mut times(&turned, &m, n_users, n), n);
        for (square, v) in squares.iter().zip(vectors.chunks(n)).take(rank) {
            if *square < 1e-9 {
                break;
            }
            let z: f64 = (0..n).map(|i| h[i] / d_item(i).sqrt() * v[i]).sum();
            match filter {
                Filter::Ideal => {
                    (0..n).for_each(|j| low[j] += z * v[j] * d_item(j).sqrt());
                }
                Filter::Inverse => {
                    let u = times(&m, v, n, 1);
                    for (user, u) in u.iter().enumerate() {
                        (0..n).for_each(|j| low[j] += z / square * u * r[user * n + j]);
                    }
                }
            }
        }
    }

    let mut x: Vec<f64> = times(&h, &p, n, n).iter().map(|x| recipe.weight * x).collect();
    let merge = |x: &mut Vec<f64>| x.iter_mut().zip(&low).for_each(|(x, low)| *x += weight * low);
    let early = matches!(recipe.sharpen, Sharpen::Ode { low_rank: true, .. });
    if early {
        merge(&mut x);
    }
    match &recipe.sharpen {
        Sharpen::None => {}
        Sharpen::Polynomial { coefficients } => {
            let mut power = x.clone();
            x.fill(0.0);
            for c in coefficients {
                x.iter_mut().zip(&power).for_each(|(x, power)| *x += c * power);
                power = times(&power, &p, n, n);
            }
        }
        Sharpen::Ode { solver, time, steps, mean, .. } => {
            let h = time / *steps as f64;
            let slope = |x: &[f64]| times(x, &p, n, n).iter().map(|x| -x).collect::<Vec<f64>>();
            let at = |x: &[f64], terms: &[(f64, &Vec<f64>)]| {
                let mut x = x.to_vec();
                for (c, k) in terms {
                    x.iter_mut().zip(*k).for_each(|(x, k)| *x += h * c * k);
                }
                x
            };
            let mut sum = x.clone();
            for _ in 0..*steps {
                let k1 = slope(&x);
                x = match solver {
                    OdeSolver::Euler => at(&x, &[(1.0, &k1)]),
                    // The 3/8 rule, of which the authors' solver says "rk4".
                    OdeSolver::Rk4 => {
                        let k2 = slope(&at(&x, &[(1.0 / 3.0, &k1)]));
                        let k3 = slope(&at(&x, &[(-1.0 / 3.0, &k1), (1.0, &k2)]));
                        let k4 = slope(&at(&x, &[(1.0, &k1), (-1.0, &k2), (1.0, &k3)]));
                        at(&x, &[(0.125, &k1), (0.375, &k2), (0.375, &k3), (0.125, &k4)])
                    }
                };
                sum.iter_mut().zip(&x).for_each(|(sum, x)| *sum += x);
            }
            if *mean {
                x = sum.iter().map(|sum| sum / (steps + 1) as f64).collect();
            }
        }
    }
    if !early {
        merge(&mut x);
    }
    let own = (history.len().max(1) as f64).powf(-recipe.user_degree);
    x.iter().map(|x| own * x).collect()
}

/// A log of 30 users and 24 items, some users without interactions.
fn random() -> Arc<Interactions> {
    let mut rng = Rng::new(3);
    let lines = (0..30u32).map(|user| {
        let n = if user % 9 == 4 { 0 } else { 2 + rng.below(7) };
        let line: Vec<u32> = (0..n).map(|_| rng.below(24) * (1 + rng.below(3)) / 3).collect();
        distinct(&line)
    });
    log(24, lines.collect())
}

fn shapes() -> Vec<Path> {
    let small = |preset: Preset| {
        let recipe = preset.recipe();
        let low = LowRank { rank: recipe.low_rank.rank.min(6), rounds: 60, ..recipe.low_rank };
        Path { low_rank: low, ..recipe }
    };
    let mut recipes: Vec<Path> = Preset::ALL.into_iter().map(small).collect();
    recipes.push(Path::default());
    // All exponents differ, P is cut, and every kind of sharpening.
    let odd = Path {
        history_degree: 0.3,
        neighbour_degree: 0.8,
        target_degree: -0.1,
        power: 1.3,
        neighbours: 4,
        weight: 0.7,
        low_rank: LowRank { rank: 3, weight: 0.4, rounds: 60, ..LowRank::default() },
        ..Path::default()
    };
    let ode =
        |solver, steps, mean, low_rank| Sharpen::Ode { solver, time: 1.2, steps, mean, low_rank };
    for sharpen in [
        Sharpen::None,
        Sharpen::Polynomial { coefficients: vec![0.71, 0.1, -0.01] },
        ode(OdeSolver::Euler, 1, true, false),
        ode(OdeSolver::Euler, 3, true, true),
        ode(OdeSolver::Rk4, 2, false, true),
    ] {
        recipes.push(Path { sharpen: sharpen.clone(), ..odd.clone() });
        recipes.push(Path { sharpen, power: 1.0, neighbours: 0, ..odd.clone() });
    }
    recipes
}

#[test]
fn three_users_and_three_items_by_hand() {
    // Items have 2, 2, 1 users; users 2, 2, 1 items. From item 0 over user 0 to item 1, over user 1 to item 2.
    let train = log(3, vec![vec![0, 1], vec![0, 2], vec![1]]);
    let recipe = Path {
        user_degree: 1.0,
        history_degree: 1.0,
        neighbour_degree: 1.0,
        target_degree: 2.0,
        power: 1.0,
        ..Path::default()
    };
    for (power, expected) in [
        (1.0, [(0.5 + 0.5) / 8.0, 0.5 / 8.0, 0.5 / 2.0]),
        (2.0, [1.0 / 64.0, 1.0 / 256.0, 1.0 / 16.0]),
    ] {
        let recipe = Path { power, ..recipe.clone() };
        let found = scores(&*testing::fit(&recipe, &train, 1), None, &[0]);
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
}

#[test]
fn every_shape_is_the_equation_for_known_users_and_strangers() {
    let train = random();
    for recipe in shapes() {
        let model = testing::fit(&recipe, &train, 1);
        for (user, history) in [(Some(0), train.history(0)), (None, &[3, 9, 20][..]), (None, &[])] {
            let found = scores(&*model, user, history);
            let expected = naive(&recipe, &train, history);
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    (f64::from(*found) - expected).abs() < 2e-4,
                    "{found} {expected}: {recipe:?}"
                );
            }
        }
    }
}

#[test]
fn every_shape_passes_the_generic_tests() {
    let entry = MODELS.iter().find(|entry| entry.name == "path").unwrap();
    for recipe in shapes() {
        let settings = serde_json::to_value(&recipe).unwrap();
        testing::settings_round_trip(entry, &settings);
        testing::save_and_load(entry, &settings);
        testing::ranks_for_every_query(entry, &settings);
        testing::same_bytes_on_any_threads(entry, &settings);
    }
}

#[test]
fn item_cf_is_a_special_case() {
    let train = random();
    let item_cf = ItemCf { neighbours: 5, ..ItemCf::default() };
    let recipe = Path {
        user_degree: 0.0,
        history_degree: 0.5,
        neighbour_degree: item_cf.user_activity,
        target_degree: 0.5 - item_cf.popularity,
        power: 1.0,
        neighbours: 5,
        ..Path::default()
    };
    let models = [testing::fit(&item_cf, &train, 1), testing::fit(&recipe, &train, 1)];
    for user in 0..30 {
        let history = train.history(user);
        let [theirs, ours] = [0, 1].map(|m: usize| scores(&*models[m], Some(user), history));
        for item in (0..24).filter(|item| !history.contains(&(*item as u32))) {
            assert!((theirs[item] - ours[item]).abs() < 1e-6, "{} {}", theirs[item], ours[item]);
        }
    }
}

#[test]
fn with_all_singular_vectors_the_ideal_filter_gives_the_history_back() {
    let train = random();
    let low_rank = LowRank { rank: 24, weight: 1.0, rounds: 30, ..LowRank::default() };
    let recipe = Path { user_degree: 0.0, weight: 0.0, low_rank, ..Path::default() };
    let model = testing::fit(&recipe, &train, 1);
    for user in 0..30 {
        let history = train.history(user);
        for (item, score) in scores(&*model, Some(user), history).into_iter().enumerate() {
            let expected = f32::from(u8::from(history.contains(&(item as u32))));
            assert!((score - expected).abs() < 1e-3, "{user}, {item}: {score}");
        }
    }
}

#[test]
fn a_preset_shows_its_numbers_and_gives_way_to_what_is_named() {
    let entry = MODELS.iter().find(|entry| entry.name == "path").unwrap();
    let read = |value: serde_json::Value| {
        (entry.parse)(Config { path: "m", value: &value }).map(|recipe| recipe.config())
    };
    let named = read(json!({"preset": "gf_cf", "low_rank": {"rank": 9}, "power": 0.8})).unwrap();
    assert_eq!(named["preset"], "gf_cf");
    assert_eq!(named["low_rank"]["rank"], 9);
    assert_eq!(named["low_rank"]["weight"], 0.3);
    assert_eq!((&named["power"], &named["neighbour_degree"]), (&json!(0.8), &json!(1.0)));
    assert_eq!(read(named.clone()).unwrap(), named, "as written out, it is the same");
    assert_eq!(read(json!({})).unwrap(), serde_json::to_value(Path::default()).unwrap());
    let says = |value| read(value).unwrap_err().to_string();
    let unknown = says(json!({"preset": "gfcf"}));
    assert!(unknown.starts_with("m.preset: ") && unknown.contains("turbo_cf"), "{unknown}");
    assert!(says(json!({"power": 0})).starts_with("m.power: must be above 0"));
    assert!(says(json!({"low_rank": {"rank": 5000}})).starts_with("m.low_rank.rank: must be"));
    let none = json!({"sharpen": {"kind": "polynomial", "coefficients": []}});
    assert!(says(none).starts_with("m.sharpen.coefficients: must be 1 to 32"));
    assert!(says(json!({"weight": 0})).starts_with("m.weight: must be above 0"));
}

#[test]
fn turbo_cfs_matrix_is_that_of_its_authors() {
    // Rn = D_U^-a R D_I^(a - 1), P = Rn' Rn.
    let train = random();
    let matrix = Preset::TurboCf
        .recipe()
        .columns_of_paths(&Log::new(crate::parts::baskets::baskets(&train)));
    let users_of =
        |item: u32| (0..30).filter(|&u| train.history(u).contains(&item)).collect::<Vec<_>>();
    let rn = |user: u32, item: u32| {
        (train.history(user).len() as f64).powf(-0.6) * (users_of(item).len() as f64).powf(-0.4)
    };
    for j in 0..24 {
        for (&i, &found) in matrix.row(j).iter().zip(matrix.row_values(j).unwrap()) {
            let both = users_of(i).into_iter().filter(|&u| train.history(u).contains(&(j as u32)));
            let entry: f64 = both.map(|u| rn(u, i) * rn(u, j as u32)).sum();
            assert!((f64::from(found) - entry.powf(0.7)).abs() < 1e-6);
        }
    }
}

#[test]
fn corrupt_files_are_refused() {
    let recipe = Path { low_rank: LowRank { rank: 4, ..LowRank::default() }, ..Path::default() };
    let tensors = testing::fit(&recipe, &random(), 1).tensors();
    assert!(recipe.load(&tensors).is_ok());
    let spoil = |name: &str, shape: &[usize], data: rankstill_core::Data| {
        let mut tensors = tensors.clone();
        tensors.insert(name, shape, data);
        recipe.load(&tensors).err().map(|error| error.to_string())
    };
    assert!(spoil("vectors", &[24, 4], vec![f32::NAN; 96].into()).unwrap().contains("NaN"));
    assert!(spoil("vectors", &[23, 4], vec![0.0f32; 92].into()).unwrap().contains("24 rows"));
    assert!(spoil("singular_values", &[3], vec![1.0f32; 3].into()).is_some());
    assert!(spoil("n_items", &[1], vec![3u32].into()).is_some());
}
