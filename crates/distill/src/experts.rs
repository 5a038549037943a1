//! A mixture of experts that makes the teacher's vectors out of the student's: the projection of DE and the assignment to
//! groups of HTD.
//!
//! ```text
//! expert m:   f_m(s) = W2 relu(W1 s + b1) + b2                s of the student's length, the teacher's t, hidden (s + t) / 2
//! share of m: z = softmax( (W t + b + Gumbel noise) / T )     by the teacher's vector t
//! loss:       sum over vectors of | t - sum_m z_m f_m(s) |^2
//! ```
//!
//! As T falls, a vector has one expert: those with a share below a millionth are not asked, and get no gradient of it. Rows of
//! weights are padded with zeros, which stay zeros, to whole vectors of the kernels: the same bits on any number of threads and
//! on every instruction set with FMA.

use crate::beside_vectors::Side;
use crate::places::fill_gumbel;
use rankstill_core::kernel::affine::{affine, to_bias, to_weights, transpose};
use rankstill_core::kernel::dense::axpy;
use rankstill_core::kernel::math::exp;
use rankstill_core::kernel::optimizer::Optimizer;
use rankstill_core::kernel::panels::Rows;
use rankstill_core::kernel::param::DenseParam;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{Error, Result, Tensors, state};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Shares below it are none.
const LEAST: f32 = 1e-6;

/// How many numbers a vector of the student, one of the teacher, and the experts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub student: usize,
    pub teacher: usize,
    pub experts: usize,
}

impl Shape {
    fn hidden(&self) -> usize {
        (self.student + self.teacher) / 2
    }

    /// Where the weights and biases of an expert's two layers lie, from its beginning.
    fn layers(&self) -> [Range<usize>; 4] {
        let (hidden, teacher) = (padded(self.hidden()), padded(self.teacher));
        let mut end = 0;
        [self.student * hidden, hidden, self.hidden() * teacher, teacher].map(|len| {
            end += len;
            end - len..end
        })
    }

    fn expert(&self) -> usize {
        self.layers()[3].end
    }

    /// Where the weights and biases of the shares lie, behind the experts.
    fn gate(&self) -> [Range<usize>; 2] {
        let (from, width) = (self.experts * self.expert(), padded(self.experts));
        let weights = from..from + self.teacher * width;
        [weights.clone(), weights.end..weights.end + width]
    }
}

fn padded(n: usize) -> usize {
    n.next_multiple_of(16)
}

/// The experts of users, or of items.
#[derive(Clone, Debug)]
pub(crate) struct Experts {
    shape: Shape,
    parameters: DenseParam,
}

/// What the vectors of one step are to be like, and how shares are drawn.
pub(crate) struct Task<'a> {
    /// The teacher's, parallel to the side's, row-major without gaps.
    pub teacher: &'a [f32],
    /// Of the softmax.
    pub temperature: f32,
    /// Gives the generator of a query's or an item's noise.
    pub rng: &'a (dyn Fn(u32) -> Rng + Sync),
    /// Weighs the gradient of the student's vectors.
    pub weight: f32,
    /// Weighs that of the parameters; no step is taken where it is 0.
    pub scale: f32,
}

/// What an expert did.
struct Work {
    members: Vec<usize>,
    vectors: Vec<f32>,
    hidden: Vec<f32>,
    out: Vec<f32>,
}

impl Experts {
    /// Uniform in +-1 / sqrt(inputs), as linear layers of the authors' framework are.
    pub fn random(shape: Shape, optimizer: &Optimizer, mut rng: Rng) -> Self {
        let gate = shape.gate();
        let mut parameters = DenseParam::new(gate[1].end, optimizer.clone());
        let mut fill = |weights: &mut [f32], n: usize, inputs: usize| {
            let most = 1.0 / (inputs.max(1) as f32).sqrt();
            for row in weights.chunks_mut(padded(n)) {
                row[..n].iter_mut().for_each(|x| *x = most * (2.0 * rng.uniform() - 1.0));
            }
        };
        let values = parameters.values_mut();
        let (hidden, teacher) = (shape.hidden(), shape.teacher);
        for expert in values[..gate[0].start].chunks_mut(shape.expert()) {
            let [w1, b1, w2, b2] = shape.layers();
            fill(&mut expert[w1], hidden, shape.student);
            fill(&mut expert[b1], hidden, shape.student);
            fill(&mut expert[w2], teacher, hidden);
            fill(&mut expert[b2], teacher, hidden);
        }
        gate.into_iter().for_each(|part| fill(&mut values[part], shape.experts, teacher));
        Self { shape, parameters }
    }

    /// For checkpoints.
    pub fn insert(&self, tensors: &mut Tensors, name: &str) {
        state::insert(tensors, name, self.parameters.state());
    }

