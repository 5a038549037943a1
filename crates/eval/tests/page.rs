//! The page for people equals the file in `golden`, byte for byte; that was checked by eye. No name becomes markup.
#![allow(clippy::unwrap_used)]

use rankstill_eval::compare::{ComparisonOptions, adjust, compare};
use rankstill_eval::efficiency::Quantiles;
use rankstill_eval::metric::parse_all;
use rankstill_eval::report::{
    Agreement, AuditRow, Command, DataDetails, Details, EnsembleReport, FilterRow, Gain, ItemLine,
    MemberReport, PartRow, SourceRow, UserLists,
};
use rankstill_eval::significance::Interval;
use rankstill_eval::{
    Dialect, GroupReport, Latency, Machine, ModelReport, Report, Role, TrainingCost, spread,
};
use serde_json::json;

/// A run of five models in which every part of the page has something to show. `name` makes every name that comes from outside.
fn report(name: &dyn Fn(&str) -> String) -> Report {
    let mut report = Report {
        title: name("Films"),
        version: "1.2.3".into(),
        cases: 4,
        seeds: vec![7],
        settings: json!({"name": name("Films"), "models": {name("S/KD"): {"kind": "bpr_mf", "dim": 8}}, "seeds": [7]}),
        data: json!({"content": "0123abcd", "stats": {"users": 4, "items": 5000, "actions": 20_000}}),
        machine: Some(Machine { cpu: name("CPU"), cores: 2, threads: 2, ..Machine::default() }),
        notes: vec![name("A note.")],
        ..Report::default()
    };
    report
        .define(Dialect::Standard, &parse_all(&["ndcg@10", "gini@10"], Dialect::Standard).unwrap());
    let row = |own: &str, kind: &str, role, value: f64, us: f64, bytes: f64, teachers: &[&str]| {
        let latency = Latency {
            k: 10,
            all_users_seconds: us * 1e-5,
            request_ms: Quantiles { median: us * 1e-3, p99: us * 2e-3 },
            ..Latency::default()
        };
        ModelReport {
            name: name(own),
            kind: kind.into(),
            role,
            teachers: teachers.iter().map(|own| name(own)).collect(),
            distiller: (!teachers.is_empty()).then(|| "rrd".into()),
            parameters: (bytes * 1000.0) as u64,
            bytes: 4096,
            family: name(kind),
            bytes_per_item: Some(bytes),
            bytes_per_user: Some(8.0),
            metrics: [("ndcg@10", value), ("gini@10", 0.5)]
                .map(|(metric, value)| (metric.to_owned(), spread(&[value])))
                .into(),
            latency: Some(latency),
            training: Some(TrainingCost { seconds: 12.5, epochs: 9.0 }),
            artefact: Some("models/S/seed-7/artefact".into()),
            warnings: if own == "S" { vec![name("it is a pity")] } else { Vec::new() },
            ..ModelReport::default()
        }
    };
    report.models = vec![
        row("POP", "pop", Role::Teacher, 0.05, 20.0, 4.0, &[]),
        row("EASE", "ease", Role::Teacher, 0.30, 400.0, 4000.0, &[]),
        row("Both", "ensemble", Role::Teacher, 0.32, 900.0, 4004.0, &[]),
        row("S", "bpr_mf", Role::Student, 0.24, 30.0, 32.0, &[]),
        row("S/KD", "bpr_mf", Role::Distilled, 0.31, 31.0, 32.0, &["Both"]),
    ];
    report.fill_kept();
    let (taught, alone, both) = ([0.2, 0.3, 0.1, 0.2], [0.1, 0.25, 0.1, 0.05], [0.3; 4]);
    let against = |own: &str, values: &[f64; 4]| {
        let options = ComparisonOptions::default();
        compare("ndcg@10", (&name("S/KD"), &[taught]), (&name(own), &[*values]), &options).unwrap()
    };
    report.comparisons = vec![against("S", &alone)];
    adjust(&mut report.comparisons);
    report.ensembles = vec![EnsembleReport {
        name: name("Both"),
        metric: "ndcg@10".into(),
        value: 0.33,
        members: vec![
            MemberReport { name: name("EASE"), weight: 3, alone: 0.31, without: Some(0.06) },
            MemberReport { name: name("POP"), weight: 0, alone: 0.05, without: None },
        ],
    }];
    let metrics = report.models[4].metrics.clone();
    report.groups = vec![GroupReport {
        name: "active users".into(),
        definition: "Cases of the 2 users with the most interactions.".into(),
        cases: 2,
        models: [(name("S/KD"), metrics)].into(),
    }];
    let interval = |low| Interval { low, high: low + 0.04, level: 0.95, resamples: 1000 };
    let item = |own: &str, title: Option<&str>, hit| ItemLine {
        id: name(own),
        title: title.map(name),
        hit,
    };
    let gain = |group: &str, own: &str, values| Gain {
        group: group.into(),
        definition: format!("The {group}."),
        comparison: against(own, values),
    };
    report.details = Some(Details {
        intervals: report
            .models
            .iter()
            .map(|model| {
                let low = model.metrics["ndcg@10"].mean - 0.02;
                (model.name.clone(), [("ndcg@10".to_owned(), interval(low))].into())
            })
            .collect(),
        agreement: vec![Agreement {
            model: name("S/KD"),
            with: name("Both"),
            metric: "overlap@10".into(),
            value: spread(&[0.625]),
        }],
        gains: vec![gain("unpopular items", "S", &alone), gain("unpopular items", "Both", &both)],
        shown: vec![name("Both"), name("S/KD")],
        users: vec![UserLists {
            user: name("ann"),
            history_length: 12,
            history: vec![item("7", Some("Alien"), false), item("8", None, false)],
            targets: 1,
            lists: vec![
                vec![item("1", Some("Brazil"), true), item("2", Some("Heat"), false)],
                vec![item("1", Some("Brazil"), true), item("3", None, false)],
            ],
        }],
        data: Some(DataDetails {
            sources: vec![SourceRow {
                name: name("log.tsv"),
                part: None,
                understood: Some(name("format   tsv\ncolumns  user = u, item = i")),
                bytes: 2_000_000,
                sha256: "ab".into(),
            }],
            filters: vec![FilterRow {
                filter: "as read".into(),
                removed: 0,
                rows: 20_000,
                users: 4,
                items: 5000,
            }],
            split: "random: by chance.".into(),
            protocol: "Never recommended: what is known.".into(),
            parts: vec![PartRow { part: "training".into(), rows: 16_000, users: 4 }],
            audit: vec![
                AuditRow {
                    about: "test rows that also train".into(),
                    count: Some(2),
                    of: 10,
                    doubtful: true,
                },
                AuditRow {
                    about: "test rows that are old".into(),
                    count: None,
                    of: 10,
                    doubtful: true,
                },
            ],
        }),
        commands: vec![Command { about: "Serve it:".into(), line: name("rankstill serve x") }],
        missing: vec![name("Not shown: the moon.")],
    });
    report
}

