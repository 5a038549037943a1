//! Files as the field writes them: public data sets, other programs' outputs, folders that sinks leave behind.
#![allow(clippy::unwrap_used)]

use rankstill_core::TimeUnit;
use rankstill_data::dataset::{PrepareSettings, Prepared};
use rankstill_data::rankings::read_pair_log;
use rankstill_data::{Log, LogFile, ReadOptions, Understood, read_log, read_log_bytes};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/field")
}

/// `user item time weight` per row, `-` where the log has none.
fn rows(log: &Log) -> Vec<String> {
    log.check().unwrap();
    let row = |i: usize| {
        let (user, item) = (log.user_ids.id(log.users[i]), log.item_ids.id(log.items[i]));
        let time = log.times.as_ref().map_or("-".to_owned(), |times| times[i].to_string());
        let weight = log.weights.as_ref().map_or("-".to_owned(), |weights| weights[i].to_string());
        format!("{user} {item} {time} {weight}")
    };
    (0..log.len()).map(row).collect()
}

fn options(text: &str) -> ReadOptions {
    serde_json::from_str(text).unwrap()
}

fn read_with(content: &str, text: &str) -> LogFile {
    read_log_bytes("log", content.as_bytes(), &options(text)).unwrap()
}

fn read(content: &str) -> (Vec<String>, Understood) {
    let file = read_with(content, "{}");
    (rows(&file.log), file.understood.unwrap())
}

fn error(content: &str) -> String {
    read_log_bytes("log", content.as_bytes(), &ReadOptions::default()).unwrap_err().to_string()
}

fn read_file(name: &str) -> LogFile {
    read_log(&folder().join(name), &ReadOptions::default(), &mut |_, _| ()).unwrap()
}

fn notes(understood: &Understood) -> String {
    understood.notes.join("\n")
}

#[test]
fn trec_judgements_between_blanks_or_tabs() {
    for content in [
        "1 0 5 1\n1 0 6 0\n2 0 7 1\n",
        "1\t0\t5\t1\n1\t0\t6\t0\n2\t0\t7\t1\n",
        "1 Q0 5 1\n1 Q0 6 0\n2 Q0 7 1\n",
    ] {
        let (rows, understood) = read(content);
        assert_eq!(rows, ["1 5 - 1", "1 6 - 0", "2 7 - 1"]);
        assert_eq!(understood.layout.format, "trec_qrels");
    }
    let (rows, understood) = read("1 Q0 5 1 3.0 r\n1 Q0 8 2 2.0 r\n");
    assert_eq!(
        (rows, understood.layout.format.as_str()),
        (vec!["1 5 - 3".to_owned(), "1 8 - 2".into()], "trec_run")
    );
}

