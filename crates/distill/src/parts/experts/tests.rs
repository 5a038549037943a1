#![allow(clippy::unwrap_used)]
use super::*;

const SHAPE: Shape = Shape { student: 3, teacher: 5, experts: 4 };
const N: usize = 9;

fn drawn(key: u64, len: usize) -> Vec<f32> {
    let mut out = vec![0.0; len];
    Rng::new(key).fill_normal(&mut out, 0.0, 1.0);
    out
}

fn experts(learning_rate: f64) -> Experts {
    let sgd =
        Optimizer::Sgd(rankstill_core::kernel::optimizer::Sgd { learning_rate, weight_decay: 0.0 });
    Experts::random(SHAPE, &sgd, Rng::new(1))
}

fn loss(experts: &mut Experts, vectors: &[f32], temperature: f32, scale: f32) -> (f64, Vec<f32>) {
    let ids: Vec<u32> = (0..N as u32).collect();
    let teacher = drawn(3, N * SHAPE.teacher);
    let rng = |id: u32| Rng::keyed(4, [u64::from(id)]);
    let task = Task { teacher: &teacher, temperature, rng: &rng, weight: 1.0, scale };
    let mut to = vec![0.0; vectors.len()];
    let loss = experts.regress(SideVectors { ids: &ids, vectors }, &task, &mut to);
    (loss, to)
}

/// The equations of the module, in f64 and one by one.
fn naive(experts: &Experts, vectors: &[f32], temperature: f64) -> f64 {
    let Shape { student, teacher, experts: n } = SHAPE;
    let (goals, hidden) = (drawn(3, N * teacher), SHAPE.hidden());
    let values = experts.parameters.values();
    let [gate, bias] = SHAPE.gate().map(|part| &values[part]);
    let mut sum = 0.0;
    for at in 0..N {
        let (s, t) = (&vectors[at * student..][..student], &goals[at * teacher..][..teacher]);
        let mut noise = vec![0.0; n];
        fill_gumbel(&mut Rng::keyed(4, [at as u64]), &mut noise);
        let dot = |x: &[f32], w: &[f32], width: usize, k: usize| -> f64 {
            x.iter().enumerate().map(|(i, &x)| f64::from(x) * f64::from(w[i * width + k])).sum()
        };
        let mass = |m: usize| {
            let logit = dot(t, gate, padded(n), m) + f64::from(bias[m]) + f64::from(noise[m]);
            (logit / temperature).exp()
        };
        let all: f64 = (0..n).map(mass).sum();
        let mut made = vec![0.0; teacher];
        for m in 0..n {
            let [w1, b1, w2, b2] = experts.weights(m);
            let inner: Vec<f32> = (0..hidden)
                .map(|k| (dot(s, w1, padded(hidden), k) + f64::from(b1[k])).max(0.0) as f32)
                .collect();
            for (k, made) in made.iter_mut().enumerate() {
                let out = dot(&inner, w2, padded(teacher), k) + f64::from(b2[k]);
                *made += mass(m) / all * out;
            }
        }
        sum += made.iter().zip(t).map(|(a, b)| (a - f64::from(*b)).powi(2)).sum::<f64>();
    }
    sum
}

#[test]
fn the_loss_is_that_of_the_equations_and_gradients_are_its_slopes() {
    let vectors = drawn(2, N * SHAPE.student);
    for temperature in [1.0, 0.3] {
        let (found, slopes) = loss(&mut experts(1.0), &vectors, temperature, 0.0);
        let of = |vectors: &[f32]| naive(&experts(1.0), vectors, f64::from(temperature));
        assert!((found - of(&vectors)).abs() < 1e-4, "{found} {}", of(&vectors));
        for (k, &slope) in slopes.iter().enumerate() {
            let moved = |by: f32| {
                let mut vectors = vectors.clone();
                vectors[k] += by;
                of(&vectors)
            };
            let differs = (moved(1e-3) - moved(-1e-3)) / 2e-3;
            assert!((differs - f64::from(slope)).abs() < 1e-2, "{k}: {differs} {slope}");
        }
        let mut stepped = experts(1.0);
        loss(&mut stepped, &vectors, temperature, 1.0);
        let before = experts(1.0);
        let mut live = 0;
        for k in 0..before.parameters.len() {
            let moved = |by: f32| {
                let mut experts = before.clone();
                experts.parameters.values_mut()[k] += by;
                naive(&experts, &vectors, f64::from(temperature))
            };
            let differs = (moved(1e-3) - moved(-1e-3)) / 2e-3;
            let step = before.parameters.values()[k] - stepped.parameters.values()[k];
            live += usize::from(step != 0.0);
            assert!((differs - f64::from(step)).abs() < 2e-2, "{k}: {differs} {step}");
        }
        assert!(live > 100, "{live} of {}", before.parameters.len());
    }
}

#[test]
fn at_a_low_temperature_each_vector_has_one_expert() {
    let mut experts = experts(0.1);
    let ids: Vec<u32> = (0..N as u32).collect();
    let teacher = drawn(3, N * SHAPE.teacher);
    let rng = |id: u32| Rng::keyed(4, [u64::from(id)]);
    let task = Task { teacher: &teacher, temperature: 1e-10, rng: &rng, weight: 1.0, scale: 1.0 };
    let shares = experts.shares(&ids, &task);
    assert!(shares.chunks(4).all(|row| row.iter().sum::<f32>() == 1.0 && row.contains(&1.0)));
    assert_eq!(experts.groups(&teacher).len(), N);
    let vectors = drawn(2, N * SHAPE.student);
    let first = loss(&mut experts, &vectors, 1e-10, 0.05).0;
    (0..200).for_each(|_| _ = loss(&mut experts, &vectors, 1e-10, 0.05));
    let last = loss(&mut experts, &vectors, 1e-10, 0.05).0;
    assert!(last < 0.2 * first && last.is_finite(), "{first} {last}");
}

#[test]
fn bytes_are_the_same_on_any_number_of_threads() {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut experts = experts(0.1);
            let found = loss(&mut experts, &drawn(2, N * SHAPE.student), 0.5, 1.0);
            (found, experts.parameters.values().to_vec())
        })
    };
    assert!(on(1) == on(2) && on(1) == on(3));
}

#[test]
fn temperatures_decay_and_then_stay() {
    assert_eq!(annealed(1.0, 1e-2, 10, 0), 1.0);
    assert!((annealed(1.0, 1e-2, 10, 5) - 0.1).abs() < 1e-6);
    assert_eq!((annealed(1.0, 1e-2, 10, 10), annealed(1.0, 1e-2, 10, 99)), (1e-2, 1e-2));
}
