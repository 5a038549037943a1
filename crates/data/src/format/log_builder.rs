//! Builds a log row by row; ids become numbers at once.

use super::fields::{ColumnAliases, FieldPosition};
use crate::{Error, Log, Result};
use rankstill_core::Vocab;
use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

/// A log that is being read from one or several files.
pub(crate) struct LogBuilder<'a> {
    pub(crate) aliases: &'static ColumnAliases,
    log: Log,
    begun: bool,
    total: u64,
    before: u64,
    done: Rc<Cell<u64>>,
    progress: &'a mut dyn FnMut(u64, u64),
}

/// The columns of a log that is being read.
pub(crate) struct BuilderColumns<'a> {
    pub(crate) users: (&'a mut Vec<u32>, &'a mut Vocab),
    pub(crate) items: (&'a mut Vec<u32>, &'a mut Vocab),
    pub(crate) times: Option<&'a mut Vec<i64>>,
    pub(crate) weights: Option<&'a mut Vec<f32>>,
}

/// Rows between two progress reports.
const REPORT: usize = 1 << 16;

impl<'a> LogBuilder<'a> {
    pub(crate) fn new(
        aliases: &'static ColumnAliases,
        total: u64,
        progress: &'a mut dyn FnMut(u64, u64),
    ) -> Self {
        Self {
            aliases,
            log: Log::default(),
            begun: false,
            total,
            before: 0,
            done: Rc::default(),
            progress,
        }
    }

    /// Starts a file with or without times and weights; all files of a log must agree.
    pub(crate) fn begin(
        &mut self,
        path: &Path,
        done: Rc<Cell<u64>>,
        times: bool,
        weights: bool,
    ) -> Result<()> {
        self.before += self.done.get();
        self.done = done;
        if !self.begun {
            self.begun = true;
            self.log.times = times.then(Vec::new);
            self.log.weights = weights.then(Vec::new);
        }
        for (what, has, had) in [
            ("times", times, self.log.times.is_some()),
            ("weights", weights, self.log.weights.is_some()),
        ] {
            if has != had {
                let now = if has { "with" } else { "without" };
                return Err(Error::file(
                    path,
                    format!("a file {now} {what}, unlike the files before it"),
                ));
            }
        }
        Ok(())
    }

    /// Adds a row. Times and weights that [`LogBuilder::begin`] did not announce are ignored.
    pub(crate) fn push(&mut self, row: &LogRow<'_>) -> Result<()> {
        let log = &mut self.log;
        log.users.push(number(&mut log.user_ids, &row.user)?);
        log.items.push(number(&mut log.item_ids, &row.item)?);
        if let Some(times) = &mut log.times {
            times.push(row.time);
        }
        if let Some(weights) = &mut log.weights {
            weights.push(row.weight);
        }
        if log.users.len().is_multiple_of(REPORT) {
            self.report();
        }
        Ok(())
    }

    pub(crate) fn report(&mut self) {
        (self.progress)((self.before + self.done.get()).min(self.total), self.total);
    }

    /// Reserves memory for this many more rows.
    pub(crate) fn reserve(&mut self, n_rows: usize) {
        let log = &mut self.log;
        log.users.reserve(n_rows);
        log.items.reserve(n_rows);
        log.times.iter_mut().for_each(|times| times.reserve(n_rows));
        log.weights.iter_mut().for_each(|weights| weights.reserve(n_rows));
    }

    /// The columns, for readers that fill them one by one and leave them equally long.
    pub(crate) fn columns(&mut self) -> BuilderColumns<'_> {
        let log = &mut self.log;
        BuilderColumns {
            users: (&mut log.users, &mut log.user_ids),
            items: (&mut log.items, &mut log.item_ids),
            times: log.times.as_mut(),
            weights: log.weights.as_mut(),
        }
    }

    pub(crate) fn into_log(mut self) -> Log {
        self.report();
        debug_assert!(self.log.check().is_ok(), "readers build consistent logs");
        self.log
    }
}

/// One interaction.
pub(crate) struct LogRow<'a> {
    pub(crate) user: RawId<'a>,
    pub(crate) item: RawId<'a>,
    pub(crate) time: i64,
    pub(crate) weight: f32,
}

/// An id in the file, with its position.
#[derive(Clone, Copy)]
pub(crate) struct RawId<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) position: FieldPosition<'a>,
}

fn number(vocab: &mut Vocab, id: &RawId<'_>) -> Result<u32> {
    let text = id.position.id(id.bytes)?;
    check_room(vocab, id.position)?;
    Ok(vocab.intern(text))
}

/// Checks that the vocabulary has room for another id.
pub(crate) fn check_room(vocab: &Vocab, position: FieldPosition<'_>) -> Result<()> {
    if vocab.len() == Vocab::MAX_LEN {
        return Err(
            position.expected(&format!("at most {} different ids", Vocab::MAX_LEN), "one more")
        );
    }
    Ok(())
}
