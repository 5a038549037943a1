#![allow(clippy::unwrap_used)]
use super::super::{TableWriter, write_table};
use super::*;

fn table() -> ColumnTable {
    let texts = ["plain", "", "two words", "🦀\t\"\n"].into_iter().collect::<super::super::Texts>();
    ColumnTable::default()
        .with("int", vec![i64::MIN, -1, 0, i64::MAX])
        .and_then(|t| t.with("count", vec![0u32, 1, 1 << 31, u32::MAX]))
        .and_then(|t| t.with("small", vec![0.1f32, -0.0, f32::MAX, f32::INFINITY]))
        .and_then(|t| t.with("large", vec![0.1f64, -0.0, f64::MIN_POSITIVE, f64::NEG_INFINITY]))
        .and_then(|t| t.with("text", texts))
        .unwrap()
}

#[test]
fn a_table_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    write_table(&path, &table()).unwrap();
    let mut read = read_parquet(&path).unwrap();
    assert_eq!(read.names(), table().names());
    assert_eq!(read.columns(), table().columns());
    assert_eq!(read.take_u32("count").unwrap()[3], u32::MAX);
    let error = read.take_f32("large").unwrap_err().to_string();
    assert!(error.ends_with("column `large`: expected F32 values, found F64"), "{error}");
    let error = read.take("txt").unwrap_err().to_string();
    assert!(
        error.contains("no column `txt`")
            && error.ends_with("the columns are `int`, `small`, `text`"),
        "{error}"
    );
}

#[test]
fn chunks_do_not_decide_the_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let n = (1 << 20) + 77;
    let column = |range: std::ops::Range<usize>| {
        [Column::I64(
            range.map(|i| (i as i64).wrapping_mul(0x9E37_79B9_7F4A_7C15u64 as i64)).collect(),
        )]
    };
    let write = |name: &str, chunk: usize| {
        let path = folder.path().join(name);
        let mut writer = TableWriter::create(&path, &[("a", ColumnKind::I64)]).unwrap();
        for start in (0..n).step_by(chunk) {
            writer.write(&column(start..n.min(start + chunk))).unwrap();
        }
        writer.finish().unwrap();
        path
    };
    let (one, many) = (write("one.parquet", n), write("many.parquet", 100_003));
    assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(many).unwrap());
    let file = SerializedFileReader::new(std::fs::File::open(&one).unwrap()).unwrap();
    let groups: Vec<i64> =
        file.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(groups, [1 << 20, 77]);
    assert_eq!(read_parquet(&one).unwrap().columns(), column(0..n));
}

#[test]
fn a_table_without_rows_keeps_its_columns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    let columns = [("a", ColumnKind::Text), ("b", ColumnKind::U32)];
    TableWriter::create(&path, &columns).unwrap().finish().unwrap();
    let read = read_parquet(&path).unwrap();
    assert_eq!(read.n_rows(), 0);
    assert_eq!(read.columns(), [Column::empty(ColumnKind::Text), Column::empty(ColumnKind::U32)]);
}

#[test]
fn truncated_and_foreign_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    write_table(&path, &table()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        std::fs::write(&path, &bytes[..length]).unwrap();
        read_parquet(&path).unwrap_err();
    }
}

#[test]
fn a_dropped_writer_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.parquet", "a.tsv", "a.jsonl"] {
        let mut writer =
            TableWriter::create(&folder.path().join(name), &[("a", ColumnKind::I64)]).unwrap();
        writer.write(&[Column::I64(vec![1; 3_000_000])]).unwrap();
        assert!(writer.write(&[Column::U32(vec![1])]).is_err());
        assert!(writer.write(&[]).is_err());
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