    /// Goes on from it.
    ///
    /// # Errors
    /// When it is not a state of experts of this shape.
    pub fn restore(&mut self, tensors: &Tensors, name: &str) -> Result<()> {
        self.parameters.restore(&state::read(tensors, name)?).map_err(state::wrong(name))
    }

    /// The loss of a side's vectors; adds the gradient to `to_student`, and takes the parameters' step.
    pub fn regress(&mut self, side: Side<'_>, task: &Task<'_>, to_student: &mut [f32]) -> f64 {
        let Shape { student, teacher, experts } = self.shape;
        let n = side.ids.len();
        let shares = self.shares(side.ids, task);
        let works: Vec<Work> =
            (0..experts).into_par_iter().map(|m| self.ask(m, side.vectors, &shares)).collect();
        // From what is wanted to what is said: the slope of half the loss, in rows of whole vectors.
        let width = padded(teacher);
        let mut away = vec![0.0; n * width];
        for (away, goal) in away.chunks_mut(width).zip(task.teacher.chunks(teacher)) {
            away[..teacher].iter_mut().zip(goal).for_each(|(away, goal)| *away = -goal);
        }
        for (m, work) in works.iter().enumerate() {
            for (&at, out) in work.members.iter().zip(work.out.chunks(width)) {
                axpy(shares[at * experts + m], out, &mut away[at * width..][..width]);
            }
        }
        let loss = away.iter().fold(0.0, |sum, &x| sum + f64::from(x) * f64::from(x));

        let mut gradient = vec![0.0; self.parameters.len()];
        let (own, to_gate) = gradient.split_at_mut(self.shape.gate()[0].start);
        let backs: Vec<(Vec<f32>, Vec<f32>)> = own
            .par_chunks_mut(self.shape.expert())
            .zip(&works)
            .enumerate()
            .map(|(m, (own, work))| self.learn(m, work, &away, &shares, own))
            .collect();
        let mut to_shares = vec![0.0; shares.len()];
        for (m, (work, (vectors, to_share))) in works.iter().zip(&backs).enumerate() {
            let parts = work.members.iter().zip(vectors.chunks(padded(student))).zip(to_share);
            for ((&at, vector), &to_share) in parts {
                to_shares[at * experts + m] = to_share;
                let to = &mut to_student[at * student..][..student];
                axpy(task.weight, &vector[..student], to);
            }
        }
        self.to_gate(task, &shares, &to_shares, to_gate);
        if task.scale != 0.0 {
            self.parameters.update(&gradient, task.scale);
        }
        loss
    }

    /// The expert with the largest share of each of the teacher's vectors, without noise.
    pub fn groups(&self, teacher: &[f32]) -> Vec<usize> {
        let logits = self.logits(teacher);
        let rows = logits.chunks(padded(self.shape.experts)).map(|row| &row[..self.shape.experts]);
        rows.map(|row| (1..row.len()).fold(0, |best, m| if row[m] > row[best] { m } else { best }))
            .collect()
    }

    fn logits(&self, teacher: &[f32]) -> Vec<f32> {
        let n = teacher.len() / self.shape.teacher;
        let (width, values) = (padded(self.shape.experts), self.parameters.values());
        let [weights, bias] = self.shape.gate().map(|part| &values[part]);
        let mut logits = vec![0.0; n * width];
        affine(Rows::dense(teacher, n, self.shape.teacher), weights, bias, width, &mut logits);
        logits
    }

    /// `vectors x experts`.
    fn shares(&self, ids: &[u32], task: &Task<'_>) -> Vec<f32> {
        let experts = self.shape.experts;
        let logits = self.logits(task.teacher);
        let mut shares = vec![0.0; ids.len() * experts];
        let rows = shares.par_chunks_mut(experts).zip(logits.par_chunks(padded(experts)));
        rows.zip(ids).with_min_len(64).for_each(|((shares, logits), &id)| {
            if experts > 1 {
                fill_gumbel(&mut (task.rng)(id), shares);
            }
            // One in 2^24 is infinite: as many of the others are below 17.
            let logits = shares.iter_mut().zip(logits);
            logits.for_each(|(share, logit)| *share = share.min(17.0) + logit);
            let top = shares.iter().fold(f32::NEG_INFINITY, |top, &x| top.max(x));
            shares.iter_mut().for_each(|share| *share = exp((*share - top) / task.temperature));
            let sum = shares.iter().fold(0.0, |sum, share| sum + share);
            shares.iter_mut().for_each(|share| *share /= sum);
        });
        shares
    }

