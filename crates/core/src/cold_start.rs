//! Cold start: users and items that a model was never trained on. Their vectors are what initialisation made of them, so nothing is
//! answered by these: a user is answered by their history, or by popularity if there is none, and an item is not recommended.

use crate::{
    Cases, Error, Interactions, ItemId, ItemSet, Lists, Query, Ranker, Rankings, Result, Span,
    TopK, UserId,
};
use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

/// Who and what a model was trained on: the users and items of its training log that have interactions in it.
#[derive(Clone, Debug)]
pub struct Trained {
    users: Vec<bool>,
    /// Interactions of each item.
    counts: Vec<u32>,
    /// The whole catalogue, most popular first; ties go to the smaller id. Items without interactions come last.
    by_popularity: Vec<ItemId>,
    n_items: usize,
    /// `None`: all items of the catalogue.
    items: Option<ItemSet>,
}

/// What an answer rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnsweredBy {
    /// The model knows the user.
    User,
    /// The model has never seen the user, but items of their history.
    History,
    /// Neither: the most popular items.
    Popularity,
}

impl Trained {
    /// The users and items with interactions in `train`, the log that the model was fitted on.
    #[must_use]
    pub fn on(train: &Interactions) -> Self {
        let counts = train.popularity();
        let mut by_popularity: Vec<ItemId> = (0..counts.len() as ItemId).collect();
        by_popularity.sort_by_key(|&item| std::cmp::Reverse(counts[item as usize])); // stable: ties by id
        let n_items = counts.iter().filter(|&&count| count > 0).count();
        let items = (n_items < counts.len()).then(|| {
            let mut items = ItemSet::empty(counts.len());
            items.insert_all(&by_popularity[..n_items]);
            items
        });
        let users = train.items().iter().map(|line| !line.is_empty()).collect();
        Self { users, counts, by_popularity, n_items, items }
    }

    /// The number of training interactions of each item of the catalogue.
    #[must_use]
    pub fn popularity(&self) -> &[u32] {
        &self.counts
    }

    /// All items of the catalogue, most popular first; ties go to the smaller id.
    #[must_use]
    pub fn by_popularity(&self) -> &[ItemId] {
        &self.by_popularity
    }

    /// The number of items with training interactions.
    #[must_use]
    pub fn n_items(&self) -> usize {
        self.n_items
    }

    /// Whether the user has training interactions.
    #[must_use]
    pub fn has_user(&self, user: UserId) -> bool {
        self.users.get(user as usize).copied().unwrap_or(false)
    }

    /// Whether the item has training interactions.
    #[must_use]
    pub fn has_item(&self, item: ItemId) -> bool {
        self.counts.get(item as usize).is_some_and(|&count| count > 0)
    }

    /// Whether all items, which are of the catalogue, have training interactions.
    fn has_items(&self, items: &[ItemId]) -> bool {
        self.items.is_none() || items.iter().all(|&item| self.has_item(item))
    }

    /// The items with training interactions; `None` if these are the whole catalogue.
    #[must_use]
    pub fn items(&self) -> Option<&ItemSet> {
        self.items.as_ref()
    }

    /// What the answer to `query` rests on.
    #[must_use]
    pub fn answered_by(&self, query: &Query<'_>) -> AnsweredBy {
        if query.user.is_some_and(|user| self.has_user(user)) {
            AnsweredBy::User
        } else if query.history.iter().any(|&item| self.has_item(item)) {
            AnsweredBy::History
        } else {
            AnsweredBy::Popularity
        }
    }

