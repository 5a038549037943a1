//! The interface of distillation: the traces of teachers, and distillers that turn them into an objective for
//! a student.

use crate::{Answers, Cases, Embedded, Error, Interactions, Lists, Objective, Recipe, Result};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// A distillation method: turns teachers' traces into an objective for a student.
pub trait Distiller: Send + Sync {
    /// What it needs of each teacher.
    fn requires(&self) -> Requirements;

    /// The student's objective: its own loss and the distillation loss. Row *q* of a trace belongs to
    /// distinct query *q* of `cases` (see [`Cases::n_queries`]).
    ///
    /// # Errors
    /// When a trace does not fit the cases.
    fn teach(
        &self,
        own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>>;

    /// All settings, defaults included.
    fn config(&self) -> Value;
}

/// What a distiller needs of each teacher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requirements {
    /// Its ranked lists.
    pub lists: ListRequest,
    /// Lists at several checkpoints of its training, if they were recorded ([`Trace::checkpoints`]), and not
    /// only the final ones.
    pub trajectory: bool,
    /// The ranks of the labelled items, history and hidden ([`Trace::labelled_ranks`]).
    pub labelled_ranks: bool,
    /// Its query and item vectors ([`Trace::embedded`]): the teacher must be a factored model.
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

/// How a teacher's lists are to be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListRequest {
    /// The length of the lists; 0 = no lists.
    pub k: usize,
    /// The items that may be listed.
    pub candidates: Candidates,
}

/// The items that a teacher's lists may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidates {
    /// All items but the labelled ones of the query: its history and its hidden items.
    Unlabelled,
    /// The whole catalogue. The lists are longer by the largest number of targets of a case, so that k items
    /// remain when the targets are skipped.
    Everything,
}

/// The rankings of one teacher for a set of cases, at one or several checkpoints of its training. Never empty.
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
    /// The training data.
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
    /// `checkpoints`: (epoch, rankings at that epoch), earliest first.
    ///
    /// # Errors
    /// When there is none, or they have different numbers of queries.
    pub fn new<A: Into<Answers>>(
        teacher: impl Into<String>,
        checkpoints: Vec<(usize, A)>,
    ) -> Result<Self> {
        let teacher = teacher.into();
        let checkpoints: Vec<(usize, Answers)> =
            checkpoints.into_iter().map(|(epoch, answers)| (epoch, answers.into())).collect();
        let Some((_, first)) = checkpoints.first() else {
            return Err(Error::Ranker { name: teacher, problem: "left no checkpoint".into() });
        };
        if let Some((_, odd)) = checkpoints.iter().find(|(_, answers)| answers.len() != first.len())
        {
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

    /// Adds the teacher's recipe.
    #[must_use]
    pub fn with_recipe(self, recipe: TeacherRecipe) -> Self {
        Self { recipe: Some(recipe), ..self }
    }

    /// The teacher's name.
    #[must_use]
    pub fn teacher(&self) -> &str {
        &self.teacher
    }

    /// (epoch, rankings at that epoch), earliest first.
    #[must_use]
    pub fn checkpoints(&self) -> &[(usize, Answers)] {
        &self.checkpoints
    }

    /// If known: for each query, the rank of each item of its history, then of each hidden item, in the full
    /// ranking of the catalogue. 1-based; 0 = not ranked.
    #[must_use]
    pub fn labelled_ranks(&self) -> Option<&Lists<u32>> {
        self.labelled_ranks.as_ref()
    }

    /// If known: the query and item vectors.
    #[must_use]
    pub fn embedded(&self) -> Option<&Arc<Embedded>> {
        self.embedded.as_ref()
    }

    /// If known: the teacher's recipe.
    #[must_use]
    pub fn recipe(&self) -> Option<&TeacherRecipe> {
        self.recipe.as_ref()
    }

    /// The rankings of the fully trained teacher.
    #[must_use]
    pub fn last(&self) -> &Answers {
        &self.checkpoints[self.checkpoints.len() - 1].1
    }

    /// The same trace, with lists of at most `k` items.
    #[must_use]
    pub fn truncated(&self, k: usize) -> Self {
        let cut = |(epoch, answers): &(usize, Answers)| (*epoch, answers.truncated(k));
        Self {
            teacher: self.teacher.clone(),
            checkpoints: self.checkpoints.iter().map(cut).collect(),
            labelled_ranks: self.labelled_ranks.clone(),
            embedded: self.embedded.clone(),
            recipe: self.recipe.clone(),
        }
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
        self.checkpoints.iter().try_for_each(|(_, answers)| answers.check_items(cases.n_items()))
    }
}
