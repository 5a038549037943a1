//! From what is asked to what is answered, in the model's own numbers: pure computation, on the scoring threads.

use crate::limits::Limits;
use crate::problem::Problem;
use crate::request::{Basis, Because, Id, Recommendations, Recommended, Request, Similar};
use crate::snapshot::Snapshot;
use crate::store::OfUser;
use rankstill_core::{ItemId, ItemSet, Query, TopK, UserId};
use std::borrow::Cow;

/// A request that a model can answer: ids looked up, filters made sets.
#[derive(Clone, Debug)]
pub(crate) struct Recommend {
    pub user: Option<Id>,
    /// What the request says that they did.
    pub history: Vec<ItemId>,
    pub unknown_items: Vec<Id>,
    pub k: usize,
    pub with_seen: bool,
    /// Not to be recommended; empty where `with_seen` is set, because then `allowed` says it.
    pub hidden: Vec<ItemId>,
    pub allowed: Option<ItemSet>,
    pub explain: usize,
}

impl Recommend {
    /// # Errors
    /// Names the field that is wrong.
    pub fn new(request: Request, snapshot: &Snapshot, limits: &Limits) -> Result<Self, Problem> {
        let k = request.check(limits)?;
        let n_items = snapshot.items.len();
        let known = |ids: &[Id]| -> Vec<ItemId> {
            ids.iter().filter_map(|id| snapshot.items.get(&id.0)).collect()
        };
        let set = |items: Vec<ItemId>| ItemSet::new(n_items, items).map_err(internal);
        let mut allowed = request.allow.as_deref().map(|allow| set(known(allow))).transpose()?;
        for (name, values) in &request.filter {
            let Some(having) = snapshot.table.having(name, values).map_err(internal)? else {
                let field = format!("#/filter/{}", crate::extract::escaped(name));
                let names: Vec<&str> = snapshot.table.attributes().collect();
                let names = if names.is_empty() { "none".into() } else { names.join(", ") };
                return Err(Problem::field(
                    field,
                    format!("no such attribute; there are: {names}"),
                ));
            };
            match &mut allowed {
                Some(allowed) => allowed.intersect(&having),
                None => allowed = Some(having),
            }
        }
        let mut hidden = known(&request.deny);
        if request.with_seen && !hidden.is_empty() {
            let allowed = allowed.get_or_insert_with(|| ItemSet::all(n_items));
            hidden.drain(..).for_each(|item| allowed.remove(item));
        }
        let (mut history, mut unknown_items) = (Vec::new(), Vec::new());
        for id in request.history {
            match snapshot.items.get(&id.0) {
                Some(item) => history.push(item),
                None => unknown_items.push(id),
            }
        }
        let Request { user, with_seen, explain, .. } = request;
        Ok(Self { user, history, unknown_items, k, with_seen, hidden, allowed, explain })
    }

    /// Whether the answer is the user's plain list: what is worth remembering for when nothing can be computed.
    pub fn is_plain(&self) -> bool {
        let lists = self.allowed.is_some() || !self.hidden.is_empty() || self.with_seen;
        self.user.is_some() && self.history.is_empty() && !lists
    }

    /// Whether both can be answered in one pass over the items.
    pub fn goes_with(&self, other: &Self) -> bool {
        let plain = self.allowed.is_none() && other.allowed.is_none();
        plain && self.k == other.k && self.with_seen == other.with_seen
    }
}

/// What is known of who asks.
pub(crate) struct Known<'a> {
    /// As the model is asked.
    pub user: Option<UserId>,
    pub history: Cow<'a, [ItemId]>,
    pub basis: Basis,
    /// They asked to be.
    pub forgotten: bool,
}

/// An answer, and the same in the model's own numbers.
pub(crate) struct Answered {
    pub found: Recommendations,
    pub list: Vec<(ItemId, f32)>,
}

impl<'a> Known<'a> {
    /// With what the store knows of them.
    pub fn of(snapshot: &'a Snapshot, ask: &Recommend, stored: &OfUser) -> Self {
        let forgotten = stored.forgotten;
        let mut user = ask.user.as_ref().and_then(|id| snapshot.user(&id.0));
        user = user.filter(|_| !forgotten);
        let trained = user.map_or(&[][..], |user| snapshot.history(user));
        // What the model was trained on is no news, though it stands in the store as well.
        let news = stored.items.iter().filter_map(|item| snapshot.items.get(item));
        let mut since: Vec<ItemId> = news.filter(|item| !trained.contains(item)).collect();
        since.extend(&ask.history);
        let basis = match (user, since.is_empty(), trained.is_empty()) {
            (Some(_), true, _) => Basis::User,
            (Some(_), false, _) if snapshot.reads_history => Basis::UserAndHistory,
            (_, true, true) => Basis::Popular,
            _ => Basis::History,
        };
        if since.is_empty() {
            return Self { user, history: Cow::Borrowed(trained), basis, forgotten };
        }
        if basis == Basis::History {
            user = None;
        }
        let history = if trained.is_empty() { since } else { [trained, &since].concat() };
        Self { user, history: Cow::Owned(history), basis, forgotten }
    }
}

