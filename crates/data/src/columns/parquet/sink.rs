//! Writing Parquet, a row group at a time.

use super::BATCH;
use crate::columns::{Column, ColumnKind};
use crate::{Error, Result};
use ::parquet::basic::{Compression, LogicalType, Repetition, Type as Physical, ZstdLevel};
use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::ByteArray;
use ::parquet::errors::{ParquetError, Result as ParquetResult};
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::types::Type;
use rankstill_core::atomic_write::AtomicFile;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(in crate::columns) struct ParquetSink {
    place: PathBuf,
    writer: SerializedFileWriter<BufWriter<AtomicFile>>,
}

impl ParquetSink {
    pub(in crate::columns) fn new(
        file: BufWriter<AtomicFile>,
        columns: &[(&str, ColumnKind)],
    ) -> Result<Self> {
        let place = file.get_ref().path().to_path_buf();
        let begin = || -> ParquetResult<_> {
            let fields = columns.iter().map(|&(name, kind)| field(name, kind));
            let fields = fields.collect::<ParquetResult<Vec<_>>>()?;
            let schema = Type::group_type_builder("table").with_fields(fields).build()?;
            let properties = WriterProperties::builder()
                .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
                .set_created_by("rankstill".into())
                .set_statistics_enabled(EnabledStatistics::Chunk)
                .build();
            SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))
        };
        match begin() {
            Ok(writer) => Ok(Self { place, writer }),
            Err(error) => Err(failed(&place, error)),
        }
    }

    /// Writes a row group.
    pub(in crate::columns) fn write(&mut self, columns: &[Column]) -> Result<()> {
        let mut write = || -> ParquetResult<()> {
            let mut group = self.writer.next_row_group()?;
            let mut columns = columns.iter();
            while let Some(mut writer) = group.next_column()? {
                if let Some(column) = columns.next() {
                    write_column(writer.untyped(), column)?;
                }
                writer.close()?;
            }
            group.close()?;
            Ok(())
        };
        write().map_err(|error| failed(&self.place, error))
    }

    pub(in crate::columns) fn into_file(self) -> Result<BufWriter<AtomicFile>> {
        self.writer.into_inner().map_err(|error| failed(&self.place, error))
    }
}

fn field(name: &str, kind: ColumnKind) -> ParquetResult<Arc<Type>> {
    let (physical, logical) = match kind {
        ColumnKind::I64 => (Physical::INT64, None),
        ColumnKind::U32 => (Physical::INT32, Some(LogicalType::integer(32, false))),
        ColumnKind::F32 => (Physical::FLOAT, None),
        ColumnKind::F64 => (Physical::DOUBLE, None),
        ColumnKind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
    };
    let builder = Type::primitive_type_builder(name, physical);
    let builder = builder.with_repetition(Repetition::REQUIRED).with_logical_type(logical);
    Ok(Arc::new(builder.build()?))
}

fn write_column(writer: &mut ColumnWriter<'_>, column: &Column) -> ParquetResult<()> {
    match (writer, column) {
        (ColumnWriter::Int64ColumnWriter(writer), Column::I64(values)) => {
            writer.write_batch(values, None, None)?;
        }
        (ColumnWriter::Int32ColumnWriter(writer), Column::U32(values)) => {
            for values in values.chunks(BATCH) {
                let signed: Vec<i32> = values.iter().map(|&value| value as i32).collect();
                writer.write_batch(&signed, None, None)?;
            }
        }
        (ColumnWriter::FloatColumnWriter(writer), Column::F32(values)) => {
            writer.write_batch(values, None, None)?;
        }
        (ColumnWriter::DoubleColumnWriter(writer), Column::F64(values)) => {
            writer.write_batch(values, None, None)?;
        }
        (ColumnWriter::ByteArrayColumnWriter(writer), Column::Text(texts)) => {
            // One copy of the buffer, which all values share.
            let bytes = ByteArray::from(texts.bytes.as_bytes().to_vec());
            let mut values = Vec::with_capacity(BATCH);
            for first in (0..texts.len()).step_by(BATCH) {
                values.clear();
                values.extend((first..texts.len().min(first + BATCH)).map(|i| {
                    let start = if i == 0 { 0 } else { texts.ends[i - 1] };
                    bytes.slice(start, texts.ends[i] - start)
                }));
                writer.write_batch(&values, None, None)?;
            }
        }
        _ => return Err(ParquetError::General("a column changed its kind between chunks".into())),
    }
    Ok(())
}

fn failed(path: &Path, error: ParquetError) -> Error {
    let source = match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(source) => *source,
            Err(other) => std::io::Error::other(other),
        },
        other => std::io::Error::other(other),
    };
    Error::Io { path: path.to_path_buf(), source }
}
