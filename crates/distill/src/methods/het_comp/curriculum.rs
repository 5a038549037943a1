//! Dynamic knowledge construction: which state of each teacher is currently a user's target.

use super::{Grade, HetComp};
use rankstill_core::{ItemId, Rankings, Trace};
use rayon::prelude::*;

/// The progress of each user with each teacher.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Curriculum {
    /// `queries x teachers`: the current state.
    pub state: Vec<u32>,
    /// Likewise: the recorded discrepancy between the student and the next state; negative = none yet.
    pub recorded: Vec<f32>,
}

impl Curriculum {
    /// All at the first state, or all at the last.
    pub fn new(n_queries: usize, traces: &[Trace], first: bool) -> Self {
        let last = traces.iter().map(|trace| trace.checkpoints().len() as u32 - 1);
        let each: Vec<u32> = last.map(|last| if first { 0 } else { last }).collect();
        let state = each.repeat(n_queries);
        let recorded = vec![-1.0; state.len()];
        Self { state, recorded }
    }

    /// Whether every state is the last, by the rule of the settings.
    pub fn is_over(&self, config: &HetComp, traces: &[Trace]) -> bool {
        let n = traces.len();
        let mut lasts = traces.iter().map(|trace| trace.checkpoints().len() as u32 - 1).enumerate();
        if !config.released_defects {
            return lasts
                .all(|(x, last)| self.state.iter().skip(x).step_by(n).all(|state| *state == last));
        }
        // The mean over users, rounded to two digits, of each teacher.
        let users = (self.state.len() / n.max(1)).max(1) as f64;
        lasts.all(|(x, last)| {
            let sum: f64 = self.state.iter().skip(x).step_by(n).map(|s| f64::from(*s)).sum();
            (100.0 * sum / users).round() >= 100.0 * f64::from(last)
        })
    }

    /// Compares the student with the next states, and advances where it is due. `ranked`: the student's best items for every query.
    pub fn compare(&mut self, config: &HetComp, traces: &[Trace], ranked: &Rankings, epoch: usize) {
        let n = traces.len();
        if n == 0 {
            return;
        }
        let threshold = config.threshold * config.decay.powi((epoch / config.period) as i32);
        let users = self.state.par_chunks_mut(n).zip(self.recorded.par_chunks_mut(n)).enumerate();
        users.with_min_len(64).for_each(|(query, (states, recorded))| {
            for ((trace, state), recorded) in traces.iter().zip(states).zip(recorded) {
                let states = trace.checkpoints();
                let next = |state: u32| {
                    states.get(state as usize + 1).map(|(_, lists)| lists.items(query))
                };
                let Some(list) = next(*state) else { continue };
                let now = discrepancy(config, ranked.items(query), list);
                if *recorded < 0.0 {
                    *recorded = now; // the first comparison is only recorded
                } else if advances(config, *recorded, now, threshold) {
                    *state += 1;
                    *recorded = next(*state)
                        .map_or(-1.0, |list| discrepancy(config, ranked.items(query), list));
                }
            }
        });
    }
}

/// Whether the student has come close enough to the next state, or moves away from it.
fn advances(config: &HetComp, recorded: f32, now: f32, threshold: f64) -> bool {
    if now == 0.0 && !config.released_defects {
        return true; // the released code waits here if the discrepancy was 0 before
    }
    let ratio = f64::from(recorded) / f64::from(now);
    ratio > threshold || ratio < 1.0
}

