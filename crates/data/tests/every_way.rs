//! One log in every format, with every separator, header, compression, unit of time and kind of id, is read
//! as the same rows; and what is no log is not taken for one.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use proptest::sample::select;
use rankstill_core::TimeUnit;
use rankstill_data::columns::{Column, ColumnTable, Texts, write_table};
use rankstill_data::{FORMATS, Log, ReadOptions, read_log, read_log_bytes};
use std::io::Write;

#[derive(Clone, Debug)]
struct Row {
    user: String,
    item: String,
    /// Milliseconds.
    time: i64,
    weight: f32,
}

/// A way to write times.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Clock {
    Unit(TimeUnit),
    /// Seconds with decimals.
    Float,
    Iso,
    /// With a blank, and an offset of two hours.
    Offset,
}

const CLOCKS: [Clock; 7] = [
    Clock::Unit(TimeUnit::Seconds),
    Clock::Unit(TimeUnit::Milliseconds),
    Clock::Unit(TimeUnit::Microseconds),
    Clock::Unit(TimeUnit::Nanoseconds),
    Clock::Float,
    Clock::Iso,
    Clock::Offset,
];
const SEPARATORS: [&str; 7] = [",", "\t", ";", "|", "\u{1}", "::", " "];
const PACKINGS: [&str; 4] = ["plain", "gzip", "zstd", "bzip2"];
const HEADERS: [[&str; 4]; 3] = [
    ["user_id", "item_id", "timestamp", "rating"],
    ["reviewerID", "asin", "unixReviewTime", "overall"],
    ["visitorid", "Item ID", "event_time", "label"],
];

impl Clock {
    fn write(self, time: i64) -> String {
        let date = |time: i64, offset: &str, mark: char| {
            let stamp = jiff::Timestamp::from_millisecond(time).unwrap();
            stamp.strftime(&format!("%Y-%m-%d{mark}%H:%M:%S%.3f{offset}")).to_string()
        };
        match self {
            Self::Unit(TimeUnit::Seconds) => (time / 1000).to_string(),
            Self::Unit(unit) => (time * (unit.per_second() / 1000)).to_string(),
            Self::Float => format!("{}.{:03}", time / 1000, time % 1000),
            Self::Iso => date(time, "Z", 'T'),
            Self::Offset => date(time + 7_200_000, " +0200", ' '),
        }
    }

    /// What can be read back of a time.
    fn kept(self, time: i64) -> i64 {
        if self == Self::Unit(TimeUnit::Seconds) { time / 1000 * 1000 } else { time }
    }
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let id = select(vec!["number", "code", "uuid", "float"]);
    let seed = (0u32..500, 0u32..2000, 631_152_000_000..4_102_444_800_000i64, 1u8..11);
    (id.clone(), id, proptest::collection::vec(seed, 2..40)).prop_map(|(users, items, seeds)| {
        let id = |kind: &str, number: u32| match kind {
            "number" => number.to_string(),
            "code" => format!("B{number:05}X"),
            "uuid" => format!("550e8400-e29b-41d4-a716-4466{number:08}"),
            _ => format!("{number}.0"),
        };
        let row = |(user, item, time, weight): (u32, u32, i64, u8)| Row {
            user: id(users, user),
            item: id(items, item),
            time,
            weight: f32::from(weight) / 2.0,
        };
        seeds.into_iter().map(row).collect()
    })
}

