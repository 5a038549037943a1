//! The seam of distillation: what teachers said, and who turns it into an objective.

use crate::{Answers, Cases, Embedded, Error, Interactions, Lists, Objective, Recipe, Result};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// Turns teachers' traces into an objective for a student.
pub trait Distiller: Send + Sync {
    /// What it needs of each teacher.
    fn requires(&self) -> Requirements;

    /// The student's objective: its own and the teachers' word. Row *q* of a trace answers distinct query *q* of `cases`
    /// (see [`Cases::n_queries`]).
    ///
    /// # Errors
    /// When a trace does not fit the cases.
    fn teach(
        &self,
        own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>>;

    /// Every setting, defaults included.
    fn config(&self) -> Value;
}

/// What a distiller needs of each teacher: lists, and what goes beyond them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requirements {
    /// The lists.
    pub lists: ListRequest,
    /// The states that the teacher went through, where they were recorded ([`Trace::checkpoints`]), and not only what it
    /// says in the end.
    pub trajectory: bool,
    /// How it ranks what is labelled ([`Trace::labelled_ranks`]).
    pub labelled_ranks: bool,
    /// The vectors that its scores are products of ([`Trace::embedded`]): of teachers that are no factored models nothing can
    /// be learnt.
    pub vectors: bool,
    /// To train it along with the student ([`Trace::recipe`]): of teachers that do not learn by gradient nothing can be
    /// learnt.
    pub recipe: bool,
}

impl Requirements {
    /// Nothing but lists of the best `k` unlabelled items; 0 = no lists either.
    #[must_use]
    pub fn lists(k: usize) -> Self {
        let lists = ListRequest { k, candidates: Candidates::Unlabelled };
        Self { lists, trajectory: false, labelled_ranks: false, vectors: false, recipe: false }
    }

    /// With lists of at least `k`.
    #[must_use]
    pub fn with_k(self, k: usize) -> Self {
        Self { lists: ListRequest { k: k.max(self.lists.k), ..self.lists }, ..self }
    }
}

/// How a teacher's lists are to be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListRequest {
    /// Length of the lists; 0 = none is wanted.
    pub k: usize,
    /// Of what.
    pub candidates: Candidates,
}

/// What a teacher's lists are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidates {
    /// What is labelled for a query, its history and its hidden items, is left out.
    Unlabelled,
    /// The whole catalogue; the lists are longer by the largest number of targets of a case, so that k items are left when
    /// those are passed over.
    Everything,
}

/// What one teacher said about a set of cases, at one or several checkpoints of its training. Never empty.
#[derive(Clone, Debug)]
pub struct Trace {
    teacher: String,
    checkpoints: Vec<(usize, Answers)>,
    labelled_ranks: Option<Lists<u32>>,
    embedded: Option<Arc<Embedded>>,
    recipe: Option<TeacherRecipe>,
}

/// How a teacher comes about, for methods that train it along.
#[derive(Clone)]
pub struct TeacherRecipe {
    /// Its settings.
    pub recipe: Arc<dyn Recipe>,
    /// What it learns from.
    pub train: Arc<Interactions>,
    /// Same seed, same bytes.
    pub seed: u64,
}

impl fmt::Debug for TeacherRecipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TeacherRecipe")
            .field("recipe", &self.recipe.config())
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl Trace {
    /// `checkpoints`: (epoch, what it said then), earliest first.
    ///
    /// # Errors
    /// When there is none, or they answer different numbers of queries.
    pub fn new<A: Into<Answers>>(
        teacher: impl Into<String>,
        checkpoints: Vec<(usize, A)>,
    ) -> Result<Self> {
        let teacher = teacher.into();
        let checkpoints: Vec<(usize, Answers)> =
            checkpoints.into_iter().map(|(epoch, said)| (epoch, said.into())).collect();
        let Some((_, first)) = checkpoints.first() else {
            return Err(Error::Ranker { name: teacher, problem: "left no checkpoint".into() });
        };
        if let Some((_, odd)) = checkpoints.iter().find(|(_, said)| said.len() != first.len()) {
            return Err(Error::Misaligned { teacher, found: odd.len(), expected: first.len() });
        }
        Ok(Self { teacher, checkpoints, labelled_ranks: None, embedded: None, recipe: None })
    }

    /// With what [`Trace::labelled_ranks`] gives.
    ///
    /// # Errors
    /// When they answer another number of queries.
    pub fn with_labelled_ranks(mut self, ranks: Lists<u32>) -> Result<Self> {
        let (found, expected) = (ranks.len(), self.last().len());
        if found != expected {
            return Err(Error::Misaligned { teacher: self.teacher, found, expected });
        }
        self.labelled_ranks = Some(ranks);
        Ok(self)
    }

    /// With the vectors of the queries, and of all items.
    ///
    /// # Errors
    /// When they answer another number of queries.
    pub fn with_embedded(mut self, embedded: Embedded) -> Result<Self> {
        let (found, expected) = (embedded.n_queries(), self.last().len());
        if found != expected {
            return Err(Error::Misaligned { teacher: self.teacher, found, expected });
        }
        self.embedded = Some(Arc::new(embedded));
        Ok(self)
    }

    /// With how it comes about.
    #[must_use]
    pub fn with_recipe(self, recipe: TeacherRecipe) -> Self {
        Self { recipe: Some(recipe), ..self }
    }

    /// The teacher's name.
    #[must_use]
    pub fn teacher(&self) -> &str {
        &self.teacher
    }

    /// (epoch, what it said then), earliest first.
    #[must_use]
    pub fn checkpoints(&self) -> &[(usize, Answers)] {
        &self.checkpoints
    }

    /// Where known: for each query, the place of each item of its history, then of each hidden one, in the whole ranking of the
    /// catalogue. 1-based; 0 = not ranked.
    #[must_use]
    pub fn labelled_ranks(&self) -> Option<&Lists<u32>> {
        self.labelled_ranks.as_ref()
    }

    /// Where known: the vectors that its scores are products of.
    #[must_use]
    pub fn embedded(&self) -> Option<&Arc<Embedded>> {
        self.embedded.as_ref()
    }

    /// Where known: how it comes about.
    #[must_use]
    pub fn recipe(&self) -> Option<&TeacherRecipe> {
        self.recipe.as_ref()
    }

    /// What it says when it is done learning.
    #[must_use]
    pub fn last(&self) -> &Answers {
        &self.checkpoints[self.checkpoints.len() - 1].1
    }

    /// With lists of at most `k` items.
    #[must_use]
    pub fn truncated(&self, k: usize) -> Self {
        let cut = |(epoch, said): &(usize, Answers)| (*epoch, said.truncated(k));
        Self {
            teacher: self.teacher.clone(),
            checkpoints: self.checkpoints.iter().map(cut).collect(),
            labelled_ranks: self.labelled_ranks.clone(),
            embedded: self.embedded.clone(),
            recipe: self.recipe.clone(),
        }
    }

    /// Checks that this trace answers `cases`.
    ///
    /// # Errors
    /// When it answers another number of distinct queries, or lists an item that is not in the catalogue.
    pub fn answers(&self, cases: &Cases) -> Result<()> {
        let (found, expected) = (self.last().len(), cases.n_queries());
        if found != expected {
            return Err(Error::Misaligned { teacher: self.teacher.clone(), found, expected });
        }
        self.checkpoints.iter().try_for_each(|(_, said)| said.check_items(cases.n_items()))
    }
}
