//! Inverted lists (IVF; Jegou, Douze & Schmid, TPAMI 2011): items are put into the lists of their nearest centres, and a query looks into the
//! few lists that promise most. Inside the lists, items are whole numbers of 8 bits ([`Ints`]).
//!
//! Nearest is meant in a space with one more dimension, `sqrt(M^2 - |v|^2)` with M the longest item's length, in which all items are
//! equally long and the largest product is the smallest distance (Bachrach et al., RecSys 2014). A query, which has 0 there,
//! is scaled to length M before lists are compared.
//!
//! Blocks of 64 items are scored as a whole, so a query also gets what of neighbouring lists is in its blocks. When the lists hold fewer
//! than k items that the query may get, it looks into further ones.

use super::{BLOCK, CodeTable, Found, Ints, Places, Scale};
use crate::kernel::bits::ItemSet;
use crate::kernel::kmeans::kmeans;
use crate::kernel::panels::{PanelOrder, Panels, Rows};
use crate::kernel::rng::Rng;

/// A table in lists.
pub struct InvertedLists {
    /// The items in the order of the lists.
    table: Ints,
    /// The item at each place.
    ids: Vec<u32>,
    /// The place of each item.
    places: Vec<u32>,
    /// Where each list begins, and the end.
    starts: Vec<u32>,
    /// `lists x (dim + 1)`
    centres: Vec<f32>,
    /// (c, -|c|^2 / 2), whose products with (q, 1) order the lists.
    packed: Panels,
    /// The length of the longest item.
    longest: f32,
    /// Lists that a query looks into.
    probes: usize,
}

/// Bits of a number inside the lists.
const BITS: u32 = 8;

impl InvertedLists {
    /// Puts items into `n_lists` lists. `None` where [`Ints::pack`] has none.
    #[must_use]
    pub fn fit(items: Rows<'_>, n_lists: usize, rounds: usize, seed: u64) -> Option<Self> {
        let (n, dim) = (items.n(), items.dim());
        let square = |i: usize| items.row(i).iter().fold(0.0, |sum, x| sum + f64::from(*x).powi(2));
        let most = (0..n).map(square).fold(0.0, f64::max);
        if !(most as f32).is_finite() {
            return None;
        }
        let longer = |i: usize| {
            let rest = (most - square(i)).max(0.0).sqrt() as f32;
            items.row(i).iter().copied().chain([rest])
        };
        let points: Vec<f32> = (0..n).flat_map(longer).collect();
        let n_lists = n_lists.clamp(1, n.max(1));
        let points = Rows::dense(&points, n, dim + 1);
        let clusters = kmeans(points, n_lists, rounds, &mut Rng::keyed(seed, [LISTS]));
        let mut ids: Vec<u32> = (0..n as u32).collect();
        ids.sort_by_key(|&id| (clusters.of_point[id as usize], id));
        let mut starts = vec![0u32; n_lists + 1];
        clusters.of_point.iter().for_each(|list| starts[*list as usize + 1] += 1);
        (0..n_lists).for_each(|list| starts[list + 1] += starts[list]);
        let ordered: Vec<f32> =
            ids.iter().flat_map(|&id| items.row(id as usize)).copied().collect();
        let table = Ints::pack(Rows::dense(&ordered, n, dim), BITS, Scale::Nearest)?;
        Self::from_parts(table, ids, starts, clusters.centres, most.sqrt() as f32)
    }

    /// From its parts: codes in the order of the lists, the item at each place, where lists begin (one more number than lists),
    /// their centres, and the length of the longest item. `None` when they do not fit each other. A query looks into all lists.
    #[must_use]
    pub fn from_parts(
        table: Ints,
        ids: Vec<u32>,
        starts: Vec<u32>,
        centres: Vec<f32>,
        longest: f32,
    ) -> Option<Self> {
        let (n, dim) = (table.n_items(), table.dim());
        let n_lists = starts.len().checked_sub(1)?;
        let mut places = vec![u32::MAX; n];
        for (place, id) in ids.iter().enumerate() {
            *places.get_mut(*id as usize).filter(|at| **at == u32::MAX)? = place as u32;
        }
        let fits = ids.len() == n
            && starts[0] == 0
            && starts[n_lists] as usize == n
            && starts.windows(2).all(|pair| pair[0] <= pair[1])
            && Some(centres.len()) == n_lists.checked_mul(dim + 1)
            && longest.is_finite()
            && table.bits() == BITS
            && centres.iter().all(|x| x.is_finite());
        if !fits {
            return None;
        }
        let packed: Vec<f32> = centres
            .chunks_exact(dim + 1)
            .flat_map(|centre| {
                let square = centre.iter().fold(0.0, |sum, x| sum + x * x);
                centre[..dim].iter().copied().chain([-0.5 * square])
            })
            .collect();
        let packed = Panels::pack(Rows::dense(&packed, n_lists, dim + 1), PanelOrder::Id);
        Some(Self { table, ids, places, starts, centres, packed, longest, probes: n_lists })
    }

