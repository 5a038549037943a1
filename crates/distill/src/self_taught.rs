//! Self-distillation: the teacher is the student's own past (Furlanello et al., "Born-again neural networks", ICML 2018), or the
//! moving average of its parameters (Tarvainen & Valpola, "Mean teachers", NeurIPS 2017). Any method that learns from rankings teaches.
//!
//! The student learns alone for `warm_up` epochs. Then, every `every` epochs, its lists for all training queries are recorded as
//! those of any other teacher, and the method teaches from them until the next time. With `average` above 0, the model that is
//! recorded has for each of its parameters p the average a <- average * a + (1 - average) * p over the epochs so far.
//!
//! Differs: a born-again network starts anew from random parameters; here the student goes on, as in the later works that train in
//! one generation.

use crate::trace;
use rankstill_core::state::{insert_lists, lists_of};
use rankstill_core::{
    Answers, Batch, Cases, Distiller, Error, Grad, ItemId, Lists, Model, Objective, Rankings,
    Recipe, Result, Row, Scores, Slate, Tensors, Trace, VectorObjective,
};
use rankstill_core::{Interactions, kernel::sample::Positives};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The name of this teacher in a configuration.
pub const SELF: &str = "self";

/// When a student teaches itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SelfTeaching {
    /// Epochs in which the student learns alone.
    pub warm_up: usize,
    /// Epochs between two recordings.
    pub every: usize,
    /// The share of the past in the averaged parameters, below 1; 0: the student as it is.
    pub average: f32,
}

impl Default for SelfTeaching {
    fn default() -> Self {
        Self { warm_up: 10, every: 5, average: 0.9 }
    }
}

impl SelfTeaching {
    /// Checks the settings, and that `method` can teach from rankings alone.
    ///
    /// # Errors
    /// With the setting that is wrong, without the table it stands in.
    pub fn check(&self, method: &dyn Distiller) -> Result<()> {
        let wrong = |key: &str, problem: String| Err(Error::Config { key: key.into(), problem });
        if self.every == 0 {
            return wrong("every", "must be at least 1".into());
        }
        if !(0.0..1.0).contains(&self.average) {
            return wrong(
                "average",
                format!("is {}, must be at least 0 and below 1", self.average),
            );
        }
        let requires = method.requires();
        if requires.vectors || requires.recipe || requires.lists.k == 0 {
            let problem = "a student can teach itself by its rankings only; this method needs a teacher's vectors or training";
            return wrong("teachers", problem.into());
        }
        Ok(())
    }

    /// The objective of a student that `method` teaches from the student's own lists.
    ///
    /// # Errors
    /// As [`SelfTeaching::check`]; when the student does not learn by gradient.
    pub fn objective(
        &self,
        method: Arc<dyn Distiller>,
        student: Arc<dyn Recipe>,
        log: &Arc<Interactions>,
        cases: &Cases,
    ) -> Result<Box<dyn Objective>> {
        self.check(&*method)?;
        let (log, cases) = (Arc::clone(log), cases.clone());
        let own = own_objective(&*student, &log)?;
        let (settings, teacher, average) = (self.clone(), None, None);
        Ok(Box::new(SelfTaught {
            settings,
            method,
            student,
            log,
            cases,
            average,
            teacher,
            objective: own,
        }))
    }
}

fn own_objective(student: &dyn Recipe, log: &Interactions) -> Result<Box<dyn Objective>> {
    let problem = "this model does not learn by gradient and cannot be a student";
    let student = student.trainable();
    let student =
        student.ok_or(Error::Config { key: "student".into(), problem: problem.into() })?;
    Ok(student.objective(log))
}

struct SelfTaught {
    settings: SelfTeaching,
    method: Arc<dyn Distiller>,
    student: Arc<dyn Recipe>,
    log: Arc<Interactions>,
    cases: Cases,
    /// The averaged parameters.
    average: Option<Tensors>,
    /// What was recorded last; `None` while the student learns alone.
    teacher: Option<Trace>,
    /// The student's own, or what the method has made of it.
    objective: Box<dyn Objective>,
}

