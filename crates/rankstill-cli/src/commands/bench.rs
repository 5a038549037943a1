//! `rankstill bench serve`: how many requests a server answers, and how long each waits.
//!
//! Open loop: requests fall due at fixed moments, whether or not those before them are answered, and a request's time counts from
//! the moment at which it fell due. A generator that waits for an answer before it sends the next request leaves out exactly
//! those that would have waited (coordinated omission).

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Subcommand};
use rankstill::core::artefact::{Artefact, FORMAT, Manifest};
use rankstill::core::kernel::rng::Rng;
use rankstill::core::{Interactions, Lists, Precision, Tensors, Vocab};
use rankstill_cli::progress::Screen;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// A server of its own over made-up models, asked at a given rate on this machine.
    Serve(Serve),
}

#[derive(Args)]
struct Serve {
    /// Items and dimensions of the made-up models, such as 25000x20.
    #[arg(long, value_delimiter = ',', default_value = "25000x20,100000x32,1000000x32", value_parser = size)]
    catalogue: Vec<(usize, usize)>,
    /// Let the made-up vectors lie near so many directions, as trained ones do; without it they point anywhere.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    directions: Option<u16>,
    /// What the numbers of the item table are kept in: a server each.
    #[arg(long, value_delimiter = ',', default_value = "f32,f16,int8")]
    table: Vec<Precision>,
    /// Besides, search approximately in a graph that finds this share of the exact answers.
    #[cfg(feature = "hnsw")]
    #[arg(long, value_name = "RECALL", num_args = 0..=1, default_missing_value = "0.95")]
    hnsw: Option<f64>,
    /// Requests that fall due a second; 0 = each connection asks as soon as it has its answer (closed loop).
    #[arg(long, value_delimiter = ',', default_value = "100,1000,0")]
    rate: Vec<u32>,
    /// How long each rate is kept.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Connections that ask; a request that falls due while all of them wait, waits with them.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    connections: u32,
    /// Items in an answer.
    #[arg(long, default_value_t = 20)]
    k: usize,
    /// Ask this server instead, for users 0 to 999.
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "catalogue")]
    address: Option<SocketAddr>,
}

/// Users of a made-up model.
const USERS: usize = 1000;

fn size(text: &str) -> Result<(usize, usize), String> {
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
            "asked/s",
            "answered/s",
            "p50 ms",
            "p99 ms",
            "p99.9",
            "max ms",
            "refused"
        ));
    }
    let mut measure = |name: &str, address: SocketAddr| -> Result<()> {
        load(address, options, 0, Duration::from_millis(500))?; // warm
        for &rate in &options.rate {
            let before = Counted::ask(address)?;
            let told = load(address, options, rate, Duration::from_secs(options.seconds))?;
            let table = Counted::ask(address)?.since(&before);
            if !screen.json {
                screen.print(told.row(name, &table, rate));
            }
            found.push(told.json(name, &table, rate));
        }
        Ok(())
    };
    if let Some(address) = options.address {
        measure("given", address)?;
    } else {
        for &(n_items, dim) in &options.catalogue {
            let folder = Scratch::new()?;
            made_up(n_items, dim, options.directions)?.write(&folder.0)?;
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
        screen.print(format!("{:#}", Value::Array(found)));
    }
    Ok(())
}

/// Matrix factorisation with random vectors: all of one length on average, so hardly an item can be left out before it is
/// multiplied. Trained models are quicker. With `directions`, nine tenths of a vector's squared length lie in the space that
/// so many random ones span: what a graph makes use of.
fn made_up(n_items: usize, dim: usize, directions: Option<u16>) -> Result<Artefact> {
    let random = |purpose: u64, n: usize, std: f64| {
        let mut numbers = vec![0.0; n];
        Rng::keyed(1, [purpose]).fill_normal(&mut numbers, 0.0, std as f32);
        numbers
    };
    let normal = |purpose: u64, n: usize| {
        let Some(directions) = directions.map(usize::from) else {
            return random(purpose, n * dim, 1.0);
        };
        let spanning = random(3, directions * dim, (0.9 / directions as f64).sqrt());
        let shares = random(4 + purpose, n * directions, 1.0);
        let mut numbers = random(purpose, n * dim, 0.1f64.sqrt());
        for (vector, shares) in numbers.chunks_exact_mut(dim).zip(shares.chunks_exact(directions)) {
            for (share, direction) in shares.iter().zip(spanning.chunks_exact(dim)) {
                vector.iter_mut().zip(direction).for_each(|(x, y)| *x += share * y);
            }
        }
        numbers
    };
    let mut rng = Rng::keyed(1, [2]);
    let lines = (0..USERS).map(|_| (0..20).map(|_| rng.below(n_items as u32)).collect::<Vec<_>>());
    let history = Lists::from_iter(lines.collect::<Vec<_>>());
    let mut tensors = Tensors::default();
    tensors.insert("users", &[USERS, dim], normal(0, USERS));
    tensors.insert("items", &[n_items, dim], normal(1, n_items));
    Ok(Artefact {
        manifest: Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            name: "made up".into(),
            kind: "bpr_mf".into(),
            config: json!({ "dim": dim, "item_bias": false }),
            n_users: USERS,
            n_items,
            n_parameters: (USERS + n_items) * dim,
            card: Value::Null,
            files: std::collections::BTreeMap::new(),
        },
        tensors,
        users: Vocab::from_ints((0..USERS as i64).collect())?,
        items: Vocab::from_ints((0..n_items as i64).collect())?,
        history: Interactions::new(n_items, history, None, None)?,
    })
}

