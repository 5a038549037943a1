//! Tables as text: one row per line, columns separated by a character, by `::` or by blanks, with or without a
//! header; fields may be quoted as in RFC 4180.

use super::fields::{FieldPosition, shown};
use super::log_builder::RawId;
use super::records::{Record, Records};
use super::roles::{Content, Roles, column};
use super::separator::Separator;
use super::understood::{Layout, Purpose, UsedColumns};
use super::{LogBuilder, OpenFile, ReadOptions};
use crate::{Error, Result};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

/// How a table is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// The name of the format.
    pub(super) format: &'static str,
    pub(super) separator: Separator,
    pub(super) quoting: bool,
    pub(super) header: Header,
    pub(super) columns: Columns,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// The first line is a row.
    None,
    /// The first line names the columns.
    Plain,
    /// The first line names the columns as `name:type`.
    Typed,
}

/// Where the columns stand in a table without a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Columns {
    /// User, item, and what the others hold.
    ByContent,
    /// User, item, weight, time, unless the third can only be a time.
    ByPosition,
    /// `query iteration item grade`.
    Qrels,
    /// `query Q0 item rank score tag`.
    Run,
}

impl Table {
    /// Reads all rows; `keys` are further columns, with the same value in every row.
    pub(super) fn read(
        &self,
        source: OpenFile,
        options: &ReadOptions,
        builder: &mut LogBuilder<'_>,
        keys: &[(String, String)],
    ) -> Result<()> {
        let path = source.path().to_path_buf();
        let done = source.done();
        // Names say what columns are; without them their content does.
        let contents =
            if self.header == Header::None { self.contents(&source) } else { Vec::new() };
        let mut records = Records::new(source.into_text(), self.separator, self.quoting);
        let Some(first) = records.next()? else {
            return Err(Error::file(path, "the file is empty"));
        };
        let n_columns = first.len();
        let (header, mut names) = match self.header {
            Header::None => (None, self.positions(n_columns)),
            style => {
                let header: Vec<Vec<u8>> = first.fields().map(<[u8]>::to_vec).collect();
                let names = header.iter().map(|name| header_name(&path, name, style));
                let names = names.collect::<Result<Vec<String>>>()?;
                (Some(header), names)
            }
        };
        names.extend(keys.iter().map(|(key, _)| key.clone()));
        let roles = self.roles(&path, &names, n_columns, &contents, options, builder)?;
        let kept = Kept::find(&path, &names, &roles, options)?;
        builder.note_kinds(&names);
        let header_row = self.header != Header::None;
        let layout = layout(self.format, &names, &roles, builder.aliases.purpose);
        let separator = Some(self.separator.shown());
        builder.begin(&path, done, Layout { separator, header: Some(header_row), ..layout })?;
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
            let field = |column: usize| match column.checked_sub(n_columns) {
                None => record.get(column),
                Some(key) => keys[key].1.as_bytes(),
            };
            if let Some(header) = &header
                && record.get(0) == header[0]
                && record.fields().eq(header.iter().map(Vec::as_slice))
            {
                let problem = "the header is repeated, expected an interaction".to_owned();
                return Err(Error::Line { line: record.line, problem, path });
            }
            if !kept.is_empty() && !kept.keeps(|column| field(column).into()) {
                builder.left_out += 1;
                continue;
            }
            let id = |column: usize| RawId { bytes: field(column), position: position(column) };
            if let Some((column, times)) = roles.time.zip(builder.times.as_mut()) {
                times.push_text(position(column), field(column))?;
            }
            if let Some((column, weights)) = roles.weight.zip(builder.weights.as_mut()) {
                weights.push_text(position(column), field(column))?;
            }
            builder.push_ids(&id(roles.user), &id(roles.item))?;
        }
        builder.end(&path)
    }

    /// The names of columns that have no header.
    fn positions(&self, n_columns: usize) -> Vec<String> {
        let fixed: &[&str] = match self.columns {
            Columns::Qrels => &["query", "iteration", "item", "grade"],
            Columns::Run => &["query", "iteration", "item", "rank", "score", "tag"],
            _ => &[],
        };
        let name =
            |at: usize| fixed.get(at - 1).map_or_else(|| at.to_string(), |&name| name.into());
        (1..=n_columns).map(name).collect()
    }

    fn roles(
        &self,
        path: &Path,
        names: &[String],
        n_columns: usize,
        contents: &[Content],
        options: &ReadOptions,
        builder: &LogBuilder<'_>,
    ) -> Result<Roles> {
        let purpose = builder.aliases.purpose;
        let fixed = match self.columns {
            Columns::Qrels => Some((4, None, 3)),
            Columns::Run => Some((6, (purpose == Purpose::Rankings).then_some(3), 4)),
            _ => None,
        };
        if let Some((expected, time, weight)) = fixed {
            if n_columns != expected {
                let (path, line) = (path.to_path_buf(), 1);
                return Err(Error::Columns { path, line, expected, found: n_columns });
            }
            let weighed = match purpose {
                Purpose::Log | Purpose::Rankings => true,
                Purpose::Judgements => self.columns == Columns::Qrels,
                Purpose::Pairs => false,
            };
            let weight = weighed.then_some(weight);
            return Ok(Roles { user: 0, item: 2, time, weight });
        }
        if self.header != Header::None {
            return Roles::find(path, names, options, builder.aliases);
        }
        let most = if self.format == "triples" { 4 } else { usize::MAX };
        if !(2..=most).contains(&n_columns) {
            let (path, line) = (path.to_path_buf(), 1);
            return Err(Error::Columns { path, line, expected: 3, found: n_columns });
        }
        let mut roles = Roles::by_content(path, names, options, contents, purpose)?;
        let free = options.columns.is_default() && purpose == Purpose::Log;
        let by_position = self.columns == Columns::ByPosition && free && n_columns <= 4;
        if by_position && roles.time != Some(2) {
            roles.weight = (n_columns > 2).then_some(2);
            roles.time = (n_columns > 3).then_some(3);
        }
        Ok(roles)
    }

    /// What the columns of the head hold.
    fn contents(&self, source: &OpenFile) -> Vec<Content> {
        let rows: Vec<_> =
            source.head().lines().map(|line| self.separator.split(line, self.quoting)).collect();
        contents(&rows)
    }
}

