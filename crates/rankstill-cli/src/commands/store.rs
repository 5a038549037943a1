//! The event store: a file on this machine, or a database that several servers share.

use anyhow::Result;
use rankstill::serve::store::{EmbeddedStore, EventStore};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Opens a store for a server, or makes it. `patience`: how long a database may take to acknowledge events.
pub fn open(given: &Path, patience: Duration) -> Result<Arc<dyn EventStore>> {
    match url(given) {
        Some(url) => postgres(url, patience, true),
        None => Ok(Arc::new(EmbeddedStore::open(given)?)),
    }
}

/// Opens an existing store for reading.
pub fn existing(given: &Path) -> Result<Arc<dyn EventStore>> {
    if let Some(url) = url(given) {
        return postgres(url, Duration::from_secs(60), false);
    }
    anyhow::ensure!(given.is_file(), "{}: no such store", given.display());
    Ok(Arc::new(EmbeddedStore::open(given)?))
}

fn url(given: &Path) -> Option<&str> {
    let schemes = ["postgres://", "postgresql://"];
    given.to_str().filter(|text| schemes.iter().any(|scheme| text.starts_with(scheme)))
}

#[cfg(feature = "postgres")]
fn postgres(url: &str, patience: Duration, make: bool) -> Result<Arc<dyn EventStore>> {
    use anyhow::Context as _;
    use rankstill::serve::store::{Database, PostgresStore};
    let password = std::env::var("PGPASSWORD").ok();
    let roots = std::env::var_os("PGSSLROOTCERT").map(|file| {
        std::fs::read(&file).with_context(|| format!("PGSSLROOTCERT: {}", file.display()))
    });
    let roots = roots.transpose()?;
    let database = Database { url: url.into(), password, roots, patience };
    let open = if make { PostgresStore::open } else { PostgresStore::existing };
    Ok(Arc::new(open(&database)?))
}

#[cfg(not(feature = "postgres"))]
fn postgres(_: &str, _: Duration, _: bool) -> Result<Arc<dyn EventStore>> {
    anyhow::bail!("this build has no database support: build with `--features postgres`")
}
