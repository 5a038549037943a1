//! Titles of items, for people who read lists.

use anyhow::Result;
use rankstill::data::read_items;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Titles by item id.
#[derive(Debug, Default)]
pub struct Titles {
    file: Option<PathBuf>,
    titles: HashMap<String, String>,
}

impl Titles {
    /// From a file with a column of items and one of titles: CSV, TSV or RecBole's `.item`. Without a file there are none.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(file: Option<&Path>) -> Result<Self> {
        let Some(file) = file else { return Ok(Self::default()) };
        let titles = read_items(file)?.into_iter();
        let titles = titles.filter_map(|row| Some((row.item, row.title?))).collect();
        Ok(Self { file: Some(file.to_owned()), titles })
    }

    /// The title of an item, if there is one.
    #[must_use]
    pub fn of(&self, item: &str) -> Option<String> {
        self.titles.get(item).cloned()
    }

    /// The file, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}