/// A folder that goes with the process.
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

/// This program, serving.
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
        if let Some(told) = child.stdout.take() {
            BufReader::new(told).read_line(&mut line)?;
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

/// What came of asking for a while.
#[derive(Default)]
struct Told {
    /// Seconds of every answer, rising.
    times: Vec<f64>,
    refused: u64,
    elapsed: f64,
}

impl Told {
    fn at(&self, share: f64) -> f64 {
        let at = (share * self.times.len() as f64) as usize;
        self.times
            .get(at.min(self.times.len().saturating_sub(1)))
            .map_or(f64::NAN, |time| time * 1e3)
    }

    fn rate(&self) -> f64 {
        self.times.len() as f64 / self.elapsed
    }

    fn row(&self, name: &str, table: &Counted, asked: u32) -> String {
        let asked = if asked == 0 { "all".into() } else { asked.to_string() };
        format!(
            "{name:>14} {:>6} {:>8.1} {:>8.0} {:>7.4} {asked:>9} {:>10.0} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8}",
            table.table,
            table.bytes as f64 / 1e6,
            table.rescored_a_query(),
            table.recall,
            self.rate(),
            self.at(0.5),
            self.at(0.99),
            self.at(0.999),
            self.at(1.0),
            self.refused
        )
    }

    fn json(&self, name: &str, table: &Counted, asked: u32) -> Value {
        json!({
            "catalogue": name,
            "table": table.table,
            "table_bytes": table.bytes,
            "rescored_a_query": table.rescored_a_query(),
            "recall": table.recall,
            "asked_per_second": asked,
            "answered_per_second": self.rate(),
            "answers": self.times.len(),
            "refused": self.refused,
            "ms": { "p50": self.at(0.5), "p99": self.at(0.99), "p99.9": self.at(0.999), "max": self.at(1.0) },
        })
    }
}

/// How the first model's item table was used, as the server tells; nothing where it does not.
#[derive(Default)]
struct Counted {
    table: String,
    bytes: u64,
    /// Share of the exact answers: 1 but where a graph is searched.
    recall: f64,
    queries: u64,
    rescored: u64,
}

impl Counted {
    fn ask(address: SocketAddr) -> Result<Self> {
        let mut connection = Connection::open(address)?;
        if connection.get("/v1/models")? != 200 {
            return Ok(Self::default());
        }
        let models: Value = serde_json::from_slice(&connection.body)?;
        let (model, mut counted) = (&models["models"][0], Self::default());
        counted.table = model["table"].as_str().unwrap_or_default().into();
        counted.bytes = model["table_bytes"].as_u64().unwrap_or_default();
        counted.recall = 1.0;
        if let Some(recall) = model["graph"]["recall"].as_f64() {
            counted.table = "hnsw".into();
            counted.bytes = model["graph"]["bytes"].as_u64().unwrap_or_default();
            counted.recall = recall;
        }
        ensure!(connection.get("/metrics")? == 200, "the server does not tell its metrics");
        for line in String::from_utf8_lossy(&connection.body).lines() {
            let value = || line.rsplit(' ').next().and_then(|number| number.parse().ok());
            if line.starts_with("rankstill_table_queries_total{") {
                counted.queries += value().unwrap_or(0);
            } else if line.starts_with("rankstill_table_rescored_total{") {
                counted.rescored += value().unwrap_or(0);
            }
        }
        Ok(counted)
    }

    fn since(mut self, before: &Self) -> Self {
        self.queries -= before.queries.min(self.queries);
        self.rescored -= before.rescored.min(self.rescored);
        self
    }

    fn rescored_a_query(&self) -> f64 {
        self.rescored as f64 / self.queries.max(1) as f64
    }
}

/// Before a request falls due.
const AWAKE: Duration = Duration::from_micros(500);

/// Asks at this rate for so long.
fn load(address: SocketAddr, options: &Serve, rate: u32, seconds: Duration) -> Result<Told> {
    let (next, began) = (AtomicU64::new(0), Instant::now());
    let ask = |connection: u32| -> Result<Told> {
        let mut stream = Connection::open(address)?;
        let mut rng = Rng::keyed(3, [u64::from(connection), u64::from(rate)]);
        let mut told = Told::default();
        loop {
            let due = if rate == 0 {
                began.elapsed()
            } else {
                Duration::from_secs_f64(
                    next.fetch_add(1, Ordering::Relaxed) as f64 / f64::from(rate),
                )
            };
            if due >= seconds {
                return Ok(told);
            }
            if let Some(early) = due.checked_sub(began.elapsed()) {
                // Being woken is our own business, and takes longer than many an answer: be awake when it falls due. Seldom
                // enough that it takes nothing from a server on the same machine.
                let awake = if rate <= 200 { AWAKE } else { Duration::ZERO };
                std::thread::sleep(early.saturating_sub(awake));
                while awake > Duration::ZERO && began.elapsed() < due {
                    std::hint::spin_loop();
                }
            }
            let user = rng.below(USERS as u32);
            let status =
                stream.get(&format!("/v1/users/{user}/recommendations?k={}", options.k))?;
            match status {
                200 => told.times.push((began.elapsed() - due).as_secs_f64()),
                503 => told.refused += 1,
                other => bail!("the server answered {other}"),
            }
        }
    };
    let mut all = Told::default();
    let parts: Vec<Result<Told>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..options.connections).map(|one| scope.spawn(move || ask(one))).collect();
        threads
            .into_iter()
            .map(|one| one.join().unwrap_or_else(|_| bail!("a client panicked")))
            .collect()
    });
    for part in parts {
        let part = part?;
        all.times.extend(part.times);
        all.refused += part.refused;
    }
    all.elapsed = began.elapsed().as_secs_f64();
    all.times.sort_by(f64::total_cmp);
    Ok(all)
}

