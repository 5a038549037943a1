//! A fitted model that is ready to serve: checked and warmed, with its vocabularies, user histories and item
//! table. A snapshot never changes; another version is another snapshot.

use super::item_table::ItemTable;
use super::sample;
use super::similarity::Similarity;
use crate::limits::Limits;
use crate::wire::GraphCard;
use crate::{Error, Result};
use rankstill_core::artefact::{Artefact, Manifest, sha256};
use rankstill_core::{
    ColdStart, Interactions, ItemId, ItemSet, Model, Packed, Precision, PrecisionUse, Query,
    Ranker as _, Rankings, TopK, Trained, UserId, Vocab,
};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A model that is ready to serve.
pub struct Snapshot {
    /// The name that requests use.
    pub name: String,
    /// The first twelve digits of the SHA-256 of its manifest, which contains the hashes of its files: same
    /// version, same answers.
    pub version: String,
    /// The artefact's manifest.
    pub manifest: Manifest,
    /// The users in the training data.
    pub users: Vocab,
    /// The items in the catalogue.
    pub items: Vocab,
    /// Titles and attributes of the items.
    pub table: ItemTable,
    /// Whether the answer to a known user depends on the history in the query. If not (matrix factorisation),
    /// a known user with new events is queried as an unknown user with the whole history.
    pub reads_history: bool,
    /// Time to check and warm the model.
    pub warmed_in: Duration,
    /// The name again, cheap to clone.
    pub(crate) label: Arc<str>,
    history: Interactions,
    /// Items similar to the most popular ones, precomputed for the fallback.
    neighbours: HashMap<ItemId, Vec<(ItemId, f32)>>,
    ranker: ColdStart<Box<Packed<Box<dyn Model>>>>,
    #[cfg(feature = "hnsw")]
    graph: Option<super::graph::Graph>,
    /// Median time to answer one user.
    time_per_user: Duration,
    similarity: Similarity,
}

impl Snapshot {
    /// Checks and warms a model. `precision` is the number format of its item table during search; by default
    /// it follows from the table's size. Answers do not depend on it.
    ///
    /// # Errors
    /// If the artefact does not match the model, or if an answer is invalid: out of order, NaN or infinite,
    /// too short, or with items that the user has already seen.
    pub fn new(
        name: &str,
        artefact: Artefact,
        model: Box<dyn Model>,
        table: ItemTable,
        precision: Option<Precision>,
    ) -> Result<Self> {
        let began = Instant::now();
        let refused = |problem: String| Error::Refused { model: name.to_owned(), problem };
        let Artefact { manifest, users, items, history, .. } = artefact;
        for (what, text) in [
            ("its name", name),
            ("its manifest's name", &manifest.name),
            ("its kind", &manifest.kind),
        ] {
            if text.is_empty() || text.len() > LONGEST_NAME || text.contains(char::is_control) {
                let problem = "expected text of 1 to 256 bytes without control characters, such as line breaks";
                return Err(refused(format!("{what}: {problem}, found {text:?}")));
            }
        }
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
        let manifest_json =
            serde_json::to_vec(&manifest).map_err(|error| refused(error.to_string()))?;
        let numbers = model.factored().map_or(0, |factored| items.len() * factored.items().dim);
        let packed =
            Packed::with_precision(model, precision.unwrap_or_else(|| default_precision(numbers)));
        let similarity = Similarity::new(packed.scorer(), &history);
        let ranker = ColdStart::new(Box::new(packed), Arc::new(Trained::on(&history)));
        let mut snapshot = Self {
            name: name.to_owned(),
            version: sha256(&manifest_json)[..12].to_owned(),
            manifest,
            users,
            items,
            table,
            reads_history: true,
            warmed_in: Duration::ZERO,
            label: name.into(),
            neighbours: HashMap::new(),
            history,
            ranker,
            #[cfg(feature = "hnsw")]
            graph: None,
            time_per_user: Duration::MAX,
            similarity,
        };
        snapshot.check()?;
        snapshot.reads_history = snapshot.finds_history_read()?;
        snapshot.neighbours = snapshot.find_neighbours()?;
        snapshot.time_per_user = snapshot.measure_one_user()?;
        snapshot.warmed_in = began.elapsed();
        Ok(snapshot)
    }

    /// Adds a graph for approximate search with at least this recall, and checks the model again.
    ///
    /// # Errors
    /// If the model's score is not a dot product of two vectors, if there is too little memory, if the recall
    /// cannot be reached, or if an answer is invalid.
    #[cfg(feature = "hnsw")]
    pub fn with_graph(mut self, recall: f64) -> Result<Self> {
        let users = sample::users(&self.history, GRAPH_USERS);
        let queries: Vec<Query<'_>> = users
            .map(|user| Query { user: Some(user), history: self.history(user), hidden: &[] })
            .collect();
        let graph =
            super::graph::Graph::new(self.packed(), &queries, recall, self.trained().items())?;
        self.graph = Some(graph);
        self.check()?;
        self.time_per_user = self.measure_one_user()?;
        Ok(self)
    }

