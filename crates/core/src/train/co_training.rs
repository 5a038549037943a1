//! A learner that is trained one epoch at a time by its caller: a teacher that learns together with its student.

use super::order::EpochOrder;
use super::{Pass, check};
use crate::{
    Cases, Error, Learner, Model, Objective, Recipe, Result, TeacherRecipe, Tensors, Trainable,
};

/// A model in training, driven epoch by epoch.
pub struct CoTraining {
    from: TeacherRecipe,
    cases: Cases,
    order: EpochOrder,
    learner: Box<dyn Learner>,
}

impl CoTraining {
    /// A learner with random parameters.
    ///
    /// # Errors
    /// When the recipe does not learn by gradient, or its settings do not work on these data.
    pub fn new(from: &TeacherRecipe) -> Result<Self> {
        let recipe = trainable(&*from.recipe)?;
        let cases = recipe.cases(&from.train);
        check(recipe.plan(), &cases)?;
        let order = EpochOrder::new(&cases, recipe.plan().sampling);
        let mut learner = recipe.init(&from.train, from.seed)?;
        learner.settle();
        Ok(Self { from: from.clone(), cases, order, learner })
    }

    /// The training cases.
    #[must_use]
    pub fn cases(&self) -> &Cases {
        &self.cases
    }

    /// The recipe's own loss.
    ///
    /// # Errors
    /// Cannot fail after a successful [`CoTraining::new`].
    pub fn objective(&self) -> Result<Box<dyn Objective>> {
        Ok(trainable(&*self.from.recipe)?.objective(&self.from.train))
    }

    /// Trains one epoch, with the same steps as [`train`](super::train). Returns the mean loss per case.
    ///
    /// # Errors
    /// When the loss becomes NaN or infinite.
    pub fn epoch(&mut self, epoch: usize, objective: &dyn Objective) -> Result<f64> {
        let plan = trainable(&*self.from.recipe)?.plan();
        let seed = self.from.seed;
        let pass = Pass { cases: &self.cases, plan, order: &self.order, seed, epoch };
        let loss = pass.take(&mut *self.learner, objective, (0, 0.0), &mut |_, _| Ok(()))?;
        let loss = loss / self.cases.len() as f64;
        if !loss.is_finite() {
            return Err(Error::Diverged { epoch, loss });
        }
        self.learner.settle();
        Ok(loss)
    }

    /// The current model.
    #[must_use]
    pub fn model(&self) -> &dyn Model {
        &*self.learner
    }

    /// See [`Learner::state`].
    #[must_use]
    pub fn state(&self) -> Tensors {
        self.learner.state()
    }

    /// Restores a [`CoTraining::state`].
    ///
    /// # Errors
    /// When it is not a state of this model.
    pub fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.learner = trainable(&*self.from.recipe)?.resume(&self.from.train, state)?;
        self.learner.settle();
        Ok(())
    }
}

fn trainable(recipe: &dyn Recipe) -> Result<&dyn Trainable> {
    let problem = "trains its teacher along, and this one does not learn by gradient".into();
    recipe.trainable().ok_or(Error::Config { key: "teachers".into(), problem })
}
