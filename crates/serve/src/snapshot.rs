//! A fitted model as it is served: checked, warmed, with its vocabularies, what its users did, and what is known of its items.
//! It never changes; another version is another snapshot.

use crate::items::ItemTable;
use crate::limits::Limits;
use crate::nearness::Nearness;
use crate::request::GraphCard;
use crate::{Error, Result};
use rankstill_core::artefact::{Artefact, Manifest, sha256};
use rankstill_core::{
    Interactions, ItemId, ItemSet, Model, Packed, Precision, PrecisionUse, Query, Ranker as _,
    Rankings, TopK, UserId, Vocab,
};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A model that answers.
pub struct Snapshot {
    /// What requests call it.
    pub name: String,
    /// The first twelve digits of the SHA-256 of its manifest, which holds those of its files: same version, same answers.
    pub version: String,
    /// What it is.
    pub manifest: Manifest,
    /// The users that it was trained on.
    pub users: Vocab,
    /// The catalogue.
    pub items: Vocab,
    /// Titles and attributes.
    pub table: ItemTable,
    /// Whether what it says to a user that it knows depends on the history that stands in the query. Where not (matrix
    /// factorisation), somebody with new events is asked for as a stranger with the whole history.
    pub reads_history: bool,
    /// How long checking and warming took.
    pub warmed_in: Duration,
    /// The name again, to be shared.
    pub(crate) label: Arc<str>,
    history: Interactions,
    /// Items like the most popular ones, for when there is no time to look for them.
    neighbours: HashMap<ItemId, Vec<(ItemId, f32)>>,
    packed: Packed<Box<dyn Model>>,
    #[cfg(feature = "hnsw")]
    graph: Option<crate::graph::Graph>,
    /// How long an answer to one user took.
    one_takes: Duration,
    nearness: Nearness,
    /// Every item and in how many histories it stands, most popular first, ties to the smaller id.
    popular: Vec<(ItemId, u32)>,
}

impl Snapshot {
    /// Checks and warms. `name` is what requests call it; `kept_in` is what the numbers of its item table are kept in while it is
    /// searched, by the table's size where nothing is said. Answers do not depend on it.
    ///
    /// # Errors
    /// When artefact and model do not fit together, or an answer is not one: out of order, not a number, of items that the user
    /// has seen, or none at all.
    pub fn new(
        name: &str,
        artefact: Artefact,
        model: Box<dyn Model>,
        table: ItemTable,
        kept_in: Option<Precision>,
    ) -> Result<Self> {
        let began = Instant::now();
        let refused = |problem: String| Error::Refused { model: name.to_owned(), problem };
        let Artefact { manifest, users, items, history, .. } = artefact;
        if model.n_items() != items.len() {
            let (found, expected) = (model.n_items(), items.len());
            return Err(refused(format!("ranks {found} items, the catalogue has {expected}")));
        }
        if history.n_users() != users.len() {
            let (found, expected) = (history.n_users(), users.len());
            return Err(refused(format!(
                "histories of {found} users, the vocabulary has {expected}"
            )));
        }
        let stamp = serde_json::to_vec(&manifest).map_err(|error| refused(error.to_string()))?;
        let mut counts = vec![0u32; items.len()];
        history.items().values().iter().for_each(|&item| counts[item as usize] += 1);
        let mut popular: Vec<(ItemId, u32)> = (0..).zip(counts).collect();
        popular.sort_by_key(|&(item, count)| (std::cmp::Reverse(count), item));

        let numbers = model.factored().map_or(0, |factored| items.len() * factored.items().dim);
        let packed = Packed::with_precision(model, kept_in.unwrap_or_else(|| table_for(numbers)));
        let nearness = Nearness::new(packed.scorer(), &history);
        let mut snapshot = Self {
            name: name.to_owned(),
            version: sha256(&stamp)[..12].to_owned(),
            manifest,
            users,
            items,
            table,
            reads_history: true,
            warmed_in: Duration::ZERO,
            label: name.into(),
            neighbours: HashMap::new(),
            history,
            packed,
            #[cfg(feature = "hnsw")]
            graph: None,
            one_takes: Duration::MAX,
            nearness,
            popular,
        };
        snapshot.check()?;
        snapshot.reads_history = snapshot.probe_history()?;
        snapshot.neighbours = snapshot.find_neighbours()?;
        snapshot.one_takes = snapshot.time_one()?;
        snapshot.warmed_in = began.elapsed();
        Ok(snapshot)
    }

