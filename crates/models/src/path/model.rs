//! The model: the log, P where it is formed, and the low-rank factors.

use super::{Filter, Path, Sharpen};
use crate::item_cf::keep_nearest;
use crate::parts::baskets::{self, distinct};
use rankstill_core::kernel::csr::Csr;
use rankstill_core::kernel::dense::{axpy, scale};
use rankstill_core::kernel::panels::{PanelOrder, Panels, Rows};
use rankstill_core::{ItemId, Model, Query, Scorer, Tensors};
use rayon::prelude::*;

/// The binary log, by users and by items.
pub(super) struct Log {
    pub items_of: Csr,
    pub users_of: Csr,
}

impl Log {
    pub fn new(items_of: Csr) -> Self {
        Self { users_of: items_of.transpose(), items_of }
    }

    fn n_items(&self) -> usize {
        self.users_of.n_rows()
    }

    /// D_U^-1/2 R D_I^-1/2.
    pub fn normalised(&self) -> Csr {
        let (users, items) = (powers(&self.items_of, 0.5), powers(&self.users_of, 0.5));
        let entries = (0..self.items_of.n_rows()).flat_map(|user| {
            let row = self.items_of.row(user).iter();
            let (users, items) = (&users, &items);
            row.map(move |&item| (users[user] * items[item as usize]) as f32)
        });
        let values = entries.collect();
        let (offsets, indices) = (self.items_of.offsets(), self.items_of.indices());
        Csr::new(self.n_items(), offsets.to_vec(), indices.to_vec(), Some(values))
            .expect("the log's own shape")
    }
}

/// n^-exponent of each row with n entries.
fn powers(rows: &Csr, exponent: f64) -> Vec<f64> {
    let n = |row| rows.row(row).len().max(1) as f64;
    (0..rows.n_rows()).map(|row| n(row).powf(-exponent)).collect()
}

/// S and V.
pub(super) struct LowRankFactors {
    pub values: Vec<f32>,
    /// Items x rank.
    pub vectors: Vec<f32>,
}

/// A fitted model.
pub(super) struct PathModel {
    recipe: Path,
    log: Log,
    paths: Paths,
    low_rank: Option<LowRank>,
    /// x becomes c0 x + c1 x P + .., this many times.
    step: (Vec<f32>, usize),
}

/// h L = z W', with z the sum of the rows of `from` of the history's items.
struct LowRank {
    factors: LowRankFactors,
    /// D_I^-1/2 V.
    from: Vec<f32>,
    /// W, packed.
    to: Panels,
}

/// Products with P.
enum Paths {
    /// As products with R and R'; D_I^-q, D_U^-r and D_I^-t.
    Steps { from: Vec<f32>, over: Vec<f32>, to: Vec<f32> },
    /// By rows, for a history; and by columns, for a dense vector.
    Formed { rows: Csr, columns: Option<Csr> },
    /// Not wanted.
    None,
}

impl Path {
    /// Whether P is formed. On LightGCN's Gowalla split all users are ranked more than twice as fast with it as by dense
    /// products with the log; sharpening needs dense products anyway, of which those with the log are the cheaper ones.
    pub(super) fn forms_paths(&self) -> bool {
        let plain = self.power == 1.0 && self.neighbours == 0;
        self.weight > 0.0 && !(plain && self.sharpen != Sharpen::None)
    }

    /// P by columns: row *j* holds what contributes to the score of item *j*.
    pub(super) fn columns_of_paths(&self, log: &Log) -> Csr {
        let n = log.n_items();
        let over = powers(&log.items_of, self.neighbour_degree);
        let (from, to) =
            (powers(&log.users_of, self.history_degree), powers(&log.users_of, self.target_degree));
        // Chunks are fixed and every row is computed on its own, so threads cannot change a bit.
        let chunks: Vec<Vec<Vec<(ItemId, f32)>>> = (0..n.div_ceil(CHUNK))
            .into_par_iter()
            .map_init(
                || (vec![0.0f64; n], Vec::new()),
                |(sums, touched): &mut (Vec<f64>, Vec<ItemId>), chunk| {
                    let rows = chunk * CHUNK..((chunk + 1) * CHUNK).min(n);
                    rows.map(|item| {
                        for &user in log.users_of.row(item) {
                            for &other in log.items_of.row(user as usize) {
                                if sums[other as usize] == 0.0 {
                                    touched.push(other);
                                }
                                sums[other as usize] += over[user as usize];
                            }
                        }
                        let mut near: Vec<(ItemId, f32)> = Vec::with_capacity(touched.len());
                        near.extend(touched.drain(..).map(|other| {
                            let sum = std::mem::take(&mut sums[other as usize]);
                            let entry = from[other as usize] * sum * to[item];
                            let entry =
                                if self.power == 1.0 { entry } else { entry.powf(self.power) };
                            (other, entry as f32)
                        }));
                        self.cut(item as ItemId, &mut near);
                        near
                    })
                    .collect()
                },
            )
            .collect();
        let n_entries = chunks.iter().flatten().map(Vec::len).sum();
        let (mut offsets, mut indices) = (vec![0], Vec::with_capacity(n_entries));
        let mut values = Vec::with_capacity(n_entries);
        for row in chunks.into_iter().flatten() {
            indices.extend(row.iter().map(|entry| entry.0));
            values.extend(row.iter().map(|entry| entry.1));
            offsets.push(indices.len());
        }
        Csr::new(n, offsets, indices, Some(values)).expect("items of the catalogue")
    }

