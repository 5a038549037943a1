//! Relaxed Ranking Distillation (Kang, Hwang, Kweon & Yu, "DE-RRD", CIKM 2020, arXiv 2012.04357): the order of the teacher's
//! interesting items, above uninteresting ones in no order.
//!
//! ```text
//! L   = L_own + lambda sum over the batch's distinct queries of L_RRD
//! L_RRD = - sum_k ln( e^s_k / ( sum_(j >= k) e^s_j + sum over uninteresting l of e^s_l ) )      (equation 8)
//! ```
//!
//! - `sampled`, as published: `k` interesting items out of the teacher's first `window`, without replacement, with probability
//!   proportional to exp(-place / temperature), in the teacher's order; `l` uninteresting ones, uniform over what is neither
//!   labelled nor in the window. Drawn anew for each query in each epoch. Values of the authors' code (BPR, CiteULike).
//! - `direct`, the authors' later advice (README of HetComp's code): the first `k` items themselves, and everything else that is
//!   not labelled as the uninteresting ones.
//!
//! Differs from the code: places come by one draw of Gumbel noise (the same distribution), sums cannot overflow (no clipping
//! of scores), and a step follows the mean over the batch of own + lambda L_RRD where the code sums, which leaves their proportion.
//! A query without a list is not taught; one with a short list less.

use crate::beside_own::{Asked, Said, Term, beside_own};
use crate::labelled::Labelled;
use crate::listwise::{above, plackett_luce};
use crate::places::weighted_places;
use crate::rank_distil::{Scratch, unlabelled_lists};
use crate::settings::{self, above_0, at_least_1, not_negative};
use rankstill_core::registry::Config;
use rankstill_core::{Cases, Distiller, ItemId, Lists, Objective, Requirements, Result, Trace};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Keep the draws of different purposes apart.
const INTERESTING: u64 = 0x5252_4449;
const UNINTERESTING: u64 = 0x5252_4455;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rrd {
    /// How the lists are made.
    pub mode: Mode,
    /// Length of the interesting list, K.
    pub k: usize,
    /// Of `sampled`: how many uninteresting items, L.
    pub l: usize,
    /// Of `sampled`: the teacher's items among which the interesting ones are drawn.
    pub window: usize,
    /// Of `sampled`: larger = deeper into the window.
    pub temperature: f32,
    /// The distillation loss's weight. At 0 the student learns by its own objective alone.
    pub lambda: f32,
}

/// How lists are made of what the teacher says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Drawn from it, as published.
    Sampled,
    /// The list itself, against everything else.
    Direct,
}

impl Default for Rrd {
    fn default() -> Self {
        Self { mode: Mode::Sampled, k: 40, l: 40, window: 500, temperature: 10.0, lambda: 1e-3 }
    }
}

impl Rrd {
    /// From a configuration.
    ///
    /// # Errors
    /// When a setting is unknown, of the wrong type or out of its range.
    pub fn parse(config: Config<'_>) -> Result<Self> {
        settings::read(config, Self::check)
    }

    pub(crate) fn check(&self, path: &str) -> Result<()> {
        at_least_1(path, &[("k", self.k), ("l", self.l)])?;
        if self.mode == Mode::Sampled && self.window < self.k {
            let problem = format!("is {}, must be at least k, {}", self.window, self.k);
            return Err(settings::wrong(path, "window", problem));
        }
        above_0(path, "temperature", self.temperature)?;
        not_negative(path, "lambda", self.lambda)
    }

    /// How many of the teacher's items are asked for.
    pub(crate) fn depth(&self) -> usize {
        match self.mode {
            Mode::Sampled => self.window,
            Mode::Direct => self.k,
        }
    }
}

impl Distiller for Rrd {
    fn requires(&self) -> Requirements {
        Requirements::lists(self.depth())
    }

