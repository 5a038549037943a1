//! What a reader understood of a file, for people to check.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How the files of a log were read. Displays as a few lines for the terminal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Understood {
    /// Format and columns.
    #[serde(flatten)]
    pub layout: Layout,
    /// How many files were read.
    pub files: usize,
    /// The first and the last time, if there are times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<TimeSpan>,
    /// The first row as it was read.
    pub first_row: FirstRow,
    /// Whatever was passed over, changed or left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What a file is read for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Interactions with times and weights.
    #[default]
    Log,
    /// Rankings: the rank takes the place of the time, the score that of the weight.
    Rankings,
    /// Users and items alone.
    Pairs,
    /// Users and items with grades.
    Judgements,
}

/// Format, separator, header and columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    /// The name of the format.
    pub format: String,
    /// What separates the columns of a text, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// Whether the first line names the columns; `None` where there is no such choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// What the file is read for.
    pub purpose: Purpose,
    /// Names of the columns, or their numbers from 1 where there are no names.
    pub columns: UsedColumns,
}

/// Which column has which role.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UsedColumns {
    /// The user.
    pub user: String,
    /// The item.
    pub item: String,
    /// The time, or the rank of rankings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The weight, or the score of rankings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// The others, which are not read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unused: Vec<String>,
}

/// The times of a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimeSpan {
    /// Such as `Unix seconds`; several if the files differ.
    pub form: String,
    /// The earliest, as a date.
    pub earliest: String,
    /// The latest, as a date.
    pub latest: String,
}

/// The first row as it was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FirstRow {
    /// The user's id.
    pub user: String,
    /// The item's id.
    pub item: String,
    /// The time, as a date; the rank of rankings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
}

impl Layout {
    /// A format whose columns have no names.
    pub(crate) fn of_lines(format: &str, user: &str, item: &str, purpose: Purpose) -> Self {
        let columns =
            UsedColumns { user: user.into(), item: item.into(), ..UsedColumns::default() };
        let separator = Some("blanks".into());
        Self { format: format.into(), separator, header: None, purpose, columns }
    }
}

impl fmt::Display for Understood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Layout { format, separator, header, purpose, columns } = &self.layout;
        write!(f, "format   {format}")?;
        if let Some(separator) = separator {
            write!(f, ", columns separated by {separator}")?;
        }
        match header {
            Some(true) => write!(f, ", with a header")?,
            Some(false) => write!(f, ", without a header")?,
            None => {}
        }
        if self.files > 1 {
            write!(f, ", {} files", self.files)?;
        }
        let shown = |name: &String| match header {
            Some(false) if name.parse::<usize>().is_ok() => format!("column {name}"),
            _ => name.clone(),
        };
        let (user, item) = (shown(&columns.user), shown(&columns.item));
        write!(f, "\ncolumns  user = {user}, item = {item}")?;
        let (time, weight) = match purpose {
            Purpose::Rankings => ("rank", "score"),
            Purpose::Judgements => ("time", "grade"),
            Purpose::Log | Purpose::Pairs => ("time", "weight"),
        };
        for (role, column) in [(time, &columns.time), (weight, &columns.weight)] {
            match column {
                Some(column) => write!(f, ", {role} = {}", shown(column))?,
                None if *purpose == Purpose::Pairs => {}
                None if *purpose == Purpose::Judgements && role == time => {}
                None => write!(f, ", no {role}")?,
            }
        }
        if !columns.unused.is_empty() {
            let unused: Vec<String> = columns.unused.iter().map(shown).collect();
            write!(f, "; not read: {}", unused.join(", "))?;
        }
        if let Some(TimeSpan { form, earliest, latest }) = &self.times {
            write!(f, "\ntimes    {form}: {earliest} to {latest}")?;
        }
        let first = &self.first_row;
        write!(f, "\nfirst    user {}, item {}", first.user, first.item)?;
        if let Some(at) = &first.time {
            write!(f, ", {time} {at}")?;
        }
        if let Some(of) = first.weight {
            write!(f, ", {weight} {of}")?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "\nnote     {note}"))
    }
}
