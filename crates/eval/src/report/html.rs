//! The report as one file for people who were not there: `report.html`.
//!
//! Nothing is fetched and no script runs (the page's own policy forbids it). Names of models, users and items are texts: `maud` escapes
//! whatever is not written in this file. Light or dark follows the system; paper is light. The same report gives the same bytes.

mod quality;
mod users;

use super::svg::themed;
use super::tables;
use super::{Command, DataDetails, Details, MetricDefinition, Picks, Report, frontier, summary};
use crate::metric::Direction;
use crate::report::figure::Figure;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use rankstill_core::text_table::{TextTable, thousands};
use serde_json::Value;

const STYLE: &str = include_str!("html/style.css");
/// Styles may stand in the page; everything else that a page can load or run is forbidden.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// A part of the page.
struct Section {
    id: &'static str,
    title: &'static str,
    body: Markup,
}

/// Models by metrics for a page of somebody else's, such as a notebook's: it brings no style sheet.
pub(super) fn fragment(report: &Report) -> String {
    let bar = |one: &MetricDefinition, mean: f64| {
        let means =
            report.models.iter().filter_map(|model| Some(model.metrics.get(&one.metric)?.mean));
        let best = means.fold(0.0, f64::max);
        let share = if best > 0.0 { 100.0 * mean / best } else { 0.0 };
        let colour = if one.direction == Direction::Neither { "#8884" } else { "#4a90d955" };
        format!("background:linear-gradient(90deg,{colour} {share:.0}%,transparent {share:.0}%)")
    };
    html! {
        table {
            thead { tr {
                th { "model" }
                @for one in &report.definitions { th title=(one.definition) { (one.metric) } }
                th { "parameters" }
            } }
            tbody {
                @for model in &report.models {
                    tr {
                        th { (model.name) }
                        @for one in &report.definitions {
                            @match model.metrics.get(&one.metric) {
                                Some(spread) => td style=(bar(one, spread.mean)) { (format!("{:.4}", spread.mean)) },
                                None => td {},
                            }
                        }
                        td { (thousands(model.parameters as usize)) }
                    }
                }
            }
        }
    }
    .into_string()
}

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let nothing = Details::default();
    let details = report.details.as_ref().unwrap_or(&nothing);
    let picks = Picks::of(report);
    let section = |id, title, body: Option<Markup>| Some(Section { id, title, body: body? });
    let sections: Vec<Section> = [
        section("price", "What quality costs", price(report, picks.metric)),
        section("quality", "Quality", quality::section(report, details)),
        section("teachers", "What each teacher adds", teachers(report)),
        section("size", "Time and bytes", size(report)),
        section("groups", "Who gains and who loses", groups(report, details, &picks)),
        section("agreement", "Agreement of lists", agreement(details)),
        section("users", "Users side by side", users::section(report, details)),
        section("figures", "Figures", figures(report)),
        section("data", "Data and audit", data(report, details.data.as_ref())),
        section("repeat", "Settings and commands", repeat(report, details)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (report.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (report.title) }
                    p.muted { (about(report)) }
                    nav aria-label="Parts of this page" {
                        @for one in &sections { a href={ "#" (one.id) } { (one.title) } " " }
                    }
                }
                main {
                    section #summary aria-label="Summary" {
                        @for sentence in summary::sentences(report) { p.lead { (sentence) } }
                        (warnings(report))
                    }
                    @for one in &sections {
                        section id=(one.id) { h2 { (one.title) } (one.body) }
                    }
                }
                footer.muted {
                    @for note in details.missing.iter().chain(&report.notes) { p { (note) } }
                }
            }
        }
    };
    page.into_string() + "\n"
}

/// Cases, seeds, program: what the figures are of.
fn about(report: &Report) -> String {
    let mut parts = vec![format!("{} test cases", thousands(report.cases))];
    let seeds: Vec<String> = report.seeds.iter().map(u64::to_string).collect();
    match seeds.len() {
        0 => {}
        1 => parts.push(format!("seed {}", seeds[0])),
        _ => parts.push(format!("seeds {}", seeds.join(", "))),
    }
    parts.push(format!("metrics in the {} dialect", report.dialect));
    if !report.version.is_empty() {
        parts.push(format!("made by rankstill {}", report.version));
    }
    parts.join(" · ")
}

