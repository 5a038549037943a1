//! Item-side Ranking Regularised Distillation (Kang, Hwang, Kweon & Yu, Information Sciences 2021): Relaxed Ranking Distillation
//! and, of the items that it lists, the same from their side: the order of the users whom the teacher gives them, above others.
//!
//! ```text
//! L = L_own + lambda L_RRD + item_lambda sum over the batch's items of
//!       - sum_k ln( e^s_k / ( sum_(j >= k) e^s_j + sum over uninteresting users l of e^s_l ) )
//! ```
//!
//! for k over `user_k` users out of the item's first `user_window`, drawn with probability proportional to exp(-place / temperature),
//! and l over `user_l` others that have not got it. Values of the authors' code (SeongKu-Kang/IR-RRD_INS21). The first term is
//! [`Rrd`]'s, with its settings.
//!
//! Differs: users are those of the batch and not all, and the teacher's order of an item's users is its lists turned round (see
//! `item_side.rs`; there, its scores of all pairs). `items` is ours: at most so many of a batch's items are taught, since a batch
//! of many users lists nearly all.

use crate::beside_vectors::BesideVectors;
use crate::item_side::{By, Form, ItemSide};
use crate::labelled::Labelled;
use crate::rrd::{Mode, Rrd};
use crate::settings::{self, at_least_1, not_negative};
use rankstill_core::registry::Config;
use rankstill_core::{Cases, Distiller, Objective, Requirements, Result, Trace};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IrRrd {
    /// Of [`Rrd`]: how lists are made.
    pub mode: Mode,
    /// Of [`Rrd`]: length of the interesting list.
    pub k: usize,
    /// Of [`Rrd`]: how many uninteresting items.
    pub l: usize,
    /// Of [`Rrd`]: the teacher's items among which the interesting ones are drawn; they say, turned round, how an item's users are
    /// ordered.
    pub window: usize,
    /// Of both sides: larger = deeper into the window.
    pub temperature: f32,
    /// The weight of [`Rrd`]'s loss.
    pub lambda: f32,
    /// Of an item: how many users in order.
    pub user_k: usize,
    /// Of an item: how many others.
    pub user_l: usize,
    /// Of an item: the users among which those in order are drawn.
    pub user_window: usize,
    /// By what an item's users are ordered.
    pub by: By,
    /// At most so many items of a batch; 0 = all.
    pub items: usize,
    /// The weight of the items' loss.
    pub item_lambda: f32,
}

impl Default for IrRrd {
    fn default() -> Self {
        let Rrd { mode, k, l, window, temperature, lambda } = Rrd::default();
        Self {
            mode,
            k,
            l,
            window,
            temperature,
            lambda,
            user_k: 20,
            user_l: 20,
            user_window: 500,
            by: By::Places,
            items: 0,
            item_lambda: 5e-4,
        }
    }
}

impl IrRrd {
    /// From a configuration.
    ///
    /// # Errors
    /// When a setting is unknown, of the wrong type or out of its range.
    pub fn parse(config: Config<'_>) -> Result<Self> {
        settings::read(config, Self::check)
    }

    fn check(&self, path: &str) -> Result<()> {
        self.rrd().check(path)?;
        let counts =
            [("user_k", self.user_k), ("user_l", self.user_l), ("user_window", self.user_window)];
        at_least_1(path, &counts)?;
        not_negative(path, "item_lambda", self.item_lambda)
    }

    fn rrd(&self) -> Rrd {
        let Self { mode, k, l, window, temperature, lambda, .. } = *self;
        Rrd { mode, k, l, window, temperature, lambda }
    }
}

impl Distiller for IrRrd {
    fn requires(&self) -> Requirements {
        self.rrd().requires().with_k(self.window.max(self.k))
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
        let trace = crate::beside_own::one_teacher("ir_rrd", cases, traces)?;
        let mut own = own;
        if self.item_lambda > 0.0 {
            let form =
                Form::Interesting { k: self.user_k, l: self.user_l, temperature: self.temperature };
            let labelled = Labelled::new(cases)?;
            let users = (self.by, self.user_window, self.items);
            let term = ItemSide::new(form, trace, &labelled, cases.n_items(), users);
            own = Box::new(BesideVectors::new(own, term, self.item_lambda));
        }
        self.rrd().teach(own, cases, traces)
    }

    fn config(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
