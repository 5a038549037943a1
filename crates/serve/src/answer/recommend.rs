//! Recommendations, explanations and similar items: pure computation, for the scoring threads.

use super::context::UserContext;
use super::query::ResolvedQuery;
use crate::Result;
use crate::model::Snapshot;
use crate::store::UserState;
use crate::wire::{Basis, Because, Id, Recommendations, Recommended, Similar};
use rankstill_core::{ItemId, Query, TopK};

/// An answer, and the same list in the model's own item numbers.
pub(crate) struct Answered {
    pub recommendations: Recommendations,
    pub list: Vec<(ItemId, f32)>,
}

/// Answers queries that [can be batched](ResolvedQuery::batches_with), each with its user's state in the store.
///
/// # Errors
/// Never, for models in this process.
pub(super) fn recommend(
    snapshot: &Snapshot,
    queries: &[(&ResolvedQuery, &UserState)],
) -> Result<Vec<Answered>> {
    let contexts: Vec<UserContext<'_>> =
        queries.iter().map(|(query, state)| UserContext::new(snapshot, query, state)).collect();
    let queries: Vec<&ResolvedQuery> = queries.iter().map(|(query, _)| *query).collect();
    let needs_model = |context: &UserContext<'_>| context.basis != Basis::Popular;
    let scored: Vec<Query<'_>> = contexts
        .iter()
        .zip(&queries)
        .filter(|(context, _)| needs_model(context))
        .map(|(context, query)| Query {
            user: context.user,
            history: &context.history,
            hidden: &query.hidden,
        })
        .collect();
    let Some(first) = queries.first() else { return Ok(Vec::new()) };
    let top = TopK { k: first.k, skip_seen: !first.with_seen, allowed: first.allowed.as_ref() };
    let ranked = snapshot.rank(&scored, &top)?;
    let mut rows = 0..;
    let mut answers = Vec::with_capacity(queries.len());
    for (context, query) in contexts.iter().zip(&queries) {
        let list: Vec<(ItemId, f32)> = if needs_model(context) {
            let row = rows.next().unwrap_or_default();
            ranked.items(row).iter().copied().zip(ranked.scores(row).iter().copied()).collect()
        } else {
            snapshot.most_popular(query.k, &query.hidden, query.allowed.as_ref())
        };
        let mut items: Vec<Recommended> =
            list.iter().map(|&(item, score)| recommended(snapshot, item, score)).collect();
        if query.explain > 0 && !context.history.is_empty() {
            let list: Vec<ItemId> = list.iter().map(|&(item, _)| item).collect();
            explain(snapshot, &list, &context.history, query.explain, &mut items)?;
        }
        let recommendations = Recommendations {
            user: query.user.clone(),
            model: snapshot.name.clone(),
            version: snapshot.version.clone(),
            basis: context.basis,
            items,
            unknown_items: query.unknown_items.clone(),
            degraded: None,
        };
        answers.push(Answered { recommendations, list });
    }
    Ok(answers)
}

/// The items most similar to `item`.
///
/// # Errors
/// Never, for models in this process.
pub(super) fn similar(snapshot: &Snapshot, item: ItemId, k: usize) -> Result<Similar> {
    let found = snapshot.similar(item, k)?;
    Ok(Similar {
        item: Id(snapshot.items.id(item).into_owned()),
        model: snapshot.name.clone(),
        version: snapshot.version.clone(),
        likeness: snapshot.similarity_description().into(),
        items: found.into_iter().map(|(item, score)| recommended(snapshot, item, score)).collect(),
    })
}

/// Maximum number of history items that a recommended item is compared with: the most recent distinct ones.
const COMPARED: usize = 64;

fn explain(
    snapshot: &Snapshot,
    list: &[ItemId],
    history: &[ItemId],
    n_reasons: usize,
    out: &mut [Recommended],
) -> Result<()> {
    let mut recent: Vec<ItemId> = Vec::new();
    for &item in history.iter().rev() {
        if recent.len() < COMPARED && !recent.contains(&item) {
            recent.push(item);
        }
    }
    let similarities = snapshot.similarities(list, &recent)?;
    for (out, row) in out.iter_mut().zip(similarities) {
        let mut reasons: Vec<(ItemId, f32)> =
            recent.iter().copied().zip(row).filter(|reason| reason.1 > 0.0).collect();
        reasons.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        out.because.extend(reasons.into_iter().take(n_reasons).map(|(item, likeness)| Because {
            item: Id(snapshot.items.id(item).into_owned()),
            likeness,
            title: snapshot.table.title(item).map(str::to_owned),
        }));
    }
    Ok(())
}

pub(super) fn recommended(snapshot: &Snapshot, item: ItemId, score: f32) -> Recommended {
    let owned = |(name, values): (&str, Vec<&str>)| {
        (name.to_owned(), values.into_iter().map(str::to_owned).collect())
    };
    Recommended {
        item: Id(snapshot.items.id(item).into_owned()),
        score,
        title: snapshot.table.title(item).map(str::to_owned),
        attributes: snapshot.table.of(item).into_iter().map(owned).collect(),
        because: Vec::new(),
    }
}