fn pack(bytes: &[u8], packing: &str) -> Vec<u8> {
    match packing {
        "gzip" => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        "zstd" => zstd::encode_all(bytes, 1).unwrap(),
        "bzip2" => {
            let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        _ => bytes.to_vec(),
    }
}

/// `user, item, milliseconds, weight` of each row.
fn found(log: &Log) -> Vec<(String, String, i64, f32)> {
    log.check().unwrap();
    let row = |i: usize| {
        let (user, item) = (log.user_ids.id(log.users[i]), log.item_ids.id(log.items[i]));
        let time = log.times.as_ref().map_or(0, |times| times[i]);
        let time = i128::from(time) * 1000 / i128::from(log.time_unit.per_second());
        let weight = log.weights.as_ref().map_or(0.0, |weights| weights[i]);
        (user.into_owned(), item.into_owned(), time as i64, weight)
    };
    (0..log.len()).map(row).collect()
}

fn expected(rows: &[Row], clock: Clock) -> Vec<(String, String, i64, f32)> {
    let plain = |id: &str| id.strip_suffix(".0").unwrap_or(id).to_owned();
    let row = |row: &Row| (plain(&row.user), plain(&row.item), clock.kept(row.time), row.weight);
    rows.iter().map(row).collect()
}

fn pairs(rows: &[Row]) -> Vec<(String, String)> {
    expected(rows, Clock::Iso).into_iter().map(|(user, item, ..)| (user, item)).collect()
}

fn options(format: &str) -> ReadOptions {
    ReadOptions { format: Some(format.into()), ..ReadOptions::default() }
}

/// Reads with the options, and says what failed.
fn read(
    bytes: &[u8],
    options: &ReadOptions,
) -> Result<Vec<(String, String, i64, f32)>, TestCaseError> {
    match read_log_bytes("log", bytes, options) {
        Ok(file) => Ok(found(&file.log)),
        Err(error) => {
            let start = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
            Err(TestCaseError::fail(format!("{error}\n{start}")))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_read_back(
        rows in rows(),
        separator in select(&SEPARATORS[..]),
        header in proptest::option::of(select(&HEADERS[..])),
        packing in select(&PACKINGS[..]),
        clock in select(&CLOCKS[..]),
        comment in any::<bool>(),
        crlf in any::<bool>(),
    ) {
        // A blank cannot be in a field between blanks.
        prop_assume!(separator != " " || clock != Clock::Offset);
        prop_assume!(separator != " " || header.is_none_or(|header| header[1] != "Item ID"));
        let end = if crlf { "\r\n" } else { "\n" };
        let line = |fields: [String; 4]| fields.join(separator) + end;
        let mut text = if comment { format!("# a log{end}") } else { String::new() };
        if let Some(header) = header {
            text += &line(header.map(str::to_owned));
        }
        for row in &rows {
            // Without a header as in MovieLens: user, item, rating, time.
            let (time, weight) = (clock.write(row.time), row.weight.to_string());
            text += &match header {
                Some(_) => line([row.user.clone(), row.item.clone(), time, weight]),
                None => line([row.user.clone(), row.item.clone(), weight, time]),
            };
        }
        let bytes = pack(text.as_bytes(), packing);
        prop_assert_eq!(read(&bytes, &ReadOptions::default())?, expected(&rows, clock));
        let format = match (separator, header) {
            ("\t", _) => "tsv",
            ("::", None) => "movielens",
            (" ", None) => "triples",
            _ => "csv",
        };
        prop_assert_eq!(read(&bytes, &options(format))?, expected(&rows, clock));
    }

    #[test]
    fn objects_parquet_and_recbole_read_back(
        rows in rows(),
        header in select(&HEADERS[..]),
        packing in select(&PACKINGS[..]),
        clock in select(&CLOCKS[..]),
        quoted in any::<bool>(),
    ) {
        let number = |text: String| if quoted || text.parse::<f64>().is_err() { format!("\"{text}\"") } else { text };
        let object = |row: &Row| {
            let id = |id: &str| format!("\"{id}\"");
            let values = [id(&row.user), id(&row.item), number(clock.write(row.time)), number(row.weight.to_string())];
            let fields: Vec<String> = header.iter().zip(values).map(|(key, value)| format!("\"{key}\": {value}")).collect();
            format!("{{{}}}", fields.join(", "))
        };
        let objects: Vec<String> = rows.iter().map(object).collect();
        let pretty = objects.iter().map(|object| object.replace(", ", ",\n  ").replace('{', "{\n  ")).collect::<Vec<_>>();
        for (text, format) in [
            (objects.join("\n"), "jsonl"),
            (format!("[{}]", objects.join(",\n")), "json"),
            (pretty.join("\n"), "json"),
        ] {
            let bytes = pack(text.as_bytes(), packing);
            prop_assert_eq!(read(&bytes, &ReadOptions::default())?, expected(&rows, clock));
            prop_assert_eq!(read(&bytes, &options(format))?, expected(&rows, clock));
        }
        let mut inter = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n".to_owned();
        for row in &rows {
            inter += &format!("{}\t{}\t{}\t{}\n", row.user, row.item, row.weight, clock.write(row.time));
        }
        for (text, separator) in [(inter.clone(), "\t"), (inter.replace('\t', ","), ",")] {
            let bytes = pack(text.as_bytes(), packing);
            prop_assert_eq!(read(&bytes, &ReadOptions::default())?, expected(&rows, clock), "{}", separator);
            prop_assert_eq!(read(&bytes, &options("recbole"))?, expected(&rows, clock));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.parquet");
        let text = |of: fn(&Row) -> &String| rows.iter().map(of).collect::<Texts>();
        let times: Column = match clock {
            Clock::Unit(_) => rows.iter().map(|row| clock.write(row.time).parse::<i64>().unwrap()).collect::<Vec<_>>().into(),
            Clock::Float => rows.iter().map(|row| row.time as f64 / 1000.0).collect::<Vec<_>>().into(),
            _ => rows.iter().map(|row| clock.write(row.time)).collect::<Texts>().into(),
        };
        let table = ColumnTable::default()
            .with(header[0], text(|row| &row.user)).unwrap()
            .with(header[1], text(|row| &row.item)).unwrap()
            .with(header[2], times).unwrap()
            .with(header[3], rows.iter().map(|row| row.weight).collect::<Vec<_>>()).unwrap();
        write_table(&path, &table).unwrap();
        for options in [ReadOptions::default(), options("parquet")] {
            let log = read_log(&path, &options, &mut |_, _| ()).unwrap().log;
            prop_assert_eq!(found(&log), expected(&rows, clock));
        }
    }

    #[test]
    fn files_without_times_read_back(rows in rows(), packing in select(&PACKINGS[..])) {
        let lines = |line: &dyn Fn(&Row) -> String| rows.iter().map(line).collect::<Vec<_>>().join("\n");
        let of = |bytes: &[u8], options: &ReadOptions| {
            read(bytes, options).map(|rows| rows.into_iter().map(|row| (row.0, row.1)).collect::<Vec<_>>())
        };
        for separator in SEPARATORS {
            let text = lines(&|row| format!("{}{separator}{}", row.user, row.item));
            let bytes = pack(text.as_bytes(), packing);
            let counted = rows.iter().all(|row| row.user == "1");
            if !counted {
                prop_assert_eq!(of(&bytes, &ReadOptions::default())?, pairs(&rows), "{:?}", separator);
            }
        }
        let qrels = pack(lines(&|row| format!("{} 0 {} 1", row.user, row.item)).as_bytes(), packing);
        let run = pack(lines(&|row| format!("{}\tQ0\t{}\t3\t0.5\trun", row.user, row.item)).as_bytes(), packing);
        for (bytes, format) in [(qrels, "trec_qrels"), (run, "trec_run")] {
            prop_assert_eq!(of(&bytes, &ReadOptions::default())?, pairs(&rows));
            prop_assert_eq!(of(&bytes, &options(format))?, pairs(&rows));
        }
        let user_lines = pack(lines(&|row| format!("{} {}", row.user, row.item)).as_bytes(), packing);
        prop_assert_eq!(of(&user_lines, &options("user_lines"))?, pairs(&rows));
        let counted = pack(lines(&|row| format!("1 {}", row.item)).as_bytes(), packing);
        let items: Vec<String> = pairs(&rows).into_iter().map(|pair| pair.1).collect();
        let found = of(&counted, &options("counted_lines"))?;
        prop_assert_eq!(found.into_iter().map(|pair| pair.1).collect::<Vec<_>>(), items);
    }

    #[test]
    fn what_is_no_log_is_not_taken_for_one(
        text in prop_oneof![
            // Prose.
            "(([A-Z][a-z]{1,8}|[a-z]{1,9})[ ,;:.]{1,2}){2,9}(\n(([A-Z][a-z]{1,8}|[a-z]{1,9})[ ,;:.]{1,2}){2,9}){0,8}\n?",
            // The same number of words in each line.
            "([A-Za-z]{1,9} [a-z]{1,9} [a-z]{1,9}\n){1,9}",
            "([a-z]{1,9}, [a-z]{1,9}\n){1,9}",
            // Source code.
            "((let|if|fn|for|return|int|#include) [a-z_]{1,8}[ ]?[=<({][ ]?[a-z0-9_]{1,6}[;)}]{1,2}\n){1,9}",
            "(    [a-z]{1,6}\\([a-z]{1,4}, [0-9]{1,3}\\);\n){1,9}",
            // Markup and values without interactions.
            "(<[a-z]{1,5}>[a-z0-9 ]{0,9}</[a-z]{1,5}>\n){1,5}",
            "\\[[0-9]{1,3}(, [0-9]{1,3}){0,9}\\]\n",
            "\\{\"[a-z]{1,6}\": [0-9]{1,3}\\}\n",
            "(-?[0-9]\\.[0-9]{3} -?[0-9]\\.[0-9]{3} -?[0-9]\\.[0-9]{3}\n){1,9}",
            "([0-9]{1,4}\n){1,9}",
        ],
    ) {
        let found = read_log_bytes("log", text.as_bytes(), &ReadOptions::default());
        prop_assert!(found.is_err(), "{text:?} was read as {:?}", found.map(|file| file.understood));
    }

    #[test]
    fn bytes_are_no_log(bytes in proptest::collection::vec(any::<u8>(), 1..400)) {
        let text = std::str::from_utf8(&bytes).is_ok_and(|text| text.contains(['\n', ' ', ',']));
        let found = read_log_bytes("log", &bytes, &ReadOptions::default());
        prop_assert!(text || found.is_err(), "{bytes:?} was read as {:?}", found.map(|file| file.understood));
    }

    #[test]
    fn a_truncated_file_is_read_up_to_a_whole_line_or_refused(
        rows in rows(),
        at in any::<proptest::sample::Index>(),
        packing in select(&PACKINGS[1..]),
    ) {
        let mut text = String::new();
        for row in &rows {
            let Row { user, item, time, weight } = row;
            text += &format!("{{\"user\": \"{user}\", \"item\": \"{item}\", \"rating\": {weight}, \"ts\": {time}}}\n");
        }
        let packed = pack(text.as_bytes(), packing);
        let at = at.index(packed.len() - 1) + 1;
        prop_assert!(read_log_bytes("log", &packed[..at], &ReadOptions::default()).is_err());
        let cut = at % text.len();
        if let Ok(file) = read_log_bytes("log", &text.as_bytes()[..cut], &ReadOptions::default()) {
            let whole = text.as_bytes()[..cut].iter().filter(|&&byte| byte == b'\n').count();
            let complete = matches!(text.as_bytes()[cut - 1], b'\n' | b'}');
            prop_assert!(complete && file.log.len() >= whole, "cut at {cut}");
        }
    }
}

#[test]
fn every_format_is_written_by_one_of_these_tests() {
    let written = [
        "parquet",
        "jsonl",
        "json",
        "recbole",
        "movielens",
        "tsv",
        "csv",
        "triples",
        "counted_lines",
        "user_lines",
        "trec_qrels",
        "trec_run",
    ];
    let names: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
    assert_eq!(names, written);
}
