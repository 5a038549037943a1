//! The report as a page for people.

use super::Report;
use super::Role;
use super::tables::{self, comparisons};
use std::fmt::Write;

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let mut out = format!("# {}\n\n", line(&report.title));
    let _ = write!(out, "{} cases", report.cases);
    if !report.seeds.is_empty() {
        let seeds: Vec<String> = report.seeds.iter().map(u64::to_string).collect();
        let _ = write!(out, ", seeds {}", seeds.join(", "));
    }
    let _ = write!(out, ", metrics in the `{}` dialect", report.dialect);
    if !report.version.is_empty() {
        let _ = write!(out, ", made by rankstill {}", report.version);
    }
    out.push_str(".\n");

    section(&mut out, "Quality", &tables::quality(report).markdown());
    out.push_str(if report.seeds.len() > 1 {
        "\nMean over the seeds ± deviation (as of a sample); the best of a column is bold.\n"
    } else {
        "\nThe best of a column is bold.\n"
    });
    if let Some(reference) = &report.reference {
        let _ = writeln!(out, "\"Kept\" is the share of the value of {}.", line(reference));
    }

    for (name, warning) in report.warnings() {
        let _ = writeln!(out, "\n**Warning: {}:** {}.", line(name), line(warning));
    }

    section(&mut out, "Size and time", &tables::cost(report).markdown());
    if let Some(machine) = &report.machine {
        let _ = writeln!(
            out,
            "\nMeasured alternately for all models on: {}. \"For all\" is the median round on all threads, of a part of the users and scaled up where all would take long.",
            line(&machine.line())
        );
    }
    for model in report.models.iter().filter(|m| m.optimizer.is_some() || !m.teachers.is_empty()) {
        let mut facts = Vec::new();
        facts.extend(model.optimizer.as_ref().map(|o| format!("optimiser {o}")));
        if !model.teachers.is_empty() {
            let by = model.distiller.as_ref().map_or(String::new(), |d| format!(" by `{d}`"));
            let taught = if model.role == Role::Untaught { "not taught" } else { "taught" };
            facts.push(format!("{taught} by {}{by}", model.teachers.join(", ")));
        }
        let _ = writeln!(
            out,
            "\n- **{}** (`{}`): {}",
            line(&model.name),
            model.kind,
            line(&facts.join("; "))
        );
    }

    if !report.comparisons.is_empty() {
        section(&mut out, "Differences", &comparisons(&report.comparisons).markdown());
        let first = &report.comparisons[0];
        let _ = writeln!(
            out,
            "\nPaired over {} cases{}. Interval: percentile bootstrap, {} resamples. Holm: the t-tests' p-values corrected for \
             all {} comparisons of this table.{} Wilcoxon: signed ranks, two-sided. Effect: mean / deviation of the differences.",
            first.cases,
            if report.seeds.len() > 1 { ", each case's value averaged over the seeds" } else { "" },
            first.interval.resamples,
            report.comparisons.len(),
            if first.over_both.is_some() {
                format!(" {}", tables::ABOUT_BOTH)
            } else {
                String::new()
            },
        );
    }
    for one in &report.ensembles {
        section(&mut out, &tables::title_of(one), &tables::members(one).markdown());
    }
    groups(&mut out, report);
    if !report.figures.is_empty() {
        out.push_str("\n## Figures\n");
    }
    for one in &report.figures {
        let (title, svg, tsv) = (line(&one.title), &one.svg, &one.tsv);
        let bars = line(&one.bars);
        let _ = writeln!(
            out,
            "\n![{title}]({svg})\n\n{title}. Mean over the seeds, bars and bands: {bars}. Numbers: [{tsv}]({tsv})."
        );
    }

    out.push_str("\n## What the metrics are\n\n");
    for one in &report.definitions {
        let _ = writeln!(out, "- `{}`: {}", one.metric, one.definition);
    }
    out.push_str("\nEvery metric is the mean over the cases unless it says otherwise. Targets are a set: one that is written twice counts once.\n");
    for note in &report.notes {
        let _ = writeln!(out, "\n{}", line(note));
    }
    for (head, value) in [("Data", &report.data), ("Settings", &report.settings)] {
        if !value.is_null() {
            let _ = write!(out, "\n## {head}\n\n```json\n{value:#}\n```\n");
        }
    }
    out
}

/// One table per group.
fn groups(out: &mut String, report: &Report) {
    for group in report.cold_start.iter().chain(&report.groups) {
        let table = tables::group(report, group);
        section(out, &format!("Group: {}", group.name), &table.markdown());
        let _ = writeln!(out, "\n{} {} cases.", line(&group.definition), group.cases);
    }
}

fn section(out: &mut String, head: &str, body: &str) {
    let _ = write!(out, "\n## {}\n\n{body}", line(head));
}

/// One line, without markup of its own.
fn line(text: &str) -> String {
    text.replace('\n', " ").replace('<', "&lt;").replace('>', "&gt;")
}
