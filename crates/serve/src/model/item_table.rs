//! Item metadata: titles to show, attributes to filter by.

use rankstill_core::{ItemId, ItemSet, Lists, Result, Vocab};
use std::collections::BTreeMap;

/// Titles and attributes of the items in the catalogue. Empty by default.
///
/// ```
/// use rankstill_core::Vocab;
/// use rankstill_serve::{ItemRow, ItemTable};
///
/// let items = Vocab::from_ids(["1", "2"])?;
/// let row = |item: &str, genre: &str| {
///     let attributes = vec![("genre".to_owned(), genre.to_owned())];
///     ItemRow { item: item.to_owned(), title: None, attributes }
/// };
/// let table = ItemTable::new(&items, [row("1", "Drama"), row("2", "War")]);
/// let dramas = table.having("genre", &["Drama".to_owned()])?.expect("the attribute exists");
/// assert!(dramas.contains(0) && !dramas.contains(1));
/// # Ok::<(), rankstill_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ItemTable {
    titles: Vec<Option<Box<str>>>,
    attributes: BTreeMap<String, Attribute>,
}

/// One row of an item table, with the ids of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemRow {
    /// The item's id.
    pub item: String,
    /// The item's title.
    pub title: Option<String>,
    /// Pairs of attribute and value. An attribute may have several values.
    pub attributes: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
struct Attribute {
    /// The values, in the order of their first appearance; `numbers` is the inverse.
    values: Vec<String>,
    numbers: BTreeMap<String, u32>,
    /// Row *v*: the items with value *v*, ascending.
    items: Lists<ItemId>,
    /// Row *i*: the values of item *i*.
    of_item: Lists<u32>,
}

impl ItemTable {
    /// Ignores items that are not in the catalogue. If an item has several rows, the last title wins and the
    /// values are combined.
    #[must_use]
    pub fn new(items: &Vocab, rows: impl IntoIterator<Item = ItemRow>) -> Self {
        let mut titles = vec![None; items.len()];
        let mut columns: BTreeMap<String, Vec<(ItemId, String)>> = BTreeMap::new();
        for row in rows {
            let Some(item) = items.get(&row.item) else { continue };
            if let Some(title) = row.title {
                titles[item as usize] = Some(title.into_boxed_str());
            }
            for (attribute, value) in row.attributes {
                columns.entry(attribute).or_default().push((item, value));
            }
        }
        let attributes =
            columns.into_iter().map(|(name, pairs)| (name, Attribute::new(items.len(), pairs)));
        Self { titles, attributes: attributes.collect() }
    }

    /// The item's title.
    #[must_use]
    pub fn title(&self, item: ItemId) -> Option<&str> {
        self.titles.get(item as usize)?.as_deref()
    }

    /// Number of items with a title.
    #[must_use]
    pub fn n_titles(&self) -> usize {
        self.titles.iter().flatten().count()
    }

    /// The names of the attributes, in alphabetical order.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.attributes.keys().map(String::as_str)
    }

    /// The item's attributes and their values.
    #[must_use]
    pub fn of(&self, item: ItemId) -> BTreeMap<&str, Vec<&str>> {
        let mut found = BTreeMap::new();
        for (name, attribute) in &self.attributes {
            let row = attribute.of_item.row(item as usize);
            if !row.is_empty() {
                let values = row.iter().map(|&value| attribute.values[value as usize].as_str());
                found.insert(name.as_str(), values.collect());
            }
        }
        found
    }

    /// The items whose attribute has one of `values`; `None` if the attribute does not exist.
    ///
    /// # Errors
    /// Never: all items are in the catalogue.
    pub fn having(&self, attribute: &str, values: &[String]) -> Result<Option<ItemSet>> {
        let Some(attribute) = self.attributes.get(attribute) else { return Ok(None) };
        let rows = values.iter().filter_map(|value| attribute.numbers.get(value));
        let items = rows.flat_map(|&value| attribute.items.row(value as usize).iter().copied());
        ItemSet::new(attribute.of_item.len(), items).map(Some)
    }
}

impl Attribute {
    fn new(n_items: usize, mut pairs: Vec<(ItemId, String)>) -> Self {
        pairs.sort_by_key(|pair| pair.0); // stable: an item's values keep the order of the file
        let (mut values, mut numbers) = (Vec::new(), BTreeMap::new());
        let (mut of_item, mut items) = (Lists::default(), Vec::<Vec<ItemId>>::new());
        let mut pairs = pairs.into_iter().peekable();
        for item in 0..n_items as ItemId {
            let mut own: Vec<u32> = Vec::new();
            while let Some((_, value)) = pairs.next_if(|pair| pair.0 == item) {
                let number = *numbers.entry(value).or_insert_with_key(|value| {
                    values.push(value.clone());
                    items.push(Vec::new());
                    values.len() as u32 - 1
                });
                if !own.contains(&number) {
                    own.push(number);
                    items[number as usize].push(item);
                }
            }
            of_item.push(own);
        }
        Self { values, numbers, items: items.into_iter().collect(), of_item }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(item: &str, title: Option<&str>, attributes: &[(&str, &str)]) -> ItemRow {
        let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        ItemRow {
            item: item.into(),
            title: title.map(str::to_owned),
            attributes: attributes.iter().map(owned).collect(),
        }
    }

    #[test]
    fn values_map_to_items_and_back() {
        let items = Vocab::from_ids(["a", "b", "c"]).unwrap();
        let table = ItemTable::new(
            &items,
            [
                row("c", Some("Sea"), &[("genre", "Drama"), ("genre", "War"), ("year", "1995")]),
                row("unknown", Some("x"), &[("genre", "War")]),
                row("a", None, &[("genre", "War"), ("genre", "War")]),
            ],
        );
        assert_eq!((table.title(2), table.title(0), table.title(9)), (Some("Sea"), None, None));
        assert_eq!(table.n_titles(), 1);
        assert_eq!(table.attributes().collect::<Vec<_>>(), ["genre", "year"]);
        assert_eq!(table.of(2)["genre"], ["Drama", "War"]);
        assert_eq!(table.of(0), [("genre", vec!["War"])].into());
        assert!(table.of(1).is_empty());
        let having = |attribute: &str, values: &[&str]| {
            let values: Vec<String> = values.iter().map(|&v| v.to_owned()).collect();
            let set = table.having(attribute, &values).unwrap();
            set.map(|set| (0..3).filter(|&i| set.contains(i)).collect::<Vec<_>>())
        };
        assert_eq!(having("genre", &["War"]), Some(vec![0, 2]));
        assert_eq!(having("genre", &["Drama", "no such value"]), Some(vec![2]));
        assert_eq!(having("genre", &[]), Some(vec![]));
        assert_eq!(having("colour", &["red"]), None);
    }
}