impl SelfTaught {
    fn record(&self, student: &dyn Model) -> Result<Trace> {
        let requires = self.method.requires();
        let averaged =
            self.average.as_ref().map(|average| self.student.load(average)).transpose()?;
        let teacher = averaged.as_deref().unwrap_or(student);
        let mut go_on = |_, _| ControlFlow::Continue(());
        let trace = trace::record(SELF, teacher, &self.cases, requires.lists, &mut go_on)?;
        if !requires.labelled_ranks {
            return Ok(trace);
        }
        trace.with_labelled_ranks(trace::labelled_ranks(teacher, &self.cases)?)
    }

    fn learn_from(&mut self, teacher: Trace) -> Result<()> {
        let own = own_objective(&*self.student, &self.log)?;
        self.objective = self.method.teach(own, &self.cases, std::slice::from_ref(&teacher))?;
        self.teacher = Some(teacher);
        Ok(())
    }
}

impl Objective for SelfTaught {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        self.objective.slate(batch)
    }

    fn loss(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        self.objective.loss(row, scores, grad)
    }

    fn once_per_query(&self) -> bool {
        self.objective.once_per_query()
    }

    fn vector_objective(&self) -> Option<&dyn VectorObjective> {
        self.objective.vector_objective()
    }

    fn plain_bpr(&self) -> Option<&Positives> {
        self.objective.plain_bpr()
    }

    fn note(&self) -> Option<String> {
        self.objective.note()
    }

    fn refresh(&mut self, epoch: usize, student: &dyn Model, cases: &Cases) -> Result<()> {
        if self.settings.average > 0.0 && epoch > 0 {
            let now = student.tensors();
            self.average = Some(match self.average.take() {
                None => now,
                Some(average) => averaged(average, &now, self.settings.average),
            });
        }
        let since = epoch.checked_sub(self.settings.warm_up.max(1));
        if since.is_some_and(|since| since.is_multiple_of(self.settings.every)) {
            let teacher = self.record(student)?;
            self.learn_from(teacher)?;
        }
        self.objective.refresh(epoch, student, cases)
    }

    fn state(&self) -> Tensors {
        let mut state = Tensors::default();
        if let Some(average) = &self.average {
            state.insert_all("average.", average.clone());
        }
        if let Some(teacher) = &self.teacher {
            let lists: Lists<ItemId> =
                teacher.last().iter().map(|list| list.iter().copied()).collect();
            let scores = (0..lists.len()).flat_map(|query| teacher.last().scores(query));
            let scores: Vec<f32> = scores.copied().collect();
            state.insert("self.scores", &[scores.len()], scores);
            insert_lists(&mut state, "self.items", &lists);
            if let Some(ranks) = teacher.labelled_ranks() {
                insert_lists(&mut state, "self.labelled", ranks);
            }
        }
        state.insert_all("taught.", self.objective.state());
        state
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        let average = state.with_prefix("average.");
        self.average = (average.n_numbers() > 0).then_some(average);
        if state.get("self.scores").is_some() {
            let items = lists_of(state, "self.items")?;
            items.values().iter().try_for_each(|&item| match item as usize {
                item if item < self.cases.n_items() => Ok(()),
                item => Err(Error::UnknownItem { item, n_items: self.cases.n_items() }),
            })?;
            let scores = state.f32s("self.scores", items.values().len())?.to_vec();
            let lists = Answers::from(Rankings::new(items, scores)?);
            let mut teacher = Trace::new(SELF, vec![(0, lists)])?;
            if self.method.requires().labelled_ranks {
                teacher = teacher.with_labelled_ranks(lists_of(state, "self.labelled")?)?;
            }
            self.learn_from(teacher)?;
        }
        self.objective.restore(&state.with_prefix("taught."))
    }
}

