//! Notes of `evaluate`: what of the files was not measured as the reader may think, and the likely reason.

use super::ids::difference;
use super::inputs::Inputs;
use rankstill::core::{ItemId, Vocab};

/// In the order of the files: grades, targets, users, items.
pub fn notes(inputs: &Inputs, removed: usize) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(grades(inputs));
    notes.extend(seen_targets(inputs));
    if removed > 0 {
        notes.push(format!("{removed} seen items were removed from the rankings"));
    }
    users(inputs, &mut notes);
    items(inputs, &mut notes);
    notes
}

/// Which rule turned weights into targets.
fn grades(inputs: &Inputs) -> Option<String> {
    inputs.grades.as_ref()?;
    let n = inputs.not_relevant;
    if inputs.prepared {
        let note = format!(
            "{n} test rows have a grade of 0 or less; they are targets all the same, as in a run, and gain nothing in metrics by grade \
             (filter.min_rating leaves such rows out)"
        );
        return (n > 0).then_some(note);
    }
    let mut note = format!(
        "the weights of the test file are grades: a row is relevant if its grade is above 0; {n} rows with a grade of 0 or less are no \
         targets"
    );
    if inputs.without_target > 0 {
        note +=
            &format!("; {} users have no other row and are not measured", inputs.without_target);
    }
    Some(note)
}

/// Targets that were removed from the rankings because they were seen.
fn seen_targets(inputs: &Inputs) -> Option<String> {
    let (mut n, mut of, mut reachable) = (0, 0, 0.0);
    for &user in &inputs.tested {
        let mut targets: Vec<ItemId> = inputs.targets[user as usize].clone();
        targets.sort_unstable();
        targets.dedup();
        let seen = &inputs.seen[user as usize];
        let known = targets.iter().filter(|item| seen.binary_search(item).is_ok()).count();
        (n, of) = (n + known, of + targets.len());
        reachable += (targets.len() - known) as f64 / targets.len() as f64;
    }
    let most = reachable / inputs.tested.len() as f64;
    (n > 0).then(|| {
        format!(
            "{n} of {of} targets were also seen: they are removed from the rankings and can never be hit, so recall is at most {most:.3}"
        )
    })
}

fn users(inputs: &Inputs, notes: &mut Vec<String>) {
    let held = &inputs.held;
    let without =
        inputs.tested.iter().filter(|&&user| inputs.rankings.row_of(user).is_none()).count();
    let likely = |others: &[bool], file: &str| {
        likely(&inputs.users, (&held.test_users, others), ("users", file))
    };
    if without > 0 {
        let cause = likely(&held.ranked_users, "rankings");
        notes.push(format!(
            "{without} of {} users have no ranking; their metrics are 0{}",
            inputs.tested.len(),
            cause.map_or(String::new(), |cause| format!("; {cause}"))
        ));
    }
    let (n, of) = lacking(&held.ranked_users, &held.test_users);
    if n > 0 {
        notes.push(format!(
            "{n} of {of} users of the rankings are not in the test part and are not measured"
        ));
    }
    notes.extend(likely(&held.seen_users, "seen interactions"));
}

fn items(inputs: &Inputs, notes: &mut Vec<String>) {
    let held = &inputs.held;
    let likely = |others: &[bool], file: &str| {
        likely(&inputs.items, (&held.target_items, others), ("items", file))
    };
    let (n, of) = lacking(&held.target_items, &held.ranked_items);
    if n > 0 {
        let (others, ranked) = lacking(&held.ranked_items, &held.target_items);
        let cause = likely(&held.ranked_items, "rankings");
        notes.push(format!(
            "{n} of {of} target items are in no ranking, and {others} of {ranked} ranked items are no targets{}",
            cause.map_or(String::new(), |cause| format!("; {cause}"))
        ));
    }
    notes.extend(likely(&held.seen_items, "seen interactions"));
}

/// How many `here` holds that `there` lacks, and how many it holds.
fn lacking(here: &[bool], there: &[bool]) -> (usize, usize) {
    let held = here.iter().filter(|&&has| has).count();
    (here.iter().zip(there).filter(|(here, there)| **here && !**there).count(), held)
}

/// The likely reason why ids of the test part are not in another file. `words`: what they are, and the other file.
fn likely(ids: &Vocab, held: (&[bool], &[bool]), words: (&str, &str)) -> Option<String> {
    let only = |here: &[bool], there: &[bool]| {
        let numbers = (0..ids.len()).filter(|&n| here[n] && !there[n]).map(|n| n as u32);
        numbers.map(|n| ids.id(n)).collect::<Vec<_>>()
    };
    let (test, other) = held;
    let found = difference(only(test, other).into_iter(), only(other, test).into_iter())?;
    let (what, file) = words;
    Some(format!(
        "{} {what} of the test part are in the {file} under ids that differ only by {}: `{}` here, `{}` there",
        found.count, found.by, found.here, found.there
    ))
}
