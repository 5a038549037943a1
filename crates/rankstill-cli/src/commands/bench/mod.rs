//! `rankstill bench serve`: the throughput and latency of a server.
//!
//! The load is an open loop: requests are due at fixed times, whether or not earlier ones were answered, and latency counts from
//! the due time. A client that waits for an answer before it sends the next request omits exactly those requests that would have
//! waited (coordinated omission).

mod load;
mod random_model;

use self::load::{TableUse, load};
use self::random_model::random_model;
use crate::progress::Screen;
use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use rankstill::core::Precision;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Start a server with random models on this machine and send requests at given rates.
    Serve(Serve),
}

#[derive(Args)]
struct Serve {
    /// Items and dimensions of the random models, such as 25000x20.
    #[arg(long, value_delimiter = ',', default_value = "25000x20,100000x32,1000000x32", value_parser = catalogue)]
    catalogue: Vec<(usize, usize)>,
    /// Draw the random vectors near N directions, as trained vectors are. Default: in all directions alike.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    directions: Option<u16>,
    /// The precisions of the item table; each is measured with a separate server.
    #[arg(long, value_delimiter = ',', default_value = "f32,f16,int8")]
    table: Vec<Precision>,
    /// Also measure the approximate search in a graph that finds this share of the exact answers.
    #[cfg(feature = "hnsw")]
    #[arg(long, value_name = "RECALL", num_args = 0..=1, default_missing_value = "0.95")]
    hnsw: Option<f64>,
    /// Requests per second; 0 = each connection sends its next request as soon as it has an answer (closed loop).
    #[arg(long, value_delimiter = ',', default_value = "100,1000,0")]
    rate: Vec<u32>,
    /// Duration of each measurement in seconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Number of connections. A request that is due while all of them are busy waits for a free one.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    connections: u32,
    /// Items per answer.
    #[arg(long, default_value_t = 20)]
    k: usize,
    /// Measure this running server instead, with users 0 to 999.
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "catalogue")]
    address: Option<SocketAddr>,
}

/// Users of a random model.
const USERS: usize = 1000;

fn catalogue(text: &str) -> Result<(usize, usize), String> {
    let expected = || format!("`{text}`: expected ITEMSxDIMENSIONS, such as 25000x20");
    let (items, dim) = text.split_once('x').ok_or_else(expected)?;
    let number = |text: &str| text.parse().ok().filter(|&n| n > 0).ok_or_else(expected);
    Ok((number(items)?, number(dim)?))
}

pub fn run(options: &Options, threads: usize, screen: &Screen) -> Result<()> {
    let What::Serve(options) = &options.what;
    let mut found = Vec::new();
    if screen.json {
        screen.say("measuring");
    } else {
        screen.print(format!(
            "{:>14} {:>6} {:>8} {:>8} {:>7} {:>9} {:>10} {:>8} {:>8} {:>8} {:>8} {:>8}",
            "items",
            "table",
            "MB",
            "rescored",
            "recall",
            "sent/s",
            "answered/s",
            "p50 ms",
            "p99 ms",
            "p99.9",
            "max ms",
            "refused"
        ))?;
    }
    let mut measure = |name: &str, address: SocketAddr| -> Result<()> {
        load(address, options, 0, Duration::from_millis(500))?; // warm-up
        for &rate in &options.rate {
            let before = TableUse::query(address)?;
            let result = load(address, options, rate, Duration::from_secs(options.seconds))?;
            let table = TableUse::query(address)?.since(&before);
            if !screen.json {
                screen.print(result.row(name, &table, rate))?;
            }
            found.push(result.json(name, &table, rate));
        }
        Ok(())
    };
    if let Some(address) = options.address {
        measure("given", address)?;
    } else {
        for &(n_items, dim) in &options.catalogue {
            let folder = Scratch::new()?;
            random_model(n_items, dim, options.directions)?.write(&folder.0)?;
            let tables =
                options.table.iter().map(|table| vec!["--table".into(), table.to_string()]);
            #[cfg(feature = "hnsw")]
            let tables = tables.chain(options.hnsw.map(|recall| vec![format!("--hnsw={recall}")]));
            for search in tables {
                let server = Server::start(&folder.0, threads, &search)?;
                measure(&format!("{n_items}x{dim}"), server.address)?;
            }
        }
    }
    if screen.json {
        screen.print(format!("{:#}", Value::Array(found)))?;
    }
    Ok(())
}

/// A folder that is removed when dropped.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("rankstill-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server process of this program.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(folder: &Path, threads: usize, search: &[String]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", "--quiet", "--no-degrade", "--listen", "127.0.0.1:0", "--threads"]);
        command.arg(threads.to_string()).args(search);
        let mut child = command.arg(folder).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address = line.trim().strip_prefix("listening on http://").map(str::parse);
        match address {
            Some(Ok(address)) => Ok(Self { child, address }),
            _ => {
                _ = child.wait();
                bail!("the server did not start")
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_size_is_two_numbers() {
        assert_eq!(catalogue("25000x20"), Ok((25_000, 20)));
        for wrong in ["25000", "0x20", "ax3", "3x", "3x4x5"] {
            assert!(catalogue(wrong).unwrap_err().contains("expected ITEMSxDIMENSIONS"), "{wrong}");
        }
    }
}
