//! How long fitted models and their ensembles take to answer.

use super::plan::Source;
use super::session::Session;
use anyhow::Result;
use rankstill::artefact;
use rankstill::core::{Packed, Query, Ranker, TopK};
use rankstill::distill::Fused;
use rankstill::eval::{LatencyBudget, Report, efficiency};

/// Items per request.
const K: usize = 10;

/// Adds to `report` how long each model of the first seed takes to answer. The models take turns.
pub(super) fn add(session: &Session<'_>, report: &mut Report) -> Result<()> {
    let seconds = session.plan.spec.evaluate.latency_seconds;
    if seconds <= 0.0 {
        return Ok(());
    }
    let fitted = (0..session.plan.models.len()).filter(|&at| {
        matches!(session.plan.models[at].source, Source::Fit { .. } | Source::Compressed { .. })
    });
    let models = fitted
        .map(|at| {
            let folder = session.fit_folder(at, session.plan.spec.seeds[0]).join("artefact");
            Ok((at, artefact::load(&folder)?.model))
        })
        .collect::<Result<Vec<_>>>()?;
    let packed: Vec<_> = models.iter().map(|(_, model)| Packed::new(&**model)).collect();
    let packed_at = |at: usize| models.iter().position(|(known, _)| *known == at);
    let mut ensembles: Vec<(usize, Fused<&dyn Ranker>)> = Vec::new();
    for (at, planned) in session.plan.models.iter().enumerate() {
        let Source::Ensemble { members, fusion } = &planned.source else { continue };
        // A member that comes from a file has no latency.
        let members: Option<Vec<usize>> = members.iter().map(|&at| packed_at(at)).collect();
        if let Some(members) = members {
            let members = members.into_iter().map(|at| &packed[at] as &dyn Ranker).collect();
            let seed = session.plan.spec.seeds[0];
            ensembles.push((at, session.fused(at, seed, members, fusion)?));
        }
    }
    let timed = models.iter().map(|(at, _)| *at).chain(ensembles.iter().map(|(at, _)| *at));
    let timed: Vec<usize> = timed.collect();
    let rankers = packed.iter().map(|model| model as &dyn Ranker);
    let rankers: Vec<&dyn Ranker> =
        rankers.chain(ensembles.iter().map(|(_, fused)| fused as &dyn Ranker)).collect();
    let queries: Vec<Query<'_>> = (0..session.train.n_users() as u32)
        .map(|user| Query { user: Some(user), history: session.train.history(user), hidden: &[] })
        .collect();
    let bar = session.setting.screen.bar("measuring latency", 1);
    let budget = LatencyBudget { seconds, ..LatencyBudget::default() };
    let found = efficiency::latency(&rankers, &queries, &TopK::unseen(K), &budget)?;
    drop(bar);
    for (at, latency) in timed.iter().zip(found) {
        report.models[*at].latency = Some(latency);
    }
    Ok(())
}