    /// What expert `m` makes of the vectors that it has a share of.
    fn ask(&self, m: usize, vectors: &[f32], shares: &[f32]) -> Work {
        let Shape { student, teacher, experts } = self.shape;
        let members: Vec<usize> =
            (0..shares.len() / experts).filter(|at| shares[at * experts + m] >= LEAST).collect();
        let n = members.len();
        let own = members.iter().flat_map(|&at| &vectors[at * student..][..student]);
        let vectors: Vec<f32> = own.copied().collect();
        let [w1, b1, w2, b2] = self.weights(m);
        let (mid, width) = (padded(self.shape.hidden()), padded(teacher));
        let (mut hidden, mut out) = (vec![0.0; n * mid], vec![0.0; n * width]);
        affine(Rows::dense(&vectors, n, student), w1, b1, mid, &mut hidden);
        hidden.iter_mut().for_each(|x| *x = x.max(0.0));
        affine(self.hidden_rows(&hidden), w2, b2, width, &mut out);
        Work { members, vectors, hidden, out }
    }

    /// The gradient of expert `m`'s parameters (to `own`), and those of its vectors, in rows of whole vectors, and shares.
    fn learn(
        &self,
        m: usize,
        work: &Work,
        away: &[f32],
        shares: &[f32],
        own: &mut [f32],
    ) -> (Vec<f32>, Vec<f32>) {
        let Shape { student, teacher, experts } = self.shape;
        let (n, shape) = (work.members.len(), &self.shape);
        let (hidden, mid, width) = (shape.hidden(), padded(shape.hidden()), padded(teacher));
        let mut to_out = vec![0.0; n * width];
        let mut to_shares = Vec::with_capacity(n);
        for ((&at, to), out) in
            work.members.iter().zip(to_out.chunks_mut(width)).zip(work.out.chunks(width))
        {
            let away = &away[at * width..][..width];
            axpy(2.0 * shares[at * experts + m], away, to);
            to_shares.push(2.0 * rankstill_core::kernel::dense::dot(away, out));
        }
        let [w1, b1, w2, b2] = shape.layers();
        to_weights(self.hidden_rows(&work.hidden), 0..hidden, &to_out, width, &mut own[w2]);
        to_bias(&to_out, &mut own[b2]);
        let [weights1, _, weights2, _] = self.weights(m);
        let back = |weights: &[f32], from: usize, to: usize, slopes: &[f32]| {
            // Weights are `from` rows of whole vectors; turned, each of `to` columns leads back to `from` inputs.
            let mut turned = vec![0.0; to * padded(from)];
            transpose(weights, from, to, padded(to), &mut turned, padded(from));
            let mut out = vec![0.0; n * padded(from)];
            let slopes = Rows::new(slopes, n, to, padded(to));
            affine(slopes, &turned, &vec![0.0; padded(from)], padded(from), &mut out);
            out
        };
        let mut to_hidden = back(weights2, hidden, teacher, &to_out);
        to_hidden.iter_mut().zip(&work.hidden).for_each(|(to, &x)| {
            if x <= 0.0 {
                *to = 0.0;
            }
        });
        let vectors = Rows::dense(&work.vectors, n, student);
        to_weights(vectors, 0..student, &to_hidden, mid, &mut own[w1]);
        to_bias(&to_hidden, &mut own[b1]);
        (back(weights1, student, hidden, &to_hidden), to_shares)
    }

    fn to_gate(&self, task: &Task<'_>, shares: &[f32], to_shares: &[f32], out: &mut [f32]) {
        let Shape { teacher, experts, .. } = self.shape;
        let width = padded(experts);
        let n = shares.len() / experts;
        let mut to_logits = vec![0.0; n * width];
        let rows = shares.chunks(experts).zip(to_shares.chunks(experts));
        for (to, (shares, to_shares)) in to_logits.chunks_mut(width).zip(rows) {
            let mean = shares.iter().zip(to_shares).fold(0.0, |sum, (share, to)| sum + share * to);
            for ((to, share), to_share) in to.iter_mut().zip(shares).zip(to_shares) {
                if *share >= LEAST {
                    *to = share * (to_share - mean) / task.temperature;
                }
            }
        }
        let (weights, bias) = out.split_at_mut(teacher * width);
        let vectors = Rows::dense(task.teacher, n, teacher);
        to_weights(vectors, 0..teacher, &to_logits, width, weights);
        to_bias(&to_logits, bias);
    }

    fn weights(&self, m: usize) -> [&[f32]; 4] {
        let from = m * self.shape.expert();
        let expert = &self.parameters.values()[from..from + self.shape.expert()];
        self.shape.layers().map(|part| &expert[part])
    }

    fn hidden_rows<'h>(&self, hidden: &'h [f32]) -> Rows<'h> {
        let (dim, stride) = (self.shape.hidden(), padded(self.shape.hidden()));
        Rows::new(hidden, hidden.len() / stride, dim, stride)
    }
}

