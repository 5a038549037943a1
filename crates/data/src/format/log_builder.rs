//! Builds a log row by row; ids become numbers at once.

use super::ReadOptions;
use super::date_time::shown_time;
use super::fields::{FieldPosition, IdChange};
use super::roles::{ColumnAliases, kind_column};
use super::times::{FileTimes, TimeColumn};
use super::understood::{FirstRow, Layout, Purpose, TimeSpan, Understood};
use crate::{Error, Log, Result};
use rankstill_core::Vocab;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

/// A log that is being read from one or several files.
pub(crate) struct LogBuilder<'a> {
    pub(crate) aliases: &'static ColumnAliases,
    options: &'a ReadOptions,
    pub(crate) users: IdColumn,
    pub(crate) items: IdColumn,
    pub(crate) times: Option<TimeColumn>,
    pub(crate) weights: Option<WeightColumn>,
    /// Rows that the options leave out.
    pub(crate) left_out: u64,
    layout: Option<Layout>,
    span: Option<FileTimes>,
    n_files: usize,
    notes: Vec<String>,
    total: u64,
    before: u64,
    done: Rc<Cell<u64>>,
    progress: &'a mut dyn FnMut(u64, u64),
}

/// Rows between two progress reports.
const REPORT: usize = 1 << 16;

impl<'a> LogBuilder<'a> {
    pub(crate) fn new(
        aliases: &'static ColumnAliases,
        options: &'a ReadOptions,
        total: u64,
        progress: &'a mut dyn FnMut(u64, u64),
    ) -> Self {
        Self {
            aliases,
            options,
            users: IdColumn::default(),
            items: IdColumn::default(),
            times: None,
            weights: None,
            left_out: 0,
            layout: None,
            span: None,
            n_files: 0,
            notes: Vec::new(),
            total,
            before: 0,
            done: Rc::default(),
            progress,
        }
    }

    /// Starts a file with this layout; all files of a log must have the same roles.
    pub(crate) fn begin(&mut self, path: &Path, done: Rc<Cell<u64>>, layout: Layout) -> Result<()> {
        self.before += self.done.get();
        self.done = done;
        self.n_files += 1;
        if let Some(before) = &self.layout {
            for (what, has, had) in [
                ("times", layout.columns.time.is_some(), before.columns.time.is_some()),
                ("weights", layout.columns.weight.is_some(), before.columns.weight.is_some()),
            ] {
                if has != had {
                    let now = if has { "with" } else { "without" };
                    return Err(Error::file(
                        path,
                        format!("a file {now} {what}, unlike the files before it"),
                    ));
                }
            }
            return Ok(());
        }
        if layout.columns.time.is_some() {
            let ranks = self.aliases.purpose == Purpose::Rankings;
            self.times = Some(TimeColumn::new(self.options, ranks)?);
        }
        if layout.columns.weight.is_some() {
            self.weights = Some(WeightColumn::new(self.options, self.aliases.purpose));
        }
        self.layout = Some(layout);
        Ok(())
    }

    /// Adds a row; the caller has added its time and weight to the columns that there are.
    pub(crate) fn push_ids(&mut self, user: &RawId<'_>, item: &RawId<'_>) -> Result<()> {
        self.users.push(user)?;
        self.items.push(item)?;
        if self.users.numbers.len().is_multiple_of(REPORT) {
            self.report();
        }
        Ok(())
    }

    /// The file has been read.
    pub(crate) fn end(&mut self, path: &Path) -> Result<()> {
        let Some(times) = &mut self.times else { return Ok(()) };
        let Some(found) = times.finish_file(path)? else { return Ok(()) };
        if let Some(note) = &found.note {
            self.note(note.clone());
        }
        match &mut self.span {
            none @ None => *none = Some(found),
            Some(span) => {
                if !span.form.split("; ").any(|form| form == found.form) {
                    span.form += &format!("; {}", found.form);
                }
                span.earliest = span.earliest.min(found.earliest);
                span.latest = span.latest.max(found.latest);
            }
        }
        Ok(())
    }

    /// Adds a remark about what was read.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Tells about kinds of events that are read as if they were one.
    pub(crate) fn note_kinds(&mut self, columns: &[String]) {
        let chosen = |name: &String| self.options.equals.contains_key(name);
        let all_alike = self.aliases.purpose == Purpose::Log && self.options.weights.is_empty();
        if let Some(name) = kind_column(columns).map(|at| &columns[at]).filter(|name| !chosen(name))
            && all_alike
        {
            self.note(format!(
                "column `{name}` holds kinds of events; all kinds are read alike (`equals.{name}` keeps some, `weights` weighs them)"
            ));
        }
    }

