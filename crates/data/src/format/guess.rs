//! Recognising a format by evidence that no other reading of the file has.
//!
//! All complete lines of the beginning of the file are looked at. A reading is accepted if it is the only one
//! that fits; otherwise the error shows the lines and names what to add.

use super::lines::{is_counted, is_whole, tokens};
use super::roles::is_header;
use super::separator::Separator;
use super::table::{Columns, Header, Table, contents, is_typed};
use super::understood::Purpose;
use super::{Head, OpenFile, ReadOptions};
use crate::{Error, Result};
use std::borrow::Cow;
use std::collections::HashSet;

/// How a file is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Parquet,
    /// One object per line.
    JsonLines,
    /// An array of objects, or objects over several lines.
    Json,
    Table(Table),
    UserLines {
        strict: bool,
    },
    CountedLines,
}

/// The lines of a file's beginning, which the options may help to understand.
pub(super) struct Evidence<'a> {
    lines: Vec<&'a [u8]>,
    options: &'a ReadOptions,
    purpose: Purpose,
    separators: Vec<Separator>,
}

impl Reading {
    /// The only reading that fits.
    ///
    /// # Errors
    /// When none fits, or several do.
    pub(super) fn guess(
        source: &OpenFile,
        options: &ReadOptions,
        purpose: Purpose,
    ) -> Result<Self> {
        let head = source.head();
        if head.bytes.starts_with(b"PAR1") {
            return Ok(Self::Parquet);
        }
        if let Some(json) = Self::json(&head) {
            return Ok(json);
        }
        let evidence = Evidence::new(&head, options, purpose)?;
        if let Some(table) =
            evidence.typed().or_else(|| evidence.trec()).or_else(|| evidence.named())
        {
            return Ok(Self::Table(table));
        }
        let mut found = Vec::new();
        found.extend(evidence.headless().map(|table| (Self::Table(table), true)));
        found.extend(evidence.lines_of_users(&found));
        match &found[..] {
            [(reading, true)] => Ok(reading.clone()),
            // Names that nobody knows: the reader says which columns there are.
            [] if let Some(table) = evidence.unknown_names() => Ok(Self::Table(table)),
            _ => Err(evidence.unclear(source, &found)),
        }
    }

    fn json(head: &Head<'_>) -> Option<Self> {
        let first = head.first_line().trim_ascii_start();
        match first.first()? {
            // An array, and not a line of some other format that begins with a bracket.
            b'[' if head.bytes.trim_ascii_start()[1..].trim_ascii_start().starts_with(b"{") => {
                Some(Self::Json)
            }
            b'{' if serde_json::from_slice::<serde::de::IgnoredAny>(first).is_ok() => {
                Some(Self::JsonLines)
            }
            b'{' if matches!(first[1..].trim_ascii_start().first(), None | Some(b'"')) => {
                // Cut off within the first object, or an object over several lines.
                let several = head
                    .lines()
                    .nth(1)
                    .is_some_and(|line| !line.trim_ascii_start().starts_with(b"{"));
                Some(if several { Self::Json } else { Self::JsonLines })
            }
            _ => None,
        }
    }
}

impl<'a> Evidence<'a> {
    pub(super) fn new(head: &Head<'a>, options: &'a ReadOptions, purpose: Purpose) -> Result<Self> {
        let separators = match Separator::option(options)? {
            Some(separator) => vec![separator],
            None => Separator::ALL.to_vec(),
        };
        Ok(Self { lines: head.lines().collect(), options, purpose, separators })
    }