/// 1 - NDCG of the student's list with respect to a teacher's. Items count if they are among the teacher's first `cutoff`. An
/// item's grade is 2^exp(-r / 10) - 1, where r is the student's rank of it or the teacher's.
pub(super) fn discrepancy(config: &HetComp, student: &[ItemId], teacher: &[ItemId]) -> f32 {
    let cutoff = config.cutoff;
    let teacher = &teacher[..cutoff.min(teacher.len())];
    let grade = |r: usize| (-(r as f64) / 10.0).exp().exp2() - 1.0;
    let discount = |t: usize| 1.0 / ((t + 2) as f64).log2();
    let mut positions: Vec<(ItemId, usize)> = teacher.iter().copied().zip(0..).collect();
    positions.sort_unstable();
    let mut gain = 0.0;
    for (t, item) in student.iter().take(cutoff).enumerate() {
        if let Ok(at) = positions.binary_search_by_key(item, |(item, _)| *item) {
            let r = match config.grade {
                Grade::Student => t,
                Grade::Teacher => positions[at].1,
            };
            gain += grade(r) * discount(t);
        }
    }
    let ideal: f64 = (0..teacher.len()).map(|t| grade(t) * discount(t)).sum();
    let discrepancy = if ideal > 0.0 { 1.0 - gain / ideal } else { 0.0 };
    let discrepancy =
        if config.released_defects { (discrepancy * 1e4).round() / 1e4 } else { discrepancy };
    discrepancy as f32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn trace(states: &[&[ItemId]]) -> Trace {
        let lists = states.iter().zip(1..).map(|(list, epoch)| {
            let mut rankings = Rankings::default();
            rankings.push(list.iter().map(|&item| (item, 0.0)));
            (epoch, rankings)
        });
        Trace::new("x", lists.collect()).unwrap()
    }

    fn ranked(list: &[ItemId]) -> Rankings {
        let mut rankings = Rankings::default();
        rankings.push(list.iter().map(|&item| (item, 0.0)));
        rankings
    }

    #[test]
    fn discrepancy_by_hand_with_either_grade() {
        let config = HetComp { cutoff: 3, ..HetComp::default() };
        let grade = |r: f64| (-r / 10.0).exp().exp2() - 1.0;
        let discount = [1.0, 1.0 / 3f64.log2(), 0.5];
        let ideal = grade(0.0) + grade(1.0) * discount[1] + grade(2.0) * discount[2];
        // The student ranks the teacher's first item third, its fourth (which does not count) second.
        let (student, teacher) = ([9, 4, 1], [1, 2, 3, 4]);
        let found = discrepancy(&config, &student, &teacher);
        let by_hand = 1.0 - grade(2.0) * discount[2] / ideal;
        assert!((f64::from(found) - by_hand).abs() < 1e-6);
        let config = HetComp { grade: Grade::Teacher, ..config };
        let found = discrepancy(&config, &student, &teacher);
        let by_hand = 1.0 - grade(0.0) * discount[2] / ideal;
        assert!((f64::from(found) - by_hand).abs() < 1e-6);
        assert_eq!(discrepancy(&config, &teacher, &teacher), 0.0);
        assert_eq!(discrepancy(&config, &teacher, &[]), 0.0, "no teacher, no discrepancy");
    }

    #[test]
    fn a_state_advances_when_the_student_approaches_the_next_or_moves_away() {
        let config = HetComp { period: 1, ..HetComp::default() };
        let traces = [trace(&[&[1, 2], &[3, 4], &[5, 6]])];
        let mut at = Curriculum::new(1, &traces, true);
        let mut compare = |list: &[ItemId], epoch| {
            at.compare(&config, &traces, &ranked(list), epoch);
            (at.state[0], at.recorded[0])
        };
        let (state, recorded) = compare(&[1, 2, 3], 1);
        assert_eq!(state, 0, "the first comparison is only recorded");
        assert_eq!(compare(&[1, 2, 3], 2), (0, recorded), "unchanged: waits");
        let (state, next) = compare(&[1, 3, 2], 3);
        assert_eq!((state, next), (1, 1.0), "closer; it ranks no item of the last state");
        assert_eq!(compare(&[1, 3, 2], 4), (1, 1.0));
        assert_eq!(compare(&[5, 3, 2], 5).0, 2);
        assert!(at.is_over(&config, &traces));
    }

    #[test]
    fn every_curriculum_ends_because_the_threshold_decays_below_one() {
        let config = HetComp::default();
        let traces = [trace(&[&[1], &[2], &[3], &[4]])];
        let mut at = Curriculum::new(1, &traces, true);
        let mut over = None;
        for epoch in (10..=200).step_by(10) {
            at.compare(&config, &traces, &ranked(&[8, 9]), epoch);
            if at.is_over(&config, &traces) && over.is_none() {
                over = Some(epoch);
            }
        }
        // 1.05 x .995^10 < 1: the states of a student that never changes advance at epochs 100, 110 and 120.
        assert_eq!(over, Some(120));
    }

    #[test]
    fn a_student_without_discrepancy_waits_only_with_the_released_defects() {
        let traces = [trace(&[&[1], &[2]])];
        for (released_defects, over) in [(false, true), (true, false)] {
            let config = HetComp { period: 1, released_defects, ..HetComp::default() };
            let mut at = Curriculum::new(1, &traces, true);
            (1..300).for_each(|epoch| at.compare(&config, &traces, &ranked(&[2]), epoch));
            assert_eq!(at.is_over(&config, &traces), over);
        }
    }

    #[test]
    fn the_released_rule_ends_with_nearly_all_at_the_last_state() {
        let traces = [trace(&[&[1], &[2]])];
        let mut at = Curriculum::new(1000, &traces, false);
        at.state[7] = 0;
        let released = HetComp { released_defects: true, ..HetComp::default() };
        assert!(at.is_over(&released, &traces) && !at.is_over(&HetComp::default(), &traces));
        (0..6).for_each(|i| at.state[i] = 0);
        assert!(!at.is_over(&released, &traces));
    }
}
