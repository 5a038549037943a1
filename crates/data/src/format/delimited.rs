//! CSV and TSV: records of fields, quoted as in RFC 4180, with or without a header.

use super::fields::{FieldPosition, Roles, is_header, shown};
use super::log_builder::{LogRow, RawId};
use super::source::TextReader;
use super::{Format, Head, LogBuilder, OpenFile, ReadOptions};
use crate::{Error, Result};
use csv_core::ReadRecordResult;
use std::path::Path;

pub(super) const CSV: Format = Format {
    name: "csv",
    about: "columns separated by commas, semicolons, vertical bars or spaces, with a header",
    sniff: |head, options| {
        let line = head.first_line();
        options.delimiter.is_some()
            || options.header.is_some()
            || [b',', b';', b'|'].iter().any(|delimiter| line.contains(delimiter))
            || is_header(line.split(u8::is_ascii_whitespace), options)
    },
    read: |source, options, builder| read_table(source, options, builder, None),
};

pub(super) const TSV: Format = Format {
    name: "tsv",
    about: "columns separated by tabs, with a header",
    sniff: |head, options| options.delimiter.is_none() && head.first_line().contains(&b'\t'),
    read: |source, options, builder| read_table(source, options, builder, Some(b'\t')),
};

fn read_table(
    source: OpenFile,
    options: &ReadOptions,
    builder: &mut LogBuilder<'_>,
    delimiter: Option<u8>,
) -> Result<()> {
    let delimiter = match option_delimiter(options)?.or(delimiter) {
        Some(delimiter) => delimiter,
        None => guess_delimiter(&source.head(), options),
    };
    let header = if options.header == Some(false) { HeaderStyle::None } else { HeaderStyle::Plain };
    let dialect = Dialect { delimiter, quoting: options.quoting.unwrap_or(true), header };
    read(source, options, builder, &dialect)
}

pub(super) fn option_delimiter(options: &ReadOptions) -> Result<Option<u8>> {
    match options.delimiter {
        None => Ok(None),
        Some(c) if c.is_ascii() && !matches!(c, '\n' | '\r' | '"' | '\0') => Ok(Some(c as u8)),
        Some(c) => Err(Error::config(
            "delimiter",
            format!(
                "expected an ASCII character other than a quote or a line end, found `{}`",
                c.escape_debug()
            ),
        )),
    }
}

/// The delimiter with which the first line names a user and an item column, otherwise the most frequent one.
pub(super) fn guess_delimiter(head: &Head<'_>, options: &ReadOptions) -> u8 {
    const KNOWN: [u8; 5] = [b',', b'\t', b';', b'|', b' '];
    let line = head.first_line();
    let names = KNOWN.into_iter().find(|&delimiter| {
        let unquoted = |field: &'_ [u8]| field.iter().position(|&b| b == b'"').is_some();
        let fields = line.split(move |&byte| byte == delimiter);
        let fields = fields.map(|field| {
            let field = field.trim_ascii();
            if unquoted(field) {
                field
                    .trim_ascii()
                    .strip_prefix(b"\"")
                    .and_then(|f| f.strip_suffix(b"\""))
                    .unwrap_or(field)
            } else {
                field
            }
        });
        is_header(fields, options)
    });
    let count = |delimiter: &u8| line.iter().filter(|byte| *byte == delimiter).count();
    let frequent = || KNOWN.into_iter().rev().max_by_key(|delimiter| count(delimiter));
    names.or_else(frequent).unwrap_or(b',')
}

