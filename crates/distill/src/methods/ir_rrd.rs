//! Item-side Ranking Regularised Distillation (Kang, Hwang, Kweon & Yu, Information Sciences 2021): Relaxed Ranking Distillation,
//! and the same for the users of each item that the batch lists: the teacher's users of the item in order, above other users.
//!
//! ```text
//! L = L_own + lambda L_RRD + item_lambda sum over the batch's items of
//!       - sum_k ln( e^s_k / ( sum_(j >= k) e^s_j + sum over uninteresting users l of e^s_l ) )
//! ```
//!
//! for k over `user_k` users of the item's first `user_window`, drawn with probability proportional to
//! exp(-position / temperature), and l over `user_l` others that do not have the item. Values of the authors' code
//! (SeongKu-Kang/IR-RRD_INS21). The first term is that of [`Rrd`], with its settings.
//!
//! Differs: users are those of the batch and not all, and the teacher's order of an item's users is derived from its lists (see
//! `item_side.rs`; in the code, from its scores of all pairs). `items` is ours: it limits the items of a batch, since a batch of
//! many users lists nearly all.

use super::rrd::{Rrd, RrdMode};
use crate::parts::item_side::{ItemSide, UserOrder, UserSelection};
use crate::parts::labelled::Labelled;
use crate::parts::settings::{Settings, at_least_1, not_negative};
use crate::parts::teacher_lists::one_teacher;
use crate::parts::vector_blend::VectorBlend;
use rankstill_core::{Cases, Distiller, Objective, Requirements, Rest, Result, Trace};
use serde::{Deserialize, Serialize};

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IrRrd {
    /// How [`Rrd`]'s items are chosen.
    pub mode: RrdMode,
    /// Length of [`Rrd`]'s interesting list.
    pub k: usize,
    /// Number of [`Rrd`]'s uninteresting items.
    pub l: usize,
    /// Length of the teacher's list from which [`Rrd`]'s interesting items are drawn; the order of an item's users is derived from
    /// it.
    pub window: usize,
    /// For both sides: larger = deeper into the window.
    pub temperature: f32,
    /// Weight of [`Rrd`]'s loss.
    pub lambda: f32,
    /// In mode `direct`: how [`Rrd`] computes the mass of all other items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rest: Option<Rest>,
    /// Number of an item's users in order.
    pub user_k: usize,
    /// Number of other users of an item.
    pub user_l: usize,
    /// Number of an item's users from which those in order are drawn.
    pub user_window: usize,
    /// How an item's users are ordered.
    pub by: UserOrder,
    /// Maximum number of items of a batch; 0 = all.
    pub items: usize,
    /// Weight of the loss of the item side.
    pub item_lambda: f32,
}

impl Default for IrRrd {
    fn default() -> Self {
        let Rrd { mode, k, l, window, temperature, lambda, rest } = Rrd::default();
        Self {
            mode,
            k,
            l,
            window,
            temperature,
            lambda,
            rest,
            user_k: 20,
            user_l: 20,
            user_window: 500,
            by: UserOrder::Places,
            items: 0,
            item_lambda: 5e-4,
        }
    }
}

impl Settings for IrRrd {
    fn check(&self) -> Result<()> {
        self.rrd().check()?;
        let counts =
            [("user_k", self.user_k), ("user_l", self.user_l), ("user_window", self.user_window)];
        at_least_1(&counts)?;
        not_negative("item_lambda", self.item_lambda)
    }
}

impl IrRrd {
    fn rrd(&self) -> Rrd {
        let Self { mode, k, l, window, temperature, lambda, rest, .. } = *self;
        Rrd { mode, k, l, window, temperature, lambda, rest }
    }
}

impl Distiller for IrRrd {
    fn requires(&self) -> Requirements {
        self.rrd().requires().with_k(self.window.max(self.k))
    }

    fn teaches_from(&self) -> Option<usize> {
        (self.lambda > 0.0 || self.item_lambda > 0.0).then_some(0)
    }

    /// Learns from one teacher. If a trace has checkpoints, the last is used.
    ///
    /// # Errors
    /// As for [`RankDistil::teach`](crate::RankDistil).
    fn teach(
        &self,
        own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>> {
        self.check()?;
        let trace = one_teacher("ir_rrd", cases, traces)?;
        let mut own = own;
        if self.item_lambda > 0.0 {
            let Self { user_k: k, user_l: l, temperature, .. } = *self;
            let selection = UserSelection::Interesting { k, l, temperature };
            let labelled = Labelled::new(cases)?;
            let users = (self.by, self.user_window, self.items);
            let term = ItemSide::new(selection, trace, &labelled, cases.n_items(), users);
            own = Box::new(VectorBlend::new(own, term, self.item_lambda));
        }
        self.rrd().teach(own, cases, traces)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{conforms, small};
    use serde_json::json;

    #[test]
    fn users_ordered_by_scores_conform() {
        conforms(&*small("ir_rrd", json!({"mode": "direct", "by": "scores", "items": 7})));
    }
}
