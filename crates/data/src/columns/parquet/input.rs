//! Bytes of a Parquet file, read by position.

use crate::{Error, Result};
use ::parquet::errors::{ParquetError, Result as ParquetResult};
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::Bytes;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

/// A file or bytes in memory. Several columns are read at once, so every read names its position.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    File { file: Arc<File>, length: u64 },
    Memory(Bytes),
}

impl Input {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        Ok(Self::File { file: Arc::new(file), length })
    }
}

impl Length for Input {
    fn len(&self) -> u64 {
        match self {
            Self::File { length, .. } => *length,
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }
}

impl ChunkReader for Input {
    type T = BufReader<ReadAt>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(BufReader::with_capacity(4096, ReadAt { input: self.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        // Checked before allocating: the length comes from the file.
        if start.checked_add(length as u64).is_none_or(|end| end > Length::len(self)) {
            let message =
                format!("{length} bytes at position {start} lie beyond the end of the file");
            return Err(ParquetError::EOF(message));
        }
        match self {
            Self::Memory(bytes) => Ok(bytes.slice(start as usize..start as usize + length)),
            Self::File { .. } => {
                let mut buffer = vec![0; length];
                ReadAt { input: self.clone(), at: start }.read_exact(&mut buffer)?;
                Ok(buffer.into())
            }
        }
    }
}

/// A reader with its own position.
pub(crate) struct ReadAt {
    input: Input,
    at: u64,
}

impl ReadAt {
    pub(crate) fn start(input: &Input) -> Self {
        Self { input: input.clone(), at: 0 }
    }
}

impl Read for ReadAt {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = match &self.input {
            Input::File { file, .. } => read_at(file, buffer, self.at)?,
            Input::Memory(bytes) => {
                let rest = usize::try_from(self.at).ok().and_then(|at| bytes.get(at..));
                rest.unwrap_or_default().read(buffer)?
            }
        };
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> std::io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, at)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> std::io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, at)
}