    /// The most popular items with training interactions, and their number of these, without the items of `masked`.
    pub fn most_popular<'a>(
        &'a self,
        masked: &[&[ItemId]],
        allowed: Option<&'a ItemSet>,
    ) -> impl Iterator<Item = (ItemId, f32)> + 'a {
        let mut masked = masked.concat();
        masked.sort_unstable();
        let trained = self.by_popularity[..self.n_items].iter().copied();
        let eligible = move |item: &ItemId| {
            masked.binary_search(item).is_err() && allowed.is_none_or(|set| set.contains(*item))
        };
        trained.filter(eligible).map(|item| (item, self.counts[item as usize] as f32))
    }

    /// Whether the model can be asked `query` as it is.
    #[must_use]
    pub fn has_all_of(&self, query: &Query<'_>) -> bool {
        let known = query.user.map_or(!query.history.is_empty(), |user| self.has_user(user));
        known && self.has_items(query.history)
    }

    /// The query without what the model was not trained on; `None` if nothing is left.
    fn known<'a>(&self, query: &Query<'a>) -> Option<KnownQuery<'a>> {
        let user = query.user.filter(|&user| self.has_user(user));
        let history = match self.has_items(query.history) {
            true => Cow::Borrowed(query.history),
            false => query.history.iter().copied().filter(|&item| self.has_item(item)).collect(),
        };
        let answered = user.is_some() || !history.is_empty();
        answered.then_some(KnownQuery { user, history, hidden: query.hidden })
    }

    /// The items that may be recommended: of `allowed`, those that the model was trained on.
    fn allowed<'a>(&'a self, allowed: Option<&'a ItemSet>) -> Option<Cow<'a, ItemSet>> {
        match (&self.items, allowed) {
            (None, allowed) => allowed.map(Cow::Borrowed),
            (Some(trained), None) => Some(Cow::Borrowed(trained)),
            (Some(trained), Some(allowed)) => {
                let mut both = trained.clone();
                if trained.n_items() == allowed.n_items() {
                    both.intersect(allowed);
                } else {
                    let refused =
                        self.by_popularity.iter().filter(|&&item| !allowed.contains(item));
                    refused.for_each(|&item| both.remove(item));
                }
                Some(Cow::Owned(both))
            }
        }
    }
}

/// A query as the model can be asked it.
struct KnownQuery<'a> {
    user: Option<UserId>,
    history: Cow<'a, [ItemId]>,
    hidden: &'a [ItemId],
}

impl KnownQuery<'_> {
    fn query(&self) -> Query<'_> {
        Query { user: self.user, history: &self.history, hidden: self.hidden }
    }
}

/// A ranker that is asked only about what it was trained on. A user without training interactions is answered by their history, as a
/// new user would be, and without one by popularity (the score is then the number of training interactions); items without training
/// interactions are not read in histories and never listed. All other queries are answered by the ranker, unchanged. `P` is any pointer to the ranker.
///
/// ```
/// use rankstill_core::{ColdStart, Interactions, Lists, Query, Ranker, Scorer, Trained, TopK};
/// use std::sync::Arc;
///
/// /// Scores as initialisation left them.
/// struct Untrained;
///
/// impl Scorer for Untrained {
///     fn n_items(&self) -> usize {
///         3
///     }
///     fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
///         out.chunks_exact_mut(3).take(queries.len()).for_each(|row| row.copy_from_slice(&[0.7, 0.1, 0.9]));
///     }
/// }
///
/// // User 1 and item 2 have no interactions.
/// let train = Interactions::new(3, Lists::from_iter([vec![1], vec![], vec![1, 0]]), None, None)?;
/// let ranker = ColdStart::new(&Untrained, Arc::new(Trained::on(&train)));
/// let ask = |user| Query { user: Some(user), history: train.history(user), hidden: &[] };
/// let ranked = ranker.rank(&[ask(0), ask(1)], &TopK::unseen(3))?;
/// assert_eq!(ranked.items(0), [0]);
/// assert_eq!((ranked.items(1), ranked.scores(1)), (&[1, 0][..], &[2.0, 1.0][..])); // by popularity
/// # Ok::<(), rankstill_core::Error>(())
/// ```
pub struct ColdStart<P> {
    ranker: P,
    trained: Arc<Trained>,
}

impl<P: Deref<Target: Ranker>> ColdStart<P> {
    /// `ranker`, which was fitted on what `trained` holds.
    #[must_use]
    pub fn new(ranker: P, trained: Arc<Trained>) -> Self {
        Self { ranker, trained }
    }

    /// The ranker itself.
    #[must_use]
    pub fn ranker(&self) -> &P::Target {
        &self.ranker
    }

    /// Who and what it was trained on.
    #[must_use]
    pub fn trained(&self) -> &Trained {
        &self.trained
    }
}