    pub(crate) fn report(&mut self) {
        (self.progress)((self.before + self.done.get()).min(self.total), self.total);
    }

    /// Reserves memory for this many more rows.
    pub(crate) fn reserve(&mut self, n_rows: usize) {
        self.users.numbers.reserve(n_rows);
        self.items.numbers.reserve(n_rows);
        self.times.iter_mut().for_each(|times| times.ticks.reserve(n_rows));
        self.weights.iter_mut().for_each(|weights| weights.reserve(n_rows));
    }

    /// The rows, and what was understood; `None` if nothing could be understood because all files are empty.
    pub(crate) fn finish(mut self) -> (Rows, Option<Understood>) {
        self.report();
        let understood = self.understood();
        (Rows::of(self.users, self.items, self.times, self.weights), understood)
    }

    fn understood(&mut self) -> Option<Understood> {
        for (what, ids) in [("user", &self.users), ("item", &self.items)] {
            if ids.trimmed > 0 {
                let n = ids.trimmed;
                self.notes.push(format!("blanks around {n} {what} ids were removed"));
            }
            if ids.floats > 0 {
                let n = ids.floats;
                self.notes.push(format!("{n} {what} ids like `1.0` were read as `1`"));
            }
        }
        if self.left_out > 0 {
            self.notes
                .push(format!("{} rows were left out by `equals` or `weights`", self.left_out));
        }
        let first = |ids: &IdColumn| {
            ids.numbers.first().map(|&id| ids.ids.id(id).into_owned()).unwrap_or_default()
        };
        let layout = self.layout.take()?;
        let times = self.span.as_ref().map(|span| TimeSpan {
            form: span.form.clone(),
            earliest: shown_time(span.earliest),
            latest: shown_time(span.latest),
        });
        let first_time = self.times.as_ref().and_then(|times| times.first_shown());
        let first_row = FirstRow {
            user: first(&self.users),
            item: first(&self.items),
            time: first_time,
            weight: self.weights.as_ref().and_then(|weights| weights.values.first()),
        };
        Some(Understood {
            layout,
            files: self.n_files,
            times,
            first_row,
            notes: std::mem::take(&mut self.notes),
        })
    }
}

/// What was read from the files of a log or of rankings.
pub(crate) struct Rows {
    pub(crate) users: Vec<u32>,
    pub(crate) items: Vec<u32>,
    pub(crate) times: Option<Vec<i64>>,
    pub(crate) time_unit: rankstill_core::TimeUnit,
    pub(crate) weights: Option<Numbers>,
    pub(crate) user_ids: Vocab,
    pub(crate) item_ids: Vocab,
}

impl Rows {
    /// Of the columns that were read.
    pub(super) fn of(
        users: IdColumn,
        items: IdColumn,
        times: Option<TimeColumn>,
        weights: Option<WeightColumn>,
    ) -> Self {
        let (times, time_unit) = times.map(TimeColumn::into_times).unzip();
        Self {
            users: users.numbers,
            items: items.numbers,
            times,
            time_unit: time_unit.unwrap_or_default(),
            weights: weights.map(|weights| weights.values),
            user_ids: users.ids,
            item_ids: items.ids,
        }
    }

    pub(crate) fn into_log(self) -> Log {
        let log = Log {
            users: self.users,
            items: self.items,
            times: self.times,
            time_unit: self.time_unit,
            weights: self.weights.map(Numbers::into_f32),
            user_ids: self.user_ids,
            item_ids: self.item_ids,
        };
        debug_assert!(log.check().is_ok(), "readers build consistent logs");
        log
    }
}

/// Users or items of the rows.
#[derive(Default)]
pub(crate) struct IdColumn {
    pub(crate) numbers: Vec<u32>,
    pub(crate) ids: Vocab,
    trimmed: u64,
    floats: u64,
}

impl IdColumn {
    pub(crate) fn push(&mut self, id: &RawId<'_>) -> Result<()> {
        let (text, change) = id.position.id(id.bytes)?;
        if self.ids.len() == Vocab::MAX_LEN {
            return Err(too_many_ids(id.position));
        }
        self.numbers.push(self.ids.intern(text));
        match change {
            IdChange::None => {}
            IdChange::Trimmed => self.trimmed += 1,
            IdChange::Float => self.floats += 1,
        }
        Ok(())
    }

