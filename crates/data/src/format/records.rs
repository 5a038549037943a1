//! Records of a text table, one by one, with the line on which each begins.

use super::separator::{Separator, split_double_colon};
use super::source::{LineReader, TextReader};
use crate::{Error, Result};
use csv_core::ReadRecordResult;

/// Fields of one record.
pub(super) struct Record<'a> {
    pub(super) line: u64,
    bytes: &'a [u8],
    ends: &'a [usize],
}

impl<'a> Record<'a> {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, i: usize) -> &'a [u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.bytes[start..self.ends[i]]
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.len()).map(|i| self.get(i))
    }
}

/// Reads records one by one.
pub(super) struct Records {
    from: From,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// How much of `bytes` and `ends` belongs to the current record.
    n_bytes: usize,
    n_ends: usize,
    line: u64,
}

enum From {
    /// Columns separated by one character.
    Csv { text: TextReader, parser: Box<csv_core::Reader>, quoting: bool },
    /// Columns separated otherwise, one line per record.
    Lines { lines: LineReader, separator: Separator },
}

impl Records {
    pub(super) fn new(text: TextReader, separator: Separator, quoting: bool) -> Self {
        let from = match separator {
            Separator::Byte(delimiter) => {
                let mut builder = csv_core::ReaderBuilder::new();
                let parser = Box::new(builder.delimiter(delimiter).quoting(quoting).build());
                From::Csv { text, parser, quoting }
            }
            Separator::Blanks | Separator::DoubleColon => {
                From::Lines { lines: text.into_lines(), separator }
            }
        };
        Self { from, bytes: vec![0; 256], ends: vec![0; 16], n_bytes: 0, n_ends: 0, line: 1 }
    }

    pub(super) fn current(&self) -> Record<'_> {
        Record {
            line: self.line,
            bytes: &self.bytes[..self.n_bytes],
            ends: &self.ends[..self.n_ends],
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<Record<'_>>> {
        let more = match &self.from {
            From::Csv { .. } => self.next_csv()?,
            From::Lines { .. } => self.next_line()?,
        };
        Ok(if more { Some(self.current()) } else { None })
    }

    fn next_line(&mut self) -> Result<bool> {
        let From::Lines { lines, separator } = &mut self.from else { return Ok(false) };
        let Some((line, bytes)) = lines.next()? else { return Ok(false) };
        self.line = line;
        self.bytes.clear();
        self.ends.clear();
        let mut push = |field: &[u8]| {
            self.bytes.extend_from_slice(field);
            self.ends.push(self.bytes.len());
        };
        match separator {
            Separator::DoubleColon => split_double_colon(bytes).for_each(&mut push),
            _ => super::lines::tokens(bytes).for_each(&mut push),
        }
        (self.n_bytes, self.n_ends) = (self.bytes.len(), self.ends.len());
        Ok(true)
    }

    fn next_csv(&mut self) -> Result<bool> {
        let From::Csv { text, parser, quoting } = &mut self.from else { return Ok(false) };
        (self.n_bytes, self.n_ends) = (0, 0);
        let (mut n_quotes, mut last, mut at_end) = (0, 0, false);
        loop {
            let input = text.fill()?;
            at_end |= input.is_empty();
            let (result, n_in, n_out, n_ends) = parser.read_record(
                input,
                &mut self.bytes[self.n_bytes..],
                &mut self.ends[self.n_ends..],
            );
            if n_in > 0 {
                last = input[n_in - 1];
                n_quotes += input[..n_in].iter().filter(|&&byte| byte == b'"').count();
            }
            text.consume(n_in);
            self.n_bytes += n_out;
            self.n_ends += n_ends;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.bytes.resize(2 * self.bytes.len(), 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(false),
            }
            text.check_length(text.skipped() + parser.line(), self.n_bytes)?;
        }
        let n_newlines = self.bytes[..self.n_bytes].iter().filter(|&&byte| byte == b'\n').count();
        // The parser has counted the line end that closes the record, and those within it.
        let beyond = n_newlines as u64 + u64::from(last == b'\n' && !at_end);
        self.line = text.skipped() + parser.line().saturating_sub(beyond).max(1);
        // An open quote swallows the rest of the file; an odd quote inside a field of the last line does not.
        if *quoting && at_end && n_quotes % 2 == 1 && n_newlines > 0 {
            let problem = "the quote that opens here is never closed (`quoting = false` reads quotes as text)";
            let (path, line) = (text.path().to_path_buf(), self.line);
            return Err(Error::Line { path, line, problem: problem.into() });
        }
        Ok(true)
    }
}
