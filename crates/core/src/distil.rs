//! The seam of distillation: what is recorded of teachers, and what turns it into an objective for a student.

use crate::recipe::Configured;
use crate::{Answers, Cases, Embedded, Error, Interactions, Lists, Objective, Recipe, Result};
use std::fmt;
use std::sync::Arc;

/// A method of distillation: turns the traces of teachers into an objective for a student.
pub trait Distiller: Configured + Send + Sync {
    /// What it needs of each teacher.
    fn requires(&self) -> Requirements;

    /// The student's objective: its own loss, `own`, together with what the teachers' traces teach. Row *q* of a trace belongs
    /// to distinct query *q* of `cases` (see [`Cases::n_queries`]).
    ///
    /// # Errors
    /// When a trace does not fit the cases.
    fn teach(
        &self,
        own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>>;

    /// The first epoch, from 0, in which the student is taught; `None`: never, because the weight of what is taught is 0. By
    /// default from the first, unless the setting `lambda` is 0.
    fn teaches_from(&self) -> Option<usize> {
        let weight = self.config().get("lambda").and_then(serde_json::Value::as_f64);
        (weight != Some(0.0)).then_some(0)
    }

    /// Whether it replaces the student's own loss instead of adding to it.
    fn replaces_own_loss(&self) -> bool {
        false
    }
}

/// What a distiller needs of each teacher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requirements {
    /// Its lists.
    pub lists: ListRequest,
    /// Its lists at several states of its training, where they were recorded ([`Trace::checkpoints`]), and not only the last.
    pub trajectory: bool,
    /// Its ranks of the labelled items ([`Trace::labelled_ranks`]).
    pub labelled_ranks: bool,
    /// The vectors whose products are its scores ([`Trace::embedded`]): the teacher must be a factored model.
    pub vectors: bool,
    /// Its recipe, to train it together with the student ([`Trace::recipe`]): the teacher must learn by gradient.
    pub recipe: bool,
}

impl Requirements {
    /// Only lists of the best `k` unlabelled items; 0 = no lists either.
    #[must_use]
    pub fn lists(k: usize) -> Self {
        let lists = ListRequest { k, candidates: Candidates::Unlabelled };
        Self { lists, trajectory: false, labelled_ranks: false, vectors: false, recipe: false }
    }

    /// The same, with lists of at least `k` items.
    #[must_use]
    pub fn with_k(self, k: usize) -> Self {
        Self { lists: ListRequest { k: k.max(self.lists.k), ..self.lists }, ..self }
    }
}

/// Which lists of a teacher are to be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListRequest {
    /// Length of the lists; 0 = no lists.
    pub k: usize,
    /// The items that may be listed.
    pub candidates: Candidates,
}

/// The items that a teacher may list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidates {
    /// All items that are not labelled for the query, that is neither in its history nor hidden.
    Unlabelled,
    /// The whole catalogue. The lists are longer by the largest number of targets of a case, so that k items remain when a
    /// case's targets are removed.
    Everything,
}

/// What was recorded of one teacher for a set of cases, at one or several checkpoints of its training. Never empty.
#[derive(Clone, Debug)]
pub struct Trace {
    teacher: String,
    checkpoints: Vec<(usize, Answers)>,
    labelled_ranks: Option<Lists<u32>>,
    embedded: Option<Arc<Embedded>>,
    recipe: Option<TeacherRecipe>,
}

