//! One hand-made file per format, read by guessing; errors name path and line.
#![allow(clippy::unwrap_used)]

use rankstill_data::{
    ColumnNames, ColumnTable, FORMATS, Log, ReadOptions, read_log, read_log_bytes,
};
use std::io::Write;

/// `user|item|time|weight` per row, empty where the log has none.
fn rows(log: &Log) -> Vec<String> {
    log.check().unwrap();
    let row = |i: usize| {
        let (user, item) = (log.user_ids.id(log.users[i]), log.item_ids.id(log.items[i]));
        let time = log.times.as_ref().map_or(String::new(), |times| times[i].to_string());
        let weight = log.weights.as_ref().map_or(String::new(), |weights| weights[i].to_string());
        format!("{user}|{item}|{time}|{weight}")
    };
    (0..log.len()).map(row).collect()
}

fn read(content: impl AsRef<[u8]>) -> Vec<String> {
    rows(&read_log_bytes("log", content.as_ref(), &ReadOptions::default()).unwrap().log)
}

fn read_as(format: &str, content: impl AsRef<[u8]>) -> Vec<String> {
    rows(&read_log_bytes("log", content.as_ref(), &format_options(format)).unwrap().log)
}

fn format_options(format: &str) -> ReadOptions {
    ReadOptions { format: Some(format.into()), ..ReadOptions::default() }
}

fn error(content: impl AsRef<[u8]>) -> String {
    error_with(content, &ReadOptions::default())
}

fn error_with(content: impl AsRef<[u8]>, options: &ReadOptions) -> String {
    read_log_bytes("log", content.as_ref(), options).unwrap_err().to_string()
}

#[test]
fn csv_with_a_header_in_any_order() {
    let content = "rating,itemId,user_id,extra,timestamp\n4.5,b,a,x,17\n1,c d,🦀,,-3\n";
    assert_eq!(read(content), ["a|b|17|4.5", "🦀|c d|-3|1"]);
    assert_eq!(read("user;item\n1;2\n"), ["1|2||"]);
    assert_eq!(read("User ID|ITEM-ID\n1|2\n"), ["1|2||"]);
    assert_eq!(read("user item\n1 2\n"), ["1|2||"]);
    assert_eq!(read("\"user\",\"item\"\n\"1\",\"2\"\n"), ["1|2||"]);
}

#[test]
fn tsv_with_quoted_fields_that_hold_tabs_and_line_ends() {
    let content = "user_id\titem_id\n\"a\tb\"\t\"c\nd\"\n\"say \"\"hi\"\"\"\tx\"y\n";
    assert_eq!(read(content), ["a\tb|c\nd||", "say \"hi\"|x\"y||"]);
    let options = ReadOptions { quoting: Some(false), ..ReadOptions::default() };
    let log = read_log_bytes("log", b"user\titem\n\"a\tb\"\n", &options).unwrap().log;
    assert_eq!(rows(&log), ["\"a|b\"||"]);
}

#[test]
fn columns_delimiter_and_header_can_be_said() {
    let columns = ColumnNames {
        user: Some("who".into()),
        item: Some("what".into()),
        time: Some(String::new()),
        weight: Some("n".into()),
    };
    let options = ReadOptions { columns, ..ReadOptions::default() };
    let log = read_log_bytes("log", b"n,what,time,who\n3,b,9,a\n", &options).unwrap().log;
    assert_eq!(rows(&log), ["a|b||3"]);
    let options =
        ReadOptions { header: Some(false), delimiter: Some("#".into()), ..ReadOptions::default() };
    let log = read_log_bytes("log", b"a#b#3\nc#d#4\n", &options).unwrap().log;
    assert_eq!(rows(&log), ["a|b||3", "c|d||4"]);
    let columns =
        ColumnNames { user: Some("3".into()), time: Some("1".into()), ..ColumnNames::default() };
    let options =
        ReadOptions { columns: ColumnNames { weight: Some(String::new()), ..columns }, ..options };
    let log = read_log_bytes("log", b"7#b#a\n", &options).unwrap().log;
    assert_eq!(rows(&log), ["a|b|7|"]);
}

#[test]
fn recbole_atomic_files() {
    let content = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n\"q\t302\t3.5\t891717742.0\n";
    assert_eq!(read(content), ["196|242|881250949|3", "\"q|302|891717742|3.5"]);
}

#[test]
fn movielens_in_its_three_forms() {
    assert_eq!(read("196\t242\t3\t881250949\n"), ["196|242|881250949|3"]);
    assert_eq!(
        read("1::1193::5::978300760\r\n1::661::3::978302109\r\n"),
        ["1|1193|978300760|5", "1|661|978302109|3"]
    );
    assert_eq!(
        read("userId,movieId,rating,timestamp\n1,296,5.0,1147880044\n"),
        ["1|296|1147880044|5"]
    );
    assert!(error("1::2::3::4\n1::2::3\n").ends_with("log:2: expected 4 columns, found 3"));
    assert!(
        error("1::2::x::4\n").ends_with("log:1: column `3`: expected a finite number, found `x`")
    );
}

