//! Inverted lists: a request looks into the few lists of items that promise most, inside which items are whole numbers of 8 bits. See
//! [`rankstill_core::kernel::codes::InvertedLists`]. Saves time, not bytes.
//!
//! The number of lists that are looked into is the knob. It is given, or the smallest with which `recall` of the best 20 items that
//! training users have not seen are found, over up to 500 of these users.

use super::Compressor;
use super::vectors::Vectors;
use crate::parts::coded::{CompressedModel, Stored, load_ints};
use crate::parts::settings::{Checked, invalid, within};
use rankstill_core::kernel::codes::{CodeTable as _, InvertedLists, top_k};
use rankstill_core::kernel::panels::Rows;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{Error, Interactions, ItemId, Model, Result, Tensors};
use serde::{Deserialize, Serialize};

/// Items in lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ivf {
    /// Number of lists; 0 = the square root of the number of items.
    pub lists: usize,
    /// Lists that a request looks into; 0 = as many as `recall` needs.
    pub probes: usize,
    /// Share of the best 20 items that must be found, if `probes` is 0.
    pub recall: f64,
    /// Rounds of k-means.
    pub rounds: usize,
}

impl Default for Ivf {
    fn default() -> Self {
        Self { lists: 0, probes: 0, recall: 0.95, rounds: 20 }
    }
}

impl Checked for Ivf {
    fn check(&self) -> Result<()> {
        within("recall", self.recall, 0.0..=1.0)
    }
}

impl Compressor for Ivf {
    fn kind(&self) -> &'static str {
        "ivf"
    }

    fn compress(
        &self,
        model: &dyn Model,
        train: &Interactions,
        seed: u64,
    ) -> Result<Box<dyn Model>> {
        let mut vectors = Vectors::of(model, train)?;
        let root = (vectors.n_items() as f64).sqrt().round() as usize;
        let n_lists = if self.lists == 0 { root } else { self.lists };
        let Some(mut codes) = InvertedLists::fit(vectors.item_rows(), n_lists, self.rounds, seed)
        else {
            return Err(invalid("compress", "this model has too many or extreme numbers"));
        };
        let probes = match self.probes {
            0 => probes_for(&codes, &vectors, train, self.recall, seed),
            probes => probes,
        };
        codes.set_probes(probes);
        let users = vectors.exact_users();
        Ok(Box::new(CompressedModel::new(vectors.dim, users, None, Box::new(codes))))
    }

    fn load(&self, tensors: &Tensors) -> Result<Box<dyn Model>> {
        let codes = load_ints(tensors, 8)?;
        let (centres, ..) = tensors.matrix("centres")?;
        let (ids, starts) = (tensors.u32s("ids")?, tensors.u32s("starts")?);
        let longest = tensors.f32s("longest", 1)?[0];
        let probes = tensors.u32s("probes")?.first().map_or(0, |probes| *probes as usize);
        let lists = InvertedLists::from_parts(
            codes,
            ids.to_vec(),
            starts.to_vec(),
            centres.to_vec(),
            longest,
        );
        let mut lists = lists.ok_or_else(|| {
            let problem = "the lists do not hold every item once".to_owned();
            Error::Tensor { name: "ids".into(), problem }
        })?;
        lists.set_probes(probes);
        Ok(Box::new(CompressedModel::loaded(tensors, Box::new(lists), false, false)?))
    }
}

/// The smallest number of lists that holds this share of the best items. Items that are found by chance, since their list shares a
/// block with one that is looked into, do not count: what is found later is a little more.
fn probes_for(
    codes: &InvertedLists,
    vectors: &Vectors,
    train: &Interactions,
    recall: f64,
    seed: u64,
) -> usize {
    let mut users: Vec<u32> = (0..vectors.n_users() as u32).collect();
    Rng::keyed(seed, [SAMPLE]).shuffle(&mut users);
    users.truncate(USERS);
    let dim = vectors.dim;
    let queries: Vec<f32> =
        users.iter().flat_map(|&u| &vectors.users[u as usize * dim..][..dim]).copied().collect();
    let queries = Rows::dense(&queries, users.len(), dim);
    let seen: Vec<&[ItemId]> = users.iter().map(|&user| train.history(user)).collect();
    // All lists are looked into.
    let best = top_k(codes, queries, BEST, &seen, None);
    // In how many lists one must look to find each of the best.
    let mut needed: Vec<usize> = Vec::with_capacity(best.ids.len());
    for user in 0..users.len() {
        let mut rank_of = vec![0; codes.n_lists()];
        for (rank, list) in codes.order(queries.row(user)).into_iter().enumerate() {
            rank_of[list as usize] = rank + 1;
        }
        needed.extend(best.list(user).0.iter().map(|&item| rank_of[codes.list_of(item)]));
    }
    needed.sort_unstable();
    let share = (recall * needed.len() as f64).ceil() as usize;
    needed.get(share.max(1) - 1).copied().unwrap_or(1)
}

/// Users, and items of each, from which the number of lists is found.
const USERS: usize = 500;
const BEST: usize = 20;

impl Stored for InvertedLists {
    fn tensors(&self) -> Tensors {
        let mut tensors = self.table().tensors();
        tensors.insert("ids", &[self.ids().len()], self.ids().to_vec());
        tensors.insert("starts", &[self.starts().len()], self.starts().to_vec());
        let shape = [self.n_lists(), self.dim() + 1];
        tensors.insert("centres", &shape, self.centres().to_vec());
        tensors.insert("longest", &[1], vec![self.longest()]);
        tensors.insert("probes", &[1], vec![self.probes() as u32]);
        tensors
    }
}

/// Random stream of the sample.
const SAMPLE: u64 = 0x5341_4d50;
