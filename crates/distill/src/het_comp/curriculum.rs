//! Dynamic knowledge construction: which state of each teacher is a user's target now.

use super::{Grade, HetComp};
use rankstill_core::{ItemId, Rankings, Trace};
use rayon::prelude::*;

/// Where each user stands with each teacher.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Curriculum {
    /// `queries x teachers`: the state that is taught.
    pub state: Vec<u32>,
    /// Likewise: how far the student was from the next state when that was noted; negative = not noted yet.
    pub noted: Vec<f32>,
}

impl Curriculum {
    /// All at the first state, or at the last.
    pub fn new(n_queries: usize, traces: &[Trace], first: bool) -> Self {
        let last = traces.iter().map(|trace| trace.checkpoints().len() as u32 - 1);
        let each: Vec<u32> = last.map(|last| if first { 0 } else { last }).collect();
        let state = each.repeat(n_queries);
        let noted = vec![-1.0; state.len()];
        Self { state, noted }
    }

    /// Whether every state is the last, by the rule of the settings.
    pub fn is_over(&self, config: &HetComp, traces: &[Trace]) -> bool {
        let n = traces.len();
        let mut ways = traces.iter().map(|trace| trace.checkpoints().len() as u32 - 1).enumerate();
        if !config.released_defects {
            return ways
                .all(|(x, last)| self.state.iter().skip(x).step_by(n).all(|state| *state == last));
        }
        // The mean over users, rounded to two digits, of each teacher.
        let users = (self.state.len() / n.max(1)).max(1) as f64;
        ways.all(|(x, last)| {
            let sum: f64 = self.state.iter().skip(x).step_by(n).map(|s| f64::from(*s)).sum();
            (100.0 * sum / users).round() >= 100.0 * f64::from(last)
        })
    }

    /// A look at the student: `ranked` has its best items for every query. Moves on where it is time.
    pub fn look(&mut self, config: &HetComp, traces: &[Trace], ranked: &Rankings, epoch: usize) {
        let n = traces.len();
        if n == 0 {
            return;
        }
        let threshold = config.threshold * config.decay.powi((epoch / config.period) as i32);
        let users = self.state.par_chunks_mut(n).zip(self.noted.par_chunks_mut(n)).enumerate();
        users.with_min_len(64).for_each(|(query, (states, noted))| {
            for ((trace, state), noted) in traces.iter().zip(states).zip(noted) {
                let states = trace.checkpoints();
                let next =
                    |state: u32| states.get(state as usize + 1).map(|(_, said)| said.items(query));
                let Some(list) = next(*state) else { continue };
                let now = discrepancy(config, ranked.items(query), list);
                if *noted < 0.0 {
                    *noted = now; // the first look: only noted
                } else if moves_on(config, *noted, now, threshold) {
                    *state += 1;
                    *noted = next(*state)
                        .map_or(-1.0, |list| discrepancy(config, ranked.items(query), list));
                }
            }
        });
    }
}

/// Whether the student has come close enough to the next state, or goes away from it.
fn moves_on(config: &HetComp, noted: f32, now: f32, threshold: f64) -> bool {
    if now == 0.0 && !config.released_defects {
        return true; // it is there; the released code waits here if it was there before
    }
    let ratio = f64::from(noted) / f64::from(now);
    ratio > threshold || ratio < 1.0
}