/// Answers requests that [go with](Recommend::goes_with) each other, each with what the store knows of who asks.
///
/// # Errors
/// Never, for models in this process.
pub(crate) fn recommend(
    snapshot: &Snapshot,
    asked: &[(&Recommend, &OfUser)],
) -> crate::Result<Vec<Answered>> {
    let known: Vec<Known<'_>> =
        asked.iter().map(|(ask, stored)| Known::of(snapshot, ask, stored)).collect();
    let asked: Vec<&Recommend> = asked.iter().map(|(ask, _)| *ask).collect();
    let rests_on_model = |known: &Known<'_>| known.basis != Basis::Popular;
    let queries: Vec<Query<'_>> = known
        .iter()
        .zip(&asked)
        .filter(|(known, _)| rests_on_model(known))
        .map(|(known, ask)| Query {
            user: known.user,
            history: &known.history,
            hidden: &ask.hidden,
        })
        .collect();
    let Some(first) = asked.first() else { return Ok(Vec::new()) };
    let top = TopK { k: first.k, skip_seen: !first.with_seen, allowed: first.allowed.as_ref() };
    let ranked = snapshot.rank(&queries, &top)?;
    let mut rows = 0..;
    let mut answers = Vec::with_capacity(asked.len());
    for (known, ask) in known.iter().zip(&asked) {
        let list: Vec<(ItemId, f32)> = if rests_on_model(known) {
            let row = rows.next().unwrap_or_default();
            ranked.items(row).iter().copied().zip(ranked.scores(row).iter().copied()).collect()
        } else {
            snapshot.most_popular(ask.k, &ask.hidden, ask.allowed.as_ref())
        };
        let mut items: Vec<Recommended> =
            list.iter().map(|&(item, score)| shown(snapshot, item, score)).collect();
        if ask.explain > 0 && !known.history.is_empty() {
            let list: Vec<ItemId> = list.iter().map(|&(item, _)| item).collect();
            explain(snapshot, &list, &known.history, ask.explain, &mut items)?;
        }
        let found = Recommendations {
            user: ask.user.clone(),
            model: snapshot.name.clone(),
            version: snapshot.version.clone(),
            basis: known.basis,
            items,
            unknown_items: ask.unknown_items.clone(),
            degraded: None,
        };
        answers.push(Answered { found, list });
    }
    Ok(answers)
}

/// The items most like `item`.
///
/// # Errors
/// Never, for models in this process.
pub(crate) fn similar(snapshot: &Snapshot, item: ItemId, k: usize) -> crate::Result<Similar> {
    let found = snapshot.similar(item, k)?;
    Ok(Similar {
        item: Id(snapshot.items.id(item).into_owned()),
        model: snapshot.name.clone(),
        version: snapshot.version.clone(),
        likeness: snapshot.likeness_is().into(),
        items: found.into_iter().map(|(item, score)| shown(snapshot, item, score)).collect(),
    })
}

/// Items of the history that a recommended one is compared with: the last so many different ones.
const COMPARED: usize = 64;

fn explain(
    snapshot: &Snapshot,
    list: &[ItemId],
    history: &[ItemId],
    most: usize,
    out: &mut [Recommended],
) -> crate::Result<()> {
    let mut others: Vec<ItemId> = Vec::new();
    for &item in history.iter().rev() {
        if others.len() < COMPARED && !others.contains(&item) {
            others.push(item);
        }
    }
    let likeness = snapshot.likeness(list, &others)?;
    for (out, row) in out.iter_mut().zip(likeness) {
        let mut near: Vec<(ItemId, f32)> =
            others.iter().copied().zip(row).filter(|near| near.1 > 0.0).collect();
        near.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        out.because.extend(near.into_iter().take(most).map(|(item, likeness)| Because {
            item: Id(snapshot.items.id(item).into_owned()),
            likeness,
            title: snapshot.table.title(item).map(str::to_owned),
        }));
    }
    Ok(())
}

pub(crate) fn shown(snapshot: &Snapshot, item: ItemId, score: f32) -> Recommended {
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

fn internal(error: impl std::fmt::Display) -> Problem {
    Problem::internal(error.to_string())
}
