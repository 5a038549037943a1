//! Times each step from a Parquet log to a prepared data set.
//!
//! `prepare_scale simulate LOG.parquet ROWS` writes a simulated log; `prepare_scale LOG.parquet OUT` prepares
//! it (duplicates, 10-core of users and items, ids, the RD split) and prints seconds and peak memory as JSON.

use rankstill_data::LogSource;
use rankstill_data::dataset::PrepareSettings;
use rankstill_data::format::read_source;
use rankstill_data::prepare::{LogFiles, PrepareStage, prepare};
use rankstill_data::simulate::{SimulateOptions, simulate_to};
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let begin = Instant::now();
    match args[..] {
        ["simulate", path, rows] => {
            let options = SimulateOptions { interactions: rows.parse()?, ..Default::default() };
            simulate_to(Path::new(path), &options, |_| ())?;
            println!("{{\"seconds\": {:.3}}}", begin.elapsed().as_secs_f64());
        }
        [path, out] => {
            let settings: PrepareSettings =
                serde_json::from_str(r#"{"filter": {"user_core": 10, "item_core": 10}}"#)?;
            let mut marks = Vec::new();
            let stage = |stage: PrepareStage<'_>| {
                let name = match stage {
                    PrepareStage::Reading(_) => "read",
                    PrepareStage::Cutting(_) => "cut",
                    PrepareStage::Writing(_) => "write",
                };
                marks.push((name, begin.elapsed().as_secs_f64()));
            };
            let read =
                |source: &LogSource| read_source(source, &Default::default(), &mut |_, _| ());
            let report = prepare(
                LogFiles::One(Path::new(path)),
                read,
                &settings,
                Path::new(out),
                true,
                stage,
            )?;
            let end = begin.elapsed().as_secs_f64();
            eprintln!("{report}");
            let mut steps = String::new();
            for (i, (name, from)) in marks.iter().enumerate() {
                let to = marks.get(i + 1).map_or(end, |mark| mark.1);
                steps += &format!("\"{name}\": {:.3}, ", to - from);
            }
            let counts = &report.0.counts;
            println!(
                "{{{steps}\"seconds\": {end:.3}, \"peak_mib\": {}, \"users\": {}, \"items\": {}, \"train\": {}, \"valid\": {}, \"test\": {}}}",
                peak_mib(),
                counts.users,
                counts.items,
                counts.train,
                counts.valid,
                counts.test,
            );
        }
        _ => return Err("usage: prepare_scale LOG.parquet OUT | simulate LOG.parquet ROWS".into()),
    }
    Ok(())
}

/// Peak memory of this process, on Linux.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|n| n.parse().ok());
    kib.unwrap_or(0u64) / 1024
}