    /// Searches items approximately from now on, in a graph that finds at least `recall` of the exact answers; checks again.
    ///
    /// # Errors
    /// When the model's score is no product of two vectors, memory is short, no graph finds so much, or an answer is not one.
    #[cfg(feature = "hnsw")]
    pub fn with_graph(mut self, recall: f64) -> Result<Self> {
        let users = spread(&self.history, SAMPLED);
        let queries: Vec<Query<'_>> = users
            .map(|user| Query { user: Some(user), history: self.history(user), hidden: &[] })
            .collect();
        self.graph = Some(crate::graph::Graph::new(&self.packed, &queries, recall)?);
        self.check()?;
        self.one_takes = self.time_one()?;
        Ok(self)
    }

    /// The graph that answers, where there is one.
    #[must_use]
    pub fn graph_card(&self) -> Option<&GraphCard> {
        #[cfg(feature = "hnsw")]
        return self.graph.as_ref().map(|graph| &graph.card);
        #[cfg(not(feature = "hnsw"))]
        None
    }

    /// What the user did before the model was trained, oldest first.
    #[must_use]
    pub fn history(&self, user: UserId) -> &[ItemId] {
        self.history.history(user)
    }

    /// The user of that id, if the model knows them.
    #[must_use]
    pub fn user(&self, id: &str) -> Option<UserId> {
        self.users.get(id)
    }

    /// Row *i* answers query *i*.
    ///
    /// # Errors
    /// Never, for models in this process.
    pub fn rank(&self, queries: &[Query<'_>], top: &TopK<'_>) -> Result<Rankings> {
        #[cfg(feature = "hnsw")]
        if let (Some(graph), Some(factored)) = (&self.graph, self.packed.scorer().factored())
            && let Some(found) = graph.rank(factored, queries, top)
        {
            return Ok(found);
        }
        Ok(self.packed.rank(queries, top)?)
    }

    /// The most popular items that are allowed and not `masked`; the score is the number of users' histories that hold the item.
    #[must_use]
    pub fn most_popular(
        &self,
        k: usize,
        masked: &[ItemId],
        allowed: Option<&ItemSet>,
    ) -> Vec<(ItemId, f32)> {
        let may = |item: ItemId| {
            allowed.is_none_or(|allowed| allowed.contains(item)) && !masked.contains(&item)
        };
        let items = self.popular.iter().filter(|&&(item, _)| may(item)).take(k);
        items.map(|&(item, count)| (item, count as f32)).collect()
    }

    /// Up to `k` items whose titles hold `text`, whatever the case: those that begin with it first, popular ones before others.
    #[must_use]
    pub fn search(&self, text: &str, k: usize) -> Vec<ItemId> {
        let text = text.to_lowercase();
        let (mut begin, mut hold) = (Vec::new(), Vec::new());
        for &(item, _) in &self.popular {
            let Some(title) = self.table.title(item).map(str::to_lowercase) else { continue };
            if title.starts_with(&text) {
                begin.push(item);
            } else if hold.len() < k && title.contains(&text) {
                hold.push(item);
            }
            if begin.len() == k {
                break;
            }
        }
        begin.extend(hold);
        begin.truncate(k);
        begin
    }

    /// The `k` items most like `item`, best first.
    ///
    /// # Errors
    /// Never, for models in this process.
    pub fn similar(&self, item: ItemId, k: usize) -> Result<Vec<(ItemId, f32)>> {
        self.nearness.similar(&self.packed, item, k)
    }

    /// How like `item` each of `others` is: what [`Snapshot::similar`] ranks by.
    ///
    /// # Errors
    /// Never, for models in this process.
    pub fn likeness(&self, items: &[ItemId], others: &[ItemId]) -> Result<Vec<Vec<f32>>> {
        self.nearness.likeness(&self.packed, items, others)
    }

    /// Whether a known user's answer takes less time than to hand it to another thread: one pass over a small item table.
    pub(crate) fn is_quick(&self) -> bool {
        self.is_factored() && self.one_takes < QUICK
    }

    /// The median of a few users' answers.
    fn time_one(&self) -> Result<Duration> {
        let mut times = Vec::new();
        for user in probes(&self.history) {
            let query = Query { user: Some(user), history: self.history(user), hidden: &[] };
            let began = Instant::now();
            self.rank(&[query], &TopK::unseen(Limits::DEFAULT_K))?;
            times.push(began.elapsed());
        }
        times.sort();
        Ok(times.get(times.len() / 2).copied().unwrap_or(Duration::MAX))
    }

    /// What the item table is kept in, and how it was used; `None` for models that are not factored.
    #[must_use]
    pub fn table_use(&self) -> Option<PrecisionUse> {
        self.packed.precision_use()
    }

    /// The items most like one of the popular items; nothing for the others, and for models that are not factored.
    pub(crate) fn neighbours(&self, item: ItemId) -> &[(ItemId, f32)] {
        self.neighbours.get(&item).map_or(&[], Vec::as_slice)
    }

    fn find_neighbours(&self) -> Result<HashMap<ItemId, Vec<(ItemId, f32)>>> {
        if !self.is_factored() {
            return Ok(HashMap::new());
        }
        // Of a large catalogue fewer, so that loading is not kept waiting.
        let most = if self.items.len() <= LARGE { 1000 } else { 100 };
        let popular: Vec<ItemId> = self.popular.iter().take(most).map(|&(item, _)| item).collect();
        let near = popular.par_iter().map(|&item| Ok((item, self.similar(item, NEIGHBOURS)?)));
        near.collect()
    }

    /// What [`Snapshot::similar`] compares by, for people.
    #[must_use]
    pub fn likeness_is(&self) -> &'static str {
        self.nearness.is()
    }

