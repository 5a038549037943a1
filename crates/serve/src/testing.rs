//! Small models with known answers, and a server over them without a network.
#![allow(clippy::unwrap_used)]

use crate::store::{EmbeddedStore, EventStore};
use crate::{Admin, App, ItemRow, ItemTable, Keys, Limits, Setup, Snapshot, router};
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode, request};
use rankstill_core::artefact::{Artefact, FORMAT, Manifest, sha256};
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{
    Factored, Factors, Interactions, Lists, Model, Query, Scorer, Tensors, Vocab,
};
use serde_json::Value;
use std::sync::{Arc, Condvar, Mutex};
use tower::ServiceExt as _;

pub const N_USERS: usize = 12;
pub const N_ITEMS: usize = 40;
const DIM: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Dot products of user and item vectors. An unknown user is the sum of the history's item vectors.
    Factors,
    /// The same, with a bias as the last column.
    FactorsWithBias,
    /// Not factored; every user is the sum of the history's item vectors.
    Unfactored,
    /// All scores are NaN.
    Nan,
    /// Panics for the history `[13]`.
    Panics,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Factors, Self::FactorsWithBias, Self::Unfactored];
}

pub fn item_vector(item: u32) -> [f32; DIM] {
    let mut vector = [0.0; DIM];
    Rng::keyed(7, [u64::from(item)]).fill_normal(&mut vector, 0.0, 1.0);
    vector
}

struct Toy {
    kind: Kind,
    items: Vec<f32>,
    dim: usize,
}

pub fn model(kind: Kind) -> Box<dyn Model> {
    let bias = kind == Kind::FactorsWithBias;
    let row = |item: u32| {
        let mut row = item_vector(item).to_vec();
        row.extend(bias.then_some(item as f32 * 0.01));
        row
    };
    let items = (0..N_ITEMS as u32).flat_map(row).collect();
    Box::new(Toy { kind, items, dim: DIM + usize::from(bias) })
}

impl Toy {
    fn embed_one(&self, query: &Query<'_>, out: &mut [f32]) {
        out.fill(1.0);
        out[..DIM].fill(0.0);
        assert!(self.kind != Kind::Panics || query.history != [13], "the test panics on purpose");
        match query.user {
            Some(user) if self.kind != Kind::Unfactored && (user as usize) < N_USERS => {
                Rng::keyed(8, [u64::from(user)]).fill_normal(&mut out[..DIM], 0.0, 1.0);
            }
            _ => query.history.iter().for_each(|&item| {
                out.iter_mut().zip(item_vector(item)).for_each(|(out, x)| *out += x);
            }),
        }
    }
}

impl Scorer for Toy {
    fn n_items(&self) -> usize {
        N_ITEMS
    }
    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        let mut vector = vec![0.0; self.dim];
        for (query, row) in queries.iter().zip(out.chunks_mut(N_ITEMS)) {
            self.embed_one(query, &mut vector);
            for (item, score) in self.items.chunks(self.dim).zip(row) {
                *score = rankstill_core::kernel::panels::score_one(&vector, item);
                if self.kind == Kind::Nan {
                    *score = f32::NAN;
                }
            }
        }
    }
    fn factored(&self) -> Option<&dyn Factored> {
        matches!(self.kind, Kind::Factors | Kind::FactorsWithBias).then_some(self)
    }
}

impl Factored for Toy {
    fn items(&self) -> Factors<'_> {
        Factors { data: &self.items, len: N_ITEMS, dim: self.dim, stride: self.dim }
    }
    fn embed(&self, queries: &[Query<'_>], out: &mut [f32]) {
        for (query, out) in queries.iter().zip(out.chunks_mut(self.dim)) {
            self.embed_one(query, out);
        }
    }
}

impl Model for Toy {
    fn tensors(&self) -> Tensors {
        Tensors::default()
    }
    fn n_parameters(&self) -> usize {
        self.items.len()
    }
}

/// A model that waits at a gate before it answers.
pub struct Gated {
    model: Box<dyn Model>,
    gate: Gate,
}

/// Blocks threads while it is closed.
#[derive(Clone)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open() -> Self {
        Self(Arc::new((Mutex::new(true), Condvar::new())))
    }
    pub fn set(&self, open: bool) {
        *self.0.0.lock().unwrap() = open;
        self.0.1.notify_all();
    }
    pub fn pass(&self) {
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |open| !*open).unwrap());
    }
}

pub fn gated(gate: &Gate) -> Box<dyn Model> {
    Box::new(Gated { model: model(Kind::Unfactored), gate: gate.clone() })
}

impl Scorer for Gated {
    fn n_items(&self) -> usize {
        self.model.n_items()
    }
    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        self.gate.pass();
        self.model.score(queries, out);
    }
}

impl Model for Gated {
    fn tensors(&self) -> Tensors {
        Tensors::default()
    }
    fn n_parameters(&self) -> usize {
        0
    }
}

/// Users `u0` to `u11`, items `i0`, `i1`, ..., and a short history for each user. Every item is in one of them.
pub fn artefact(n_items: usize) -> Artefact {
    let mut histories: Vec<Vec<u32>> = (0..N_USERS as u64)
        .map(|user| {
            let mut rng = Rng::keyed(9, [user]);
            let mut history: Vec<u32> = (0..N_ITEMS as u32).collect();
            rng.shuffle(&mut history);
            history.truncate(3 + user as usize % 4);
            history
        })
        .collect();
    for item in 0..n_items as u32 {
        if !histories.iter().flatten().any(|other| *other == item) {
            histories[item as usize % N_USERS].push(item);
        }
    }
    let history = Lists::from_iter(histories);
    let named =
        |name: char, n: usize| Vocab::from_ids((0..n).map(|i| format!("{name}{i}"))).unwrap();
    Artefact {
        manifest: Manifest {
            format: FORMAT,
            version: "0".into(),
            name: "toy".into(),
            kind: "toy".into(),
            config: Value::Null,
            n_users: N_USERS,
            n_items,
            n_parameters: 0,
            card: Value::Null,
            files: [].into(),
        },
        tensors: Tensors::default(),
        users: named('u', N_USERS),
        items: named('i', n_items),
        history: Interactions::new(n_items, history, None, None).unwrap(),
    }
}

