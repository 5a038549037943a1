//! Written tables read back as the same log in every format; no bytes make a reader panic or hang.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rankstill_data::columns::{Column, ColumnTable, TableWriter, Texts, write_table};
use rankstill_data::{ColumnKind, FORMATS, Log, ReadOptions, read_log, read_log_bytes};

/// Ids as in real data: integers, words, spaces, quotes, delimiters, line ends, other alphabets.
fn id() -> BoxedStrategy<String> {
    prop_oneof![
        3 => any::<i64>().prop_map(|id| id.to_string()),
        3 => "[a-z0-9]{1,6}",
        2 => "[ \",;:|\ta-c'\n\r🦀é]{1,5}",
        1 => "\\PC{1,8}",
    ]
    .prop_filter("not blank", |id| !id.trim().is_empty())
    .boxed()
}

/// Ids without spaces, for formats without quotes.
fn word() -> BoxedStrategy<String> {
    prop_oneof![any::<i64>().prop_map(|id| id.to_string()), "[a-zA-Z0-9_.🦀é-]{1,8}"].boxed()
}

type Event = (String, String, i64, f32);

fn events(id: BoxedStrategy<String>) -> impl Strategy<Value = Vec<Event>> {
    let weight = prop_oneof![-1e6f32..1e6, Just(4.5f32)];
    // Unix seconds, and whole numbers that no unit puts between 1990 and 2100.
    let time = prop_oneof![3 => 631_152_000..4_102_444_800i64, 1 => -9_999..9_999i64];
    proptest::collection::vec((id.clone(), id, time, weight), 1..40)
}

fn table(events: &[Event]) -> ColumnTable {
    ColumnTable::default()
        .with("user_id", events.iter().map(|event| &event.0).collect::<Texts>())
        .and_then(|table| {
            table.with("item_id", events.iter().map(|event| &event.1).collect::<Texts>())
        })
        .and_then(|table| {
            table.with("timestamp", events.iter().map(|event| event.2).collect::<Vec<_>>())
        })
        .and_then(|table| {
            table.with("rating", events.iter().map(|event| event.3).collect::<Vec<_>>())
        })
        .unwrap()
}

fn events_of(log: &Log) -> Vec<Event> {
    log.check().unwrap();
    let event = |i: usize| {
        let (user, item) = (log.user_ids.id(log.users[i]), log.item_ids.id(log.items[i]));
        let time = log.times.as_ref().map_or(0, |times| times[i]);
        (
            user.into_owned(),
            item.into_owned(),
            time,
            log.weights.as_ref().map_or(0.0, |weights| weights[i]),
        )
    };
    (0..log.len()).map(event).collect()
}

/// An id as readers give it: blanks around it do not belong to it, and `7.0` is `7`.
fn read_id(text: &str) -> String {
    let text = text.trim();
    let whole = text
        .strip_suffix(".0")
        .filter(|whole| whole.parse::<i64>().is_ok_and(|number| number.to_string() == *whole));
    whole.unwrap_or(text).to_owned()
}

fn same(found: &[Event], expected: &[Event]) -> bool {
    let bits = |event: &Event| (read_id(&event.0), read_id(&event.1), event.2, event.3.to_bits());
    found.iter().map(bits).eq(expected.iter().map(bits))
}