    /// Whether a request is one pass over an item table, or a computation of the model's own.
    #[must_use]
    pub fn is_factored(&self) -> bool {
        self.packed.scorer().factored().is_some()
    }

    /// Asks for the first, the middle and the last user, for strangers with their histories, and for nobody.
    fn check(&self) -> Result<()> {
        let refused = |problem: String| Error::Refused { model: self.name.clone(), problem };
        let n_users = self.users.len() as u32;
        let mut queries = vec![Query::default()];
        for user in [0, n_users / 2, n_users.saturating_sub(1)].into_iter().filter(|&u| u < n_users)
        {
            let history = self.history(user);
            queries.push(Query { user: Some(user), history, hidden: &[] });
            queries.push(Query { user: None, history, hidden: &[] });
        }
        let top = TopK::unseen(CHECKED);
        let ranked = self.rank(&queries, &top)?;
        for (at, query) in queries.iter().enumerate() {
            let who = || match query.user {
                Some(user) => format!("user `{}`", self.users.id(user)),
                None => format!("a stranger with {} items", query.history.len()),
            };
            let (items, scores) = (ranked.items(at), ranked.scores(at));
            if let Some(score) = scores.iter().find(|score| !score.is_finite()) {
                return Err(refused(format!("the answer to {} has a score of {score}", who())));
            }
            if !scores.is_sorted_by(|a, b| a >= b) {
                return Err(refused(format!("the answer to {} is not in order", who())));
            }
            if let Some(item) = items.iter().find(|item| query.history.contains(item)) {
                let item = self.items.id(*item);
                return Err(refused(format!(
                    "the answer to {} holds `{item}`, which they know",
                    who()
                )));
            }
            let mut seen = query.history.to_vec();
            seen.sort_unstable();
            seen.dedup();
            let expected = CHECKED.min(self.items.len() - seen.len());
            if items.len() != expected {
                let found = items.len();
                return Err(refused(format!(
                    "the answer to {} has {found} items, expected {expected}",
                    who()
                )));
            }
        }
        Ok(())
    }

