//! Item tables with titles and attributes, from CSV, TSV and RecBole's `.item` files.
//!
//! The item and title columns are found by common names; every other column is an attribute. A cell may hold
//! several values, separated by `|` (in RecBole's `token_seq` columns by spaces). Empty cells are ignored.

use super::guess::Evidence;
use super::records::Records;
use super::roles::{ITEM, normal};
use super::separator::Separator;
use super::table::{Header, text_of};
use super::understood::Purpose;
use super::{OpenFile, ReadOptions};
use crate::{Error, Result, error::listed};
use std::path::Path;

/// An item of such a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemText {
    /// The item id.
    pub item: String,
    /// The title for display.
    pub title: Option<String>,
    /// Attributes and their values, in the order of the columns.
    pub attributes: Vec<(String, String)>,
}

const TITLE: &[&str] = &[
    "title",
    "movietitle",
    "itemtitle",
    "name",
    "moviename",
    "itemname",
    "productname",
    "product",
];

/// Reads the whole table.
///
/// # Errors
/// For any problem with the file, with path and line.
pub fn read_items(path: &Path) -> Result<Vec<ItemText>> {
    let source = OpenFile::open(path)?;
    if source.head().bytes.is_empty() {
        return Err(Error::file(path, "the file is empty"));
    }
    let options = ReadOptions { header: Some(true), ..ReadOptions::default() };
    let head = source.head();
    let evidence = Evidence::new(&head, &options, Purpose::Pairs)?;
    let table = match evidence.typed() {
        Some(table) => table,
        None if head.first_line().contains(&b'\t') => {
            evidence.table(Separator::Byte(b'\t'), Header::Plain)
        }
        None => evidence.table_as_named(Separator::Byte(b',')),
    };
    let typed = table.header == Header::Typed;
    let mut records = Records::new(source.into_text(), table.separator, table.quoting);
    let Some(first) = records.next()? else { return Err(Error::file(path, "the file is empty")) };
    let header = (0..first.len()).map(|at| text_of(path, &first, at));
    let header = header.collect::<Result<Vec<_>>>()?;
    let columns: Vec<ItemColumn> = header.iter().map(|name| ItemColumn::new(name, typed)).collect();
    let find =
        |names: &[&str]| columns.iter().position(|c| names.contains(&normal(&c.name).as_str()));
    let item = find(ITEM).or_else(|| find(&["id"])).ok_or_else(|| Error::NoColumn {
        path: path.to_owned(),
        wanted: "column with a common name for the item, such as `item_id`".into(),
        existing: listed(columns.iter().map(|column| &column.name)),
    })?;
    let title = find(TITLE);

    let mut rows = Vec::new();
    while let Some(record) = records.next()? {
        if record.len() != columns.len() {
            let (line, found) = (record.line, record.len());
            return Err(Error::Columns {
                path: path.to_owned(),
                line,
                expected: columns.len(),
                found,
            });
        }
        let mut row = ItemText { item: text_of(path, &record, item)?, ..ItemText::default() };
        for (at, column) in columns.iter().enumerate().filter(|&(at, _)| at != item) {
            let cell = text_of(path, &record, at)?;
            if Some(at) == title {
                row.title = Some(cell).filter(|cell| !cell.is_empty());
                continue;
            }
            let values =
                cell.split(|c: char| if column.blanks { c.is_whitespace() } else { c == '|' });
            let values = values.map(str::trim).filter(|value| !value.is_empty());
            row.attributes.extend(values.map(|value| (column.name.clone(), value.to_owned())));
        }
        rows.push(row);
    }
    Ok(rows)
}

struct ItemColumn {
    name: String,
    /// Whether spaces separate the values.
    blanks: bool,
}

impl ItemColumn {
    fn new(header: &str, typed: bool) -> Self {
        match header.rsplit_once(':').filter(|_| typed) {
            Some((name, kind)) => Self { name: name.into(), blanks: kind.ends_with("_seq") },
            None => Self { name: header.into(), blanks: false },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(name: &str, text: &str) -> Result<Vec<ItemText>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read_items(&path)
    }

    fn item(item: &str, title: Option<&str>, attributes: &[(&str, &str)]) -> ItemText {
        let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        let title = title.map(str::to_owned);
        ItemText { item: item.into(), title, attributes: attributes.iter().map(owned).collect() }
    }

    #[test]
    fn titles_keep_their_blanks_and_attributes_their_values() {
        let found = read(
            "a.item",
            "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n1\tToy Story\t1995\tAnimation Comedy\n2\t\t\t\n",
        );
        let toy = [("release_year", "1995"), ("class", "Animation"), ("class", "Comedy")];
        assert_eq!(found.unwrap(), [item("1", Some("Toy Story"), &toy), item("2", None, &[])]);
        let found = read("a.csv", "genres,movieId,title\nWar|Sad film,7,\"Come, see\"\n");
        let genres = [("genres", "War"), ("genres", "Sad film")];
        assert_eq!(found.unwrap(), [item("7", Some("Come, see"), &genres)]);
    }

    #[test]
    fn errors_name_the_line() {
        let error = |name, text| read(name, text).unwrap_err().to_string();
        assert!(
            error("a.tsv", "title\tyear\nx\t1\n")
                .contains("no column with a common name for the item")
        );
        assert!(
            error("a.tsv", "item_id\tyear\n1\t2\n3\n")
                .contains("a.tsv:3: expected 2 columns, found 1")
        );
        assert!(error("a.tsv", "").contains("empty"));
    }
}