    fn first(&self) -> &'a [u8] {
        self.lines.first().copied().unwrap_or_default()
    }

    /// Whether the options say that the first line names the columns.
    fn announces_header(&self) -> bool {
        let Self { options, .. } = self;
        options.header == Some(true) || (options.header.is_none() && options.columns.needs_header())
    }

    fn quoting(&self) -> bool {
        self.options.quoting.unwrap_or(true)
    }

    pub(super) fn table(&self, separator: Separator, header: Header) -> Table {
        let format = match (separator, header) {
            (Separator::Byte(b'\t'), _) => "tsv",
            (Separator::DoubleColon, Header::None) => "movielens",
            (Separator::Blanks, Header::None) => "triples",
            _ => "csv",
        };
        // Files between `::` are MovieLens', whose columns have a fixed order.
        let fixed = self.options.header == Some(false) || separator == Separator::DoubleColon;
        let columns = if fixed { Columns::ByPosition } else { Columns::ByContent };
        Table { format, separator, quoting: self.quoting(), header, columns }
    }

    /// A header of `name:type`.
    pub(super) fn typed(&self) -> Option<Table> {
        let separator = self.separators.iter().copied().find(|separator| {
            let fields = separator.split(self.first(), false);
            // A single field may be a sentence.
            fields.len() > 1 && is_typed(&fields)
        })?;
        let quoting = self.options.quoting.unwrap_or(false);
        Some(Table { format: "recbole", quoting, ..self.table(separator, Header::Typed) })
    }

    /// TREC judgements (`query 0 item grade`) or a TREC run (`query Q0 item rank score tag`).
    fn trec(&self) -> Option<Table> {
        if self.options.header.is_some()
            || self.options.delimiter.is_some()
            || !self.options.columns.is_default()
        {
            return None;
        }
        let number = |token: &[u8]| {
            std::str::from_utf8(token)
                .is_ok_and(|text| text.parse::<f64>().is_ok_and(f64::is_finite))
        };
        let (mut qrels, mut runs) = (!self.lines.is_empty(), 0);
        for line in &self.lines {
            let fields: Vec<&[u8]> = tokens(line).take(7).collect();
            let q0 = fields.len() > 2 && fields[1].eq_ignore_ascii_case(b"q0");
            let iteration = q0 || (fields.len() > 2 && fields[1] == b"0");
            // Judgements are small whole numbers; a fourth column of times is a log's.
            qrels &= iteration && fields.len() == 4 && fields[3].len() <= 3 && is_whole(fields[3]);
            runs += usize::from(
                iteration && fields.len() == 6 && is_whole(fields[3]) && number(fields[4]),
            );
        }
        match () {
            () if qrels => Some(qrels_table()),
            // A damaged line is for the reader to name.
            () if runs > 0 && 2 * runs >= self.lines.len() => Some(run_table()),
            () => None,
        }
    }

    /// A header that names a user and an item column.
    pub(super) fn named(&self) -> Option<Table> {
        if self.options.header == Some(false) {
            return None;
        }
        let separator = self.separators.iter().copied().find(|separator| {
            let fields = separator.split(self.first(), self.quoting());
            fields.len() > 1 && is_header(fields.iter().map(AsRef::as_ref), self.options)
        });
        match separator {
            Some(separator) => Some(self.table(separator, Header::Plain)),
            // The header was announced, whatever its names are.
            None if self.announces_header() => self.unknown_names(),
            None => None,
        }
    }

    /// Rows from the first line on, split into equally many columns, of which the first two can be ids.
    pub(super) fn headless(&self) -> Option<Table> {
        if self.announces_header() {
            return None;
        }
        self.separators.iter().copied().find_map(|separator| {
            let table = self.table(separator, Header::None);
            let rows = self.rows(separator)?;
            self.holds_interactions(separator, &rows).then_some(table)
        })
    }

    /// The fields of all lines, if there are equally many in each, and more than one. A few lines may differ:
    /// the reader names them. Hardly any other file has `::`, so that half of the lines suffice then.
    fn rows(&self, separator: Separator) -> Option<Vec<Vec<Cow<'a, [u8]>>>> {
        let mut rows: Vec<_> =
            self.lines.iter().map(|line| separator.split(line, self.quoting())).collect();
        let (n, n_rows) = (rows.first()?.len(), rows.len());
        rows.retain(|row| row.len() == n);
        let enough = match separator {
            Separator::DoubleColon => 2 * rows.len() >= n_rows,
            _ => 20 * rows.len() >= 19 * n_rows,
        };
        (n > 1 && enough).then_some(rows)
    }

    fn holds_interactions(&self, separator: Separator, rows: &[Vec<Cow<'_, [u8]>>]) -> bool {
        let columns = contents(rows);
        let n = columns.len();
        // Columns that are named by position need no evidence, nor does a table that is said to be one.
        if !self.options.columns.is_default() {
            return true;
        }
        let (ids, others) = columns.split_at(2);
        let has_time = others.iter().any(|column| column.time);
        // Times in a place of ids: which column is what must be said.
        let displaced = n > 2 && !has_time && ids.iter().any(|column| column.time);
        let forced = self.options.header == Some(false) && self.options.delimiter.is_some();
        if displaced || !(forced || ids.iter().all(|column| column.is_id())) {
            return false;
        }
        let numbers = others.iter().filter(|column| column.number).count();
        match n {
            _ if has_time => true,
            2..=4 if separator == Separator::DoubleColon => true,
            _ if self.purpose != Purpose::Log || self.options.header == Some(false) => true,
            2 | 3 => rows.len() > 1,
            // Two numbers, and neither can only be a time; in wider tables anything may be anything.
            4 => rows.len() > 1 && numbers < 2,
            _ => false,
        }
    }

    /// One user per line. `user item item ...` needs whole numbers, users without a second line, and lines of
    /// different lengths, because otherwise it may as well be a table.
    fn lines_of_users(&self, found: &[(Reading, bool)]) -> Vec<(Reading, bool)> {
        let plain = self.options.header.is_none()
            && self.options.delimiter.is_none()
            && self.options.columns.is_default();
        let wholes = self.lines.iter().all(|line| tokens(line).all(is_whole));
        if !plain || !wholes || self.lines.is_empty() {
            return Vec::new();
        }
        let counted = self.lines.iter().all(|line| is_counted(line))
            && self.lines.iter().any(|line| tokens(line).count() > 1);
        let mut users = HashSet::new();
        let distinct =
            self.lines.iter().filter_map(|line| tokens(line).next()).all(|user| users.insert(user));
        let lengths: HashSet<usize> = self.lines.iter().map(|line| tokens(line).count()).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        // Pairs are the same rows in both readings, and a time in every line is no item.
        let is_pairs = lengths.len() == 1 && longest == 2;
        let timed = matches!(found, [(Reading::Table(_), true)])
            && self
                .rows(Separator::Blanks)
                .is_some_and(|rows| contents(&rows).iter().skip(2).any(|c| c.time));
        let mut out = Vec::new();
        // That every line begins with the number of its items by chance is possible in one or two lines.
        let surely_counted = counted && self.lines.len() > 2;
        if counted {
            out.push((Reading::CountedLines, surely_counted));
        }
        if distinct && longest > 1 && !is_pairs && !timed && !surely_counted {
            out.push((
                Reading::UserLines { strict: true },
                lengths.len() > 1 && self.lines.len() > 1,
            ));
        }
        out
    }

    /// A table whose first line consists of names, none of them known.
    fn unknown_names(&self) -> Option<Table> {
        let separator = self.separators.iter().copied().find(|&separator| {
            if self.announces_header() && self.separators.len() == 1 {
                return true;
            }
            let Some(rows) = self.rows(separator) else { return false };
            let number = |field: &Cow<'_, [u8]>| {
                std::str::from_utf8(field.trim_ascii())
                    .is_ok_and(|text| text.parse::<f64>().is_ok())
            };
            let names = !rows[0].iter().any(number);
            names && (self.announces_header() || rows[1..].iter().any(|row| row.iter().any(number)))
        })?;
        Some(self.table(separator, Header::Plain))
    }

    /// A table by name: with a header unless the first line is a row like the others.
    pub(super) fn table_as_named(&self, default: Separator) -> Table {
        let found = self.named().or_else(|| self.headless());
        found.unwrap_or_else(|| {
            let header =
                if self.options.header == Some(false) { Header::None } else { Header::Plain };
            let often = |separator: &Separator| separator.split(self.first(), self.quoting()).len();
            let separator = match self.separators[..] {
                [only] => only,
                _ => {
                    let most = self.separators.iter().copied().rev().max_by_key(often);
                    most.filter(|separator| often(separator) > 1).unwrap_or(default)
                }
            };
            self.table(separator, header)
        })
    }

    fn unclear(&self, source: &OpenFile, found: &[(Reading, bool)]) -> Error {
        if self.lines.is_empty() {
            return Error::file(source.path(), "the file holds no lines");
        }
        // Split as it could be, for the reader to see what is in doubt.
        let separator =
            self.separators.iter().copied().find(|&separator| self.rows(separator).is_some());
        let separator = separator.unwrap_or(Separator::Blanks);
        let shown = |line: &&[u8]| {
            let fields = separator.split(line, self.quoting());
            let text = |field: &Cow<'_, [u8]>| {
                let text = String::from_utf8_lossy(field);
                let short: String = text.escape_debug().take(40).collect();
                short
            };
            let mut fields: Vec<String> = fields.iter().take(8).map(text).collect();
            if fields.len() == 8 {
                fields.push("...".into());
            }
            format!("\n    {}", fields.join(" | "))
        };
        let lines: String = self.lines.iter().take(3).map(shown).collect();
        let choices: Vec<&str> = found
            .iter()
            .map(|(reading, _)| match reading {
                Reading::UserLines { .. } => {
                    "`format = \"user_lines\"` (the first number is a user, the others are items)"
                }
                Reading::CountedLines => {
                    "`format = \"counted_lines\"` (the first number counts the items)"
                }
                Reading::Table(table) if table.separator == Separator::Blanks => {
                    "`format = \"triples\"` (columns of user, item, rating, time)"
                }
                _ => "`header = false` (columns of user, item, rating, time)",
            })
            .collect();
        let advice = match (choices.is_empty(), self.rows(separator)) {
            (false, Some(_)) if choices.len() == 1 => format!("it may be {}, or a table: name its columns by position, such as `columns.user = 1`, `columns.item = 2`", choices[0]),
            (false, _) => format!("add one of {}", choices.join(", ")),
            (true, Some(_)) => format!(
                "if it is a table, name its columns by position, such as `columns.user = 1`, `columns.item = 2`, `columns.time = 3`, with `delimiter = \"{}\"` (`header = false` alone: user, item, rating, time); or set `format`",
                separator.option_text()
            ),
            (true, None) => "no format fits; set `format` (one of `rankstill list formats`), `delimiter` or `header`".into(),
        };
        let problem = format!(
            "the format cannot be told; the first lines, split at {}, are{lines}\n  {advice}",
            separator.shown()
        );
        Error::file(source.path(), problem)
    }
}

pub(super) fn qrels_table() -> Table {
    trec_table("trec_qrels", Columns::Qrels)
}

pub(super) fn run_table() -> Table {
    trec_table("trec_run", Columns::Run)
}

fn trec_table(format: &'static str, columns: Columns) -> Table {
    let (separator, header) = (Separator::Blanks, Header::None);
    Table { format, separator, quoting: false, header, columns }
}
