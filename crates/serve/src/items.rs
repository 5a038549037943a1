//! What is known of the items besides the model: titles to show, attributes to filter by.

use rankstill_core::{ItemId, ItemSet, Lists, Result, Vocab};
use std::collections::BTreeMap;

/// Titles and attributes of the catalogue's items. Empty where nothing is known.
#[derive(Clone, Debug, Default)]
pub struct ItemTable {
    titles: Vec<Option<Box<str>>>,
    attributes: BTreeMap<String, Attribute>,
}

/// One row of an item table, in the user's own ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemRow {
    /// The item's id.
    pub item: String,
    /// What people call it.
    pub title: Option<String>,
    /// Attribute and value; an attribute may have several values.
    pub attributes: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
struct Attribute {
    /// The values by number, in the order of their first appearance.
    values: Vec<String>,
    numbers: BTreeMap<String, u32>,
    /// Row *v*: the items that have value *v*, ascending.
    items: Lists<ItemId>,
    /// Row *i*: the values of item *i*.
    of_item: Lists<u32>,
}

impl ItemTable {
    /// Rows of items outside the catalogue are left out; of two rows for an item the later title counts and the values add up.
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

    /// What people call the item.
    #[must_use]
    pub fn title(&self, item: ItemId) -> Option<&str> {
        self.titles.get(item as usize)?.as_deref()
    }

    /// How many items have a title.
    #[must_use]
    pub fn n_titles(&self) -> usize {
        self.titles.iter().flatten().count()
    }

    /// The attributes' names, in order.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.attributes.keys().map(String::as_str)
    }

    /// The values that the item has of each attribute.
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

    /// The items that have one of `values` of the attribute; `None` where there is no such attribute.
    ///
    /// # Errors
    /// Never: the items are those of the catalogue.
    pub fn having(&self, attribute: &str, values: &[String]) -> Result<Option<ItemSet>> {
        let Some(attribute) = self.attributes.get(attribute) else { return Ok(None) };
        let rows = values.iter().filter_map(|value| attribute.numbers.get(value));
        let items = rows.flat_map(|&value| attribute.items.row(value as usize).iter().copied());
        ItemSet::new(attribute.of_item.len(), items).map(Some)
    }
}

impl Attribute {
    fn new(n_items: usize, mut pairs: Vec<(ItemId, String)>) -> Self {
        pairs.sort_by_key(|pair| pair.0); // stable: an item's values stay in the order of the file
        let (mut values, mut numbers) = (Vec::new(), BTreeMap::new());
        let (mut of_item, mut items) = (Lists::default(), Vec::<Vec<ItemId>>::new());
        let mut rest = pairs.into_iter().peekable();
        for item in 0..n_items as ItemId {
            let mut own: Vec<u32> = Vec::new();
            while let Some((_, value)) = rest.next_if(|pair| pair.0 == item) {
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
    fn values_lead_to_items_and_back() {
        let items = Vocab::from_ids(["a", "b", "c"]).unwrap();
        let table = ItemTable::new(
            &items,
            [
                row("c", Some("Sea"), &[("genre", "Drama"), ("genre", "War"), ("year", "1995")]),
                row("nobody's", Some("x"), &[("genre", "War")]),
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