#[test]
fn columns_by_position_play_one_role_each() {
    // YooChoose: session, time, item, category.
    let content = "71,2021-03-02T08:00:01.125Z,9001,0\n71,2021-03-02T08:02:09.500Z,9002,0\n72,2021-03-02T09:11:00.250Z,9003,S\n";
    let text = r#"{"header": false, "columns": {"user": 1, "time": 2, "item": "3"}}"#;
    let LogFile { log, understood } = read_with(content, text);
    assert_eq!((log.len(), log.n_users(), log.n_items()), (3, 2, 3));
    assert_eq!(log.weights, None);
    assert_eq!((log.time_unit, log.times.unwrap()[0]), (TimeUnit::Milliseconds, 1_614_672_001_125));
    assert_eq!(understood.unwrap().layout.columns.unused, ["4"]);
    // Nothing says which column is the item.
    assert!(error(content).contains("columns.user = 1"), "{}", error(content));
    let twice = options(r#"{"header": false, "columns": {"user": 1, "item": 1}}"#);
    let wrong = read_log_bytes("log", content.as_bytes(), &twice).unwrap_err().to_string();
    assert_eq!(wrong, "columns: column `1` is named for two roles");
}

#[test]
fn dates_in_the_forms_of_public_sets() {
    let foursquare = "81\tven0a\tcat1\tBakery\t10.5\t20.5\t60\tMon Jan 04 07:00:09 +0000 2021\n82\tven0b\tcat2\tPier\t10.6\t20.6\t60\tMon Jan 04 07:05:25 +0000 2021\n";
    let (rows, understood) = read(foursquare);
    assert_eq!(rows, ["81 ven0a 1609743609 -", "82 ven0b 1609743925 -"]);
    assert_eq!(understood.times.unwrap().earliest, "2021-01-04 07:00:09 UTC");
    let (rows, understood) = read(
        "event_time,event_type,product_id,user_id\n2021-10-01 00:00:00 UTC,view,1,5\n2021-10-01 00:00:05 UTC,cart,2,6\n",
    );
    assert_eq!(rows, ["5 1 1633046400 -", "6 2 1633046405 -"]);
    assert!(notes(&understood).contains("`event_type` holds kinds"), "{}", notes(&understood));
    let day_first = "user,item,date\n1,2,01/02/2024\n";
    assert!(error(day_first).contains("`time_format`"), "{}", error(day_first));
    let file = read_with(day_first, r#"{"time_format": "%d/%m/%Y"}"#);
    assert_eq!(rows_of(&file), ["1 2 1706745600 -"]);
    let (rows, _) = read("user,item,date\n1,2,20240131\n1,3,20240201\n");
    assert_eq!(rows, ["1 2 1706659200 -", "1 3 1706745600 -"]);
}

fn rows_of(file: &LogFile) -> Vec<String> {
    rows(&file.log)
}

#[test]
fn json_arrays_and_objects_over_several_lines() {
    for content in [
        "[{\"user_id\": 1, \"item_id\": 2},\n {\"user_id\": 2, \"item_id\": 3}]\n",
        "{\n  \"user_id\": 1,\n  \"item_id\": 2\n}\n{\n  \"user_id\": 2,\n  \"item_id\": 3\n}\n",
        "[\n  {\n    \"user_id\": 1,\n \"item_id\": 2.0}, {\"user_id\": \"2\", \"item_id\": 3}]",
    ] {
        assert_eq!(read(content).0, ["1 2 - -", "2 3 - -"]);
    }
    let wrong = error("[{\"user_id\": 1, \"item_id\": 2}, {\"user_id\": 1}]");
    assert!(wrong.ends_with("log:2: column `item_id`: expected a value, found nothing"), "{wrong}");
    assert!(error("[{\"user_id\": 1, \"item_id\": 2}").contains("JSON array"));
    let reviews = "{\"reviewerID\": \"A1\", \"asin\": \"B0\", \"overall\": 5.0, \"reviewTime\": \"09 13, 2009\", \"unixReviewTime\": 1252800000}\n";
    assert_eq!(read(reviews).0, ["A1 B0 1252800000 5"]);
}

#[test]
fn kinds_of_events_are_kept_or_weighed() {
    let content = "timestamp,visitorid,event,itemid,transactionid\n1600000001000,1,view,10,\n1600000002000,2,view,11,\n1600000003000,1,transaction,11,7\n";
    let kept = read_with(content, r#"{"equals": {"event": ["transaction"]}}"#);
    assert_eq!(rows_of(&kept), ["1 11 1600000003 -"]);
    assert_eq!(kept.log.n_users(), 1, "users of rows that are left out do not exist");
    assert!(notes(&kept.understood.unwrap()).contains("2 rows were left out"));
    let weighed = read_with(content, r#"{"weights": {"view": 1, "transaction": 5}}"#);
    assert_eq!(rows_of(&weighed)[2], "1 11 1600000003 5");
    let (all, understood) = read(content);
    assert_eq!(all.len(), 3);
    assert!(notes(&understood).contains("all kinds are read alike"));
    let one = read_with(content, r#"{"equals": {"event": "view"}, "columns": {"item": "itemid"}}"#);
    assert_eq!(one.log.len(), 2);
    let missing = options(r#"{"equals": {"kind": "view"}}"#);
    let wrong = read_log_bytes("log", content.as_bytes(), &missing).unwrap_err().to_string();
    assert!(wrong.contains("no column `kind` (equals); the columns are `timestamp`"), "{wrong}");
}

#[test]
fn comments_are_passed_over_and_counted() {
    let (rows, understood) = read("# FromNodeId ToNodeId\n0\t4\n1\t5\n2\t4\n");
    assert_eq!(rows, ["0 4 - -", "1 5 - -", "2 4 - -"]);
    assert!(
        notes(&understood).starts_with("1 comment line was passed over, the first: # FromNodeId")
    );
    let (rows, understood) = read("% bip weighted\n% 6 3 3\n1 1 5 874965758\n1 2 3 876893171\n");
    assert_eq!(rows, ["1 1 874965758 5", "1 2 876893171 3"]);
    assert!(notes(&understood).starts_with("2 comment lines"));
    let wrong = error("# a\n\nuser,item\n1,2\n1\n");
    assert!(wrong.ends_with("log:5: expected 2 columns, found 1"), "{wrong}");
    let kept =
        read_with("#a,1\n#b,2\n", r##"{"comments": false, "header": false, "delimiter": ","}"##);
    assert_eq!(rows_of(&kept), ["#a 1 - -", "#b 2 - -"]);
    // Comments longer than what is looked at first.
    let long = format!("{}user,item\n1,2\n", "# x\n".repeat(40_000));
    assert_eq!(read(&long).0, ["1 2 - -"]);
}

#[test]
fn a_third_column_of_times_is_never_a_weight() {
    for separator in [" ", "\t", ",", ";", "|", "::", "\u{1}"] {
        let content = "1 10 1700000300\n1 11 1700000100\n2 10 1700000600\n".replace(' ', separator);
        let (rows, understood) = read(&content);
        assert_eq!(
            rows,
            ["1 10 1700000300 -", "1 11 1700000100 -", "2 10 1700000600 -"],
            "{separator:?}"
        );
        assert_eq!(understood.times.unwrap().form, "Unix seconds");
        let content =
            "1 10 3 1700000300\n1 11 4.5 1700000100\n2 10 5 1700000600\n".replace(' ', separator);
        assert_eq!(read(&content).0[1], "1 11 1700000100 4.5");
        let pairs = "1 1\n1 2\n2 4\n3 2\n".replace(' ', separator);
        assert_eq!(read(&pairs).0, ["1 1 - -", "1 2 - -", "2 4 - -", "3 2 - -"]);
        let named = "user item rating time\n1 10 3 1700000300\n".replace(' ', separator);
        assert_eq!(read(&named).0, ["1 10 1700000300 3"]);
    }
}

#[test]
fn labels_are_weights_and_recbole_files_may_have_commas() {
    let (rows, _) = read("user_id:token\titem_id:token\tlabel:float\n1\t10\t0\n1\t11\t1\n");
    assert_eq!(rows, ["1 10 - 0", "1 11 - 1"]);
    let (rows, understood) = read("user_id:token,item_id:token,timestamp:float\n1,10,1\n2,11,2\n");
    assert_eq!((rows.len(), understood.layout.format.as_str()), (2, "recbole"));
    assert!(notes(&understood).contains("1990 and 2100 in no unit"), "{}", notes(&understood));
    let (rows, _) = read(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t10\t3\t1000000001.0\n1\t11\t4\t1.000000002E9\n2\t10\t1\t1000000003\n",
    );
    assert_eq!(rows[1], "1 11 1000000002 4");
    let log = read_with("user_id,item_id,label,timestamp\n1,10,0,1\n1,11,1,2\n1,12,1,3\n2,10,0,1\n2,11,1,2\n2,12,0,3\n", "{}").log;
    let prepared = Prepared::from_log(log.clone(), None, &PrepareSettings::default()).unwrap();
    let step = &prepared.manifest.filtered.steps[1];
    assert_eq!((step.filter.as_str(), step.removed.rows, step.left.rows), ("weight 0", 3, 3));
    let mut keep = PrepareSettings::default();
    keep.filter.zero_weights = rankstill_data::filter::ZeroWeights::Keep;
    assert_eq!(
        Prepared::from_log(log, None, &keep)
            .unwrap()
            .manifest
            .filtered
            .steps
            .last()
            .unwrap()
            .left
            .rows,
        6
    );
}

#[test]
fn blanks_and_floats_are_no_part_of_an_id() {
    let (rows, understood) = read("user_id, item_id\n1, 10\n1,11 \n 2, x y\n");
    assert_eq!(rows, ["1 10 - -", "1 11 - -", "2 x y - -"]);
    assert!(
        notes(&understood).contains("blanks around 3 item ids were removed"),
        "{}",
        notes(&understood)
    );
    let (rows, understood) = read("user_id,item_id,rating\n1.0,10.0,3\n1.0,11,4\n");
    assert_eq!(rows, ["1 10 - 3", "1 11 - 4"]);
    assert!(notes(&understood).contains("2 user ids like `1.0` were read as `1`"));
}

#[test]
fn folders_as_sinks_leave_them() {
    assert_eq!(rows_of(&read_file("folders/spark")), ["1 10 - -", "2 11 - -"]);
    assert_eq!(read_file("folders/csvparts").understood.unwrap().files, 2);
    let mixed = read_file("folders/mixed");
    assert_eq!(rows_of(&mixed), ["1 12 - -", "2 13 - -", "1 10 - -", "2 11 - -"]);
    assert_eq!(rows_of(&read_file("hidden")), ["1 10 - -", "2 11 - -"]);
    // A key of the folder's name is a column.
    let folder = tempfile::tempdir().unwrap();
    for (day, user) in [("2024-01-02", 1), ("2024-01-03", 2)] {
        let part = folder.path().join(format!("date={day}"));
        std::fs::create_dir(&part).unwrap();
        std::fs::write(part.join("part-0.csv"), format!("user,item\n{user},7\n")).unwrap();
        std::fs::write(part.join("part-1.csv"), "").unwrap();
    }
    let LogFile { log, understood } =
        read_log(folder.path(), &ReadOptions::default(), &mut |_, _| ()).unwrap();
    assert_eq!(rows(&log), ["1 7 1704153600 -", "2 7 1704240000 -"]);
    assert!(notes(&understood.unwrap()).contains("2 empty files"));
    let only = options(r#"{"equals": {"date": "2024-01-03"}}"#);
    assert_eq!(read_log(folder.path(), &only, &mut |_, _| ()).unwrap().log.len(), 1);
}

#[test]
fn packed_files_are_read_or_refused_by_name() {
    use std::io::Write;
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
    bzip2.write_all(b"user,item\n1,2\n").unwrap();
    let file = read_log_bytes("log", &bzip2.finish().unwrap(), &ReadOptions::default()).unwrap();
    assert_eq!(rows_of(&file), ["1 2 - -"]);
    for (bytes, name) in
        [(&b"PK\x03\x04..."[..], "ZIP"), (b"\xfd7zXZ\0..", "xz"), (b"7z\xbc\xaf\x27\x1c", "7-Zip")]
    {
        let wrong = read_log_bytes("log", bytes, &ReadOptions::default()).unwrap_err().to_string();
        assert!(wrong.contains(&format!("packed with {name}")), "{wrong}");
    }
}

#[test]
fn one_log_in_every_unit_of_time_is_one_log() {
    let content = |name: &str| {
        let file = read_file(&format!("one_log/{name}"));
        let prepared = Prepared::from_log(file.log, None, &PrepareSettings::default()).unwrap();
        (prepared.manifest.content, prepared.manifest.time_unit)
    };
    let seconds = content("sec.csv");
    for name in ["ms.csv", "iso.csv", "us.parquet"] {
        assert_eq!(content(name), seconds, "{name}");
    }
    assert_eq!(seconds.1, TimeUnit::Seconds);
    // Days only: other times, in the same unit.
    let days = read_file("one_log/date32.parquet").log;
    assert_eq!((days.time_unit, days.times.unwrap()[0]), (TimeUnit::Seconds, 1_599_955_200));
    let from: rankstill_data::filter::Filter =
        serde_json::from_str(r#"{"from": "2020-10-01"}"#).unwrap();
    let left = |name: &str| {
        let settings = PrepareSettings { filter: from.clone(), ..PrepareSettings::default() };
        Prepared::from_log(read_file(name).log, None, &settings).unwrap().manifest.content
    };
    assert_eq!(left("one_log/ms.csv"), left("one_log/sec.csv"));
}

#[test]
fn parts_in_different_units_become_one_log() {
    let one = read_file("timestamps/one").log;
    let two = read_file("timestamps/two");
    assert_eq!(
        (two.log.times.as_ref().unwrap().iter().min(), two.log.len()),
        (one.times.as_ref().unwrap().iter().min(), one.len())
    );
    let form = two.understood.unwrap().times.unwrap().form;
    assert_eq!(form, "Unix microseconds; Unix milliseconds");
    let settings: PrepareSettings =
        serde_json::from_str(r#"{"split": {"kind": "leave_one_out"}}"#).unwrap();
    for log in [one, two.log] {
        let data = Prepared::from_log(log, None, &settings).unwrap().into_dataset().unwrap();
        for case in data.split.test.iter() {
            assert_eq!(data.items.id(case.targets[0]), "104");
        }
        assert_eq!(data.manifest.audit.doubts().count(), 0);
    }
    // A split that leaks is seen, whatever units the parts came in.
    let leak = "user,item,time\n1,1,1704067200000\n1,2,1704153600000\n1,3,1704240000000\n";
    let mut log = read_with(leak, "{}").log;
    log.times = Some(vec![3, 2, 1]);
    let parts = vec![
        rankstill_data::split::Part::Train,
        rankstill_data::split::Part::Train,
        rankstill_data::split::Part::Test,
    ];
    let ready: PrepareSettings =
        serde_json::from_str(r#"{"split": {"kind": "ready_made"}}"#).unwrap();
    let audit = Prepared::from_log(log, Some(parts), &ready).unwrap().manifest.audit;
    assert_eq!(audit.doubts().next().unwrap().name, "test_before_own_train");
    let wrong = error("user,item,time\n1,2,1700000000\n1,3,1700000000000\n");
    assert!(wrong.ends_with("row 1 is in Unix seconds, row 2 in Unix milliseconds: the times of a file must have one unit"), "{wrong}");
}

#[test]
fn types_of_parquet_mean_what_the_schema_says() {
    assert_eq!(rows_of(&read_file("decimal_id_int.parquet"))[0], "1 10 100 -");
    assert_eq!(
        rows_of(&read_file("decimal_rating.parquet")),
        rows_of(&read_file("decimal_rating_int.parquet"))
    );
    assert_eq!(rows_of(&read_file("decimal_rating.parquet"))[2], "2 10 150 1.25");
    let wrong = read_log(
        &folder().join("decimal_id_frac_int.parquet"),
        &ReadOptions::default(),
        &mut |_, _| (),
    )
    .unwrap_err()
    .to_string();
    assert!(
        wrong
            .ends_with(":1: column `item_id`: expected an id: text or a whole number, found 10.50"),
        "{wrong}"
    );
    let as_id = options(r#"{"columns": {"user": "timestamp", "item": "item_id", "time": ""}}"#);
    let wrong = read_log(&folder().join("one_log/us.parquet"), &as_id, &mut |_, _| ())
        .unwrap_err()
        .to_string();
    assert!(
        wrong.contains(
            "column `timestamp` (user): expected ids as text or integers, found INT64 (Timestamp"
        ),
        "{wrong}"
    );
}

#[test]
fn what_is_ambiguous_is_asked() {
    // Two items for each user, or a user, an item and a rating?
    let wrong = error("1 5 3\n2 6 4\n3 5 1\n");
    assert!(wrong.contains("1 | 5 | 3\n    2 | 6 | 4\n    3 | 5 | 1"), "{wrong}");
    assert!(
        wrong.contains("`format = \"triples\"`") && wrong.contains("`format = \"user_lines\"`"),
        "{wrong}"
    );
    for prose in [
        "It was the best of times,\nit was the worst of times,\n",
        "hello world\nfoo bar\n",
        "Chapter One 1\nChapter Two 2\n",
        "fn main() {\n    println!(\"1\");\n}\n",
        "\0\x01\x02\x03",
        "1\n2\n3\n",
        "x = [1, 2]\ny = [3, 4]\n",
        "<html><body>1</body></html>\n",
    ] {
        let wrong = error(prose);
        assert!(wrong.contains("format"), "{prose:?}: {wrong}");
    }
    let pairs = read_pair_log(Path::new("/nowhere"), &ReadOptions::default()).unwrap_err();
    assert!(pairs.to_string().starts_with("/nowhere"));
}

#[test]
fn a_column_that_the_header_lacks_is_named_with_those_that_it_has() {
    let content = "user_id,item_id,ts\n1,2,1600000000\n3,4,1600000001\n";
    let wrong = options(r#"{"columns": {"user": "who"}}"#);
    let wrong = read_log_bytes("log", content.as_bytes(), &wrong).unwrap_err().to_string();
    assert_eq!(wrong, "log: no column `who` (user); the columns are `user_id`, `item_id`, `ts`");
}

#[test]
fn parts_may_write_dates_in_different_forms() {
    let folder = tempfile::tempdir().unwrap();
    for (name, date) in [("a.csv", "2021-01-04"), ("b.csv", "Mon Jan 04 07:00:09 +0000 2021")] {
        std::fs::write(folder.path().join(name), format!("user,item,date\n1,{name},{date}\n"))
            .unwrap();
    }
    let file = read_log(folder.path(), &ReadOptions::default(), &mut |_, _| ()).unwrap();
    assert_eq!(file.log.times.unwrap(), [1_609_718_400, 1_609_743_609]);
    let form = file.understood.unwrap().times.unwrap().form;
    assert_eq!(form, "dates and times (ISO 8601); dates and times (%a %b %d %H:%M:%S %z %Y)");
}

#[test]
fn what_was_understood_is_told() {
    let (_, understood) = read("user_id,item_id,ts,x\na,b,1600000000,9\n");
    assert_eq!(
        understood.to_string(),
        "format   csv, columns separated by `,`, with a header\n\
         columns  user = user_id, item = item_id, time = ts, no weight; not read: x\n\
         times    Unix seconds: 2020-09-13 12:26:40 UTC to 2020-09-13 12:26:40 UTC\n\
         first    user a, item b, time 2020-09-13 12:26:40 UTC"
    );
    let text = serde_json::to_string(&understood).unwrap();
    assert_eq!(serde_json::from_str::<Understood>(&text).unwrap(), understood);
}