/// share * a + (1 - share) * p for each float; whole numbers as they are now.
fn averaged(average: Tensors, now: &Tensors, share: f32) -> Tensors {
    let mut next = Tensors::default();
    for (name, tensor) in now.iter() {
        let before = average.get(name).and_then(|before| before.data.floats());
        match (before, tensor.data.floats()) {
            (Some(before), Some(now)) if before.len() == now.len() => {
                let mean = before.iter().zip(now).map(|(a, p)| share * a + (1.0 - share) * p);
                next.insert(name, &tensor.shape, mean.collect::<Vec<f32>>());
            }
            _ => next.insert(name, &tensor.shape, tensor.data.clone()),
        }
    }
    next
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{Free, FreeModel, cases, log, small};
    use rankstill_core::{Plan, Scorer as _};
    use serde_json::json;

    const N_NUMBERS: usize = 12 * crate::testing::N;

    fn student(average: f32, kind: &str) -> Box<dyn Objective> {
        let settings = SelfTeaching { warm_up: 2, every: 2, average };
        let recipe: Arc<dyn Recipe> = Arc::new(Free(Plan::default()));
        let method: Arc<dyn Distiller> = small(kind, json!({})).into();
        settings.objective(method, recipe, &Arc::new(log()), &cases()).unwrap()
    }

    /// All of its scores are random, others in each version.
    fn version(at: u64) -> FreeModel {
        let mut numbers = vec![0.0; N_NUMBERS];
        rankstill_core::kernel::rng::Rng::new(at).fill_normal(&mut numbers, 0.0, 1.0);
        FreeModel(numbers)
    }

    fn items_at(objective: &dyn Objective, epoch: usize) -> Vec<ItemId> {
        let cases = cases();
        let batch = Batch::new(&cases, &[0], epoch, 9);
        objective.slate(&batch).listed().unwrap().row(0).to_vec()
    }

    #[test]
    fn the_student_learns_alone_and_then_from_its_lists_of_a_while_ago() {
        let mut objective = student(0.0, "score_kd");
        let cases = cases();
        let mut seen = Vec::new();
        for epoch in 0..6 {
            objective.refresh(epoch, &version(epoch as u64), &cases).unwrap();
            seen.push(items_at(&*objective, 0));
        }
        let own = seen[0].len();
        assert_eq!(seen[1].len(), own, "alone");
        assert!(seen[2].len() > own);
        assert!(seen[2] == seen[3] && seen[3] != seen[4] && seen[4] == seen[5]);
        // The best unlabelled items of the version at that time.
        let query = cases.distinct_queries()[cases.query_of(0)];
        let mut scores = vec![0.0; crate::testing::N];
        version(2).score(&[query], &mut scores);
        let best = (0..crate::testing::N as u32).filter(|item| !query.history.contains(item));
        let best = best.max_by(|a, b| scores[*a as usize].total_cmp(&scores[*b as usize]));
        assert_eq!(Some(seen[2][own]), best);
    }

    #[test]
    fn averages_are_those_of_all_epochs() {
        let (a, b) = (version(1).0, version(2).0);
        let mean = averaged(version(1).tensors(), &version(2).tensors(), 0.75);
        let mean = mean.f32s("numbers", N_NUMBERS).unwrap();
        assert!((mean[7] - (0.75 * a[7] + 0.25 * b[7])).abs() < 1e-6);
        let listed = |average: f32| {
            let mut objective = student(average, "score_kd");
            for epoch in 0..3 {
                objective.refresh(epoch, &version(epoch as u64), &cases()).unwrap();
            }
            items_at(&*objective, 0)
        };
        assert_ne!(listed(0.0), listed(0.99), "nearly the first epoch's");
    }

    #[test]
    fn a_restored_objective_goes_on_as_the_saved_one() {
        for (kind, average) in [("score_kd", 0.0), ("rrd", 0.5), ("het_comp", 0.5), ("rce_kd", 0.0)]
        {
            for stop in [1, 3, 4] {
                let cases = cases();
                let mut whole = student(average, kind);
                for epoch in 0..stop {
                    whole.refresh(epoch, &version(epoch as u64), &cases).unwrap();
                }
                let mut again = student(average, kind);
                again.restore(&whole.state()).unwrap();
                for epoch in stop..6 {
                    for objective in [&mut whole, &mut again] {
                        objective.refresh(epoch, &version(epoch as u64), &cases).unwrap();
                    }
                    assert_eq!(items_at(&*whole, epoch), items_at(&*again, epoch), "{kind} {stop}");
                    assert!(whole.state() == again.state(), "{kind} {stop}");
                }
            }
        }
    }

    #[test]
    fn methods_that_need_more_than_rankings_are_refused() {
        let refused = |kind: &str, settings: SelfTeaching| {
            settings.check(&*small(kind, json!({}))).err().map_or(String::new(), |e| e.to_string())
        };
        assert!(
            refused("de", SelfTeaching::default()).starts_with("teachers: a student can teach")
        );
        assert!(
            refused("bd", SelfTeaching::default()).starts_with("teachers: a student can teach")
        );
        let one = SelfTeaching { average: 1.0, ..SelfTeaching::default() };
        assert_eq!(refused("rrd", one), "average: is 1, must be at least 0 and below 1");
    }
}