    /// The graph for approximate search, if there is one.
    #[must_use]
    pub fn graph_card(&self) -> Option<&GraphCard> {
        #[cfg(feature = "hnsw")]
        return self.graph.as_ref().map(|graph| &graph.card);
        #[cfg(not(feature = "hnsw"))]
        None
    }

    /// The users and items that the model was trained on: those of its histories.
    #[must_use]
    pub fn trained(&self) -> &Trained {
        self.ranker.trained()
    }

    fn packed(&self) -> &Packed<Box<dyn Model>> {
        self.ranker.ranker()
    }

    /// The user's history in the training data, oldest first.
    #[must_use]
    pub fn history(&self, user: UserId) -> &[ItemId] {
        self.history.history(user)
    }

    /// The user with this id, if it is in the model's vocabulary.
    #[must_use]
    pub fn user(&self, id: &str) -> Option<UserId> {
        self.users.get(id)
    }

    /// Ranks items that the model was trained on; row *i* answers query *i*. A user whom it was not trained on is answered by their
    /// history, or by popularity.
    ///
    /// # Errors
    /// Never, for a model in this process.
    pub fn rank(&self, queries: &[Query<'_>], top: &TopK<'_>) -> Result<Rankings> {
        #[cfg(feature = "hnsw")]
        if let (Some(graph), Some(factored)) = (&self.graph, self.packed().scorer().factored())
            && queries.iter().all(|query| self.trained().has_all_of(query))
            && let Some(found) = graph.rank(factored, queries, top)
        {
            return Ok(found);
        }
        Ok(self.ranker.rank(queries, top)?)
    }

    /// The most popular items that are allowed and not `masked`. The score is the number of interactions in the histories; items
    /// without any are not listed.
    #[must_use]
    pub fn most_popular(
        &self,
        k: usize,
        masked: &[ItemId],
        allowed: Option<&ItemSet>,
    ) -> Vec<(ItemId, f32)> {
        self.trained().most_popular(&[masked], allowed).take(k).collect()
    }

    /// Up to `k` items whose titles contain `text`, ignoring case. Titles that begin with it come first;
    /// within both groups, popular items come first.
    #[must_use]
    pub fn search(&self, text: &str, k: usize) -> Vec<ItemId> {
        let text = text.to_lowercase();
        let (mut prefixed, mut containing) = (Vec::new(), Vec::new());
        for &item in self.trained().by_popularity() {
            let Some(title) = self.table.title(item).map(str::to_lowercase) else { continue };
            if title.starts_with(&text) {
                prefixed.push(item);
            } else if containing.len() < k && title.contains(&text) {
                containing.push(item);
            }
            if prefixed.len() == k {
                break;
            }
        }
        prefixed.extend(containing);
        prefixed.truncate(k);
        prefixed
    }

    /// The `k` items most similar to `item`, best first: of those that the model was trained on. None are similar to an item that it
    /// was not trained on.
    ///
    /// # Errors
    /// Never, for a model in this process.
    pub fn similar(&self, item: ItemId, k: usize) -> Result<Vec<(ItemId, f32)>> {
        if !self.trained().has_item(item) {
            return Ok(Vec::new());
        }
        self.similarity.most_similar(self.packed(), item, k, self.trained().items())
    }

    /// The similarity of each of `items` (rows) to each of `others` (columns), as [`Snapshot::similar`]
    /// scores it.
    ///
    /// # Errors
    /// Never, for a model in this process.
    pub fn similarities(&self, items: &[ItemId], others: &[ItemId]) -> Result<Vec<Vec<f32>>> {
        self.similarity.matrix(self.packed(), items, others)
    }

    /// Whether answering a known user takes less time than handing the request to another thread: one pass
    /// over a small item table.
    pub(crate) fn is_quick(&self) -> bool {
        self.is_factored() && self.time_per_user < QUICK
    }

    /// The median time to answer one of a few users.
    fn measure_one_user(&self) -> Result<Duration> {
        let mut times = Vec::new();
        for user in sample::few_users(&self.history) {
            let query = Query { user: Some(user), history: self.history(user), hidden: &[] };
            let began = Instant::now();
            self.rank(&[query], &TopK::unseen(Limits::DEFAULT_K))?;
            times.push(began.elapsed());
        }
        times.sort();
        Ok(times.get(times.len() / 2).copied().unwrap_or(Duration::MAX))
    }

    /// The number format of the item table and how often it was searched; `None` if the model is not factored.
    #[must_use]
    pub fn precision_use(&self) -> Option<PrecisionUse> {
        self.packed().precision_use()
    }

    /// The items most similar to a popular item; empty for other items, and if the model is not factored.
    pub(crate) fn neighbours(&self, item: ItemId) -> &[(ItemId, f32)] {
        self.neighbours.get(&item).map_or(&[], Vec::as_slice)
    }

    fn find_neighbours(&self) -> Result<HashMap<ItemId, Vec<(ItemId, f32)>>> {
        if !self.is_factored() {
            return Ok(HashMap::new());
        }
        // Fewer for a large catalogue, so that loading stays fast.
        let n = if self.items.len() <= LARGE_CATALOGUE { 1000 } else { 100 };
        let popular = &self.trained().by_popularity()[..n.min(self.trained().n_items())];
        let near = popular.par_iter().map(|&item| Ok((item, self.similar(item, NEIGHBOURS)?)));
        near.collect()
    }

    /// What [`Snapshot::similar`] measures, for people.
    #[must_use]
    pub fn similarity_description(&self) -> &'static str {
        self.similarity.description()
    }