    /// The codes, in the order of the lists.
    #[must_use]
    pub fn table(&self) -> &Ints {
        &self.table
    }

    /// The item at each place.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Where lists begin, and the end of the last one.
    #[must_use]
    pub fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// The centres of the lists, `lists x (dim + 1)`.
    #[must_use]
    pub fn centres(&self) -> &[f32] {
        &self.centres
    }

    /// The length of the longest item.
    #[must_use]
    pub fn longest(&self) -> f32 {
        self.longest
    }

    /// Number of lists.
    #[must_use]
    pub fn n_lists(&self) -> usize {
        self.starts.len() - 1
    }

    /// Lists that a query looks into.
    #[must_use]
    pub fn probes(&self) -> usize {
        self.probes
    }

    /// Sets the lists that a query looks into: more find more of the best items, and take longer.
    pub fn set_probes(&mut self, probes: usize) {
        self.probes = probes.clamp(1, self.n_lists().max(1));
    }

    /// The list of an item.
    ///
    /// # Panics
    /// When there is no such item.
    #[must_use]
    pub fn list_of(&self, item: u32) -> usize {
        let place = self.places[item as usize];
        self.starts.partition_point(|start| *start <= place) - 1
    }

    /// All lists, the most promising first.
    #[must_use]
    pub fn order(&self, query: &[f32]) -> Vec<u32> {
        assert!(query.len() == self.table.dim());
        let length = query.iter().fold(0.0, |sum, x| sum + f64::from(*x).powi(2)).sqrt();
        let scale = if length > 0.0 { (f64::from(self.longest) / length) as f32 } else { 0.0 };
        let scaled: Vec<f32> = query.iter().map(|x| x * scale).chain([1.0]).collect();
        let mut scores = vec![0.0; self.n_lists()];
        self.packed.score_row(&scaled, &mut scores);
        let mut order: Vec<u32> = (0..self.n_lists() as u32).collect();
        let by_score = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]);
        order.sort_unstable_by(|a, b| by_score(a, b).then(a.cmp(b)));
        order
    }

    /// Number of items that are scored for a query, those that fill blocks included.
    #[must_use]
    pub fn n_scored(&self, query: &[f32]) -> usize {
        let order = self.order(query);
        let blocks = self.blocks(&order[..self.probes], &mut self.no_blocks());
        blocks.len() * BLOCK
    }

    fn no_blocks(&self) -> ItemSet {
        ItemSet::empty(self.ids.len().div_ceil(BLOCK))
    }

    /// The blocks of some lists that are not among those `done`, to which they are added.
    fn blocks(&self, lists: &[u32], done: &mut ItemSet) -> Vec<u32> {
        let mut blocks = Vec::new();
        for list in lists {
            let [start, end] = [0, 1].map(|i| self.starts[*list as usize + i] as usize);
            let of_list = start / BLOCK..end.div_ceil(BLOCK);
            let of_list = if start == end { 0..0 } else { of_list };
            blocks.extend(of_list.map(|block| block as u32).filter(|block| done.insert(*block)));
        }
        blocks
    }

    fn places<'a>(&'a self, blocks: &'a [u32]) -> Places<'a> {
        Places { n_items: self.ids.len(), ids: Some(&self.ids), blocks: Some(blocks) }
    }
}

impl CodeTable for InvertedLists {
    fn n_items(&self) -> usize {
        self.ids.len()
    }

    fn dim(&self) -> usize {
        self.table.dim()
    }

    /// Without what only decoding needs: places, and the centres as they were fitted.
    fn bytes(&self) -> usize {
        self.table.bytes() + 4 * (self.ids.len() + self.starts.len()) + self.packed.bytes()
    }

    fn n_numbers(&self) -> usize {
        self.table.n_numbers() + self.centres.len()
    }

    fn decode(&self, item: usize, out: &mut [f32]) {
        self.table.decode(self.places[item] as usize, out);
    }

    fn scores(&self, query: &[f32], out: &mut [f32]) {
        assert!(out.len() == self.ids.len());
        out.fill(f32::NEG_INFINITY);
        let order = self.order(query);
        let blocks = self.blocks(&order[..self.probes], &mut self.no_blocks());
        self.table.fill_places(query, self.places(&blocks), out);
    }

    fn scan(&self, query: &[f32], found: &mut Found<'_>) {
        let order = self.order(query);
        let (mut from, mut done) = (0, self.no_blocks());
        while from < order.len() {
            // The number of lists that was asked for, then as many again, and so on.
            let to = (from + self.probes.max(from)).min(order.len());
            let blocks = self.blocks(&order[from..to], &mut done);
            self.table.scan_places(query, self.places(&blocks), found);
            from = to;
            if from < order.len() && found.is_full() {
                break;
            }
        }
    }
}

/// Random stream of the first centres.
const LISTS: u64 = 0x4c49_5354;