/// Even items have `colour: red`, multiples of three `size: big`, and `i0` has the title `Nought`.
pub fn table() -> ItemTable {
    let rows = (0..N_ITEMS).map(|item| {
        let mut row = ItemRow { item: format!("i{item}"), ..ItemRow::default() };
        let mut add = |name: &str, value: &str| row.attributes.push((name.into(), value.into()));
        add("colour", if item % 2 == 0 { "red" } else { "blue" });
        if item % 3 == 0 {
            add("size", "big");
        }
        row.title = (item == 0).then(|| "Nought".into());
        row
    });
    ItemTable::new(&artefact(N_ITEMS).items, rows)
}

pub fn snapshot(kind: Kind) -> Snapshot {
    named("toy", kind)
}

pub fn named(name: &str, kind: Kind) -> Snapshot {
    Snapshot::new(name, artefact(N_ITEMS), model(kind), table(), None).unwrap()
}

/// A server without a network, and the folder of its event store.
pub struct Site {
    pub app: Arc<App>,
    pub folder: tempfile::TempDir,
}

/// Limits that tolerate a busy machine.
pub fn patient() -> Limits {
    Limits { deadline: std::time::Duration::from_secs(60), ..Limits::default() }
}

pub fn site(models: Vec<Snapshot>, limits: Limits) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(folder.path().join("events")).unwrap());
    let setup = Setup { models, store: Some(store), limits, threads: 2, ..Setup::default() };
    Site { app: Arc::new(App::new(setup).unwrap()), folder }
}

/// A server with the administrator key `admin` and the client key `shop`. It can load the artefacts `unfactored`
/// ([`Kind::Unfactored`]) and `other` (another version of [`Kind::Factors`]), and refuses all others.
pub fn administered(limits: Limits) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let keys = |key: &[u8]| Keys::parse(&sha256(key)).unwrap();
    let load = |name: &str, path: &std::path::Path| match path.to_str() {
        Some("unfactored") => Ok(named(name, Kind::Unfactored)),
        Some("other") => {
            let mut artefact = artefact(N_ITEMS);
            artefact.manifest.name = "other".into();
            Ok(Snapshot::new(name, artefact, model(Kind::Factors), table(), None).unwrap())
        }
        Some("broken") => {
            let broken = Snapshot::new(name, artefact(N_ITEMS), model(Kind::Nan), table(), None);
            broken.map_err(|error| error.to_string())
        }
        _ => Err("no such folder".into()),
    };
    let setup = Setup {
        models: vec![snapshot(Kind::Factors)],
        limits,
        threads: 2,
        keys: Some(keys(b"shop")),
        admin: Some(Admin { keys: keys(b"admin"), load: Box::new(load) }),
        ..Setup::default()
    };
    Site { app: Arc::new(App::new(setup).unwrap()), folder }
}

/// A server with an event store and the administrator key `admin`.
pub fn administered_with_store() -> Site {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(folder.path().join("events")).unwrap());
    let models = vec![snapshot(Kind::Factors)];
    Site { folder, ..administered_over(store, models, Limits::default()) }
}

/// The same with this event store.
pub fn administered_over(
    store: Arc<dyn EventStore>,
    models: Vec<Snapshot>,
    limits: Limits,
) -> Site {
    let keys = Keys::parse(&sha256(b"admin")).unwrap();
    let load = |_: &str, _: &std::path::Path| Err("no such folder".to_owned());
    let admin = Some(Admin { keys, load: Box::new(load) });
    let setup = Setup { models, store: Some(store), limits, threads: 2, admin, ..Setup::default() };
    Site { app: Arc::new(App::new(setup).unwrap()), folder: tempfile::tempdir().unwrap() }
}

impl Site {
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: impl Into<Body>,
    ) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let admin = path.starts_with("/admin");
        let request =
            request.header("authorization", if admin { "Bearer admin" } else { "Bearer shop" });
        let response = self.respond(request.body(body.into()).unwrap()).await;
        assert!(response.headers().contains_key("x-request-id"));
        let status = response.status();
        let found = response.headers()["content-type"].to_str().unwrap().to_owned();
        let expected =
            if status.is_success() { "application/json" } else { "application/problem+json" };
        assert_eq!(found, expected, "{method} {path}");
        let value: Value = serde_json::from_str(response.body()).unwrap();
        if !status.is_success() {
            assert_eq!(value["status"], status.as_u16());
        }
        (status, value)
    }

    /// Sends a request without a body.
    pub async fn raw(&self, request: request::Builder) -> Response<String> {
        self.respond(request.body(Body::empty()).unwrap()).await
    }

    async fn respond(&self, request: Request<Body>) -> Response<String> {
        let response = router(Arc::clone(&self.app)).oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = to_bytes(body, 1 << 24).await.unwrap();
        Response::from_parts(head, String::from_utf8(bytes.to_vec()).unwrap())
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send("GET", path, "text/plain", "").await
    }

    pub async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.send("POST", path, "application/json", body.to_string()).await
    }
}

/// Runs a test's future.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