fn warnings(report: &Report) -> Markup {
    html! {
        @for (name, warning) in report.warnings() {
            p.warning { strong { "Warning: " (name) ": " } (warning) "." }
        }
    }
}

/// A table that scrolls in its own box, by finger and by keyboard, so that the page never does sideways.
fn table(title: &str, table: &TextTable) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(title) {
            table {
                thead { tr { @for name in table.header() { th scope="col" { (name) } } } }
                tbody {
                    @for row in table.rows() {
                        tr {
                            @for (at, (text, best)) in row.enumerate() {
                                @if at == 0 { th scope="row" dir="auto" { (text) } }
                                @else { td dir="auto" .best[best] { (text) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What is long and not needed at first.
fn folded(summary: &str, body: &Markup) -> Markup {
    html! { details { summary { (summary) } (body) } }
}

/// The frontier as pictures, a panel each, and as a table.
fn price(report: &Report, metric: &str) -> Option<Markup> {
    let priced = report.models.iter().any(|m| m.latency.is_some() || m.bytes_per_item.is_some());
    if !priced || metric.is_empty() {
        return None;
    }
    let panels = frontier::figure(report, metric).map(|figure| figure.panels).unwrap_or_default();
    Some(html! {
        div.pair {
            @for panel in panels {
                @let label = format!("{metric} against {}", panel.x.label);
                @let picture = Figure { title: String::new(), panels: vec![panel] }.svg();
                figure aria-label=(label) {
                    (PreEscaped(themed(&picture))) // escaped where it is drawn
                    figcaption { (label) }
                }
            }
        }
        p.muted {
            "Up is better, left is cheaper. A line joins models that differ in their size alone. The grey band is the frontier: no "
            "model, and no mixture of two, is as good for less. Rest the pointer on a mark for its name and numbers. Models below half of the best value stand in the table only."
        }
        (table("Quality, time and bytes", &tables::for_price(report, metric)))
    })
}

/// What was chosen for ensembles.
fn teachers(report: &Report) -> Option<Markup> {
    (!report.ensembles.is_empty()).then(|| {
        html! {
            @for one in &report.ensembles {
                h3 { (tables::title_of(one)) }
                (table(&one.name, &tables::members(one)))
            }
            p.muted {
                "Members are added one by one, the best first, perhaps again, as long as that helps on validation data. Counts: how often. A member "
                "that counts 0 only dilutes and is never asked."
            }
        }
    })
}

fn size(report: &Report) -> Option<Markup> {
    (!report.models.is_empty()).then(|| {
        html! {
            (table("Time and bytes", &tables::cost(report)))
            @if let Some(machine) = &report.machine {
                p.muted {
                    "Measured alternately for all models on: " (machine.line()) ". \"For all\" is the median round on all threads, of a part of the users and scaled up where all would take long."
                }
            }
        }
    })
}

fn groups(report: &Report, details: &Details, picks: &Picks<'_>) -> Option<Markup> {
    let all: Vec<_> = report.cold_start.iter().chain(&report.groups).collect();
    if details.gains.is_empty() && all.is_empty() {
        return None;
    }
    let mut definitions: Vec<(&str, &str)> = Vec::new();
    for gain in &details.gains {
        if !definitions.iter().any(|(group, _)| *group == gain.group) {
            definitions.push((&gain.group, &gain.definition));
        }
    }
    Some(html! {
        @if let (Some(first), Some(student)) = (details.gains.first(), picks.student) {
            p {
                "A mean over all users can hide that some of them lose. Here " strong { (student.name) } " is set against the others by "
                (first.comparison.metric) ", group by group, case by case."
            }
            (table("Who gains and who loses", &tables::gains(&details.gains)))
            dl.muted { @for (group, definition) in definitions { dt { (group) } dd { (definition) } } }
        }
        @for group in all {
            @let title = format!("All models: {} ({} cases)", group.name, thousands(group.cases));
            @let body = html! {
                (table(&title, &tables::group(report, group)))
                p.muted { (group.definition) }
            };
            (folded(&title, &body))
        }
    })
}

fn agreement(details: &Details) -> Option<Markup> {
    (!details.agreement.is_empty()).then(|| {
        html! {
            p {
                "How many of the first items of the model on the right are among the first of the model on the left, on average over the test users."
            }
            (table("Agreement of lists", &tables::agreement(&details.agreement)))
        }
    })
}

/// Pictures of `[[figure]]` are files beside the page; the policy lets none be shown here.
fn figures(report: &Report) -> Option<Markup> {
    (!report.figures.is_empty()).then(|| {
        html! {
            p.muted { "Files beside this page:" }
            ul {
                @for one in &report.figures {
                    li { (one.title) ": " a href=(one.svg) { (one.svg) } ", " a href=(one.tsv) { (one.tsv) } }
                }
            }
        }
    })
}

fn data(report: &Report, details: Option<&DataDetails>) -> Option<Markup> {
    if report.data.is_null() && details.is_none() {
        return None;
    }
    let stats = &report.data["stats"];
    let count = |key: &str| stats[key].as_u64().map(|n| thousands(n as usize));
    Some(html! {
        @if let (Some(users), Some(items), Some(rows)) = (count("users"), count("items"), count("actions")) {
            p { (users) " users, " (items) " items, " (rows) " interactions." }
        }
        @if let Some(data) = details { (data_details(data)) }
        @if let Some(content) = report.data["content"].as_str() {
            p.muted { "SHA-256 of the content, whatever the file's format: " code { (content) } }
        }
    })
}

fn data_details(data: &DataDetails) -> Markup {
    let doubts = data.audit.iter().filter(|one| one.doubtful && one.count.unwrap_or(0) > 0).count();
    html! {
        @if !data.sources.is_empty() {
            h3 { "What was read" }
            @for one in &data.sources {
                p { strong { (one.name) } @if let Some(part) = &one.part { " (" (part) ")" } ", " (tables::bytes(one.bytes)) }
                @if let Some(understood) = &one.understood { pre tabindex="0" { (understood) } }
            }
        }
        @if !data.filters.is_empty() {
            h3 { "Filters" }
            (table("Filters", &tables::filters(&data.filters)))
        }
        h3 { "Split" }
        p { (data.split) }
        p { (data.protocol) }
        (table("Parts of the split", &tables::parts(&data.parts)))
        h3 { "Leakage audit" }
        p {
            @match doubts {
                0 => "No check puts the results in doubt.",
                1 => strong { "One check puts the results in doubt." },
                n => strong { (n) " checks put the results in doubt." },
            }
        }
        (table("Leakage audit", &tables::audit(&data.audit)))
    }
}

fn repeat(report: &Report, details: &Details) -> Option<Markup> {
    Some(html! {
        @for Command { about, line } in &details.commands {
            p { (about) }
            pre tabindex="0" { code { (line) } }
        }
        h3 { "What the metrics are" }
        dl { @for one in &report.definitions { dt { code { (one.metric) } } dd { (one.definition) } } }
        @if !report.settings.is_null() {
            h3 { "Every setting" }
            @if let Value::Object(all) = &report.settings {
                @for (key, value) in all { (setting(key, value, 0)) }
            }
        }
    })
}

/// A setting, or a table of them that can be unfolded.
fn setting(key: &str, value: &Value, depth: usize) -> Markup {
    let open =
        depth < 1 && value.as_object().is_some_and(|table| table.values().any(Value::is_object));
    match value {
        Value::Object(table) if open => folded(
            key,
            &html! { div.inner { @for (key, value) in table { (setting(key, value, depth + 1)) } } },
        ),
        Value::Object(_) => folded(key, &html! { pre tabindex="0" { (format!("{value:#}")) } }),
        other => html! { p.setting { code { (key) " = " (other.to_string()) } } },
    }
}