#[test]
fn the_page_is_the_golden_one() {
    let page = report(&str::to_owned).html();
    let path = format!("{}/tests/golden/report.html", env!("CARGO_MANIFEST_DIR"));
    if std::fs::read_to_string(&path).unwrap_or_default() != page {
        let found = std::env::temp_dir().join("report.html");
        let _ = std::fs::write(&found, &page);
        panic!("report.html differs; made: {}", found.display());
    }
}

/// The names of all attributes of all tags, and the names of the tags.
fn markup(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        let inside = &rest[at + 1..];
        let (mut quoted, mut end) = (false, inside.len());
        for (at, c) in inside.char_indices() {
            match c {
                '"' => quoted = !quoted,
                '>' if !quoted => {
                    end = at;
                    break;
                }
                _ => {}
            }
        }
        let tag = &inside[..end];
        let outside: String = tag.split('"').step_by(2).collect::<Vec<_>>().join(" ");
        found.extend(outside.split_whitespace().map(|word| word.trim_matches('=').to_lowercase()));
        rest = &inside[end..];
    }
    found
}

#[test]
fn hostile_names_stay_names() {
    let plain = report(&str::to_owned).html();
    for attack in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "</title></style></svg><iframe src=//x>",
        "&lt;b&gt;<!--",
        "]]><?x ?>",
    ] {
        let hostile = report(&|name| format!("{name}{attack}")).html();
        let (expected, found) = (markup(&plain), markup(&hostile));
        let new: Vec<_> = found.iter().filter(|word| !expected.contains(word)).collect();
        assert!(new.is_empty(), "{attack} made {new:?}");
        for word in ["<script", "<img", "<iframe", "<!--", "<?"] {
            assert!(!hostile.contains(word), "{attack}: {word}");
        }
    }
}

#[test]
fn the_page_says_what_is_best_and_hedges() {
    let page = report(&str::to_owned).html();
    for expected in [
        "recommends none; of the single models EASE ranks best with ndcg@10 0.3000 (95% interval 0.2800 to 0.3200); Both has ndcg@10 0.3200.",
        "The best student is S/KD (rrd, taught by Both) with ndcg@10 0.3100 (95% interval 0.2900 to 0.3300), 96.9% of its teacher's;",
        "a request takes 31.0 µs and an item 32 bytes (29 times as fast as Both, 0.8% of the bytes an item of Both);",
        "flatters them a little",
    ] {
        assert!(page.contains(expected), "{expected} is not in\n{page}");
    }
    let chosen = Report {
        recommended: Some("S/KD".into()),
        ensemble: Some("Both".into()),
        ..report(&str::to_owned)
    };
    let page = chosen.html();
    assert!(page.contains("Recommended is S/KD"), "{page}");
    assert!(
        page.contains("96.9% of that of Both and 103.3% of that of the best single model, EASE")
    );
    assert!(page.contains("made on validation data"));
}

#[test]
fn an_old_report_and_an_empty_one_are_pages_too() {
    let old = Report { details: None, ..report(&str::to_owned) };
    let page = old.html();
    assert!(page.contains("What quality costs") && !page.contains("side by side"), "{page}");
    assert!(Report::default().html().contains("Nothing was measured"));
    let again: Report = serde_json::from_str(&serde_json::to_string(&old).unwrap()).unwrap();
    assert_eq!(again.html(), page);
}
