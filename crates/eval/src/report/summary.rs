//! What a report says, in three sentences: what is recommended or best, what that costs, and how far to trust it.

use super::frontier;
use super::tables::{p_value, percent, seconds};
use super::{ModelReport, Picks, Report};
use crate::significance::Interval;

/// The sentences.
pub(super) fn sentences(report: &Report) -> Vec<String> {
    let picks = Picks::of(report);
    let measured = report.models.iter().any(|model| model.metrics.contains_key(picks.metric));
    if !measured {
        return vec![
            "Nothing was measured: no row was left to test on, so there is nothing to recommend by."
                .into(),
        ];
    }
    let first = match report.recommended {
        Some(_) => recommended(report, &picks),
        None => singles(report, &picks),
    };
    [first, student(report, &picks), frontier_in_words(report, &picks)]
        .into_iter()
        .filter(|sentence| !sentence.is_empty())
        .collect()
}

fn recommended(report: &Report, picks: &Picks<'_>) -> String {
    let Some(student) = picks.student else { return String::new() };
    let mut out = format!("Recommended is {} {}", named(student), reaches(report, picks, student));
    let mut shares = Vec::new();
    for (what, other) in [("", picks.teacher), ("the best single model, ", picks.single)] {
        let Some(other) = other.filter(|other| other.name != student.name) else { continue };
        if let Some(share) = share(picks.metric, student, other) {
            shares.push(format!("{share} of that of {what}{}", other.name));
        }
    }
    if !shares.is_empty() {
        out.push_str(&format!(": {}", shares.join(" and ")));
    }
    out + "."
}

fn singles(report: &Report, picks: &Picks<'_>) -> String {
    let n = report.models.len();
    let models = if n == 1 { "1 model".to_owned() } else { format!("{n} models") };
    let mut out = format!("This run measures {models} and recommends none");
    if let Some(single) = picks.single {
        let reached = reaches(report, picks, single);
        out.push_str(&format!("; of the single models {} ranks best {reached}", single.name));
    }
    if let Some(teacher) =
        picks.teacher.filter(|one| picks.single.is_none_or(|s| s.name != one.name))
        && let Some(value) = value(picks.metric, teacher)
    {
        out.push_str(&format!("; {} has {value}", teacher.name));
    }
    out + "."
}

/// The student: what is kept, what it costs, and whether teaching was worth it.
fn student(report: &Report, picks: &Picks<'_>) -> String {
    let Some(student) = picks.student else {
        return "No student was taught here.".into();
    };
    let mut parts = Vec::new();
    if report.recommended.is_none() {
        let reached = reaches(report, picks, student);
        let mut part = format!("the best student is {} {reached}", named(student));
        let teacher = picks.teacher.filter(|other| other.name != student.name);
        if let Some(share) = teacher.and_then(|teacher| share(picks.metric, student, teacher)) {
            part.push_str(&format!(", {share} of its teacher's"));
        }
        parts.push(part);
    }
    let costs = costs(student);
    if !costs.is_empty() {
        let mut part = format!("a request takes {costs}");
        let against = picks.teacher.filter(|other| other.name != student.name);
        if let Some(ratios) = against.and_then(|other| ratios(student, other)) {
            part.push_str(&format!(" ({ratios})"));
        }
        parts.push(part);
    }
    let compared =
        report.comparisons.iter().find(|one| one.a == student.name && one.metric == picks.metric);
    if let Some(one) = compared {
        let p = one.p_adjusted.unwrap_or(one.t_test.p);
        parts.push(format!(
            "against {}, the same model without a teacher, it has {:+.4} ({}, corrected p {})",
            one.b,
            one.difference,
            interval(&one.interval),
            p_value(p)
        ));
    }
    sentence(&parts)
}

/// A sentence with more names would not be read.
const MOST_NAMES: usize = 5;