/// A connection that is kept.
struct Connection {
    stream: BufReader<TcpStream>,
    line: String,
    body: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| address.to_string())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { stream: BufReader::new(stream), line: String::new(), body: Vec::new() })
    }

    /// The status; the body is kept.
    fn get(&mut self, path: &str) -> Result<u16> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut status, mut length) = (0, 0);
        loop {
            self.line.clear();
            ensure!(self.stream.read_line(&mut self.line)? > 0, "the server hung up");
            let line = self.line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest.get(..3).unwrap_or_default().parse()?;
            } else if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body)?;
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_size_is_two_numbers() {
        assert_eq!(size("25000x20"), Ok((25_000, 20)));
        for wrong in ["25000", "0x20", "ax3", "3x", "3x4x5"] {
            assert!(size(wrong).unwrap_err().contains("expected ITEMSxDIMENSIONS"), "{wrong}");
        }
    }

    #[test]
    fn what_waits_behind_a_slow_answer_is_counted() {
        // One connection, a server that takes 40 ms an answer, a request every 10 ms: the n-th waits some 30 n ms longer.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut stream = stream;
            while let Some(Ok(line)) = lines.next() {
                if line.is_empty() {
                    std::thread::sleep(Duration::from_millis(40));
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
                }
            }
        });
        let options = Serve {
            catalogue: vec![],
            directions: None,
            table: vec![],
            #[cfg(feature = "hnsw")]
            hnsw: None,
            rate: vec![],
            seconds: 1,
            connections: 1,
            k: 1,
            address: None,
        };
        let told = load(address, &options, 100, Duration::from_millis(100)).unwrap();
        assert_eq!(told.times.len(), 10);
        assert!(told.times[0] >= 0.04);
        assert!(told.times[9] >= 0.3, "a closed loop would say 40 ms: {:?}", told.times);
    }

    #[test]
    fn made_up_vectors_lie_near_the_directions_asked_for() {
        // The squares of the spectrum's shares: 1/8 where all eight directions are alike, some 2 * 0.46^2 where two have it all.
        let spread = |directions| {
            let (n, dim) = (2000, 8);
            let made_up = made_up(n, dim, directions).unwrap();
            let (items, ..) = made_up.tensors.matrix("items").unwrap();
            let covariance = |a: usize, b: usize| {
                items.chunks_exact(dim).map(|item| f64::from(item[a] * item[b])).sum::<f64>()
            };
            let pairs = (0..dim * dim).map(|at| covariance(at / dim, at % dim));
            let trace: f64 = (0..dim).map(|k| covariance(k, k)).sum();
            pairs.map(|x| x * x).sum::<f64>() / (trace * trace)
        };
        assert!((0.125..0.14).contains(&spread(None)), "{}", spread(None));
        assert!(spread(Some(2)) > 0.35, "{}", spread(Some(2)));
    }
}
