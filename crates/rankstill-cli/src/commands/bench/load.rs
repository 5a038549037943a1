//! The load on a server, and what is measured: latencies, refusals, and the use of the item table.

use super::{Serve, USERS};
use anyhow::{Context as _, Result, bail, ensure};
use rankstill::core::kernel::rng::Rng;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The result of one measurement.
#[derive(Default)]
pub struct LoadResult {
    /// Seconds of every answer, ascending.
    times: Vec<f64>,
    refused: u64,
    elapsed: f64,
}

impl LoadResult {
    fn quantile_ms(&self, share: f64) -> f64 {
        let at = (share * self.times.len() as f64) as usize;
        self.times
            .get(at.min(self.times.len().saturating_sub(1)))
            .map_or(f64::NAN, |time| time * 1e3)
    }

    fn rate(&self) -> f64 {
        self.times.len() as f64 / self.elapsed
    }

    pub fn row(&self, name: &str, table: &TableUse, rate: u32) -> String {
        let sent = if rate == 0 { "all".into() } else { rate.to_string() };
        format!(
            "{name:>14} {:>6} {:>8.1} {:>8.0} {:>7.4} {sent:>9} {:>10.0} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8}",
            table.table,
            table.bytes as f64 / 1e6,
            table.rescored_a_query(),
            table.recall,
            self.rate(),
            self.quantile_ms(0.5),
            self.quantile_ms(0.99),
            self.quantile_ms(0.999),
            self.quantile_ms(1.0),
            self.refused
        )
    }

    pub fn json(&self, name: &str, table: &TableUse, rate: u32) -> Value {
        json!({
            "catalogue": name,
            "table": table.table,
            "table_bytes": table.bytes,
            "rescored_a_query": table.rescored_a_query(),
            "recall": table.recall,
            "asked_per_second": rate,
            "answered_per_second": self.rate(),
            "answers": self.times.len(),
            "refused": self.refused,
            "ms": { "p50": self.quantile_ms(0.5), "p99": self.quantile_ms(0.99), "p99.9": self.quantile_ms(0.999), "max": self.quantile_ms(1.0) },
        })
    }
}

/// How the item table of the first model was used, as the server reports it; all zero if it does not.
#[derive(Default)]
pub struct TableUse {
    table: String,
    bytes: u64,
    /// Share of the exact answers found; below 1 only if a graph is searched.
    recall: f64,
    queries: u64,
    rescored: u64,
}

impl TableUse {
    pub fn query(address: SocketAddr) -> Result<Self> {
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
        ensure!(connection.get("/metrics")? == 200, "the server does not report its metrics");
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

    pub fn since(mut self, before: &Self) -> Self {
        self.queries -= before.queries.min(self.queries);
        self.rescored -= before.rescored.min(self.rescored);
        self
    }

    fn rescored_a_query(&self) -> f64 {
        self.rescored as f64 / self.queries.max(1) as f64
    }
}

/// How long before its due time a request is prepared.
const AWAKE: Duration = Duration::from_micros(500);

/// Sends requests at this rate for `seconds`.
pub fn load(
    address: SocketAddr,
    options: &Serve,
    rate: u32,
    seconds: Duration,
) -> Result<LoadResult> {
    let (next, began) = (AtomicU64::new(0), Instant::now());
    let client = |connection: u32| -> Result<LoadResult> {
        let mut stream = Connection::open(address)?;
        let mut rng = Rng::keyed(3, [u64::from(connection), u64::from(rate)]);
        let mut result = LoadResult::default();
        loop {
            let due = if rate == 0 {
                began.elapsed()
            } else {
                Duration::from_secs_f64(
                    next.fetch_add(1, Ordering::Relaxed) as f64 / f64::from(rate),
                )
            };
            if due >= seconds {
                return Ok(result);
            }
            if let Some(early) = due.checked_sub(began.elapsed()) {
                // Waking up can take longer than an answer, so wake early and spin. Only at low rates, where spinning takes no
                // time from a server on the same machine.
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
                200 => result.times.push((began.elapsed() - due).as_secs_f64()),
                503 => result.refused += 1,
                other => bail!("the server answered {other}"),
            }
        }
    };
    let mut all = LoadResult::default();
    let parts: Vec<Result<LoadResult>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..options.connections).map(|one| scope.spawn(move || client(one))).collect();
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

/// A keep-alive connection.
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

    /// Sends a request and returns the status; `body` holds the body.
    fn get(&mut self, path: &str) -> Result<u16> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut status, mut length) = (0, 0);
        loop {
            self.line.clear();
            ensure!(self.stream.read_line(&mut self.line)? > 0, "the server closed the connection");
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
    fn requests_that_wait_behind_a_slow_answer_are_counted() {
        // One connection, 40 ms per answer, a request every 10 ms: the n-th request waits about 30 n ms.
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
        let result = load(address, &options, 100, Duration::from_millis(100)).unwrap();
        assert_eq!(result.times.len(), 10);
        assert!(result.times[0] >= 0.04);
        assert!(result.times[9] >= 0.3, "a closed loop would report 40 ms: {:?}", result.times);
    }
}
