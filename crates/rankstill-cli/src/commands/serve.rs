//! `rankstill serve`: artefacts served over HTTP.

mod log;

use super::store;
use crate::progress::{Screen, leave_signals};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use log::LogQueue;
use rankstill::artefact;
use rankstill::core::{Artefact, Precision, Vocab};
use rankstill::data::read_items;
#[cfg(feature = "tls")]
use rankstill::serve::Tls;
use rankstill::serve::{Admin, App, Id, ItemRow, ItemTable, Keys, Limits, Listen, Setup, Snapshot};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Args)]
pub struct Options {
    /// Artefacts made by `run`, `train` or `distill`, as FOLDER or NAME=FOLDER. The first answers requests that name no model.
    #[arg(required = true, value_name = "[NAME=]ARTEFACT")]
    artefacts: Vec<String>,
    /// The address to listen on. Read docs/serving.md before you use any address but loopback.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// A name by which clients may ask for the server, such as shop.example (the header `Host`, without its port); repeatable. The
    /// address that it listens on, and the names of loopback, are always allowed. Default: no other names; on every address (such as 0.0.0.0), any.
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// A file with titles and attributes of the items: CSV, TSV or RecBole's .item.
    #[arg(long, value_name = "FILE")]
    items: Option<PathBuf>,
    /// Store events in this file, or in a database that several servers share (postgres://USER@HOST/DATABASE, in builds with the
    /// feature `postgres`; the password is taken from PGPASSWORD). Default: accept no events.
    #[arg(long, value_name = "FILE|URL")]
    events: Option<PathBuf>,
    /// The longest time from a request's arrival to its answer.
    #[arg(long, default_value_t = 1000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    deadline: u64,
    /// Maximum number of waiting requests; further ones are refused at once.
    #[arg(long, default_value_t = 1024, value_name = "N", value_parser = positive)]
    queue: usize,
    /// Maximum number of items in an answer.
    #[arg(long, default_value_t = 1000, value_name = "K", value_parser = positive)]
    max_k: usize,
    /// The precision of the item table in the search: f32, f16 or int8. Answers do not depend on it. Default: chosen by the size of
    /// the table.
    #[arg(long)]
    table: Option<Precision>,
    /// Search approximately, in a graph that is built at the start and finds at least this share of the exact answers. For
    /// catalogues of many millions of items.
    #[cfg(feature = "hnsw")]
    #[arg(long, value_name = "RECALL", num_args = 0..=1, default_missing_value = "0.95", value_parser = share)]
    hnsw: Option<f64>,
    /// Memory-map users' vectors instead of loading them, so that any number of users fits. Never change a served artefact in place;
    /// replacing the whole folder is fine.
    #[arg(long)]
    map: bool,
    /// Serve over HTTPS with this certificate (PEM, followed by any intermediate certificates). A renewed file is read again.
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The private key of the certificate (PEM).
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// API keys for requests: a file with the SHA-256 of one key per line. Default: no key is needed.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// API keys for changing the served models: a file with the SHA-256 of one key per line. Default: no changes are possible.
    #[arg(long, value_name = "FILE")]
    admin_keys: Option<PathBuf>,
    /// Send a trace span per request to this OpenTelemetry collector, such as http://HOST:4318.
    #[cfg(feature = "otlp")]
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
    /// Refuse requests that a model cannot answer in time, instead of falling back to cached or popular items.
    #[arg(long)]
    no_degrade: bool,
    /// Log every request as a line of JSON on standard error.
    #[arg(long)]
    log: bool,
}

/// How the items of a model are searched.
#[derive(Clone, Copy)]
struct Search {
    table: Option<Precision>,
    map: bool,
    #[cfg(feature = "hnsw")]
    hnsw: Option<f64>,
}

#[cfg(feature = "hnsw")]
fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("expected a share above 0 and at most 1, such as 0.95".into()),
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=Limits::LARGEST).contains(&number) => Ok(number),
        _ => Err(format!("expected 1 to {}", Limits::LARGEST)),
    }
}

