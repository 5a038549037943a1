//! Fits a model and serves it over HTTP until Ctrl-C:
//!
//! ```sh
//! cargo run --release -p rankstill --features serve --example serve
//! curl 'localhost:8080/v1/users/7/recommendations?k=5'
//! ```

use rankstill::artefact::{self, About};
use rankstill::core::{Precision, Recipe};
use rankstill::models::ItemCf;
use rankstill::serve::{App, ItemTable, Limits, Listen, Setup, Snapshot};
use rankstill::{Fit, Interactions};
use std::error::Error;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    let pairs = (0..1000)
        .flat_map(|user| (0..8).map(move |n| (user, user % 10 + 10 * (user * n * n % 31))));
    let log = Interactions::from_pairs(pairs);
    let recipe = ItemCf::default();
    let model = recipe.fit(&Arc::new(log.interactions.clone()), &mut Fit::seeded(1))?;

    let folder = std::env::temp_dir().join("rankstill-example");
    artefact::save(&folder, About::new("ItemCF", &recipe), &*model, &log)?;
    let loaded = artefact::load(&folder)?;
    let items = ItemTable::new(&loaded.artefact.items, []);
    let snapshot =
        Snapshot::new("ItemCF", loaded.artefact, loaded.model, items, Some(Precision::F32))?;
    let app = App::new(Setup {
        models: vec![snapshot],
        store: None,
        limits: Limits::default(),
        threads: 0,
        keys: None,
        admin: None,
        dropped_log_lines: Arc::default(),
        #[cfg(feature = "otlp")]
        traces: None,
    })?;
    let listen = Listen {
        address: "127.0.0.1:8080".parse()?,
        hosts: vec![],
        threads: 0,
        #[cfg(feature = "tls")]
        tls: None,
    };
    rankstill::serve::run(app, listen, |address| println!("listening on http://{address}"))?;
    Ok(())
}
