//! A table as plain text for a terminal and as Markdown for a page: aligned, also with wide characters.

use crate::metric::Direction;
use unicode_width::UnicodeWidthStr;

/// Rows of texts under a head. The first column is words, the others numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

/// A text, and whether it is the best of its column.
#[derive(Clone, Debug, Default, PartialEq)]
struct Cell {
    text: String,
    best: bool,
}

impl Table {
    /// Nothing under a head.
    #[must_use]
    pub fn new(head: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { head: head.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row at the end; one that is too short is filled up with nothing.
    pub fn push(&mut self, row: impl IntoIterator<Item = impl Into<String>>) {
        let cells = row.into_iter().map(|text| Cell { text: text.into(), best: false });
        let mut cells: Vec<Cell> = cells.collect();
        cells.resize(self.head.len(), Cell::default());
        self.rows.push(cells);
    }

    /// Marks the best of a column, all of them where several are equal; one value alone is not best. `values`: one a row,
    /// none where there is no number.
    pub fn mark_best(&mut self, column: usize, values: &[Option<f64>], direction: Direction) {
        let known = || values.iter().flatten().copied().filter(|value| value.is_finite());
        let best = match direction {
            Direction::Higher => known().max_by(f64::total_cmp),
            Direction::Lower => known().min_by(f64::total_cmp),
            Direction::Neither => None,
        };
        if known().count() < 2 {
            return;
        }
        for (row, value) in self.rows.iter_mut().zip(values) {
            if let Some(cell) = row.get_mut(column) {
                cell.best = value.is_some() && *value == best;
            }
        }
    }

    /// For a terminal: columns two spaces apart, the best of a column marked `*`. No colour.
    #[must_use]
    pub fn text(&self) -> String {
        let any_best = |column: usize| self.rows.iter().any(|row| row[column].best);
        let plain = |column: usize, cell: &Cell| match (any_best(column), cell.best) {
            (false, _) => cell.text.clone(),
            (true, true) => format!("{}*", cell.text),
            (true, false) => format!("{} ", cell.text),
        };
        let head = (0..self.head.len()).map(|column| {
            if any_best(column) {
                format!("{} ", self.head[column])
            } else {
                self.head[column].clone()
            }
        });
        let rows = self
            .rows
            .iter()
            .map(|row| row.iter().enumerate().map(|(at, cell)| plain(at, cell)).collect());
        let lines: Vec<Vec<String>> = std::iter::once(head.collect()).chain(rows).collect();
        let widths = widths(&lines);
        let rule: usize = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        let mut out = String::new();
        for (at, line) in lines.iter().enumerate() {
            let cells: Vec<String> = aligned(line, &widths).collect();
            out.push_str(cells.join("  ").trim_end());
            out.push('\n');
            if at == 0 {
                out.push_str(&"-".repeat(rule));
                out.push('\n');
            }
        }
        out
    }

    /// For a page: the best of a column bold.
    #[must_use]
    pub fn markdown(&self) -> String {
        let escape = |text: &str| text.replace('\\', "\\\\").replace('|', "\\|").replace('\n', " ");
        let cell = |cell: &Cell| match cell.best {
            true => format!("**{}**", escape(&cell.text)),
            false => escape(&cell.text),
        };
        let head: Vec<String> = self.head.iter().map(|text| escape(text)).collect();
        let rows = self.rows.iter().map(|row| row.iter().map(cell).collect());
        let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
        let widths: Vec<usize> = widths(&lines).into_iter().map(|width| width.max(3)).collect();
        let mut out = String::new();
        for (at, line) in lines.iter().enumerate() {
            let cells: Vec<String> = aligned(line, &widths).collect();
            out.push_str(&format!("| {} |\n", cells.join(" | ")));
            if at == 0 {
                let rules = widths.iter().enumerate().map(|(at, width)| match at {
                    0 => format!("{} ", "-".repeat(width + 1)),
                    _ => format!("{}:", "-".repeat(width + 1)),
                });
                out.push_str(&format!("|{}|\n", rules.collect::<Vec<_>>().join("|")));
            }
        }
        out
    }
}

fn widths(lines: &[Vec<String>]) -> Vec<usize> {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].width()).max().unwrap_or(0);
    (0..columns).map(width).collect()
}

/// The first to the left, the others to the right.
fn aligned<'a>(line: &'a [String], widths: &'a [usize]) -> impl Iterator<Item = String> + 'a {
    line.iter().zip(widths).enumerate().map(|(at, (text, width))| {
        let space = " ".repeat(width - text.width());
        if at == 0 { format!("{text}{space}") } else { format!("{space}{text}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["model", "ndcg@10", "ms"]);
        table.push(["教師", "0.2000", "1.5"]);
        table.push(["student|8", "0.1000"]);
        table.mark_best(1, &[Some(0.2), Some(0.1)], Direction::Higher);
        table.mark_best(2, &[Some(1.5), None], Direction::Lower);
        table
    }

    #[test]
    fn columns_stand_under_each_other_with_wide_characters_too() {
        let expected = "\
model      ndcg@10    ms
------------------------
教師        0.2000*  1.5
student|8   0.1000
";
        let found = table().text();
        assert_eq!(found.replace(" \n", "\n"), expected, "\n{found}");
    }

    #[test]
    fn markdown_is_escaped_and_the_best_is_bold() {
        let found = table().markdown();
        let lines: Vec<_> = found.lines().collect();
        assert_eq!(lines[2], "| 教師       | **0.2000** | 1.5 |");
        assert_eq!(lines[3], "| student\\|8 |     0.1000 |     |");
        assert!(lines[1].starts_with("|----") && lines[1].ends_with(":|"));
        assert!(lines.iter().all(|line| line.width() == lines[0].width()), "{found}");
    }
}
