//! Any bytes, read in every text format and by guessing, give a valid log or an error, never a panic. The first byte selects the
//! format and the options.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rankstill_data::{FORMATS, ReadOptions, read_log_bytes};

/// Options that take other ways through the readers.
const OPTIONS: [&str; 8] = [
    "{}",
    r#"{"header": false}"#,
    r#"{"header": true, "quoting": false}"#,
    r#"{"delimiter": "::"}"#,
    r#"{"delimiter": "blanks", "comments": false}"#,
    r#"{"columns": {"user": 1, "item": 2, "time": 3}}"#,
    r#"{"time_unit": "days", "equals": {"event": ["view"]}}"#,
    r#"{"time_format": "%d/%m/%Y", "time_zone": "Europe/Berlin", "weights": {"view": 1, "buy": 5}}"#,
];

fuzz_target!(|bytes: &[u8]| {
    let [choice, content @ ..] = bytes else { return };
    let mut options: ReadOptions =
        serde_json::from_str(OPTIONS[usize::from(choice & 7)]).expect("valid options");
    let format = usize::from(choice >> 3);
    options.format = FORMATS.get(format).map(|format| format.name.to_owned());
    // Parquet has its own target.
    if options.format.as_deref() == Some("parquet") || content.starts_with(b"PAR1") {
        return;
    }
    if let Ok(file) = read_log_bytes("log", content, &options) {
        file.log.check().expect("a consistent log");
        let understood = file.understood.expect("rows come from a file that was understood");
        _ = understood.to_string();
    }
});