pub(super) struct Dialect {
    pub(super) delimiter: u8,
    pub(super) quoting: bool,
    pub(super) header: HeaderStyle,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderStyle {
    /// The first line is a row; columns are found by position.
    None,
    /// The first line names the columns.
    Plain,
    /// The first line names the columns as `name:type`.
    Typed,
}

pub(super) fn read(
    source: OpenFile,
    options: &ReadOptions,
    builder: &mut LogBuilder<'_>,
    dialect: &Dialect,
) -> Result<()> {
    let done = source.done();
    let mut records = Records::new(source.into_text(), dialect);
    let path = records.text.path().to_path_buf();
    let Some(first) = records.next()? else {
        return Err(Error::file(path, "the file is empty"));
    };
    let n_columns = first.len();
    let (header, names, roles) = match dialect.header {
        HeaderStyle::None => {
            let names: Vec<String> = (1..=n_columns).map(|column| column.to_string()).collect();
            (None, names, Roles::by_position(&path, n_columns, options)?)
        }
        style => {
            let header: Vec<Vec<u8>> = first.fields().map(<[u8]>::to_vec).collect();
            let names = header.iter().map(|name| header_name(&path, name, style));
            let names = names.collect::<Result<Vec<String>>>()?;
            let roles = Roles::find(&path, &names, options, builder.aliases)?;
            (Some(header), names, roles)
        }
    };
    builder.begin(&path, done, roles.time.is_some(), roles.weight.is_some())?;
    let scale = options.time_scale.unwrap_or(1);
    let mut held = header.is_none();
    loop {
        // Without a header the first record is a row.
        let record = if held { Some(records.current()) } else { records.next()? };
        held = false;
        let Some(record) = record else { break };
        if record.len() != n_columns {
            let (line, found) = (record.line, record.len());
            return Err(Error::Columns { path, line, expected: n_columns, found });
        }
        let position = |column: usize| FieldPosition {
            path: &path,
            line: record.line,
            column: &names[column],
        };
        if let Some(header) = &header
            && record.get(roles.user) == header[roles.user]
            && record.fields().eq(header.iter().map(Vec::as_slice))
        {
            let problem = "the header is repeated, expected an interaction".to_owned();
            return Err(Error::Line { line: record.line, problem, path });
        }
        let id = |column: usize| RawId { bytes: record.get(column), position: position(column) };
        let time = roles.time.map(|column| position(column).time(record.get(column), scale));
        let weight = roles.weight.map(|column| position(column).weight(record.get(column)));
        builder.push(&LogRow {
            user: id(roles.user),
            item: id(roles.item),
            time: time.transpose()?.unwrap_or_default(),
            weight: weight.transpose()?.unwrap_or_default(),
        })?;
    }
    Ok(())
}

fn header_name(path: &Path, name: &[u8], style: HeaderStyle) -> Result<String> {
    let Ok(text) = std::str::from_utf8(name) else {
        let problem = format!("the header is not UTF-8: {}", shown(name));
        return Err(Error::Line { path: path.to_path_buf(), line: 1, problem });
    };
    let text = text.trim();
    Ok(match (style, text.rsplit_once(':')) {
        (HeaderStyle::Typed, Some((name, _))) => name.to_owned(),
        _ => text.to_owned(),
    })
}

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
    text: TextReader,
    parser: csv_core::Reader,
    quoting: bool,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// How much of `bytes` and `ends` belongs to the current record.
    n_bytes: usize,
    n_ends: usize,
    line: u64,
}

impl Records {
    pub(super) fn new(text: TextReader, dialect: &Dialect) -> Self {
        let parser = csv_core::ReaderBuilder::new()
            .delimiter(dialect.delimiter)
            .quoting(dialect.quoting)
            .build();
        Self {
            text,
            parser,
            quoting: dialect.quoting,
            bytes: vec![0; 256],
            ends: vec![0; 16],
            n_bytes: 0,
            n_ends: 0,
            line: 1,
        }
    }

    fn current(&self) -> Record<'_> {
        Record {
            line: self.line,
            bytes: &self.bytes[..self.n_bytes],
            ends: &self.ends[..self.n_ends],
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<Record<'_>>> {
        (self.n_bytes, self.n_ends) = (0, 0);
        let (mut n_quotes, mut last, mut at_end) = (0, 0, false);
        loop {
            let input = self.text.fill()?;
            at_end |= input.is_empty();
            let (result, n_in, n_out, n_ends) = self.parser.read_record(
                input,
                &mut self.bytes[self.n_bytes..],
                &mut self.ends[self.n_ends..],
            );
            if n_in > 0 {
                last = input[n_in - 1];
                n_quotes += input[..n_in].iter().filter(|&&byte| byte == b'"').count();
            }
            self.text.consume(n_in);
            self.n_bytes += n_out;
            self.n_ends += n_ends;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.bytes.resize(2 * self.bytes.len(), 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(None),
            }
            self.text.check_length(self.parser.line(), self.n_bytes)?;
        }
        let n_newlines = self.bytes[..self.n_bytes].iter().filter(|&&byte| byte == b'\n').count();
        // The parser has counted the line end that closes the record, and those within it.
        let beyond = n_newlines as u64 + u64::from(last == b'\n' && !at_end);
        self.line = self.parser.line().saturating_sub(beyond).max(1);
        // An open quote swallows the rest of the file; an odd quote inside a field of the last line does not.
        if self.quoting && at_end && n_quotes % 2 == 1 && n_newlines > 0 {
            let problem = "the quote that opens here is never closed (`quoting = false` reads quotes as text)";
            let (path, line) = (self.text.path().to_path_buf(), self.line);
            return Err(Error::Line { path, line, problem: problem.into() });
        }
        Ok(Some(self.current()))
    }
}