fn frontier_in_words(report: &Report, picks: &Picks<'_>) -> String {
    let [time, bytes] = frontier::best_for_price(report, picks.metric);
    let names = |models: &[&ModelReport]| {
        let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
        let more = names.len().saturating_sub(MOST_NAMES);
        let others = format!("{more} more");
        let shown = names.iter().copied().take(names.len() - more);
        listed(&shown.chain((more > 0).then_some(others.as_str())).collect::<Vec<_>>())
    };
    let by = [(time, "by the time of a request"), (bytes, "by the bytes of an item")];
    let by = by.iter().filter(|(models, _)| !models.is_empty());
    let by: Vec<String> = by.map(|(models, how)| format!("{} {how}", names(models))).collect();
    let hedge = match report.recommended {
        Some(_) => {
            "the choice was made on validation data, the figures are those of the test part, on this log and this machine only"
        }
        None => {
            "these are named by their figures on the test part itself, which flatters them a little, and a difference within the intervals is none"
        }
    };
    if by.is_empty() {
        return sentence(&["no time and no size was measured".into(), hedge.into()]);
    }
    let best = format!("best for their price are {}", by.join(" and "));
    sentence(&[best, hedge.into()])
}

/// `S (rrd, taught by E)`.
fn named(model: &ModelReport) -> String {
    if model.teachers.is_empty() {
        return model.name.clone();
    }
    let teachers: Vec<&str> = model.teachers.iter().map(String::as_str).collect();
    let method = model.distiller.as_ref().map_or(String::new(), |method| format!("{method}, "));
    format!("{} ({method}taught by {})", model.name, listed(&teachers))
}

/// `with ndcg@10 0.1234 (95% interval 0.1200 to 0.1270)`.
fn reaches(report: &Report, picks: &Picks<'_>, model: &ModelReport) -> String {
    let Some(value) = value(picks.metric, model) else { return "not measured".into() };
    let known = report.details.as_ref().and_then(|details| details.intervals.get(&model.name));
    let known = known.and_then(|metrics| metrics.get(picks.metric));
    let range = known.map_or(String::new(), |known| format!(" ({})", interval(known)));
    format!("with {value}{range}")
}

fn value(metric: &str, model: &ModelReport) -> Option<String> {
    Some(format!("{metric} {:.4}", model.metrics.get(metric)?.mean))
}

fn interval(one: &Interval) -> String {
    format!("{}% interval {:.4} to {:.4}", one.level * 100.0, one.low, one.high)
}

fn share(metric: &str, model: &ModelReport, of: &ModelReport) -> Option<String> {
    let whole = of.metrics.get(metric)?.mean;
    (whole > 0.0).then_some(percent(model.metrics.get(metric)?.mean / whole))
}

/// `63.2 µs and an item 24 bytes`.
fn costs(model: &ModelReport) -> String {
    let time = model.latency.as_ref().map(|latency| seconds(latency.request_ms.median / 1e3));
    let bytes = model.bytes_per_item.map(|bytes| format!("an item {bytes:.0} bytes"));
    [time, bytes].into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

/// How much faster and smaller than another model.
fn ratios(model: &ModelReport, other: &ModelReport) -> Option<String> {
    let ratio = |part: Option<f64>, of: Option<f64>| {
        Some(part.filter(|part| *part > 0.0)? / of.filter(|of| *of > 0.0)?)
    };
    let time = ratio(frontier::request_us(other), frontier::request_us(model));
    let time = time.map(|times| {
        let digits = usize::from(times < 10.0);
        format!("{times:.digits$} times as fast as {}", other.name)
    });
    let bytes = ratio(model.bytes_per_item, other.bytes_per_item);
    let bytes =
        bytes.map(|share| format!("{} of the bytes an item of {}", percent(share), other.name));
    let found: Vec<String> = [time, bytes].into_iter().flatten().collect();
    (!found.is_empty()).then(|| found.join(", "))
}

/// `A, B and C`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [others @ .., last] => format!("{} and {last}", others.join(", ")),
    }
}

/// Parts as one sentence.
fn sentence(parts: &[String]) -> String {
    let text = parts.join("; ");
    let mut letters = text.chars();
    let Some(first) = letters.next() else { return text };
    format!("{}{}.", first.to_uppercase(), letters.as_str())
}
