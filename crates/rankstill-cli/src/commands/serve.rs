//! `rankstill serve`: artefacts answering over HTTP.

use super::store;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use rankstill::core::{Artefact, Precision};
use rankstill::data::read_items;
#[cfg(feature = "tls")]
use rankstill::serve::Tls;
use rankstill::serve::{Admin, App, ItemRow, ItemTable, Keys, Limits, Listen, Setup, Snapshot};
use rankstill_cli::experiment::model;
use rankstill_cli::progress::Screen;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Args)]
pub struct Options {
    /// Folders that `run`, `train` or `distill` made, as FOLDER or NAME=FOLDER. The first answers where a request names none.
    #[arg(required = true, value_name = "[NAME=]ARTEFACT")]
    artefacts: Vec<String>,
    /// Where to listen. Anything but loopback lets others in: see docs/serving.md first.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Titles and attributes of the items: CSV, TSV or RecBole's .item.
    #[arg(long, value_name = "FILE")]
    items: Option<PathBuf>,
    /// Keep what users do in this file, or in a database that several servers share (postgres://USER@HOST/DATABASE, in builds with the
    /// feature postgres; PGPASSWORD is its password). Without it there are no events.
    #[arg(long, value_name = "FILE|URL")]
    events: Option<PathBuf>,
    /// From a request's arrival to its answer.
    #[arg(long, default_value_t = 1000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    deadline: u64,
    /// Requests that may wait to be computed; beyond it they are refused at once.
    #[arg(long, default_value_t = 1024, value_name = "N", value_parser = positive)]
    queue: usize,
    /// Items in an answer.
    #[arg(long, default_value_t = 1000, value_name = "K", value_parser = positive)]
    max_k: usize,
    /// What the numbers of item tables are kept in while they are searched: f32, f16 or int8. Answers do not depend on it. By
    /// the table's size where it is left out.
    #[arg(long)]
    table: Option<Precision>,
    /// Search items approximately, in a graph that is built at the start and finds at least this share of the exact answers. For
    /// catalogues of many millions.
    #[cfg(feature = "hnsw")]
    #[arg(long, value_name = "RECALL", num_args = 0..=1, default_missing_value = "0.95", value_parser = share)]
    hnsw: Option<f64>,
    /// Leave users' vectors on the disk and read them where they lie, so that any number of users fits. Artefacts must not be changed
    /// in place meanwhile; replacing them as a whole is fine.
    #[arg(long)]
    map: bool,
    /// Answer over HTTPS, with this certificate (PEM; the ones between it and the root's behind it). It is read anew when it is
    /// renewed.
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Its private key (PEM).
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Who may ask: a SHA-256 of a key a line. Without it, everybody who reaches the server.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Who may change what is served: a SHA-256 of a key a line. Without it, nobody.
    #[arg(long, value_name = "FILE")]
    admin_keys: Option<PathBuf>,
    /// Send a span for each request to this OpenTelemetry collector: http://HOST:4318.
    #[cfg(feature = "otlp")]
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
    /// Refuse where a model cannot answer in time, instead of answering with what is known without it.
    #[arg(long)]
    no_degrade: bool,
    /// A line of JSON on standard error for every request.
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
        _ => Err("expected a share of the exact answers, such as 0.95".into()),
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("expected at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

pub fn run(options: &Options, threads: usize, screen: &Screen) -> Result<()> {
    let level = if options.log {
        tracing_subscriber::filter::LevelFilter::INFO
    } else {
        tracing_subscriber::filter::LevelFilter::ERROR
    };
    let log = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(level);
    // Somebody who uses the library may have set another one.
    _ = log.with_target(false).with_writer(std::io::stderr).try_init();

    let described = options.items.as_deref().map(item_rows).transpose()?.unwrap_or_default();
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
        let snapshot = load(name.as_deref(), &folder, &described, search)?;
        let name = &snapshot.name;
        let table = snapshot.precision_use().map_or_else(String::new, |used| {
            format!(", its item table in {} ({:.1} MB)", used.table, used.bytes as f64 / 1e6)
        });
        let graph = snapshot.graph_card().map_or_else(String::new, |graph| {
            format!(
                ", a graph of {:.1} MB that finds {:.4} of the exact {} best, built in {:.0} s",
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
        fits(folder)
            .and_then(|()| load(Some(name), folder, &described, search))
            .map_err(|error| rankstill_cli::told(&error))
    };
    let admin = admin_keys.map(|keys| Admin { keys, load: Box::new(load) });
    let app = App::new(Setup {
        models,
        store,
        limits,
        threads,
        keys,
        admin,
        #[cfg(feature = "otlp")]
        traces,
    })?;
    #[cfg(feature = "tls")]
    let scheme = if tls.is_some() { "https" } else { "http" };
    #[cfg(not(feature = "tls"))]
    let scheme = "http";
    let ready = |address| screen.print(format!("listening on {scheme}://{address}"));
    let listen = Listen {
        address: options.listen,
        threads,
        #[cfg(feature = "tls")]
        tls,
    };
    rankstill::serve::run(app, listen, ready)?;
    screen.say("ended; every answer that was owed is given");
    Ok(())
}

/// Reads, checks and warms; without a name it is called as its experiment called it.
fn load(
    name: Option<&str>,
    folder: &Path,
    described: &[ItemRow],
    search: Search,
) -> Result<Snapshot> {
    let loaded = if search.map { model::read_mapped(folder)? } else { model::read(folder)? };
    let table = ItemTable::new(&loaded.artefact.items, described.iter().cloned());
    let name = name.map_or_else(|| loaded.artefact.manifest.name.clone(), str::to_owned);
    let snapshot = Snapshot::new(&name, loaded.artefact, loaded.model, table, search.table);
    #[cfg(feature = "hnsw")]
    let snapshot = match search.hnsw {
        Some(recall) => snapshot.and_then(|snapshot| snapshot.with_graph(recall)),
        None => snapshot,
    };
    snapshot.with_context(|| folder.display().to_string())
}

/// Whether there is memory for another version beside those that are served: its files are read, become tables, and are packed.
fn fits(folder: &Path) -> Result<()> {
    let needed = 3 * Artefact::bytes(&Artefact::read_manifest(folder)?);
    // Only Linux says; elsewhere we have to try.
    let Ok(told) = std::fs::read_to_string("/proc/meminfo") else { return Ok(()) };
    let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    if let Some(free) = kib.map(|kib| kib * 1024).filter(|&free| free < needed) {
        bail!("{}: needs some {} MiB, {} MiB are free", folder.display(), needed >> 20, free >> 20);
    }
    Ok(())
}

fn read_keys(path: &Path) -> Result<Keys> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Keys::parse(&text).with_context(|| path.display().to_string())
}

/// `NAME=FOLDER`, or `FOLDER`, which may hold a `=` itself.
fn named(given: &str) -> Result<(Option<String>, PathBuf)> {
    if Path::new(given).exists() {
        return Ok((None, given.into()));
    }
    match given.split_once('=') {
        Some((name, folder)) if !name.is_empty() => Ok((Some(name.into()), folder.into())),
        Some(_) => bail!("`{given}`: expected a name before the `=`"),
        None => bail!("{given}: there is no such folder"),
    }
}

fn item_rows(path: &Path) -> Result<Vec<ItemRow>> {
    let rows = read_items(path)?.into_iter();
    Ok(rows
        .map(|row| ItemRow { item: row.item, title: row.title, attributes: row.attributes })
        .collect())
}
