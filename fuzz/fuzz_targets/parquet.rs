//! Any bytes, read as Parquet, give a valid log or an error. The reader catches the decoder's own assertions, so the panic hook,
//! which would end the process, is replaced. What remains to be found are crashes, leaks, hangs, and invalid logs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rankstill_data::{ReadOptions, read_log_bytes};
use std::sync::Once;

static QUIET: Once = Once::new();

fuzz_target!(|bytes: &[u8]| {
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| ())));
    let options = ReadOptions { format: Some("parquet".into()), ..ReadOptions::default() };
    if let Ok(file) = read_log_bytes("log", bytes, &options)
        && file.log.check().is_err()
    {
        std::process::abort();
    }
});
