//! Teachers, and distillation in memory: from a log and teachers to a fitted student in one call.
//! The front page of the crate `rankstill` has examples.

use crate::trajectory::{Recorder, StateSelection, Trajectory};
use crate::{Fused, Fusion, Recorded, trace};
use rankstill_core::train::train;
use rankstill_core::{
    Cases, Distiller, Embedded, Error, Fit, Interactions, Model, Ranker, Rankings, Recipe,
    Requirements, Result, TeacherRecipe, Trace,
};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Anything that ranks and can be taught from: a fitted model, another system's rankings, or an ensemble of teachers. Cheap to
/// clone.
#[derive(Clone)]
pub struct Teacher {
    name: String,
    ranker: Arc<dyn Ranker>,
    model: Option<Arc<dyn Model>>,
    recipe: Option<TeacherRecipe>,
    states: States,
}

/// The states of a teacher's training, where they are known.
#[derive(Clone)]
enum States {
    Unknown,
    Trajectory(Arc<Trajectory>),
    /// Another system's rankings, a file for each state.
    Recorded(Vec<Arc<Recorded>>),
}

impl Teacher {
    /// Fits a model to be the teacher. The model itself is [`Teacher::model`].
    ///
    /// # Errors
    /// As [`Recipe::fit`].
    pub fn fit(
        name: impl Into<String>,
        recipe: impl Recipe + 'static,
        log: &Arc<Interactions>,
        fit: &mut Fit<'_>,
    ) -> Result<Self> {
        Self::fit_shared(name, Arc::new(recipe), log, fit)
    }

    /// [`Teacher::fit`] of a recipe whose type is not known, as one of the registry.
    ///
    /// # Errors
    /// As [`Recipe::fit`].
    pub fn fit_shared(
        name: impl Into<String>,
        recipe: Arc<dyn Recipe>,
        log: &Arc<Interactions>,
        fit: &mut Fit<'_>,
    ) -> Result<Self> {
        let seed = fit.seed;
        let model = recipe.fit(log, fit)?;
        let recipe = TeacherRecipe { recipe, train: Arc::clone(log), seed };
        Ok(Self::of_model(name, model).with_recipe(recipe))
    }

    /// The same, and records the states of its training, each as lists of `k` items for every user of the log. HetComp needs
    /// at least its own `k`, `cutoff` and `fusion.cut` (100 by default). The recorded lists are held in memory until training
    /// ends: 8 bytes for each recording, user and list position. The watcher of `fit` is taken out of it.
    ///
    /// # Errors
    /// As [`Recipe::fit`]; when the settings of the selection are wrong; when `fit` has checkpoints, because a resumed run would
    /// lack the states before its interruption.
    pub fn fit_with_states(
        name: impl Into<String>,
        recipe: impl Recipe + 'static,
        log: &Arc<Interactions>,
        selection: &StateSelection,
        k: usize,
        fit: &mut Fit<'_>,
    ) -> Result<Self> {
        Self::fit_shared_with_states(name, Arc::new(recipe), log, selection, k, fit)
    }

    /// [`Teacher::fit_with_states`] of a recipe whose type is not known.
    ///
    /// # Errors
    /// As [`Teacher::fit_with_states`].
    pub fn fit_shared_with_states(
        name: impl Into<String>,
        recipe: Arc<dyn Recipe>,
        log: &Arc<Interactions>,
        selection: &StateSelection,
        k: usize,
        fit: &mut Fit<'_>,
    ) -> Result<Self> {
        selection.check()?;
        if fit.checkpoints.is_some() {
            let problem =
                "states that are recorded in memory cannot be resumed: fit without checkpoints";
            return Err(Error::Config { key: "checkpoints".into(), problem: problem.into() });
        }
        let (plan, watch) = (recipe.training_plan(), fit.watch.take());
        let mut recorder = Recorder::new(selection.clone(), k, plan, log, fit.validate, watch);
        let (seed, validate, stop) = (fit.seed, fit.validate, fit.stop.clone());
        let mut watched =
            Fit { seed, validate, watch: Some(&mut recorder), checkpoints: None, stop };
        let teacher = Self::fit_shared(name, Arc::clone(&recipe), log, &mut watched)?;
        let trajectory = match &teacher.model {
            Some(model) => recorder.finish(&**model)?,
            None => return Ok(teacher),
        };
        Ok(Self { states: States::Trajectory(Arc::new(trajectory)), ..teacher })
    }

    /// A model that was fitted or loaded before.
    #[must_use]
    pub fn of_model(name: impl Into<String>, model: impl Into<Arc<dyn Model>>) -> Self {
        let model = model.into();
        let ranker: Arc<dyn Ranker> = Arc::clone(&model) as _;
        Self { model: Some(model), ..Self::of_ranker(name, ranker) }
    }

    /// Anything else that ranks, say a service. It has neither vectors nor states.
    #[must_use]
    pub fn of_ranker(name: impl Into<String>, ranker: Arc<dyn Ranker>) -> Self {
        Self { name: name.into(), ranker, model: None, recipe: None, states: States::Unknown }
    }