#[test]
fn one_user_a_line() {
    assert_eq!(
        read("0 5 6 7\n1 \n2 5 0\n3 8\n"),
        ["0|5||", "0|6||", "0|7||", "2|5||", "2|0||", "3|8||"]
    );
    assert_eq!(read_as("user_lines", "ann x\tx\n"), ["ann|x||", "ann|x||"]);
}

#[test]
fn counted_lines_number_the_users_by_line() {
    assert_eq!(read("2 10 11\n0\n1 11\n\n\n"), ["0|10||", "0|11||", "2|11||"]);
    let options = format_options("counted_lines");
    let wrong = error_with("2 10 11\n3 1 2\n", &options);
    assert!(
        wrong.ends_with("log:2: expected 3 items (the first number of the line), found 2"),
        "{wrong}"
    );
    assert!(
        error_with("x 1\n", &options).contains(":1: column `count`: expected the number of items")
    );
    assert!(error_with("1 1\n\n1 2\n", &options).contains("log:2: blank line"));
}

#[test]
fn triples_between_blanks() {
    assert_eq!(read("1 31 1.0\n1 30 2\n"), ["1|31||1", "1|30||2"]);
    assert_eq!(read_as("triples", "1 31\n1 30\n"), ["1|31||", "1|30||"]);
    assert_eq!(read_as("triples", "1 31 1 77\n"), ["1|31|77|1"]);
    let options = format_options("triples");
    assert!(error_with("1 2 3\n1 2\n", &options).ends_with("log:2: expected 3 columns, found 2"));
    assert!(error_with("1 2 3 4 5\n", &options).ends_with("log:1: expected 3 columns, found 5"));
}

#[test]
fn json_lines() {
    let content = concat!(
        "{\"item_id\": \"b c\", \"user_id\": 7, \"rating\": 4, \"timestamp\": \"2012-07-14T12:33:01Z\", \"x\": {}}\n\n",
        "  {\"user_id\": 18446744073709551615, \"timestamp\": \"1970-01-01T00:00:05Z\", \"item_id\": 3.0, \"rating\": \"2.5\"}",
    );
    assert_eq!(read(content), ["7|b c|1342269181|4", "18446744073709551615|3|5|2.5"]);
    assert!(
        error("{\"user\":1,\"item\":2}\n{\"user\":1}\n")
            .ends_with("log:2: column `item`: expected a value, found nothing")
    );
    assert!(
        error("{\"user\":1,\"item\":2}\n[]\n")
            .contains("log:2: expected a JSON object, found `[]`")
    );
    assert!(error("{\"user\":1,\"item\":[2]}\n").ends_with("found an array"));
    assert!(error("{\"user\":1,\"item\":2.5}\n").ends_with("found 2.5"));
    assert!(error("{\"user\":1,\"item\":").contains("log:1: expected a JSON object"));
}

#[test]
fn parquet_and_a_folder_of_parts() {
    let folder = tempfile::tempdir().unwrap();
    let part = |name: &str, users: Vec<i64>| {
        let n = users.len() as i64;
        let items = (0..n).map(|i| format!("item {i}")).collect::<rankstill_data::Texts>();
        let table = ColumnTable::default()
            .with("uid", users)
            .and_then(|table| table.with("rating", vec![0.5f64; n as usize]))
            .and_then(|table| table.with("item", items))
            .and_then(|table| table.with("ts", (0..n).collect::<Vec<i64>>()))
            .unwrap();
        rankstill_data::columns::write_table(&folder.path().join(name), &table).unwrap();
    };
    part("part-1.parquet", vec![9]);
    part("part-0.parquet", vec![7, i64::MIN]);
    let mut seen = Vec::new();
    let options = ReadOptions::default();
    let log =
        read_log(folder.path(), &options, &mut |done, total| seen.push((done, total))).unwrap().log;
    assert_eq!(
        rows(&log),
        ["7|item 0|0|0.5", "-9223372036854775808|item 1|1|0.5", "9|item 0|0|0.5"]
    );
    assert!(seen.is_sorted() && seen.iter().all(|(done, total)| done <= total), "{seen:?}");
    let wrong = ReadOptions {
        columns: ColumnNames { item: Some("movie".into()), ..ColumnNames::default() },
        ..ReadOptions::default()
    };
    let error =
        read_log(&folder.path().join("part-1.parquet"), &wrong, &mut |_, _| ()).unwrap_err();
    let error = error.to_string();
    assert!(
        error.ends_with("no column `movie` (item); the columns are `uid`, `rating`, `item`, `ts`"),
        "{error}"
    );
}

