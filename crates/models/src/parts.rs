//! What several models share. The objectives are public; the rest serves the models.

pub(crate) mod baskets;
pub(crate) mod coded;
pub(crate) mod fold_in;
pub(crate) mod history_sum;
pub(crate) mod item_head;
pub(crate) mod item_panels;
pub mod loss;
pub mod multinomial;
pub(crate) mod own_loss;
pub(crate) mod perceptron;
pub(crate) mod settings;
pub(crate) mod users;

/// A learner scores with the model that it trains.
macro_rules! scores_as_its_model {
    ($learner:ty, $model:ident) => {
        impl rankstill_core::Scorer for $learner {
            fn n_items(&self) -> usize {
                self.$model.n_items()
            }

            fn score(&self, queries: &[rankstill_core::Query<'_>], out: &mut [f32]) {
                self.$model.score(queries, out);
            }

            fn factored(&self) -> Option<&dyn rankstill_core::Factored> {
                self.$model.factored()
            }

            fn search(&self) -> Option<&dyn rankstill_core::Search> {
                self.$model.search()
            }
        }

        impl rankstill_core::Model for $learner {
            fn tensors(&self) -> rankstill_core::Tensors {
                self.$model.tensors()
            }

            fn n_parameters(&self) -> usize {
                self.$model.n_parameters()
            }

            fn serving_bytes(&self) -> rankstill_core::ServingBytes {
                self.$model.serving_bytes()
            }
        }
    };
}
pub(crate) use scores_as_its_model;