    /// See [`Snapshot::reads_history`]: asked of a few users with the whole of their history, the older half of it, and none.
    fn probe_history(&self) -> Result<bool> {
        let probes = probes(&self.history);
        let top = TopK { k: CHECKED, skip_seen: false, allowed: None };
        for user in probes {
            let history = self.history(user);
            let asked = [history, &history[..history.len() / 2], &[]];
            let queries = asked.map(|history| Query { user: Some(user), history, hidden: &[] });
            let ranked = self.rank(&queries, &top)?;
            let same = |at: usize| {
                ranked.items(at) == ranked.items(0) && ranked.scores(at) == ranked.scores(0)
            };
            if !(same(1) && same(2)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What an item table of so many numbers is best kept in: docs/serving.md has the measurements.
fn table_for(numbers: usize) -> Precision {
    if numbers < FULL { Precision::F32 } else { Precision::Int8 }
}

/// Numbers of a table that is searched as it is.
const FULL: usize = 1 << 18;

/// A few users with histories, spread over the log.
pub(crate) fn probes(history: &Interactions) -> Vec<UserId> {
    spread(history, PROBES).collect()
}

/// `n` users with histories, spread over the log.
fn spread(history: &Interactions, n: usize) -> impl Iterator<Item = UserId> {
    let n_users = history.n_users();
    let step = (n_users / n).max(1);
    let with = (0..n_users as UserId).filter(|&user| history.history(user).len() > 1);
    with.step_by(step).take(n)
}

/// Answers that take no longer are computed where they are asked for.
const QUICK: Duration = Duration::from_micros(200);
/// Length of the lists that are checked.
const CHECKED: usize = 50;
const PROBES: usize = 8;
/// Users whose answers a graph is measured by.
#[cfg(feature = "hnsw")]
const SAMPLED: usize = 400;
/// Kept of an item.
const NEIGHBOURS: usize = 20;
/// Items.
const LARGE: usize = 200_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{Kind, N_ITEMS, artefact, model, snapshot};

    #[test]
    fn it_answers_as_the_model_does() {
        for kind in Kind::ALL {
            let (snapshot, model) = (snapshot(kind), model(kind));
            let queries: Vec<Query<'_>> = (0..snapshot.users.len() as u32)
                .map(|user| Query {
                    user: Some(user),
                    history: snapshot.history(user),
                    hidden: &[3],
                })
                .collect();
            let top = TopK::unseen(9);
            assert_eq!(snapshot.rank(&queries, &top).unwrap(), model.rank(&queries, &top).unwrap());
        }
    }

    #[test]
    fn whether_a_model_reads_histories_is_found_out() {
        let reads = [Kind::Factors, Kind::FactorsWithBias, Kind::Rows]
            .map(|kind| snapshot(kind).reads_history);
        assert_eq!(reads, [false, false, true]);
    }

    #[test]
    fn a_model_that_does_not_answer_is_refused() {
        let refused = |kind| {
            let made =
                Snapshot::new("m", artefact(N_ITEMS), model(kind), ItemTable::default(), None);
            made.err().unwrap().to_string()
        };
        assert!(refused(Kind::NotANumber).contains("model `m`: the answer to"));
        let fewer = Snapshot::new(
            "m",
            artefact(N_ITEMS + 1),
            model(Kind::Rows),
            ItemTable::default(),
            None,
        );
        let told = fewer.err().unwrap().to_string();
        assert!(told.contains("ranks 40 items, the catalogue has 41"), "{told}");
    }

    #[test]
    fn another_manifest_is_another_version() {
        let of = |name: &str| {
            let mut artefact = artefact(N_ITEMS);
            artefact.manifest.name = name.into();
            Snapshot::new("m", artefact, model(Kind::Factors), ItemTable::default(), None)
                .unwrap()
                .version
        };
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
    }

    #[test]
    fn titles_that_begin_with_what_is_searched_come_first() {
        let items = artefact(N_ITEMS).items;
        let titled = |(item, title): (&str, &str)| crate::ItemRow {
            item: item.into(),
            title: Some(title.into()),
            attributes: vec![],
        };
        let rows = [("i1", "The Étoile"), ("i2", "étoile"), ("i3", "Moon")].map(titled);
        let table = ItemTable::new(&items, rows);
        let snapshot =
            Snapshot::new("m", artefact(N_ITEMS), model(Kind::Factors), table, None).unwrap();
        assert_eq!(snapshot.search("ÉTOILE", 5), [2, 1]);
        assert_eq!(snapshot.search("ÉTOILE", 1), [2]);
        assert_eq!(snapshot.search("sun", 5), [0; 0]);
    }

    #[test]
    fn the_most_popular_are_counted_and_ties_go_to_the_smaller_id() {
        let snapshot = snapshot(Kind::Factors);
        let mut counts = [0u32; N_ITEMS];
        for user in 0..snapshot.users.len() as u32 {
            snapshot.history(user).iter().for_each(|&item| counts[item as usize] += 1);
        }
        let mut naive: Vec<(ItemId, f32)> = (0..).zip(counts.iter().map(|&n| n as f32)).collect();
        naive.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let (first, second) = (naive.remove(0), naive.remove(0));
        assert_eq!(snapshot.most_popular(5, &[first.0, second.0], None), naive[..5]);
        let allowed = ItemSet::new(N_ITEMS, [second.0, naive[20].0]).unwrap();
        assert_eq!(snapshot.most_popular(5, &[], Some(&allowed)), [second, naive[20]]);
    }
}
