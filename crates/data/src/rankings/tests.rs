#![allow(clippy::unwrap_used)]
use super::*;

fn vocabs() -> (Vocab, Vocab) {
    (Vocab::from_ids(["ann", "bob", "cy"]).unwrap(), Vocab::from_ints(vec![10, 20, 30]).unwrap())
}

fn read(name: &str, content: &str) -> Result<RankingsFile> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    let (users, items) = vocabs();
    read_rankings(&path, &users, &items, &ReadOptions::default())
}

#[test]
fn ranks_decide_and_unknown_ids_are_counted() {
    let content = "user_id\titem_id\trank\nbob\t20\t3\nann\t30\t2\nann\t10\t1\nbob\t99\t1\nzoe\t10\t1\nbob\t10\t7\n";
    let file = read("r.tsv", content).unwrap();
    assert_eq!(file.users, [0, 1]);
    assert_eq!(file.rankings.items(0), [0, 2]);
    assert_eq!(file.rankings.items(1), [1, 0]);
    assert_eq!(file.rankings.scores(1), [0.0, -1.0]);
    assert_eq!(file.dropped, Dropped { users: 1, items: 1, rows: 2 });
    let aligned = file.aligned(&[2, 1]);
    assert_eq!((aligned.items(0).len(), aligned.items(1)), (0, &[1, 0][..]));
}

#[test]
fn scores_decide_where_there_are_no_ranks_and_ties_keep_the_order_of_the_file() {
    let file = read("r.csv", "user,item,score\nann,10,0.5\nann,30,0.5\nann,20,2\n").unwrap();
    assert_eq!(file.rankings.items(0), [1, 0, 2]);
    assert_eq!(file.rankings.scores(0), [2.0, 0.5, 0.5]);
}

#[test]
fn a_trec_run_goes_by_score_then_rank() {
    let file = read("r.txt", "ann Q0 10 1 0.5 x\nann Q0 20 3 0.7 x\nann Q0 30 2 0.7 x\n").unwrap();
    assert_eq!(file.rankings.items(0), [2, 1, 0]);
    let error = read("r.txt", "ann Q0 10 1 0.5 x\nann Q0 20 2 x\n").unwrap_err().to_string();
    assert!(error.ends_with("r.txt:2: expected 6 columns, found 5"), "{error}");
    let error = read("r.txt", "ann Q0 10 1 0.5 x\nann Q0 20 b 1 x\n").unwrap_err().to_string();
    assert!(error.ends_with(":2: column `rank`: expected a whole number, found `b`"), "{error}");
}

#[test]
fn contradictions_are_named() {
    let error = |rows: &str| {
        read("r.csv", &format!("user_id,item_id,rank,score\n{rows}")).unwrap_err().to_string()
    };
    assert!(
        error("ann,10,1,2\nann,10,2,1\n")
            .ends_with("user `ann`: item `10` occurs twice, in rows 1 and 2")
    );
    assert!(
        error("ann,10,1,2\nann,20,1,1\n")
            .ends_with("user `ann`: rank 1 occurs twice, in rows 1 and 2")
    );
    assert!(
        error("ann,10,1,1\nann,20,2,2\n")
            .ends_with("the score rises from 1 to 2 at the next rank, in rows 1 and 2")
    );
    assert!(error("ann,10,x,1\n").contains(":2: column `rank`: expected a whole number"));
    assert!(error("ann,10,1,nan\n").contains(":2: column `score`: expected a finite number"));
    let error = read("r.csv", "user_id,item_id\nann,10\n").unwrap_err().to_string();
    assert!(error.contains("expected `rank` or `score`"), "{error}");
}

#[test]
fn what_is_written_is_read() {
    let (users, items) = vocabs();
    let mut rankings = Rankings::default();
    rankings.push([(2, 0.1), (0, -1e-30)]);
    rankings.push([]);
    rankings.push([(1, f32::MAX), (2, 1.0), (0, 1.0)]);
    let folder = tempfile::tempdir().unwrap();
    for name in ["r.parquet", "r.tsv", "r.csv", "r.jsonl", "r.trec"] {
        let path = folder.path().join(name);
        write_rankings(&path, &rankings, &[2, 1, 0], &users, &items).unwrap();
        let file = read_rankings(&path, &users, &items, &ReadOptions::default()).unwrap();
        assert_eq!(file.aligned(&[2, 1, 0]), rankings, "{name}");
        assert_eq!(file.dropped, Dropped::default());
    }
    let path = folder.path().join("r.xml");
    assert!(write_rankings(&path, &rankings, &[2, 1, 0], &users, &items).is_err());
    let path = folder.path().join("r.tsv");
    assert!(write_rankings(&path, &rankings, &[2, 1], &users, &items).is_err());
    assert!(write_rankings(&path, &rankings, &[2, 1, 3], &users, &items).is_err());
}

#[test]
fn pairs_become_lists_per_user() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seen.tsv");
    std::fs::write(&path, "user_id\titem_id\nbob\t30\nann\t20\nbob\t10\nbob\t11\nzoe\t10\n")
        .unwrap();
    let (users, items) = vocabs();
    let pairs = read_pairs(&path, &users, &items, &ReadOptions::default()).unwrap();
    assert_eq!(pairs.items, Lists::from_iter([vec![1], vec![2, 0], vec![]]));
    assert_eq!(pairs.dropped, Dropped { users: 1, items: 1, rows: 2 });
    std::fs::write(&path, "user_id\titem_id\n").unwrap();
    let pairs = read_pairs(&path, &users, &items, &ReadOptions::default()).unwrap();
    assert!(pairs.items.values().is_empty());
}