    /// Keeps the largest entries, and the item's own; by ascending id.
    fn cut(&self, own: ItemId, near: &mut Vec<(ItemId, f32)>) {
        let at = near.iter().position(|&(other, _)| other == own);
        let own = at.filter(|_| self.neighbours > 0).map(|at| near.swap_remove(at));
        keep_nearest(near, self.neighbours);
        if let Some(own) = own {
            near.insert(near.partition_point(|&(other, _)| other < own.0), own);
        }
    }
}

/// Items per task.
const CHUNK: usize = 64;

impl PathModel {
    pub fn new(recipe: &Path, log: Log, factors: Option<LowRankFactors>) -> Self {
        let narrow = |numbers: Vec<f64>| numbers.into_iter().map(|x| x as f32).collect::<Vec<_>>();
        let (coefficients, times) = recipe.sharpen.steps();
        let paths = match () {
            () if recipe.weight == 0.0 => Paths::None,
            () if recipe.forms_paths() => {
                let columns = recipe.columns_of_paths(&log);
                let rows = columns.transpose();
                Paths::Formed { rows, columns: (times > 0).then_some(columns) }
            }
            () => Paths::Steps {
                from: narrow(powers(&log.users_of, recipe.history_degree)),
                over: narrow(powers(&log.items_of, recipe.neighbour_degree)),
                to: narrow(powers(&log.users_of, recipe.target_degree)),
            },
        };
        let low_rank = factors.map(|factors| LowRank::new(recipe, &log, factors));
        let step = (narrow(coefficients), times);
        Self { recipe: recipe.clone(), log, paths, low_rank, step }
    }

    /// x P of dense vectors, items x `n`.
    fn times_paths(&self, x: &mut Vec<f32>, n: usize) {
        let n_items = self.n_items();
        match &self.paths {
            Paths::Steps { from, over, to } => {
                let mut users = vec![0.0; self.log.items_of.n_rows() * n];
                scale_rows(x, from, n);
                self.log.items_of.multiply(Rows::dense(x, n_items, n), false, &mut users, n);
                scale_rows(&mut users, over, n);
                let users = Rows::dense(&users, over.len(), n);
                self.log.users_of.multiply(users, false, x, n);
                scale_rows(x, to, n);
            }
            Paths::Formed { columns: Some(columns), .. } => {
                let mut out = vec![0.0; x.len()];
                columns.multiply(Rows::dense(x, n_items, n), false, &mut out, n);
                *x = out;
            }
            Paths::Formed { columns: None, .. } | Paths::None => x.fill(0.0),
        }
    }

    /// w h P, items x histories.
    fn first_paths(&self, histories: &[Vec<ItemId>]) -> Vec<f32> {
        let (n, n_items, weight) = (histories.len(), self.n_items(), self.recipe.weight as f32);
        let mut out = vec![0.0; n * n_items];
        match &self.paths {
            Paths::Formed { rows, .. } => {
                let mut line = vec![0.0; n_items];
                for (at, history) in histories.iter().enumerate() {
                    line.fill(0.0);
                    for &item in history {
                        let values = rows.row_values(item as usize).unwrap_or_default();
                        for (&other, &value) in rows.row(item as usize).iter().zip(values) {
                            line[other as usize] += value;
                        }
                    }
                    let places = out[at..].iter_mut().step_by(n);
                    places.zip(&line).for_each(|(out, x)| *out = weight * x);
                }
            }
            Paths::Steps { .. } => {
                for (at, history) in histories.iter().enumerate() {
                    history.iter().for_each(|&item| out[item as usize * n + at] = weight);
                }
                self.times_paths(&mut out, n);
            }
            Paths::None => {}
        }
        out
    }

    /// x is replaced by c0 x + c1 x P + .., by Horner's rule from the last coefficient.
    fn sharpen(&self, x: &mut Vec<f32>, n: usize) {
        let (coefficients, times) = &self.step;
        let mean = matches!(self.recipe.sharpen, Sharpen::Ode { mean: true, .. });
        let mut sum = if mean { x.clone() } else { Vec::new() };
        for _ in 0..*times {
            let start = x.clone();
            let mut backwards = coefficients.iter().rev();
            backwards.next().into_iter().for_each(|&last| scale(last, x));
            for &coefficient in backwards {
                self.times_paths(x, n);
                axpy(coefficient, &start, x);
            }
            if mean {
                axpy(1.0, x, &mut sum);
            }
        }
        if mean {
            scale(1.0 / (times + 1) as f32, &mut sum);
            *x = sum;
        }
    }

    /// The items of the history that are in the catalogue, ascending, each once.
    fn known(&self, query: &Query<'_>) -> Vec<ItemId> {
        let mut items = distinct(query.history);
        items.retain(|&item| (item as usize) < self.n_items());
        items
    }