/// What each column holds; of rows with differing numbers of columns, only the common ones.
pub(super) fn contents(rows: &[Vec<Cow<'_, [u8]>>]) -> Vec<Content> {
    let n = rows.iter().map(Vec::len).min().unwrap_or(0);
    (0..n).map(|column| Content::of(rows.iter().map(|row| row[column].as_ref()))).collect()
}

/// A layout with named columns.
pub(super) fn layout(format: &str, names: &[String], roles: &Roles, purpose: Purpose) -> Layout {
    let used = [Some(roles.user), Some(roles.item), roles.time, roles.weight];
    let unused = (0..names.len()).filter(|at| !used.contains(&Some(*at)));
    let columns = UsedColumns {
        user: names[roles.user].clone(),
        item: names[roles.item].clone(),
        time: roles.time.map(|at| names[at].clone()),
        weight: roles.weight.map(|at| names[at].clone()),
        unused: unused.map(|at| names[at].clone()).collect(),
    };
    Layout { format: format.into(), separator: None, header: None, purpose, columns }
}

/// Which rows are kept, by the values of columns.
pub(super) struct Kept {
    columns: Vec<(usize, BTreeSet<String>)>,
}

impl Kept {
    pub(super) fn find(
        path: &Path,
        names: &[String],
        roles: &Roles,
        options: &ReadOptions,
    ) -> Result<Self> {
        let header: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut columns = Vec::new();
        for (name, values) in &options.equals {
            let at = column(path, &header, "equals", name)?;
            columns.push((at, values.iter().map(|value| value.0.clone()).collect()));
        }
        if let (false, Some(weight)) = (options.weights.is_empty(), roles.weight) {
            columns.push((weight, options.weights.keys().cloned().collect()));
        }
        Ok(Self { columns })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The columns whose values decide.
    pub(super) fn columns(&self) -> impl Iterator<Item = (usize, &BTreeSet<String>)> {
        self.columns.iter().map(|(column, values)| (*column, values))
    }

    /// Whether every one of the columns has one of its values.
    pub(super) fn keeps<'a>(&self, field: impl Fn(usize) -> Cow<'a, [u8]>) -> bool {
        self.columns.iter().all(|(column, values)| {
            let field = field(*column);
            std::str::from_utf8(field.trim_ascii()).is_ok_and(|text| values.contains(text))
        })
    }
}

fn header_name(path: &Path, name: &[u8], style: Header) -> Result<String> {
    let Ok(text) = std::str::from_utf8(name) else {
        let problem = format!("the header is not UTF-8: {}", shown(name));
        return Err(Error::Line { path: path.to_path_buf(), line: 1, problem });
    };
    let text = text.trim();
    Ok(match (style, text.rsplit_once(':')) {
        (Header::Typed, Some((name, _))) => name.to_owned(),
        _ => text.to_owned(),
    })
}

/// Whether a first line is RecBole's: every field a `name:type`.
pub(super) fn is_typed(fields: &[Cow<'_, [u8]>]) -> bool {
    const TYPES: [&str; 4] = ["token", "token_seq", "float", "float_seq"];
    let typed = |field: &Cow<'_, [u8]>| {
        let text = std::str::from_utf8(field.trim_ascii()).unwrap_or_default();
        text.rsplit_once(':').is_some_and(|(_, kind)| TYPES.contains(&kind))
    };
    !fields.is_empty() && fields.iter().all(typed)
}

/// For item tables: the values of a record as text.
pub(super) fn text_of(path: &Path, record: &Record<'_>, at: usize) -> Result<String> {
    let bytes = record.get(at);
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(_) => {
            let problem = format!("not UTF-8: {}", shown(bytes));
            Err(Error::Line { path: path.to_owned(), line: record.line, problem })
        }
    }
}