    pub(crate) fn push_int(&mut self, id: i64) {
        self.numbers.push(self.ids.intern_int(id));
    }

    pub(crate) fn push_ints(&mut self, ids: &[i64]) {
        let Self { numbers, ids: vocab, .. } = self;
        numbers.extend(ids.iter().map(|&id| vocab.intern_int(id)));
    }

    pub(crate) fn push_float(&mut self, position: FieldPosition<'_>, id: f64) -> Result<()> {
        self.push_int(position.id_of_f64(id)?);
        self.floats += 1;
        Ok(())
    }
}

/// Ratings, counts or scores.
pub(crate) struct WeightColumn {
    pub(crate) values: Numbers,
    /// The weight of each kind of event, if the column holds kinds.
    kinds: BTreeMap<String, f64>,
}

/// Weights of logs have 32 bits, scores of rankings 64: two scores that differ must not become equal before
/// the places are known.
pub(crate) enum Numbers {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl WeightColumn {
    pub(super) fn new(options: &ReadOptions, purpose: Purpose) -> Self {
        let values = match purpose {
            Purpose::Rankings => Numbers::F64(Vec::new()),
            _ => Numbers::F32(Vec::new()),
        };
        Self { values, kinds: options.weights.clone() }
    }

    pub(crate) fn push_text(&mut self, position: FieldPosition<'_>, field: &[u8]) -> Result<()> {
        if !self.kinds.is_empty() {
            // Rows of other kinds were left out before.
            let kind = String::from_utf8_lossy(field.trim_ascii());
            let weight = self.kinds.get(kind.as_ref()).copied().unwrap_or_default();
            return self.push_float(position, weight);
        }
        match &mut self.values {
            Numbers::F32(values) => values.push(position.weight(field)?),
            Numbers::F64(values) => values.push(position.weight(field)?),
        }
        Ok(())
    }

    pub(crate) fn push_float(&mut self, position: FieldPosition<'_>, number: f64) -> Result<()> {
        let narrow = matches!(self.values, Numbers::F32(_));
        if !number.is_finite() || (narrow && !(number as f32).is_finite()) {
            return Err(position.expected("a finite number", format!("{number:?}")));
        }
        match &mut self.values {
            Numbers::F32(values) => values.push(number as f32),
            Numbers::F64(values) => values.push(number),
        }
        Ok(())
    }

    /// Many weights at once; `false` if they must be pushed one by one.
    pub(crate) fn push_floats(&mut self, numbers: &[f32]) -> bool {
        match &mut self.values {
            Numbers::F32(values) if numbers.iter().all(|number| number.is_finite()) => {
                values.extend_from_slice(numbers);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn push_int(&mut self, number: i64) {
        match &mut self.values {
            Numbers::F32(values) => values.push(number as f32),
            Numbers::F64(values) => values.push(number as f64),
        }
    }

    /// Whether the column holds kinds of events.
    pub(crate) fn has_kinds(&self) -> bool {
        !self.kinds.is_empty()
    }

    fn reserve(&mut self, n_rows: usize) {
        match &mut self.values {
            Numbers::F32(values) => values.reserve(n_rows),
            Numbers::F64(values) => values.reserve(n_rows),
        }
    }
}

impl Numbers {
    fn first(&self) -> Option<f64> {
        match self {
            Self::F32(values) => values.first().map(|&value| f64::from(value)),
            Self::F64(values) => values.first().copied(),
        }
    }

    pub(crate) fn into_f32(self) -> Vec<f32> {
        match self {
            Self::F32(values) => values,
            Self::F64(values) => values.into_iter().map(|value| value as f32).collect(),
        }
    }

    pub(crate) fn into_f64(self) -> Vec<f64> {
        match self {
            Self::F32(values) => values.into_iter().map(f64::from).collect(),
            Self::F64(values) => values,
        }
    }
}

/// An id in the file, with its position.
#[derive(Clone, Copy)]
pub(crate) struct RawId<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) position: FieldPosition<'a>,
}

/// The vocabulary is full.
pub(crate) fn too_many_ids(position: FieldPosition<'_>) -> Error {
    position.expected(&format!("at most {} different ids", Vocab::MAX_LEN), "one more")
}