/// The experts of queries and those of items, for the dimension that the student turns out to have.
pub(crate) struct BothExperts {
    teacher: usize,
    experts: usize,
    optimizer: Optimizer,
    both: Mutex<Option<[Experts; 2]>>,
}

impl BothExperts {
    /// For vectors of a teacher of this length.
    pub fn new(teacher: usize, experts: usize, optimizer: Optimizer) -> Self {
        Self { teacher, experts, optimizer, both: Mutex::new(None) }
    }

    /// Both, to be asked and to learn; at first they are random, drawn by `rng`.
    pub fn with<T>(
        &self,
        student: usize,
        rng: impl Fn(u32) -> Rng,
        run: impl FnOnce(&mut [Experts; 2]) -> T,
    ) -> T {
        // A panic elsewhere ended the run.
        let mut both = self.both.lock().unwrap_or_else(PoisonError::into_inner);
        run(both.get_or_insert_with(|| {
            [0, 1].map(|side| Experts::random(self.shape(student), &self.optimizer, rng(side)))
        }))
    }

    fn shape(&self, student: usize) -> Shape {
        Shape { student, teacher: self.teacher, experts: self.experts }
    }

    /// For checkpoints.
    pub fn state(&self) -> Tensors {
        let mut state = Tensors::default();
        let both = self.both.lock().unwrap_or_else(PoisonError::into_inner);
        for (experts, name) in both.iter().flatten().zip(SIDES) {
            state.insert("student", &[1], vec![experts.shape.student as u32]);
            experts.insert(&mut state, name);
        }
        state
    }

    /// Goes on from it.
    ///
    /// # Errors
    /// When it is not a state of these experts.
    pub fn restore(&mut self, state: &Tensors) -> Result<()> {
        let mut both = None;
        if state.get("student").is_some() {
            let student = state.u32s("student")?.first().map_or(0, |&n| n as usize);
            let held = state.get("queries.parameters").map_or(0, |tensor| tensor.data.len());
            let shape = self.shape(student);
            if shape.gate()[1].end != held {
                let problem = format!("{held} numbers are no experts of {shape:?}");
                return Err(Error::Tensor { name: "queries.parameters".into(), problem });
            }
            let mut fresh = [0, 1].map(|_| Experts::random(shape, &self.optimizer, Rng::new(0)));
            for (experts, name) in fresh.iter_mut().zip(SIDES) {
                experts.restore(state, name)?;
            }
            both = Some(fresh);
        }
        self.both = Mutex::new(both);
        Ok(())
    }
}

/// What they are called in a checkpoint.
const SIDES: [&str; 2] = ["queries", "items"];

/// A temperature that falls from the one to the other by the same factor each epoch, and then stays.
pub(crate) fn annealed(first: f32, last: f32, epochs: usize, epoch: usize) -> f32 {
    let done = (epoch as f64 / epochs.max(1) as f64).min(1.0);
    (f64::from(first) * (f64::from(last) / f64::from(first)).powf(done)) as f32
}

#[cfg(test)]
mod tests {
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
        let sgd = Optimizer::Sgd(rankstill_core::kernel::optimizer::Sgd {
            learning_rate,
            weight_decay: 0.0,
        });
        Experts::random(SHAPE, &sgd, Rng::new(1))
    }

    fn loss(
        experts: &mut Experts,
        vectors: &[f32],
        temperature: f32,
        scale: f32,
    ) -> (f64, Vec<f32>) {
        let ids: Vec<u32> = (0..N as u32).collect();
        let teacher = drawn(3, N * SHAPE.teacher);
        let rng = |id: u32| Rng::keyed(4, [u64::from(id)]);
        let task = Task { teacher: &teacher, temperature, rng: &rng, weight: 1.0, scale };
        let mut to = vec![0.0; vectors.len()];
        let loss = experts.regress(Side { ids: &ids, vectors }, &task, &mut to);
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
    fn when_it_is_cold_each_vector_has_one_expert() {
        let mut experts = experts(0.1);
        let ids: Vec<u32> = (0..N as u32).collect();
        let teacher = drawn(3, N * SHAPE.teacher);
        let rng = |id: u32| Rng::keyed(4, [u64::from(id)]);
        let task =
            Task { teacher: &teacher, temperature: 1e-10, rng: &rng, weight: 1.0, scale: 1.0 };
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
    fn bytes_are_the_same_on_any_threads() {
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
    fn temperatures_fall_and_then_stay() {
        assert_eq!(annealed(1.0, 1e-2, 10, 0), 1.0);
        assert!((annealed(1.0, 1e-2, 10, 5) - 0.1).abs() < 1e-6);
        assert_eq!((annealed(1.0, 1e-2, 10, 10), annealed(1.0, 1e-2, 10, 99)), (1e-2, 1e-2));
    }
}