    /// Another system's rankings: one for each state of its training, the last as it is now.
    ///
    /// # Errors
    /// Without any.
    pub fn of_rankings(name: impl Into<String>, states: Vec<Arc<Recorded>>) -> Result<Self> {
        let name = name.into();
        let Some(last) = states.last() else {
            return Err(Error::Ranker { name, problem: "has no rankings".into() });
        };
        let ranker: Arc<dyn Ranker> = Arc::clone(last) as _;
        Ok(Self { states: States::Recorded(states), ..Self::of_ranker(name, ranker) })
    }

    /// Several teachers as one. Where the fusion lets users weigh the members, they do so by the cases `valid`.
    ///
    /// # Errors
    /// When the settings of the fusion do not fit the members or the data, or ask for a choice of members.
    pub fn ensemble(
        name: impl Into<String>,
        members: &[Self],
        fusion: Fusion,
        valid: Option<&Cases>,
    ) -> Result<Self> {
        if fusion.select > 0 {
            let problem =
                "the members of this ensemble are given; choose them by `Fused::select_on`";
            return Err(Error::Config { key: "fusion.select".into(), problem: problem.into() });
        }
        let rankers = members.iter().map(|member| Arc::clone(&member.ranker)).collect();
        let mut fused = Fused::new(rankers, fusion)?;
        if let Some(valid) = valid {
            fused = fused.weighted_on(valid)?;
        }
        Ok(Self::of_ranker(name, Arc::new(fused)))
    }

    /// With the recipe to train it along with the student, as bidirectional distillation does.
    #[must_use]
    pub fn with_recipe(self, recipe: TeacherRecipe) -> Self {
        Self { recipe: Some(recipe), ..self }
    }

    /// Its name, in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ranks as the teacher does.
    #[must_use]
    pub fn ranker(&self) -> &Arc<dyn Ranker> {
        &self.ranker
    }

    /// The fitted model, where there is one.
    #[must_use]
    pub fn model(&self) -> Option<&Arc<dyn Model>> {
        self.model.as_ref()
    }

    /// All that a method requires of this teacher about the distinct queries of `cases`. `progress` is called as in
    /// [`trace::record`].
    ///
    /// # Errors
    /// When the teacher cannot answer, or `progress` interrupts.
    pub fn trace(
        &self,
        cases: &Cases,
        requires: Requirements,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Trace> {
        let states = match &self.states {
            States::Trajectory(trajectory) if requires.trajectory => {
                Some(trajectory.trace(&self.name, cases)?)
            }
            States::Recorded(states) if requires.trajectory && states.len() > 1 => {
                let record = |(at, state): (usize, &Arc<Recorded>)| {
                    let lists = requires.lists;
                    let trace = trace::record(&self.name, &**state, cases, lists, progress)?;
                    Ok((at, trace.last().clone()))
                };
                let states = states.iter().enumerate().map(record).collect::<Result<_>>()?;
                Some(Trace::new(&self.name, states)?)
            }
            _ => None,
        };
        let lists = match states {
            Some(trace) => trace,
            None if requires.lists.k == 0 => self.without_lists(cases)?,
            None => trace::record(&self.name, &*self.ranker, cases, requires.lists, progress)?,
        };
        self.complete(lists, cases, requires)
    }

    /// A trace without lists, for methods that need none.
    ///
    /// # Errors
    /// As [`Trace::new`].
    pub fn without_lists(&self, cases: &Cases) -> Result<Trace> {
        let mut nothing = Rankings::default();
        (0..cases.n_queries()).for_each(|_| nothing.push([]));
        Trace::new(&self.name, vec![(0, nothing)])
    }

    /// Adds to a trace with lists what else a method requires: ranks of the labelled items, vectors, the recipe.
    ///
    /// # Errors
    /// When the teacher cannot answer.
    pub fn complete(
        &self,
        mut trace: Trace,
        cases: &Cases,
        requires: Requirements,
    ) -> Result<Trace> {
        if requires.labelled_ranks {
            trace = trace.with_labelled_ranks(trace::labelled_ranks(&*self.ranker, cases)?)?;
        }
        // Without vectors or a recipe, the method itself explains what it needs.
        let model = self.model.as_ref().filter(|_| requires.vectors);
        if let Some(factored) = model.and_then(|model| model.factored()) {
            let queries = cases.distinct_queries();
            trace = trace.with_embedded(Embedded::new(&self.name, factored, &queries)?)?;
        }
        if let Some(recipe) = self.recipe.as_ref().filter(|_| requires.recipe) {
            trace = trace.with_recipe(recipe.clone());
        }
        Ok(trace)
    }
}

/// Fits `student` on `log`, taught by `teachers` with `method`.
///
/// # Errors
/// When the student does not learn by gradient, the teachers lack what the method requires, or training fails.
pub fn distil(
    student: &dyn Recipe,
    method: &dyn Distiller,
    teachers: &[Teacher],
    log: &Arc<Interactions>,
    fit: &mut Fit<'_>,
) -> Result<Box<dyn Model>> {
    let Some(student) = student.trainable() else {
        let problem = "this model does not learn by gradient and cannot be a student".into();
        return Err(Error::Config { key: "student".into(), problem });
    };
    let cases = student.cases(log);
    let stop = fit.stop.clone();
    let mut go_on =
        |_, _| if stop.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let traces = teachers
        .iter()
        .map(|teacher| teacher.trace(&cases, method.requires(), &mut go_on))
        .collect::<Result<Vec<_>>>()?;
    let objective = method.teach(student.objective(log), &cases, &traces)?;
    train(student, log, &cases, objective, fit)
}
