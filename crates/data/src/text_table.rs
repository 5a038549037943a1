//! Small text tables for the terminal.

use std::fmt::{self, Display};

/// Rows of text under a header; the first column is aligned left, the others right.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextTable(Vec<Vec<String>>);

impl TextTable {
    pub fn new(header: &[&str]) -> Self {
        Self(vec![header.iter().map(ToString::to_string).collect()])
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }
}

impl Display for TextTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let cell_width = |row: &Vec<String>, c: usize| row.get(c).map_or(0, |s| s.chars().count());
        let widths: Vec<usize> = (0..columns)
            .map(|c| self.0.iter().map(|row| cell_width(row, c)).max().unwrap_or(0))
            .collect();
        for row in &self.0 {
            let mut line = String::new();
            for (c, cell) in row.iter().enumerate() {
                if c == 0 {
                    line += &format!("{cell:<width$}", width = widths[c]);
                } else {
                    line += &format!("  {cell:>width$}", width = widths[c]);
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = TextTable::new(&["what", "rows"]);
        table.row(["a".into(), thousands(1_234_567)]);
        table.row(["longer".into(), thousands(999)]);
        assert_eq!(table.to_string(), "what         rows\na       1,234,567\nlonger        999\n");
    }
}