    fn score_some(&self, queries: &[Query<'_>], out: &mut [f32]) {
        let (n, n_items) = (queries.len(), self.n_items());
        let histories: Vec<Vec<ItemId>> = queries.iter().map(|query| self.known(query)).collect();
        let early = matches!(self.recipe.sharpen, Sharpen::Ode { low_rank: true, .. });
        let weight = self.recipe.low_rank.weight as f32;
        let mut x = self.first_paths(&histories);
        match &self.low_rank {
            None => out.fill(0.0),
            Some(low_rank) => low_rank.scores(&histories, out),
        }
        if early && self.low_rank.is_some() {
            for (at, out) in out.chunks_exact_mut(n_items).enumerate() {
                let places = x[at..].iter_mut().step_by(n);
                places.zip(&*out).for_each(|(x, low)| *x += weight * low);
                out.fill(0.0);
            }
        }
        self.sharpen(&mut x, n);
        for (at, (out, history)) in out.chunks_exact_mut(n_items).zip(&histories).enumerate() {
            let own = (history.len().max(1) as f64).powf(-self.recipe.user_degree) as f32;
            let paths = x[at..].iter().step_by(n);
            out.iter_mut().zip(paths).for_each(|(out, x)| *out = own * (weight * *out + x));
        }
    }
}

/// Row *i* of rows of `n` times `by[i]`.
fn scale_rows(rows: &mut [f32], by: &[f32], n: usize) {
    rows.chunks_exact_mut(n).zip(by).for_each(|(row, &by)| row.iter_mut().for_each(|x| *x *= by));
}

impl LowRank {
    fn new(recipe: &Path, log: &Log, factors: LowRankFactors) -> Self {
        let (n_items, rank) = (log.n_items(), factors.values.len());
        let half: Vec<f32> = powers(&log.users_of, 0.5).iter().map(|&x| x as f32).collect();
        let mut from = factors.vectors.clone();
        if rank > 0 {
            scale_rows(&mut from, &half, rank);
        }
        let mut to = factors.vectors.clone();
        match recipe.low_rank.filter {
            _ if rank == 0 => {}
            Filter::Ideal => {
                to.chunks_exact_mut(rank).zip(&half).for_each(|(row, by)| scale(1.0 / by, row));
            }
            // W = R' U S^-1 = R' (D_U^-1/2 R D_I^-1/2 V) S^-2
            Filter::Inverse => {
                let n_users = log.items_of.n_rows();
                let mut users = vec![0.0; n_users * rank];
                let items = Rows::dense(&from, n_items, rank);
                log.items_of.multiply(items, false, &mut users, rank);
                let half: Vec<f32> = powers(&log.items_of, 0.5).iter().map(|&x| x as f32).collect();
                scale_rows(&mut users, &half, rank);
                let users = Rows::dense(&users, n_users, rank);
                log.users_of.multiply(users, false, &mut to, rank);
                for row in to.chunks_exact_mut(rank) {
                    row.iter_mut().zip(&factors.values).for_each(|(x, value)| *x /= value * value);
                }
            }
        }
        let to = Panels::pack(Rows::dense(&to, n_items, rank), PanelOrder::Id);
        Self { factors, from, to }
    }

    /// h L, histories x items.
    fn scores(&self, histories: &[Vec<ItemId>], out: &mut [f32]) {
        let rank = self.factors.values.len();
        let mut z = vec![0.0; histories.len() * rank];
        if rank > 0 {
            for (z, history) in z.chunks_exact_mut(rank).zip(histories) {
                for &item in history {
                    axpy(1.0, &self.from[item as usize * rank..][..rank], z);
                }
            }
        }
        self.to.score_rows(Rows::dense(&z, histories.len(), rank), out);
    }
}

/// Queries that share their passes over the log.
const BATCH: usize = 16;

impl Scorer for PathModel {
    fn n_items(&self) -> usize {
        self.log.n_items()
    }

    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        let n_items = self.n_items();
        if n_items == 0 {
            return;
        }
        let blocks = queries.par_chunks(BATCH).zip(out.par_chunks_mut(BATCH * n_items));
        blocks.for_each(|(queries, out)| self.score_some(queries, out));
    }
}

impl Model for PathModel {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        baskets::insert_n_items(&mut tensors, self.n_items());
        baskets::insert(&mut tensors, &self.log.items_of);
        if let Some(LowRank { factors, .. }) = &self.low_rank {
            let rank = factors.values.len();
            tensors.insert("singular_values", &[rank], factors.values.clone());
            tensors.insert("vectors", &[self.n_items(), rank], factors.vectors.clone());
        }
        tensors
    }

    fn n_parameters(&self) -> usize {
        let paths = match &self.paths {
            Paths::Formed { rows, .. } => rows.n_entries(),
            Paths::Steps { .. } | Paths::None => self.log.items_of.n_entries(),
        };
        let vectors = self.low_rank.as_ref().map_or(0, |low| low.factors.vectors.len());
        paths + vectors
    }
}
