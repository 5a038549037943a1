//! The student's own best items of each training query, as of some epoch: for losses that look where the student stands.

use crate::{Cases, Error, ItemId, Lists, Model, Result, Tensors, TopK, state};

/// Lists of each distinct query; none before the first update.
#[derive(Clone, Debug, Default)]
pub struct StudentLists(Lists<ItemId>);

impl StudentLists {
    /// Whether there was no update yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The list of distinct query `query`, best first: unseen items only.
    #[must_use]
    pub fn of(&self, query: usize) -> &[ItemId] {
        if query < self.0.len() { self.0.row(query) } else { &[] }
    }

    /// Updates the lists, of `k` items, in every `every`-th epoch and where there are none.
    ///
    /// # Errors
    /// When the student cannot be queried.
    pub fn refresh(
        &mut self,
        k: usize,
        every: usize,
        epoch: usize,
        student: &dyn Model,
        cases: &Cases,
    ) -> Result<()> {
        if self.is_empty() || epoch.is_multiple_of(every) {
            let top = TopK::unseen(k.min(cases.n_items()));
            self.0 = student.rank(&cases.distinct_queries(), &top)?.lists().clone();
        }
        Ok(())
    }

    /// For checkpoints; nothing before the first update.
    #[must_use]
    pub fn state(&self) -> Tensors {
        let mut tensors = Tensors::default();
        if !self.is_empty() {
            state::insert_lists(&mut tensors, NAME, &self.0);
        }
        tensors
    }

    /// Restores a [`StudentLists::state`].
    ///
    /// # Errors
    /// When it has not a list for each of `n_queries`, or an item is not in the catalogue.
    pub fn restore(&mut self, tensors: &Tensors, n_queries: usize, n_items: usize) -> Result<()> {
        self.0 = Lists::default();
        if tensors.get(NAME).is_none() {
            return Ok(());
        }
        let lists = state::lists_of(tensors, NAME)?;
        if let Some(&item) = lists.values().iter().find(|&&item| item as usize >= n_items) {
            return Err(Error::UnknownItem { item: item as usize, n_items });
        }
        if lists.len() != n_queries {
            let problem = format!("{} lists for {n_queries} queries", lists.len());
            return Err(Error::Tensor { name: NAME.into(), problem });
        }
        self.0 = lists;
        Ok(())
    }
}

impl From<Lists<ItemId>> for StudentLists {
    fn from(lists: Lists<ItemId>) -> Self {
        Self(lists)
    }
}

/// Of the tensor.
const NAME: &str = "student";
