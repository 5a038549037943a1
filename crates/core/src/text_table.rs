//! Tables of text for a terminal or a Markdown page. Columns are aligned, with wide characters too.

use std::fmt;
use unicode_width::UnicodeWidthStr;

/// Rows of text under a header. The first column (words) is aligned left, the others (numbers) right.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TextTable {
    header: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Cell {
    text: String,
    best: bool,
}

impl TextTable {
    /// A table without rows.
    #[must_use]
    pub fn new(header: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { header: header.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Appends a row; missing cells are left empty.
    pub fn push(&mut self, row: impl IntoIterator<Item = impl Into<String>>) {
        let cells = row.into_iter().map(|text| Cell { text: text.into(), best: false });
        let mut cells: Vec<Cell> = cells.collect();
        cells.resize(self.header.len(), Cell::default());
        self.rows.push(cells);
    }

    /// Marks a cell as the best of its column.
    pub fn mark_best(&mut self, row: usize, column: usize) {
        if let Some(cell) = self.rows.get_mut(row).and_then(|row| row.get_mut(column)) {
            cell.best = true;
        }
    }

    /// The names of the columns.
    #[must_use]
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// Row by row the texts of the cells, and whether each is the best of its column.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = impl Iterator<Item = (&str, bool)>> {
        self.rows.iter().map(|row| row.iter().map(|cell| (cell.text.as_str(), cell.best)))
    }

    /// For a terminal: columns two spaces apart, a rule under the header, `*` after the best of a column.
    #[must_use]
    pub fn text(&self) -> String {
        let lines = self.plain_lines();
        let widths = widths(&lines);
        let rule: usize = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        let mut out = String::new();
        for (at, line) in lines.iter().enumerate() {
            out.push_str(&spaced(line, &widths));
            if at == 0 {
                out.push_str(&"-".repeat(rule));
                out.push('\n');
            }
        }
        out
    }

    /// For a Markdown page: the best of a column is bold.
    #[must_use]
    pub fn markdown(&self) -> String {
        let escape = |text: &str| {
            let text = text.replace('\\', "\\\\").replace('|', "\\|").replace('\n', " ");
            without_tags(&text)
        };
        let lines = self.lines(escape, |cell| match cell.best {
            true => format!("**{}**", escape(&cell.text)),
            false => escape(&cell.text),
        });
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

    /// Header and rows; in a column with a best cell, every other cell ends with a space below the `*`.
    fn plain_lines(&self) -> Vec<Vec<String>> {
        let marked = |column: usize| self.rows.iter().any(|row| row[column].best);
        let mut lines = self.lines(str::to_owned, |cell| cell.text.clone());
        for column in (0..self.header.len()).filter(|column| marked(*column)) {
            lines[0][column].push(' ');
            for (line, row) in lines[1..].iter_mut().zip(&self.rows) {
                line[column].push(if row[column].best { '*' } else { ' ' });
            }
        }
        lines
    }

    fn lines(
        &self,
        header: impl Fn(&str) -> String,
        cell: impl Fn(&Cell) -> String,
    ) -> Vec<Vec<String>> {
        let header = self.header.iter().map(|text| header(text)).collect();
        let row = |row: &Vec<Cell>| row.iter().map(&cell).collect();
        std::iter::once(header).chain(self.rows.iter().map(row)).collect()
    }
}

/// As [`TextTable::text`], without the rule.
impl fmt::Display for TextTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.plain_lines();
        let widths = widths(&lines);
        lines.iter().try_for_each(|line| f.write_str(&spaced(line, &widths)))
    }
}

/// Number of columns that a text takes on a terminal.
#[must_use]
pub fn display_width(text: &str) -> usize {
    text.width()
}

/// `1234567` as `1,234,567`.
#[must_use]
pub fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn widths(lines: &[Vec<String>]) -> Vec<usize> {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].width()).max().unwrap_or(0);
    (0..columns).map(width).collect()
}

/// One line of text with its line break.
fn spaced(line: &[String], widths: &[usize]) -> String {
    let cells: Vec<String> = aligned(line, widths).collect();
    format!("{}\n", cells.join("  ").trim_end())
}

/// The first cell to the left, the others to the right.
fn aligned<'a>(line: &'a [String], widths: &'a [usize]) -> impl Iterator<Item = String> + 'a {
    line.iter().zip(widths).enumerate().map(|(at, (text, width))| {
        let space = " ".repeat(width - text.width());
        if at == 0 { format!("{text}{space}") } else { format!("{space}{text}") }
    })
}

/// Where a `<` would begin a tag or a comment of HTML, it stands for itself.
fn without_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let opens = |next: &char| next.is_ascii_alphabetic() || matches!(next, '/' | '!' | '?');
        match c {
            '<' if rest.peek().is_some_and(opens) => out.push_str("&lt;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> TextTable {
        let mut table = TextTable::new(["model", "ndcg@10", "ms"]);
        table.push(["教師", "0.2000", "1.5"]);
        table.push(["student|8", "0.1000"]);
        table.mark_best(0, 1);
        table
    }

    #[test]
    fn columns_are_aligned_with_wide_characters_too() {
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

    #[test]
    fn a_name_is_not_html() {
        let mut table = TextTable::new(["<b>model", "p"]);
        table.push(["<img src=x onerror=alert(1)> </td>", "<.001"].map(String::from));
        let found = table.markdown();
        assert!(found.contains("&lt;img src=x") && found.contains("&lt;/td>"), "{found}");
        assert!(found.contains("&lt;b>model") && found.contains("<.001"), "{found}");
    }

    #[test]
    fn a_displayed_table_has_no_rule() {
        let mut table = TextTable::new(["what", "rows"]);
        table.push(["a".into(), thousands(1_234_567)]);
        table.push(["longer".into(), thousands(999)]);
        assert_eq!(table.to_string(), "what         rows\na       1,234,567\nlonger        999\n");
    }
}
