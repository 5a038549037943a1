//! Students whose items are trained in codes, taught by two teachers (HetComp), next to the same student in full precision and to
//! codes that are made afterwards.
//!
//! `cargo run --release -p rankstill --example coded_student [-- FOLDER [BITS..]]`
//!
//! A folder holds `train.tsv`, `valid.tsv` and `test.tsv`, a user and an item a line after a header.

use rankstill::core::kernel::optimizer::{Adam, AdamMode, Optimizer};
use rankstill::core::{Cases, Error, Interactions, Model, Plan, Result, ServingBytes, Span};
use rankstill::distill::HetComp;
use rankstill::distill::fusion::{Fusion, Worth};
use rankstill::models::compressed::{Compressor, Int, Itq};
use rankstill::models::{BprMf, ImplicitAls, UserKnn};
use rankstill::{Fit, Teacher, distil, evaluate};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

const METRICS: [&str; 2] = ["recall@50", "ndcg@50"];

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let data = args.next().map_or_else(Data::toy, |folder| Data::read(Path::new(&folder)))?;
    let bits: Vec<u32> = args.filter_map(|bits| bits.parse().ok()).collect();
    let bits = if bits.is_empty() { vec![0, 1, 2] } else { bits };
    let als = ImplicitAls { dim: 128, ..ImplicitAls::default() };
    let teachers = [
        Teacher::fit("ALS", als, &data.train, &mut Fit::seeded(1))?,
        Teacher::fit("UserKNN", UserKnn::default(), &data.train, &mut Fit::seeded(1))?,
    ];
    let fusion = Fusion { kind: Worth::ReciprocalRank, constant: 10.0, ..Fusion::default() };
    for teacher in &teachers {
        println!(
            "{:28} {:?}",
            teacher.name(),
            evaluate(&**teacher.ranker(), &data.test, &METRICS)?
        );
    }
    let method = HetComp { curriculum: false, overall_epochs: 16, fusion, ..HetComp::default() };
    let valid = |model: &dyn Model| {
        let found = evaluate(model, &data.valid, &METRICS[..1]);
        Ok(found.map_err(|error| Error::Data { problem: error.to_string() })?[0].1)
    };
    for bits in bits {
        let adam = Adam {
            mode: AdamMode::Exact,
            learning_rate: 0.008,
            weight_decay: 1e-5,
            ..Adam::default()
        };
        let student = BprMf {
            dim: 64,
            item_bits: bits,
            optimizer: Optimizer::Adam(adam),
            train: Plan {
                epochs: 40,
                batch_size: 4096,
                validate_every: 4,
                patience: 6,
                ..Plan::default()
            },
            ..BprMf::default()
        };
        let fit = &mut Fit { validate: Some(&valid), ..Fit::seeded(1) };
        let model = distil(&student, &method, &teachers, &data.train, fit)?;
        data.line(&format!("HetComp, item_bits = {bits}"), &*model)?;
        if bits == 0 {
            for bits in [8, 4, 2, 1] {
                let int = Int { bits, ..Int::default() };
                let coded = int.compress(&*model, &data.train, 1)?;
                data.line(&format!("  then {bits} bits"), &*coded)?;
            }
            data.line("  then ITQ", &*Itq::default().compress(&*model, &data.train, 1)?)?;
        }
    }
    Ok(())
}

struct Data {
    train: Arc<Interactions>,
    valid: Cases,
    test: Cases,
}

impl Data {
    fn toy() -> Result<Self> {
        let item = |user: usize, n: usize| (user % 10 + 10 * (user * n * n % 31)) as u32;
        Self::of([0..6, 6..7, 7..8].map(|part| {
            (0..1000).map(|user| part.clone().map(|n| item(user, n)).collect()).collect()
        }))
    }

    fn read(folder: &Path) -> Result<Self> {
        let (mut users, mut items) = (HashMap::new(), HashMap::new());
        let mut parts = [const { Vec::new() }; 3];
        for (part, lines) in ["train", "valid", "test"].into_iter().zip(&mut parts) {
            let path = folder.join(format!("{part}.tsv"));
            let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
            for (user, item) in text.lines().skip(1).filter_map(|line| line.split_once('\t')) {
                let (next_user, next_item) = (users.len(), items.len() as u32);
                let user = *users.entry(user.to_owned()).or_insert(next_user);
                let item = *items.entry(item.to_owned()).or_insert(next_item);
                lines.resize(lines.len().max(user + 1), Vec::new());
                lines[user].push(item);
            }
        }
        Self::of(parts)
    }

    /// From the items of each user in the three parts. Those of the parts that are not asked for are hidden.
    fn of(mut parts: [Vec<Vec<u32>>; 3]) -> Result<Self> {
        let n_users = parts.iter().map(Vec::len).max().unwrap_or(0);
        parts.iter_mut().for_each(|lines| lines.resize(n_users, Vec::new()));
        let n_items = 1 + parts.iter().flatten().flatten().copied().max().unwrap_or(0) as usize;
        let (mut timeline, mut valid, mut test) = (Vec::new(), Vec::new(), Vec::new());
        for user in 0..n_users {
            let ends = parts.each_ref().map(|lines| {
                timeline.extend_from_slice(&lines[user]);
                timeline.len()
            });
            let ranges =
                [ends[0] - parts[0][user].len()..ends[0], ends[0]..ends[1], ends[1]..ends[2]];
            let [history, second, third] = ranges;
            let user = Some(user as u32);
            let cases = [(&mut valid, &second, &third), (&mut test, &third, &second)];
            for (spans, targets, hidden) in cases {
                if !targets.is_empty() {
                    let (history, hidden, targets) =
                        (history.clone(), hidden.clone(), targets.clone());
                    spans.push(Span { user, history, hidden, targets });
                }
            }
        }
        let [train, ..] = parts;
        let train = Interactions::new(n_items, train.into_iter().collect(), None, None)?;
        let timeline = Arc::new(timeline);
        Ok(Self {
            train: Arc::new(train),
            valid: Cases::new(n_items, timeline.clone(), valid)?,
            test: Cases::new(n_items, timeline, test)?,
        })
    }

    fn line(
        &self,
        name: &str,
        model: &dyn Model,
    ) -> std::result::Result<(), Box<dyn std::error::Error>> {
        let ServingBytes { items, .. } = model.serving_bytes();
        let bytes = items as f64 / self.train.n_items() as f64;
        println!("{name:28} {:?} {bytes:.1} B/item", evaluate(model, &self.test, &METRICS)?);
        Ok(())
    }
}