/// 1 - NDCG of the student's list against a teacher's. An item counts where it is among the teacher's first `cutoff`; its
/// grade is 2^exp(-r / 10) - 1, r being the student's rank of it or the teacher's.
pub(super) fn discrepancy(config: &HetComp, student: &[ItemId], teacher: &[ItemId]) -> f32 {
    let cutoff = config.cutoff;
    let teacher = &teacher[..cutoff.min(teacher.len())];
    let grade = |r: usize| (-(r as f64) / 10.0).exp().exp2() - 1.0;
    let discount = |t: usize| 1.0 / ((t + 2) as f64).log2();
    let mut places: Vec<(ItemId, usize)> = teacher.iter().copied().zip(0..).collect();
    places.sort_unstable();
    let mut gain = 0.0;
    for (t, item) in student.iter().take(cutoff).enumerate() {
        if let Ok(at) = places.binary_search_by_key(item, |(item, _)| *item) {
            let r = match config.grade {
                Grade::Student => t,
                Grade::Teacher => places[at].1,
            };
            gain += grade(r) * discount(t);
        }
    }
    let ideal: f64 = (0..teacher.len()).map(|t| grade(t) * discount(t)).sum();
    let far = if ideal > 0.0 { 1.0 - gain / ideal } else { 0.0 };
    let far = if config.released_defects { (far * 1e4).round() / 1e4 } else { far };
    far as f32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn trace(states: &[&[ItemId]]) -> Trace {
        let said = states.iter().zip(1..).map(|(list, epoch)| {
            let mut said = Rankings::default();
            said.push(list.iter().map(|&item| (item, 0.0)));
            (epoch, said)
        });
        Trace::new("x", said.collect()).unwrap()
    }

    fn ranked(list: &[ItemId]) -> Rankings {
        let mut said = Rankings::default();
        said.push(list.iter().map(|&item| (item, 0.0)));
        said
    }

    #[test]
    fn discrepancy_by_hand_with_either_grade() {
        let config = HetComp { cutoff: 3, ..HetComp::default() };
        let grade = |r: f64| (-r / 10.0).exp().exp2() - 1.0;
        let discount = [1.0, 1.0 / 3f64.log2(), 0.5];
        let ideal = grade(0.0) + grade(1.0) * discount[1] + grade(2.0) * discount[2];
        // The student has the teacher's first item third, its fourth (which does not count) second.
        let (student, teacher) = ([9, 4, 1], [1, 2, 3, 4]);
        let found = discrepancy(&config, &student, &teacher);
        let by_hand = 1.0 - grade(2.0) * discount[2] / ideal;
        assert!((f64::from(found) - by_hand).abs() < 1e-6);
        let config = HetComp { grade: Grade::Teacher, ..config };
        let found = discrepancy(&config, &student, &teacher);
        let by_hand = 1.0 - grade(0.0) * discount[2] / ideal;
        assert!((f64::from(found) - by_hand).abs() < 1e-6);
        assert_eq!(discrepancy(&config, &teacher, &teacher), 0.0);
        assert_eq!(discrepancy(&config, &teacher, &[]), 0.0, "nothing to be far from");
    }

    #[test]
    fn a_state_moves_on_when_the_student_nears_the_next_or_leaves_it() {
        let config = HetComp { period: 1, ..HetComp::default() };
        let traces = [trace(&[&[1, 2], &[3, 4], &[5, 6]])];
        let mut at = Curriculum::new(1, &traces, true);
        let mut look = |list: &[ItemId], epoch| {
            at.look(&config, &traces, &ranked(list), epoch);
            (at.state[0], at.noted[0])
        };
        let (state, noted) = look(&[1, 2, 3], 1);
        assert_eq!(state, 0, "the first look only notes");
        assert_eq!(look(&[1, 2, 3], 2), (0, noted), "as far as before: waits");
        let (state, next) = look(&[1, 3, 2], 3);
        assert_eq!((state, next), (1, 1.0), "nearer; none of the last state is there");
        assert_eq!(look(&[1, 3, 2], 4), (1, 1.0));
        assert_eq!(look(&[5, 3, 2], 5).0, 2);
        assert!(at.is_over(&config, &traces));
    }

    #[test]
    fn every_curriculum_ends_because_the_threshold_falls_below_one() {
        let config = HetComp::default();
        let traces = [trace(&[&[1], &[2], &[3], &[4]])];
        let mut at = Curriculum::new(1, &traces, true);
        let mut over = None;
        for epoch in (10..=200).step_by(10) {
            at.look(&config, &traces, &ranked(&[8, 9]), epoch);
            if at.is_over(&config, &traces) && over.is_none() {
                over = Some(epoch);
            }
        }
        // 1.05 x .995^10 < 1: a student that never moves advances at epochs 100, 110 and 120.
        assert_eq!(over, Some(120));
    }

    #[test]
    fn a_student_that_is_there_already_waits_only_with_the_released_defects() {
        let traces = [trace(&[&[1], &[2]])];
        for (released_defects, over) in [(false, true), (true, false)] {
            let config = HetComp { period: 1, released_defects, ..HetComp::default() };
            let mut at = Curriculum::new(1, &traces, true);
            (1..300).for_each(|epoch| at.look(&config, &traces, &ranked(&[2]), epoch));
            assert_eq!(at.is_over(&config, &traces), over);
        }
    }

    #[test]
    fn the_released_rule_is_content_with_nearly_all() {
        let traces = [trace(&[&[1], &[2]])];
        let mut at = Curriculum::new(1000, &traces, false);
        at.state[7] = 0;
        let released = HetComp { released_defects: true, ..HetComp::default() };
        assert!(at.is_over(&released, &traces) && !at.is_over(&HetComp::default(), &traces));
        (0..6).for_each(|i| at.state[i] = 0);
        assert!(!at.is_over(&released, &traces));
    }
}