    /// Learns from one teacher; of a trace with checkpoints it takes the last.
    ///
    /// # Errors
    /// As for [`RankDistil::teach`](crate::RankDistil).
    fn teach(
        &self,
        own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>> {
        self.check("")?;
        beside_own("rrd", self.lambda, own, cases, traces, |trace, labelled| {
            Ok(Interesting::new(self.clone(), trace, Arc::clone(labelled)))
        })
    }

    fn config(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// The interesting list above the rest.
pub(crate) struct Interesting {
    config: Rrd,
    /// Of each distinct query.
    pub lists: Lists<ItemId>,
    labelled: Arc<Labelled>,
    /// ln of each place's weight.
    weights: Vec<f32>,
}

impl Interesting {
    pub fn new(config: Rrd, trace: &Trace, labelled: Arc<Labelled>) -> Self {
        let lists = unlabelled_lists(trace.last(), &labelled, config.depth());
        let weights = (0..config.depth()).map(|at| -(at as f32) / config.temperature).collect();
        Self { config, lists, labelled, weights }
    }

    /// How many interesting, and how many uninteresting items a query has.
    fn lens(&self, query: usize) -> (usize, usize) {
        let list = self.lists.row(query).len();
        if list == 0 || self.config.mode == Mode::Direct {
            return (list, 0);
        }
        let left = self.labelled.n_unlabelled(query) as usize - list;
        (self.config.k.min(list), self.config.l.min(left))
    }
}

impl Term for Interesting {
    fn against(&self) -> bool {
        self.config.mode == Mode::Direct
    }

    fn len(&self, asked: Asked) -> usize {
        let (interesting, uninteresting) = self.lens(asked.query);
        interesting + uninteresting
    }

    fn items(&self, asked: Asked, scratch: &mut Scratch, out: &mut Vec<ItemId>) {
        let list = self.lists.row(asked.query);
        if self.config.mode == Mode::Direct {
            return out.extend_from_slice(list);
        }
        let mut rng = asked.rng(INTERESTING);
        let places = weighted_places(&self.weights[..list.len()], self.config.k, Some(&mut rng));
        out.extend(places.into_iter().map(|at| list[at as usize]));
        let begin = out.len();
        out.resize(begin + self.lens(asked.query).1, 0);
        let mut rng = asked.rng(UNINTERESTING);
        scratch.draw(&self.labelled, asked.query, list, false, &mut rng, &mut out[begin..]);
    }

    fn loss(&self, asked: Asked, said: Said<'_>, slopes: &mut [f32], to_rest: &mut f64) -> f32 {
        if self.config.mode == Mode::Direct {
            return plackett_luce(said.scores, said.log_complement, |_| 1.0, slopes, to_rest)
                as f32;
        }
        let n = self.lens(asked.query).0;
        let ((list, others), (to_list, to_others)) =
            (said.scores.split_at(n), slopes.split_at_mut(n));
        above(list, others, |_| 1.0, to_list, to_others) as f32
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{K, cases, items_of, trace};

    fn term(mode: Mode) -> Interesting {
        let config = Rrd { mode, k: 3, l: 4, window: K, temperature: 2.0, ..Rrd::default() };
        let cases = cases();
        let labelled = Arc::new(Labelled::new(&cases).unwrap());
        Interesting::new(config, &trace(&cases), labelled)
    }

    #[test]
    fn lists_are_drawn_in_the_teachers_order_and_anew_in_each_epoch() {
        let (cases, term) = (cases(), term(Mode::Sampled));
        let mut deep = 0;
        for query in 0..cases.n_queries() {
            let list = term.lists.row(query);
            let draws: Vec<Vec<ItemId>> =
                (0..20).map(|epoch| items_of(&term, query, epoch)).collect();
            assert!(
                list.is_empty() || draws.windows(2).any(|pair| pair[0] != pair[1]) || query == 5
            );
            for items in draws {
                if list.is_empty() {
                    assert!(items.is_empty(), "who has no list is not taught");
                    continue;
                }
                let (interesting, others) = items.split_at(3.min(list.len()));
                let places: Vec<usize> = interesting
                    .iter()
                    .map(|item| list.iter().position(|other| other == item).unwrap())
                    .collect();
                assert!(places.windows(2).all(|pair| pair[0] < pair[1]));
                deep += usize::from(places.last() == Some(&(list.len() - 1)));
                let strange =
                    |item: &ItemId| !list.contains(item) && !term.labelled.contains(query, *item);
                assert!(others.iter().all(strange));
                assert_eq!(others.len(), term.lens(query).1);
            }
        }
        assert!(deep > 20, "{deep}");
    }

    #[test]
    fn direct_teaches_the_first_k_against_everything_else() {
        let term = term(Mode::Direct);
        assert!(term.against());
        assert_eq!(items_of(&term, 0, 0), term.lists.row(0)[..3]);
        let (mut slopes, mut to_rest) = ([0.0; 2], 0.0);
        let said = Said { items: &[0, 1], scores: &[0.0, 0.0], log_complement: 0.0 };
        let asked = Asked { query: 0, case: 0, epoch: 0, seed: 1 };
        let loss = term.loss(asked, said, &mut slopes, &mut to_rest);
        assert!((loss - 6f32.ln()).abs() < 1e-6, "-ln(1/3) - ln(1/2)");
        assert!((to_rest - (1.0 / 3.0 + 0.5)).abs() < 1e-6);
    }
}
