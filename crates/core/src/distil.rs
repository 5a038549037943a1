//! The seam of distillation: what teachers said, and who turns it into an objective.

use crate::{Cases, Error, Objective, Rankings, Result};
use serde_json::Value;

/// Turns teachers' traces into an objective for a student.
pub trait Distiller: Send + Sync {
    /// How the traces are to be recorded: how long the lists are.
    fn lesson(&self) -> Lesson;

    /// The student's objective: its own and the teachers' word. Row *q* of a trace answers distinct query *q* of `cases`
    /// (see [`Cases::n_queries`]).
    ///
    /// # Errors
    /// When a trace does not fit the cases.
    fn teach(
        &self,
        own: Box<dyn Objective>,
        cases: &Cases,
        lessons: &[Trace],
    ) -> Result<Box<dyn Objective>>;

    /// Every setting, defaults included.
    fn config(&self) -> Value;
}

/// What a distiller needs of each teacher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lesson {
    /// Length of the lists.
    pub k: usize,
    /// Of what.
    pub among: Among,
}

/// What a teacher's lists are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
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
    checkpoints: Vec<(usize, Rankings)>,
}

impl Trace {
    /// `checkpoints`: (epoch, rankings), earliest first.
    ///
    /// # Errors
    /// When there is none, or they answer different numbers of queries.
    pub fn new(teacher: impl Into<String>, checkpoints: Vec<(usize, Rankings)>) -> Result<Self> {
        let teacher = teacher.into();
        let Some((_, first)) = checkpoints.first() else {
            return Err(Error::Ranker { name: teacher, problem: "left no checkpoint".into() });
        };
        if let Some((_, odd)) = checkpoints.iter().find(|(_, ranked)| ranked.len() != first.len()) {
            return Err(Error::Misaligned { teacher, found: odd.len(), expected: first.len() });
        }
        Ok(Self { teacher, checkpoints })
    }

    /// The teacher's name.
    #[must_use]
    pub fn teacher(&self) -> &str {
        &self.teacher
    }

    /// (epoch, rankings), earliest first.
    #[must_use]
    pub fn checkpoints(&self) -> &[(usize, Rankings)] {
        &self.checkpoints
    }

    /// What it says when it is done learning.
    #[must_use]
    pub fn last(&self) -> &Rankings {
        &self.checkpoints[self.checkpoints.len() - 1].1
    }

    /// Checks that this trace answers `cases`.
    ///
    /// # Errors
    /// When it answers another number of distinct queries.
    pub fn answers(&self, cases: &Cases) -> Result<()> {
        let (found, expected) = (self.last().len(), cases.n_queries());
        if found == expected {
            return Ok(());
        }
        Err(Error::Misaligned { teacher: self.teacher.clone(), found, expected })
    }
}