#[test]
fn gzip_and_zstd_by_their_first_bytes() {
    let content = "user,item\n1,2\n3,4\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(content.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(content.as_bytes(), 1).unwrap();
    for packed in [&gzip, &zstd] {
        assert_eq!(read(packed), ["1|2||", "3|4||"]);
        for length in 4..packed.len() {
            let error = error(&packed[..length]);
            assert!(error.contains("damaged or incomplete"), "{length}: {error}");
        }
    }
    // Two members, as made by `cat a.gz b.gz`.
    let more = zstd::encode_all(&b"5,6\n"[..], 1).unwrap();
    assert_eq!(read([zstd, more].concat()).last().unwrap(), "5|6||");
}

#[test]
fn marks_line_ends_and_blank_lines_do_not_matter() {
    let plain = ["1|2||", "3|4||"];
    assert_eq!(read("\u{feff}user,item\r\n1,2\n3,4"), plain);
    assert_eq!(read("user,item\r1,2\r3,4\r"), plain);
    assert_eq!(read("user,item\n\n1,2\r\n\n\n3,4\n\n\n"), plain);
    assert_eq!(read_as("user_lines", "1 2\r\n\r\n3 4\r"), plain);
    assert_eq!(read_as("user_lines", "1 2\r3 4"), plain);
}

#[test]
fn every_error_says_where() {
    assert_eq!(error(""), "log: the file is empty");
    assert!(error("\n \n").contains("the file holds no lines"));
    assert_eq!(error("user,item\n"), "log: the file holds no interactions");
    assert_eq!(error("user,item,rating\n1,2,3\n\n1,2\n"), "log:4: expected 3 columns, found 2");
    assert_eq!(error("user,item\n1,2\n1,2,3\n"), "log:3: expected 2 columns, found 3");
    assert_eq!(
        error("user,item,rating\n\"a\nb\",2,3\n1,2,x\n"),
        "log:4: column `rating`: expected a finite number, found `x`"
    );
    assert_eq!(
        error("user,item,rating\n1,2,NaN\n"),
        "log:2: column `rating`: expected a finite number, found `NaN`"
    );
    assert!(error("user,item,rating\n1,2,inf\n").contains("log:2: column `rating`"));
    assert!(
        error("user,item,time\n1,2,9223372036854775808\n")
            .contains("log:2: column `time`: expected a time")
    );
    assert_eq!(
        read("user,item,time\n1,2,1.5\n1,3,2\n"),
        ["1|2|1500|", "1|3|2000|"],
        "in milliseconds"
    );
    assert_eq!(error("user,item\n,2\n"), "log:2: column `user`: expected an id, found nothing");
    assert!(
        error("user,item\n1,a\0b\n")
            .contains("log:2: column `item`: expected an id without NUL bytes")
    );
    assert!(
        error(b"user,item\n1,\xff\n")
            .contains("log:2: column `item`: expected UTF-8 text, found the bytes `\\xff`")
    );
    assert!(error(b"\xff\xfeu\0s\0e\0r\0").ends_with("the text is UTF-16, expected UTF-8"));
    assert!(error("user,item,user\n1,2,3\n").contains("log:1: two columns are called `user`"));
    assert_eq!(read("user,item,x,x\n1,2,3,4\n"), ["1|2||"]);
    assert_eq!(
        error("user,item\n1,2\nuser,item\n"),
        "log:3: the header is repeated, expected an interaction"
    );
    assert!(
        error("user,item\n1,2\n1,\"2\n3,4\n")
            .contains("log:3: the quote that opens here is never closed")
    );
    let wrong = error("a,b\n1,2\n");
    assert!(
        wrong.contains("no column with a common name for the user")
            && wrong.ends_with("the columns are `a`, `b`"),
        "{wrong}"
    );
    let wrong = error_with("1", &format_options("cvs"));
    assert!(
        wrong.starts_with("format: unknown format `cvs`, expected one of `parquet`, `jsonl`"),
        "{wrong}"
    );
    let wrong = serde_json::from_str::<ReadOptions>(r#"{"colums": {}}"#).unwrap_err().to_string();
    assert!(wrong.contains("unknown field `colums`") && wrong.contains("`columns`"), "{wrong}");
}

#[test]
fn a_line_beyond_all_measure_is_refused_before_it_fills_the_memory() {
    for (format, head) in
        [("csv", "user,item\n1,"), ("user_lines", "1 "), ("jsonl", "{\"user\":\"")]
    {
        let content = format!("{head}{}", "x".repeat(65 << 20));
        let error = error_with(&content, &format_options(format));
        assert!(error.ends_with("the line is longer than 64 MiB"), "{format}: {error}");
    }
}

#[test]
fn every_format_survives_a_file_of_every_other() {
    let files: [&[u8]; 7] = [
        b"user,item\n1,2\n",
        b"user_id:token\titem_id:token\n1\t2\n",
        b"1::2::3::4\n",
        b"2 3 4\n",
        b"{\"user\":1,\"item\":2}\n",
        b"PAR1garbagePAR1",
        b"\x1f\x8b\x08\0",
    ];
    for format in FORMATS {
        for file in files {
            // Nothing to compare: it must return a log or an error.
            if let Ok(log) = read_log_bytes("log", file, &format_options(format.name)) {
                log.log.check().unwrap();
            }
        }
    }
}
