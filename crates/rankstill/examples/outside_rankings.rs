//! A teacher that is another system: its lists, whatever made them, teach a student.
//!
//! `cargo run --release -p rankstill --example outside_rankings`

use rankstill::core::Rankings;
use rankstill::distill::{RankDistil, Recorded};
use rankstill::models::BprMf;
use rankstill::{Fit, Interactions, Teacher, distil, evaluate};
use std::error::Error;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    let pairs = (0..1000)
        .flat_map(|user| (0..8).map(move |n| (user, user % 10 + 10 * (user * n * n % 31))));
    let log = Interactions::from_pairs(pairs);
    let (train, test) = log.interactions.leave_last_out();
    let train = Arc::new(train);

    // Another system's lists in our numbers, best first: here, the items that are in the user's group.
    let mut lists = Rankings::default();
    let users: Vec<u32> = (0..log.users.len() as u32).collect();
    for user in 0..1000 {
        let group = (0..31).filter_map(|n| log.items.get(&(user % 10 + 10 * n).to_string()));
        lists.push(group.enumerate().map(|(rank, item)| (item, 1.0 / (rank + 1) as f32)));
    }
    let outside = Recorded::new("outside", log.items.len(), &users, lists)?;
    let teacher = Teacher::of_rankings("outside", vec![Arc::new(outside)])?;

    let student = BprMf { dim: 8, ..BprMf::default() };
    let taught = distil(&student, &RankDistil::default(), &[teacher], &train, &mut Fit::seeded(1))?;
    println!("{:?}", evaluate(&*taught, &test, &["recall@10", "ndcg@10"])?);
    Ok(())
}