fn options(format: &str) -> ReadOptions {
    ReadOptions { format: Some(format.into()), ..ReadOptions::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_written_table_reads_back_as_the_same_log(events in events(id())) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["log.parquet", "log.tsv", "log.csv", "log.jsonl"] {
            let path = folder.path().join(name);
            write_table(&path, &table(&events)).unwrap();
            let format = name.rsplit_once('.').unwrap().1;
            for options in [ReadOptions::default(), options(format)] {
                let log = read_log(&path, &options, &mut |_, _| ()).unwrap().log;
                prop_assert!(same(&events_of(&log), &events), "{name}: {:?}", events_of(&log));
            }
        }
    }

    #[test]
    fn lines_read_back_as_the_same_log(events in events(word())) {
        let lines = |line: fn(&Event) -> String| events.iter().map(line).collect::<Vec<_>>().join("\n");
        let dat = lines(|(user, item, time, weight)| format!("{user}::{item}::{weight}::{time}"));
        let triples = lines(|(user, item, _, weight)| format!("{user} {item}\t{weight}"));
        let inter = format!("user_id:token\titem_id:token\trating:float\ttimestamp:float\n{}",
            lines(|(user, item, time, weight)| format!("{user}\t{item}\t{weight}\t{time}")));
        for (format, content, timed) in [("movielens", dat, true), ("recbole", inter, true), ("triples", triples, false)] {
            let log = read_log_bytes("log", content.as_bytes(), &options(format)).unwrap().log;
            let expected: Vec<_> = events.iter().cloned().map(|mut event| {
                event.2 *= i64::from(timed);
                event
            }).collect();
            prop_assert!(same(&events_of(&log), &expected), "{format}");
        }
        let user_lines = lines(|(user, item, ..)| format!("{user} {item} {item}"));
        let log = read_log_bytes("log", user_lines.as_bytes(), &options("user_lines")).unwrap().log;
        prop_assert_eq!(log.len(), 2 * events.len());
        let counted = lines(|(user, item, ..)| format!("2 {user} {item}"));
        let log = read_log_bytes("log", counted.as_bytes(), &options("counted_lines")).unwrap().log;
        let items: Vec<_> = log.items.iter().map(|&item| log.item_ids.id(item).into_owned()).collect();
        let expected: Vec<_> = events.iter().flat_map(|event| [read_id(&event.0), read_id(&event.1)]).collect();
        prop_assert_eq!(items, expected);
    }

    #[test]
    fn no_bytes_break_a_reader(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            "[user_idtm,:\t\n\r \"0-9.{}\\[\\]a-c-]{0,200}".prop_map(String::into_bytes),
            "(user_id,item_id,rating\n)?([a-c0-9]{0,2}[,\t: ]{1,2}){0,40}\n?".prop_map(String::into_bytes),
        ],
    ) {
        for format in FORMATS.iter().map(|format| Some(format.name)).chain([None]) {
            let options = ReadOptions { format: format.map(Into::into), ..ReadOptions::default() };
            if let Ok(log) = read_log_bytes("log", &bytes, &options) {
                prop_assert!(log.log.check().is_ok() && !log.log.is_empty());
            }
        }
    }

    #[test]
    fn no_damaged_parquet_breaks_the_reader(at in any::<proptest::sample::Index>(), to in any::<u8>(), cut in any::<proptest::sample::Index>()) {
        let bytes = parquet();
        let mut damaged = bytes.clone();
        *at.get_mut(&mut damaged) = to;
        for bytes in [&damaged[..], &bytes[..cut.index(bytes.len())]] {
            if let Ok(log) = read_log_bytes("log", bytes, &options("parquet")) {
                prop_assert!(log.log.check().is_ok());
            }
        }
    }
}

fn parquet() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.parquet");
    let columns = [
        ("user", ColumnKind::Text),
        ("item", ColumnKind::I64),
        ("ts", ColumnKind::I64),
        ("rating", ColumnKind::F32),
    ];
    let mut writer = TableWriter::create(&path, &columns).unwrap();
    let users = (0..50).map(|i| format!("user {}", i % 7)).collect::<Texts>();
    let items = (0..50).map(|i| i % 11).collect();
    let weights = (0..50).map(|i| i as f32).collect();
    writer
        .write(&[
            Column::Text(users),
            Column::I64(items),
            Column::I64((0..50).collect()),
            Column::F32(weights),
        ])
        .unwrap();
    writer.finish().unwrap();
    std::fs::read(path).unwrap()
}