impl<P: Deref<Target: Ranker> + Send + Sync> Ranker for ColdStart<P> {
    fn rank(&self, queries: &[Query<'_>], top: &TopK<'_>) -> Result<Rankings> {
        let allowed = self.trained.allowed(top.allowed);
        let asked = TopK { allowed: allowed.as_deref(), ..*top };
        if queries.iter().all(|query| self.trained.has_all_of(query)) {
            return self.ranker.rank(queries, &asked);
        }
        let known: Vec<_> = queries.iter().map(|query| self.trained.known(query)).collect();
        let answered: Vec<Query<'_>> = known.iter().flatten().map(KnownQuery::query).collect();
        let found = self.ranker.rank(&answered, &asked)?;
        complete(found.len(), answered.len())?;
        let (mut ranked, mut rows) = (Rankings::default(), 0..found.len());
        for (query, known) in queries.iter().zip(&known) {
            if let Some(row) = known.as_ref().and_then(|_| rows.next()) {
                ranked
                    .push(found.items(row).iter().copied().zip(found.scores(row).iter().copied()));
            } else {
                let popular = self.trained.most_popular(&masked(query, top), top.allowed);
                ranked.push(popular.take(top.k));
            }
        }
        Ok(ranked)
    }

    fn target_ranks(&self, cases: &Cases, top: &TopK<'_>) -> Result<Lists<u32>> {
        let allowed = self.trained.allowed(top.allowed);
        let asked = TopK { allowed: allowed.as_deref(), ..*top };
        if cases.iter().all(|case| self.trained.has_all_of(&case.query)) {
            return self.ranker.target_ranks(cases, &asked);
        }
        let known: Vec<_> = cases.iter().map(|case| self.trained.known(&case.query)).collect();
        let answered = known
            .iter()
            .zip(cases.iter())
            .filter_map(|(query, case)| query.as_ref().map(|query| (query.query(), case.targets)));
        let answered = copied(cases.n_items(), answered)?;
        let found = self.ranker.target_ranks(&answered, &asked)?;
        complete(found.len(), answered.len())?;
        let popular = PopularRanks::new(&self.trained, top);
        let (mut ranks, mut rows) = (Lists::default(), 0..found.len());
        for (case, known) in cases.iter().zip(&known) {
            match known.as_ref().and_then(|_| rows.next()) {
                Some(row) => ranks.push(found.row(row).iter().copied()),
                None => ranks.push(popular.of(&masked(&case.query, top), case.targets)),
            }
        }
        Ok(ranks)
    }
}

fn complete(found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Length { what: "answers of a ranker".into(), expected, found })
}

/// The items that may not be recommended to the query.
fn masked<'a>(query: &Query<'a>, top: &TopK<'_>) -> [&'a [ItemId]; 2] {
    if top.skip_seen { [query.history, query.hidden] } else { [&[], &[]] }
}

/// These queries and targets as cases.
fn copied<'a>(
    n_items: usize,
    cases: impl Iterator<Item = (Query<'a>, &'a [ItemId])>,
) -> Result<Cases> {
    let (mut timeline, mut spans) = (Vec::new(), Vec::new());
    for (query, targets) in cases {
        let [history, hidden, targets] = [query.history, query.hidden, targets].map(|items| {
            let start = timeline.len();
            timeline.extend_from_slice(items);
            start..timeline.len()
        });
        spans.push(Span { user: query.user, history, hidden, targets });
    }
    Cases::new(n_items, Arc::new(timeline), spans)
}

/// Ranks in the list of all trained items by popularity.
struct PopularRanks(
    /// The 1-based rank of each item among those allowed; 0 if it is not among them.
    Vec<u32>,
);

impl PopularRanks {
    fn new(trained: &Trained, top: &TopK<'_>) -> Self {
        let mut ranks = vec![0; trained.counts.len()];
        for (rank, (item, _)) in (1..).zip(trained.most_popular(&[], top.allowed)) {
            ranks[item as usize] = rank;
        }
        Self(ranks)
    }

    /// The ranks of `targets` in the list without the `masked` items.
    fn of(&self, masked: &[&[ItemId]], targets: &[ItemId]) -> Vec<u32> {
        let rank = |item: &ItemId| self.0.get(*item as usize).copied().unwrap_or(0);
        let mut gone: Vec<u32> = masked.iter().copied().flatten().map(rank).collect();
        gone.sort_unstable();
        gone.dedup();
        gone.retain(|&rank| rank > 0);
        let of = |item: &ItemId| match gone.binary_search(&rank(item)) {
            Err(before) if rank(item) > 0 => rank(item) - before as u32,
            _ => 0,
        };
        targets.iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests;