pub fn run(options: &Options, threads: usize, screen: &Screen) -> Result<()> {
    let level = if options.log {
        tracing_subscriber::filter::LevelFilter::INFO
    } else {
        tracing_subscriber::filter::LevelFilter::ERROR
    };
    let log = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(level);
    let queue = LogQueue::start().context("starting the log")?;
    let writer = queue.clone();
    // Fails if a program that uses the library has set a subscriber of its own.
    _ = log.with_target(false).with_writer(move || writer.clone()).try_init();
    // By itself a panic would be written to standard error, where it may have to wait.
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a thread panicked")));

    let item_rows = options.items.as_deref().map(read_item_rows).transpose()?.unwrap_or_default();
    let keys = options.keys.as_deref().map(read_keys).transpose()?;
    let admin_keys = options.admin_keys.as_deref().map(read_keys).transpose()?;
    #[cfg(feature = "tls")]
    let tls = match (&options.tls_certificate, &options.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls::read(certificate, key)?),
        _ => None,
    };
    #[cfg(feature = "otlp")]
    let traces = options.otlp.as_deref().map(rankstill::serve::SpanExporter::to).transpose()?;
    let search = Search {
        table: options.table,
        map: options.map,
        #[cfg(feature = "hnsw")]
        hnsw: options.hnsw,
    };
    let mut models = Vec::new();
    for given in &options.artefacts {
        let (name, folder) = named(given)?;
        let snapshot = load(name.as_deref(), &folder, &item_rows, search)?;
        let name = &snapshot.name;
        let table = snapshot.precision_use().map_or_else(String::new, |used| {
            format!(", item table in {} ({:.1} MB)", used.precision, used.bytes as f64 / 1e6)
        });
        let graph = snapshot.graph_card().map_or_else(String::new, |graph| {
            format!(
                ", a graph of {:.1} MB with a recall of {:.4} at {}, built in {:.0} s",
                graph.bytes as f64 / 1e6,
                graph.recall,
                graph.recall_at,
                graph.built_in_seconds
            )
        });
        screen.say(format!(
            "{name} {}: {} of {} users and {} items{table}{graph}, checked in {:.0} ms",
            snapshot.version,
            snapshot.manifest.kind,
            snapshot.users.len(),
            snapshot.items.len(),
            snapshot.warmed_in.as_secs_f64() * 1e3
        ));
        if let Some(note) = long_ids(&snapshot) {
            screen.say(note);
        }
        models.push(snapshot);
    }
    let deadline = Duration::from_millis(options.deadline);
    let store = options.events.as_deref().map(|given| store::open(given, deadline)).transpose()?;
    let limits = Limits {
        k: options.max_k,
        queue: options.queue,
        degrade: !options.no_degrade,
        deadline,
        ..Limits::default()
    };
    let load = move |name: &str, folder: &Path| {
        files_only(folder)
            .and_then(|()| fits(folder))
            .and_then(|()| load(Some(name), folder, &item_rows, search))
            .map_err(|error| crate::error_line(&error))
    };
    let admin = admin_keys.map(|keys| Admin { keys, load: Box::new(load) });
    let app = App::new(Setup {
        models,
        store,
        limits,
        threads,
        keys,
        admin,
        dropped_log_lines: queue.dropped(),
        #[cfg(feature = "otlp")]
        traces,
    })?;
    #[cfg(feature = "tls")]
    let scheme = if tls.is_some() { "https" } else { "http" };
    #[cfg(not(feature = "tls"))]
    let scheme = "http";
    let ready = |address| _ = screen.print(format!("listening on {scheme}://{address}"));
    if options.listen.ip().is_unspecified() && options.host.is_empty() {
        screen.say("requests under any host name are answered; --host NAME allows that name only");
    }
    leave_signals();
    let listen = Listen {
        address: options.listen,
        hosts: options.host.clone(),
        threads,
        #[cfg(feature = "tls")]
        tls,
    };
    let answered = rankstill::serve::run(app, listen, ready)?;
    let message = if answered {
        "stopped; every accepted request was answered"
    } else {
        "stopped; some requests were not answered in time"
    };
    if !screen.quiet {
        _ = writeln!(queue.clone(), "{message}"); // not on the screen, which may never take it
    }
    queue.finish(Duration::from_secs(1));
    Ok(())
}

