//! Any bytes, read in every text format and by guessing, give a valid log or an error, never a panic. The first byte selects the
//! options.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rankstill_data::{FORMATS, ReadOptions, read_log_bytes};

fuzz_target!(|input: &[u8]| {
    let Some((&pick, bytes)) = input.split_first() else { return };
    let pick = usize::from(pick);
    let mut options = ReadOptions::default();
    if let Some(format) = FORMATS.get(pick % 16) {
        // Parquet has its own target.
        if format.name == "parquet" {
            return;
        }
        options.format = Some(format.name.into());
    }
    options.header = [None, None, Some(true), Some(false)][(pick >> 4) % 4];
    options.quoting = (pick >> 6 & 1 == 1).then_some(false);
    options.time_scale = (pick >> 7 & 1 == 1).then_some(1000);
    if bytes.starts_with(b"PAR1") && options.format.is_none() {
        return;
    }
    if let Ok(log) = read_log_bytes("log", bytes, &options) {
        log.check().expect("a log that was read is valid");
    }
});