/// How to train a teacher, for methods that train it together with the student.
#[derive(Clone)]
pub struct TeacherRecipe {
    /// Its settings.
    pub recipe: Arc<dyn Recipe>,
    /// Its training data.
    pub train: Arc<Interactions>,
    /// The same seed gives the same bytes.
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
    /// `checkpoints`: (epoch, the lists at that time), earliest first.
    ///
    /// # Errors
    /// When there is none, or they have different numbers of queries.
    pub fn new<A: Into<Answers>>(
        teacher: impl Into<String>,
        checkpoints: Vec<(usize, A)>,
    ) -> Result<Self> {
        let teacher = teacher.into();
        let checkpoints: Vec<(usize, Answers)> =
            checkpoints.into_iter().map(|(epoch, lists)| (epoch, lists.into())).collect();
        let Some((_, first)) = checkpoints.first() else {
            return Err(Error::Ranker { name: teacher, problem: "has no checkpoint".into() });
        };
        if let Some((_, odd)) = checkpoints.iter().find(|(_, lists)| lists.len() != first.len()) {
            return Err(Error::Misaligned { teacher, found: odd.len(), expected: first.len() });
        }
        Ok(Self { teacher, checkpoints, labelled_ranks: None, embedded: None, recipe: None })
    }

    /// Adds [`Trace::labelled_ranks`].
    ///
    /// # Errors
    /// When they have another number of queries.
    pub fn with_labelled_ranks(mut self, ranks: Lists<u32>) -> Result<Self> {
        let (found, expected) = (ranks.len(), self.last().len());
        if found != expected {
            return Err(Error::Misaligned { teacher: self.teacher, found, expected });
        }
        self.labelled_ranks = Some(ranks);
        Ok(self)
    }

    /// Adds the vectors of the queries and of all items.
    ///
    /// # Errors
    /// When they have another number of queries.
    pub fn with_embedded(mut self, embedded: Embedded) -> Result<Self> {
        let (found, expected) = (embedded.n_queries(), self.last().len());
        if found != expected {
            return Err(Error::Misaligned { teacher: self.teacher, found, expected });
        }
        self.embedded = Some(Arc::new(embedded));
        Ok(self)
    }

    /// Adds how the teacher is trained.
    #[must_use]
    pub fn with_recipe(self, recipe: TeacherRecipe) -> Self {
        Self { recipe: Some(recipe), ..self }
    }

    /// The teacher's name.
    #[must_use]
    pub fn teacher(&self) -> &str {
        &self.teacher
    }

    /// (epoch, the lists at that time), earliest first.
    #[must_use]
    pub fn checkpoints(&self) -> &[(usize, Answers)] {
        &self.checkpoints
    }

    /// Where known: for each query, the rank of each item of its history, then of each hidden item, in the ranking of the whole
    /// catalogue. 1-based; 0 = not ranked.
    #[must_use]
    pub fn labelled_ranks(&self) -> Option<&Lists<u32>> {
        self.labelled_ranks.as_ref()
    }

    /// Where known: the vectors whose products are the teacher's scores.
    #[must_use]
    pub fn embedded(&self) -> Option<&Arc<Embedded>> {
        self.embedded.as_ref()
    }

    /// Where known: how the teacher is trained.
    #[must_use]
    pub fn recipe(&self) -> Option<&TeacherRecipe> {
        self.recipe.as_ref()
    }

    /// The lists of the trained teacher.
    #[must_use]
    pub fn last(&self) -> &Answers {
        &self.checkpoints[self.checkpoints.len() - 1].1
    }

    /// The same trace, with lists of at most `k` items.
    #[must_use]
    pub fn truncated(&self, k: usize) -> Self {
        let cut = |(epoch, lists): &(usize, Answers)| (*epoch, lists.truncated(k));
        let checkpoints = self.checkpoints.iter().map(cut).collect();
        Self { checkpoints, ..self.clone() }
    }

    /// Checks that this trace belongs to `cases`.
    ///
    /// # Errors
    /// When it has another number of distinct queries, or lists an item that is not in the catalogue.
    pub fn answers(&self, cases: &Cases) -> Result<()> {
        let (found, expected) = (self.last().len(), cases.n_queries());
        if found != expected {
            return Err(Error::Misaligned { teacher: self.teacher.clone(), found, expected });
        }
        self.checkpoints.iter().try_for_each(|(_, lists)| lists.check_items(cases.n_items()))
    }
}
