//! A few test users: what they did before, and what the models recommend, side by side.

use crate::report::{Details, ItemLine, Report, UserLists};
use maud::{Markup, html};
use std::collections::BTreeSet;

/// `None` if no user was drawn.
pub(super) fn section(report: &Report, details: &Details) -> Option<Markup> {
    if details.users.is_empty() {
        return None;
    }
    let seed = report.seeds.first().copied().unwrap_or_default();
    Some(html! {
        p {
            (details.users.len()) " test users, drawn at random with seed " (seed) ", not selected. "
            span.hit { "Items of the test part" } " were found; what only one model recommends is "
            span.only { "underlined" } "."
        }
        div.users { @for user in &details.users { (one(user, &details.shown)) } }
    })
}

fn one(user: &UserLists, shown: &[String]) -> Markup {
    html! {
        article.user {
            h3 dir="auto" { "User " (user.user) }
            p.muted { (facts(user)) }
            div.columns {
                div {
                    h4 { "History, newest first" }
                    ol.history { @for item in &user.history { li { (line(item)) } } }
                    @let more = user.history_length.saturating_sub(user.history.len());
                    @if more > 0 { p.muted { "and " (more) " before" } }
                }
                @for (at, (name, list)) in shown.iter().zip(&user.lists).enumerate() {
                    div {
                        h4 dir="auto" { (name) }
                        @if list.is_empty() { p.muted { "nothing" } }
                        ol {
                            @for item in list {
                                @let only = user.lists.len() > 1 && user.lists.iter().enumerate()
                                    .all(|(other, list)| other == at || list.iter().all(|one| one.id != item.id));
                                li .hit[item.hit] .only[only] {
                                    (line(item))
                                    @if item.hit { span.unseen { " (in the test part)" } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Counts in words.
fn facts(user: &UserLists) -> String {
    let found: Vec<String> = user
        .lists
        .iter()
        .map(|list| list.iter().filter(|item| item.hit).count().to_string())
        .collect();
    let mut facts = vec![
        format!("{} in the history", items(user.history_length)),
        format!("{} in the test part", items(user.targets)),
    ];
    if !found.is_empty() {
        facts.push(format!("found: {}", found.join(" and ")));
    }
    if let [a, b] = &user.lists[..] {
        let ids: BTreeSet<&str> = a.iter().map(|item| item.id.as_str()).collect();
        let common = b.iter().filter(|item| ids.contains(item.id.as_str())).count();
        facts.push(format!("{common} recommended by both"));
    }
    facts.join(" · ")
}

fn items(n: usize) -> String {
    if n == 1 { "1 item".into() } else { format!("{n} items") }
}

/// Its title, with its id; else its id.
fn line(item: &ItemLine) -> Markup {
    html! {
        @match &item.title {
            Some(title) => { bdi { (title) } " " span.id { (item.id) } },
            None => bdi { (item.id) },
        }
    }
}