    /// Whether an answer is one pass over an item table. Other models compute their scores themselves.
    #[must_use]
    pub fn is_factored(&self) -> bool {
        self.packed().scorer().factored().is_some()
    }

    /// Checks the answers to the first, the middle and the last user, to unknown users with their histories,
    /// and to an empty query.
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
            let subject = || match query.user {
                Some(user) => format!("user `{}`", self.users.id(user)),
                None => format!("an unknown user with {} items", query.history.len()),
            };
            let (items, scores) = (ranked.items(at), ranked.scores(at));
            if let Some(score) = scores.iter().find(|score| !score.is_finite()) {
                return Err(refused(format!("the answer to {} has a score of {score}", subject())));
            }
            if !scores.is_sorted_by(|a, b| a >= b) {
                return Err(refused(format!("the answer to {} is not in order", subject())));
            }
            if let Some(item) = items.iter().find(|item| query.history.contains(item)) {
                let item = self.items.id(*item);
                return Err(refused(format!(
                    "the answer to {} contains `{item}`, which the user has already seen",
                    subject()
                )));
            }
            let mut seen = query.history.to_vec();
            seen.sort_unstable();
            seen.dedup();
            let expected = CHECKED.min(self.trained().n_items() - seen.len());
            if items.len() != expected {
                let found = items.len();
                return Err(refused(format!(
                    "the answer to {} has {found} items, expected {expected}",
                    subject()
                )));
            }
        }
        Ok(())
    }

    /// See [`Snapshot::reads_history`]: compares the answers to a few users with their whole history, its
    /// older half, and none.
    fn finds_history_read(&self) -> Result<bool> {
        let top = TopK { k: CHECKED, skip_seen: false, allowed: None };
        for user in sample::few_users(&self.history) {
            let history = self.history(user);
            let histories = [history, &history[..history.len() / 2], &[]];
            let queries = histories.map(|history| Query { user: Some(user), history, hidden: &[] });
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

/// The fastest number format for a table of this many numbers; docs/serving.md has the measurements.
fn default_precision(numbers: usize) -> Precision {
    if numbers < SMALL_TABLE { Precision::F32 } else { Precision::Int8 }
}

/// Smaller tables are searched in full precision.
const SMALL_TABLE: usize = 1 << 18;
/// Answers below this time are computed on the thread that received the request.
const QUICK: Duration = Duration::from_micros(200);
/// Bytes of a model's name.
const LONGEST_NAME: usize = 256;
/// Length of the lists that are checked.
const CHECKED: usize = 50;
/// Users on whom the recall of a graph is measured.
#[cfg(feature = "hnsw")]
const GRAPH_USERS: usize = 400;
/// Precomputed neighbours of a popular item.
const NEIGHBOURS: usize = 20;
/// Number of items in a large catalogue.
const LARGE_CATALOGUE: usize = 200_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{Kind, N_ITEMS, artefact, model, snapshot};

    #[test]
    fn a_snapshot_answers_as_its_model_does() {
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
    fn a_snapshot_detects_whether_the_model_reads_histories() {
        let reads = [Kind::Factors, Kind::FactorsWithBias, Kind::Unfactored]
            .map(|kind| snapshot(kind).reads_history);
        assert_eq!(reads, [false, false, true]);
    }

    #[test]
    fn a_model_with_invalid_answers_is_refused() {
        let refused = |kind| {
            let snapshot =
                Snapshot::new("m", artefact(N_ITEMS), model(kind), ItemTable::default(), None);
            snapshot.err().unwrap().to_string()
        };
        assert!(refused(Kind::Nan).contains("model `m`: the answer to"));
        let fewer = Snapshot::new(
            "m",
            artefact(N_ITEMS + 1),
            model(Kind::Unfactored),
            ItemTable::default(),
            None,
        );
        let message = fewer.err().unwrap().to_string();
        assert!(message.contains("ranks 40 items, the catalogue has 41"), "{message}");
    }

    #[test]
    fn a_name_that_forges_lines_is_refused() {
        for wrong in ["", "a\nb", "a\"} 1\nforged 1", "a\u{1b}[2J", &"a".repeat(257)] {
            let mut artefact = artefact(N_ITEMS);
            artefact.manifest.name = wrong.into();
            let snapshot =
                Snapshot::new("m", artefact, model(Kind::Factors), ItemTable::default(), None);
            let message = snapshot.err().unwrap().to_string();
            assert!(
                message.contains("its manifest's name: expected text of 1 to 256"),
                "{message}"
            );
        }
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
    fn titles_that_begin_with_the_search_text_come_first() {
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
    fn popularity_counts_histories_and_ties_go_to_the_smaller_id() {
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