/// Users and items whose ids no request may carry.
fn long_ids(snapshot: &Snapshot) -> Option<String> {
    let long = |ids: &Vocab| match ids.as_ints() {
        Some(_) => 0,
        None => ids.iter().filter(|id| id.len() > Id::LONGEST).count(),
    };
    let (users, items) = (long(&snapshot.users), long(&snapshot.items));
    (users + items > 0).then(|| {
        format!(
            "{}: the ids of {users} users and {items} items are longer than {} bytes; requests that name them are refused (`rankstill \
             recommend` takes them)",
            snapshot.name,
            Id::LONGEST
        )
    })
}

/// Reads, checks and warms up a model. Default name: the one in its manifest.
fn load(
    name: Option<&str>,
    folder: &Path,
    item_rows: &[ItemRow],
    search: Search,
) -> Result<Snapshot> {
    files_only(folder)?;
    let loaded = if search.map { artefact::load_mapped(folder)? } else { artefact::load(folder)? };
    let table = ItemTable::new(&loaded.artefact.items, item_rows.iter().cloned());
    let name = name.map_or_else(|| loaded.artefact.manifest.name.clone(), str::to_owned);
    let snapshot = Snapshot::new(&name, loaded.artefact, loaded.model, table, search.table);
    #[cfg(feature = "hnsw")]
    let snapshot = match search.hnsw {
        Some(recall) => snapshot.and_then(|snapshot| snapshot.with_graph(recall)),
        None => snapshot,
    };
    snapshot.with_context(|| folder.display().to_string())
}

/// Checks that the folder holds files and folders only: opening a pipe would wait for its other end, and a device may have no end.
fn files_only(folder: &Path) -> Result<()> {
    let named = |path: &Path| path.display().to_string();
    for entry in folder.read_dir().with_context(|| named(folder))? {
        let path = entry.with_context(|| named(folder))?.path();
        let found = path.metadata().with_context(|| named(&path))?;
        if !found.is_file() && !found.is_dir() {
            bail!("{}: expected a file, found a pipe, a socket or a device", named(&path));
        }
        if path.ends_with("manifest.json") && found.len() > LARGEST_MANIFEST {
            let most = LARGEST_MANIFEST >> 20;
            bail!("{}: expected at most {most} MiB, found {}", named(&path), found.len() >> 20);
        }
    }
    Ok(())
}

/// Bytes of a manifest, which is read before it is known what memory its files need.
const LARGEST_MANIFEST: u64 = 64 << 20;

/// Checks that memory suffices for another version next to the served ones: its files, its tables, and their packed copies.
fn fits(folder: &Path) -> Result<()> {
    let needed = 3 * Artefact::bytes(&Artefact::read_manifest(folder)?);
    // Only Linux has this file; elsewhere the attempt decides.
    let Ok(memory) = std::fs::read_to_string("/proc/meminfo") else { return Ok(()) };
    let line = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    if let Some(free) = kib.map(|kib| kib * 1024).filter(|&free| free < needed) {
        bail!(
            "{}: needs about {} MiB of memory, {} MiB are free",
            folder.display(),
            needed >> 20,
            free >> 20
        );
    }
    Ok(())
}

fn read_keys(path: &Path) -> Result<Keys> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Keys::parse(&text).with_context(|| path.display().to_string())
}

/// `NAME=FOLDER`, or `FOLDER`, which may itself contain a `=`.
fn named(given: &str) -> Result<(Option<String>, PathBuf)> {
    if Path::new(given).exists() {
        return Ok((None, given.into()));
    }
    match given.split_once('=') {
        Some((name, folder)) if !name.is_empty() => Ok((Some(name.into()), folder.into())),
        Some(_) => bail!("`{given}`: expected a name before the `=`"),
        None => bail!("{given}: no such folder"),
    }
}

fn read_item_rows(path: &Path) -> Result<Vec<ItemRow>> {
    let rows = read_items(path)?.into_iter();
    Ok(rows
        .map(|row| ItemRow { item: row.item, title: row.title, attributes: row.attributes })
        .collect())
}
