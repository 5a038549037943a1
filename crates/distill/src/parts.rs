//! What several methods are made of.

pub(crate) mod blend;
pub(crate) mod experts;
pub(crate) mod item_side;
pub mod labelled;
pub(crate) mod losses;
pub(crate) mod settings;
pub(crate) mod teacher_lists;
pub(crate) mod topology;
pub(crate) mod unlabelled_sampler;
pub(crate) mod vector_blend;
pub(crate) mod weighted_sampling;
