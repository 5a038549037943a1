//! Any bytes, read as Parquet: a sound log or an error. The decoder's own assertions are caught by the reader, so the hook that
//! would end the process there is taken away; what remains are crashes, leaks, hangs, and logs that are not sound.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rankstill_data::{ReadOptions, read_log_bytes};
use std::sync::Once;

static QUIET: Once = Once::new();

fuzz_target!(|bytes: &[u8]| {
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| ())));
    let options = ReadOptions { format: Some("parquet".into()), ..ReadOptions::default() };
    if let Ok(log) = read_log_bytes("log", bytes, &options)
        && log.check().is_err()
    {
        std::process::abort();
    }
});
