//! Whether teachers rank items for all users that their students are trained on.

use super::plan::Source;
use super::session::Session;
use anyhow::Result;
use rankstill::core::{Candidates, Query, Ranker as _, TopK};

impl Session<'_> {
    /// Warns of each student whose teachers rank only some of the users, by the student's number.
    ///
    /// # Errors
    /// If rankings cannot be read.
    pub(super) fn partly_taught(&self) -> Result<Vec<(usize, String)>> {
        let users: Vec<u32> = (0..self.train.n_users() as u32)
            .filter(|&user| !self.train.history(user).is_empty())
            .collect();
        let mut found = Vec::new();
        for (at, planned) in self.plan.models.iter().enumerate() {
            let Source::Fit { distil: Some(distil), .. } = &planned.source else { continue };
            let request = distil.distiller.requires().lists;
            if request.k == 0 {
                continue;
            }
            let skip_seen = request.candidates == Candidates::Unlabelled;
            for &teacher in &distil.teachers {
                let ranked = self.ranked(teacher, &users, skip_seen)?;
                let n = ranked.iter().filter(|&&ranked| ranked).count();
                if n < users.len() {
                    let name = &self.plan.models[teacher].name;
                    let (of, others) = (users.len(), users.len() - n);
                    found.push((at, format!(
                        "`{name}` ranks items for {n} of the {of} users with training interactions; the other {others} are not taught"
                    )));
                }
            }
        }
        Ok(found)
    }

    /// Whether a teacher ranks an item for each of `users`.
    fn ranked(&self, at: usize, users: &[u32], skip_seen: bool) -> Result<Vec<bool>> {
        match &self.plan.models[at].source {
            Source::Fit { .. } | Source::Compressed { .. } => Ok(vec![true; users.len()]),
            Source::Ensemble { members, .. } => {
                let mut any = vec![false; users.len()];
                for &member in members {
                    let ranked = self.ranked(member, users, skip_seen)?;
                    any.iter_mut().zip(ranked).for_each(|(any, one)| *any |= one);
                }
                Ok(any)
            }
            Source::Rankings { .. } => {
                let query = |&user: &u32| Query {
                    user: Some(user),
                    history: self.train.history(user),
                    hidden: &[],
                };
                let queries: Vec<Query<'_>> = users.iter().map(query).collect();
                let top = TopK { skip_seen, ..TopK::unseen(1) };
                let mut any = vec![false; users.len()];
                for state in &self.setting.recordings[&at] {
                    let lists = state.rank(&queries, &top)?;
                    any.iter_mut()
                        .zip(lists.lists().iter())
                        .for_each(|(any, list)| *any |= !list.is_empty());
                }
                Ok(any)
            }
        }
    }
}
