//! A column of times while it is read: numbers whose unit is given or found by evidence, or dates as text.
//!
//! Times are kept as whole ticks. Fractions make the ticks finer, never inexact down to nanoseconds. At the
//! end the ticks become as coarse as all times allow, so that one log has the same ticks whatever unit its
//! files were written in.

use super::ReadOptions;
use super::date_time::{DateReader, shown_time};
use super::fields::{FieldPosition, ascii, shown};
use crate::{Error, Result};
use jiff::civil::Date;
use rankstill_core::TimeUnit;
use rankstill_core::time::{UnixTime, YEARS};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The unit of times that are numbers, as an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NumberUnit {
    /// Seconds since 1970-01-01 00:00:00 UTC.
    #[serde(rename = "s")]
    Seconds,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Microseconds.
    #[serde(rename = "us")]
    Microseconds,
    /// Nanoseconds.
    #[serde(rename = "ns")]
    Nanoseconds,
    /// Minutes.
    #[serde(rename = "minutes")]
    Minutes,
    /// Hours.
    #[serde(rename = "hours")]
    Hours,
    /// Days.
    #[serde(rename = "days")]
    Days,
}

impl NumberUnit {
    /// Seconds in one of it, and decimal places below a second.
    fn parts(self) -> (i64, u32) {
        match self {
            Self::Seconds => (1, 0),
            Self::Milliseconds => (1, 3),
            Self::Microseconds => (1, 6),
            Self::Nanoseconds => (1, 9),
            Self::Minutes => (60, 0),
            Self::Hours => (3_600, 0),
            Self::Days => (86_400, 0),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Seconds => "Unix seconds",
            Self::Milliseconds => "Unix milliseconds",
            Self::Microseconds => "Unix microseconds",
            Self::Nanoseconds => "Unix nanoseconds",
            Self::Minutes => "minutes since 1970",
            Self::Hours => "hours since 1970",
            Self::Days => "days since 1970",
        }
    }
}

impl From<TimeUnit> for NumberUnit {
    fn from(unit: TimeUnit) -> Self {
        match unit {
            TimeUnit::Seconds => Self::Seconds,
            TimeUnit::Milliseconds => Self::Milliseconds,
            TimeUnit::Microseconds => Self::Microseconds,
            TimeUnit::Nanoseconds => Self::Nanoseconds,
        }
    }
}

/// Whether a field is a time and hardly anything else: a date, or a whole number between 1990 and 2100.
pub(super) fn is_time(field: &[u8], dates: &mut DateReader) -> bool {
    let text = ascii(field).unwrap_or_default();
    match text.parse::<i64>() {
        Ok(number) => TimeUnit::of_number(number).is_some(),
        Err(_) => match decimal(text) {
            Some((mantissa, decimals)) => {
                let whole = mantissa.div_euclid(10i128.pow(decimals));
                i64::try_from(whole).is_ok_and(|whole| TimeUnit::of_number(whole).is_some())
            }
            // The shortest date is `1.1.2024`.
            None => text.len() >= 8 && text.len() <= 64 && dates.read(text).is_some(),
        },
    }
}

/// The bounds of no ticks.
const EMPTY: (i64, i64) = (i64::MAX, i64::MIN);

/// What the times of one file are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileTimes {
    /// Such as `Unix seconds` or `dates (ISO 8601)`.
    pub form: String,
    pub earliest: UnixTime,
    pub latest: UnixTime,
    /// What should give a reader pause.
    pub note: Option<String>,
}

/// Times, or the ranks of rankings, which are whole numbers without a unit.
pub(crate) struct TimeColumn {
    pub ticks: Vec<i64>,
    ranks: bool,
    given: Option<NumberUnit>,
    /// Whether the options name the form of dates, so that even digits are dates.
    form_given: bool,
    dates: DateReader,
    /// Decimal places of a second that the ticks of finished files count.
    decimals: u32,
    /// The first row of the current file.
    first: usize,
    form: Form,
    /// Decimal places that the ticks of the current file count: of a second, or of the unit of its numbers.
    file_decimals: u32,
    /// The smallest and the largest tick of the current file.
    bounds: (i64, i64),
    /// The unit in the schema of the current file.
    typed: Option<NumberUnit>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    None,
    Numbers,
    Dates,
}

impl TimeColumn {
    pub(crate) fn new(options: &ReadOptions, ranks: bool) -> Result<Self> {
        let dates = DateReader::new(options.time_format.as_deref(), options.time_zone.as_deref());
        Ok(Self {
            ticks: Vec::new(),
            ranks,
            given: options.time_unit,
            form_given: options.time_format.is_some(),
            dates: dates.map_err(|problem| Error::config("time_zone", problem))?,
            decimals: 0,
            first: 0,
            form: Form::None,
            file_decimals: 0,
            bounds: EMPTY,
            typed: None,
        })
    }

    /// The schema of the file names the unit.
    pub(crate) fn set_type(&mut self, unit: NumberUnit) {
        self.typed = Some(unit);
    }

    pub(crate) fn push_text(&mut self, position: FieldPosition<'_>, field: &[u8]) -> Result<()> {
        // The usual case, without a look at anything else.
        if !self.form_given
            && let Some(number) = digits(field)
        {
            return self.push_number(position, number);
        }
        let text = ascii(field).unwrap_or_default();
        if !self.form_given {
            if let Ok(number) = text.parse::<i64>() {
                return self.push_number(position, number);
            }
            if let Some((mantissa, decimals)) = decimal(text) {
                return self.push_decimal(position, mantissa, decimals);
            }
        }
        let time = if self.ranks { None } else { self.dates.read(text) };
        let Some((seconds, nanoseconds)) = time else {
            let expected = if self.ranks { "a whole number".into() } else { self.dates.expected() };
            return Err(position.expected(&expected, shown(field)));
        };
        self.begin(position, Form::Dates)?;
        let finest = TimeUnit::ALL
            .into_iter()
            .find(|unit| i64::from(nanoseconds) % (1_000_000_000 / unit.per_second()) == 0);
        self.refine(position, finest.unwrap_or(TimeUnit::Nanoseconds).decimals())?;
        let per_second = 10i64.pow(self.file_decimals);
        let ticks = seconds.checked_mul(per_second);
        let rest = i64::from(nanoseconds) / (1_000_000_000 / per_second);
        let ticks = ticks.and_then(|ticks| ticks.checked_add(rest));
        self.push(ticks.ok_or_else(|| too_large(position))?);
        Ok(())
    }

    fn push(&mut self, tick: i64) {
        self.bounds = (self.bounds.0.min(tick), self.bounds.1.max(tick));
        self.ticks.push(tick);
    }

    pub(crate) fn push_number(&mut self, position: FieldPosition<'_>, number: i64) -> Result<()> {
        if self.form != Form::Numbers {
            self.begin(position, Form::Numbers)?;
        }
        let ticks = match self.file_decimals {
            0 => Some(number),
            decimals => number.checked_mul(10i64.pow(decimals)),
        };
        self.push(ticks.ok_or_else(|| too_large(position))?);
        Ok(())
    }

    /// Many numbers at once; `false` if they must be pushed one by one.
    pub(crate) fn push_numbers(&mut self, numbers: &[i64]) -> bool {
        let plain = self.form != Form::Dates && self.file_decimals == 0 && !numbers.is_empty();
        if plain {
            self.form = Form::Numbers;
            let (least, most) = numbers
                .iter()
                .fold(self.bounds, |(least, most), &tick| (least.min(tick), most.max(tick)));
            self.bounds = (least, most);
            self.ticks.extend_from_slice(numbers);
        }
        plain
    }

    /// A float: exactly the decimal number that it prints as.
    pub(crate) fn push_float(&mut self, position: FieldPosition<'_>, number: f64) -> Result<()> {
        match decimal(&number.to_string()) {
            Some((mantissa, decimals)) => self.push_decimal(position, mantissa, decimals),
            None => Err(position.expected("a number within 64 bits", format!("{number:?}"))),
        }
    }

    /// The number `mantissa / 10^decimals`.
    fn push_decimal(
        &mut self,
        position: FieldPosition<'_>,
        mantissa: i128,
        decimals: u32,
    ) -> Result<()> {
        let whole = mantissa % 10i128.pow(decimals) == 0;
        if self.ranks && !whole {
            return Err(position.expected("a whole number", "a fraction"));
        }
        self.begin(position, Form::Numbers)?;
        let wanted = if whole { 0 } else { decimals.div_ceil(3) * 3 };
        self.refine(position, wanted)?;
        // Both are at most 9, and the mantissa is below 10^28.
        let ticks = mantissa * 10i128.pow(self.file_decimals) / 10i128.pow(decimals);
        self.push(i64::try_from(ticks).map_err(|_| too_large(position))?);
        Ok(())
    }

    fn begin(&mut self, position: FieldPosition<'_>, form: Form) -> Result<()> {
        if self.form == Form::None {
            self.form = form;
        }
        if self.form == form {
            return Ok(());
        }
        let (expected, found) = match form {
            Form::Numbers => (self.dates.expected(), "a number"),
            _ => ("a number".into(), "a date"),
        };
        Err(position.expected(&format!("{expected}, as in the rows before"), found))
    }

    /// Makes the ticks of the current file count at least this many decimal places.
    fn refine(&mut self, position: FieldPosition<'_>, decimals: u32) -> Result<()> {
        if decimals > self.file_decimals {
            let factor = 10i64.pow(decimals - self.file_decimals);
            scale(&mut self.ticks[self.first..], factor).ok_or_else(|| too_large(position))?;
            if self.first < self.ticks.len() {
                self.bounds = (self.bounds.0 * factor, self.bounds.1 * factor);
            }
            self.file_decimals = decimals;
        }
        Ok(())
    }

    /// Finds the unit of the file's times and brings them to one with the files before.
    pub(crate) fn finish_file(&mut self, path: &Path) -> Result<Option<FileTimes>> {
        let first = std::mem::replace(&mut self.first, self.ticks.len());
        let form = std::mem::replace(&mut self.form, Form::None);
        let decimals = std::mem::take(&mut self.file_decimals);
        let typed = self.typed.take();
        let (mut least, mut most) = std::mem::replace(&mut self.bounds, EMPTY);
        if first == self.ticks.len() || self.ranks {
            return Ok(None);
        }
        let overflow = || {
            Error::file(
                path,
                "a time does not fit into 64 bits in the unit of the log; set `time_unit`, or leave the row out",
            )
        };
        let ticks = &mut self.ticks[first..];
        let mut note = None;
        let mut decimals = decimals;
        let form = match form {
            Form::Dates | Form::None => {
                format!("dates and times ({})", self.dates.form().unwrap_or("none"))
            }
            Form::Numbers => {
                let unit = match typed.or(self.given) {
                    Some(unit) => Some(unit),
                    None => evidence(path, ticks, (least, most), decimals, &mut note)?,
                };
                match unit {
                    None if decimals == 0 && days_as_digits(ticks) => {
                        // Days keep their order.
                        (least, most) = (day(least).unwrap_or(0), day(most).unwrap_or(0));
                        "dates (YYYYMMDD)".to_owned()
                    }
                    None => {
                        note = Some("the times lie between 1990 and 2100 in no unit: they are taken as seconds (`time_unit` names another)".into());
                        "numbers without a known unit".to_owned()
                    }
                    Some(unit) => {
                        let (seconds, below) = unit.parts();
                        scale(ticks, seconds).ok_or_else(overflow)?;
                        (least, most) = (least * seconds, most * seconds);
                        decimals += below;
                        if decimals > 9 {
                            let too_fine = 10i64.pow(decimals - 9);
                            ticks.iter_mut().for_each(|tick| *tick = tick.div_euclid(too_fine));
                            (least, most) = (least.div_euclid(too_fine), most.div_euclid(too_fine));
                            decimals = 9;
                        }
                        unit.name().to_owned()
                    }
                }
            }
        };
        self.dates.begin_file();
        let (earliest, latest) = (moment(least, decimals), moment(most, decimals));
        let found = FileTimes { form, earliest, latest, note };
        if decimals < self.decimals {
            scale(ticks, 10i64.pow(self.decimals - decimals)).ok_or_else(overflow)?;
        } else if decimals > self.decimals {
            let factor = 10i64.pow(decimals - self.decimals);
            scale(&mut self.ticks[..first], factor).ok_or_else(overflow)?;
            self.decimals = decimals;
        }
        Ok(Some(found))
    }

    /// The first time, or rank, of the finished files.
    pub(crate) fn first_shown(&self) -> Option<String> {
        let &first = self.ticks.first()?;
        Some(if self.ranks { first.to_string() } else { shown_time(moment(first, self.decimals)) })
    }

    /// The times in the coarsest unit that holds all of them exactly.
    pub(crate) fn into_times(mut self) -> (Vec<i64>, TimeUnit) {
        while self.decimals > 0 && self.ticks.iter().all(|tick| tick % 1_000 == 0) {
            self.ticks.iter_mut().for_each(|tick| *tick /= 1_000);
            self.decimals -= 3;
        }
        let unit = TimeUnit::ALL.into_iter().find(|unit| unit.decimals() == self.decimals);
        (self.ticks, unit.unwrap_or_default())
    }
}

/// The unit in which the numbers lie between 1990 and 2100; `None` if they do so in no unit.
fn evidence(
    path: &Path,
    ticks: &[i64],
    (least, most): (i64, i64),
    decimals: u32,
    note: &mut Option<String>,
) -> Result<Option<NumberUnit>> {
    let unit = |tick: i64| TimeUnit::of_number(tick.div_euclid(10i64.pow(decimals)));
    // The usual case, without a look at every number.
    if unit(least).is_some() && unit(least) == unit(most) {
        return Ok(unit(most).map(NumberUnit::from));
    }
    let Some(at) = ticks.iter().position(|&tick| unit(tick).is_some()) else { return Ok(None) };
    let found = unit(ticks[at]);
    let other = ticks.iter().position(|&tick| unit(tick).is_some_and(|unit| Some(unit) != found));
    if let (Some(other), Some(found)) = (other, found) {
        let problem = format!(
            "row {} is in {}, row {} in {}: the times of a file must have one unit",
            at + 1,
            NumberUnit::from(found).name(),
            other + 1,
            unit(ticks[other]).map_or("another unit", |unit| NumberUnit::from(unit).name()),
        );
        return Err(Error::file(path, problem));
    }
    let outside = |tick: &&i64| unit(**tick).is_none();
    let n_outside = ticks.iter().filter(outside).count();
    let row = ticks.iter().position(|tick| outside(&tick)).map_or(0, |row| row + 1);
    *note = Some(format!(
        "{}: {n_outside} times lie outside 1990 to 2100, the first in row {row}",
        path.display()
    ));
    Ok(found.map(NumberUnit::from))
}

/// Turns numbers like 20240131 into seconds if all are days from 1990 to 2100.
fn days_as_digits(ticks: &mut [i64]) -> bool {
    if !ticks.iter().all(|&tick| day(tick).is_some()) {
        return false;
    }
    ticks.iter_mut().for_each(|tick| *tick = day(*tick).unwrap_or_default());
    true
}

/// The day that 20240131 means, in seconds, if it is one from 1990 to 2100.
fn day(digits: i64) -> Option<i64> {
    let (year, month, day) = (digits / 10_000, digits / 100 % 100, digits % 100);
    let date = Date::new(i16::try_from(year).ok()?, month as i8, day as i8).ok()?;
    let seconds = date.duration_since(Date::constant(1970, 1, 1)).as_secs();
    YEARS.contains(&seconds).then_some(seconds)
}

/// A tick of 10^-`decimals` seconds.
fn moment(tick: i64, decimals: u32) -> UnixTime {
    let per_second = 10i64.pow(decimals);
    let rest = tick.rem_euclid(per_second) * (1_000_000_000 / per_second);
    (tick.div_euclid(per_second), rest as u32)
}

fn scale(ticks: &mut [i64], factor: i64) -> Option<()> {
    if factor > 1 {
        for tick in ticks {
            *tick = tick.checked_mul(factor)?;
        }
    }
    Some(())
}

fn too_large(position: FieldPosition<'_>) -> Error {
    position.expected("a time within 64 bits", "one beyond them")
}

/// A number of at most 18 digits, and nothing but these.
fn digits(field: &[u8]) -> Option<i64> {
    if field.is_empty() || field.len() > 18 {
        return None;
    }
    let digit = |number: i64, byte: &u8| {
        byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0'))
    };
    field.iter().try_fold(0, digit)
}

/// A decimal number as `mantissa / 10^decimals`, with at most nine decimals; further ones are cut off.
/// `None` for anything else, and for numbers far beyond 64 bits.
pub(super) fn decimal(text: &str) -> Option<(i128, u32)> {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    let n = whole.len() + fraction.len();
    if n == 0 || n > 40 || !digits().all(|byte| byte.is_ascii_digit()) || exponent.abs() > 40 {
        return None;
    }
    // The decimal point moves by the exponent; digits behind the ninth decimal are dropped.
    let point = whole.len() as i32 + exponent;
    let kept = (point + 9).clamp(0, 64) as usize;
    let mut mantissa = 0i128;
    for digit in
        digits().chain(std::iter::repeat(b'0')).take(kept.min(n.max(point.max(0) as usize)))
    {
        mantissa = mantissa.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
        if mantissa >= 10i128.pow(28) {
            return None;
        }
    }
    let taken = kept.min(n.max(point.max(0) as usize)) as i32;
    let mut decimals = (taken - point).max(0) as u32;
    while decimals > 0 && mantissa % 10 == 0 {
        mantissa /= 10;
        decimals -= 1;
    }
    Some((if negative { -mantissa } else { mantissa }, decimals))
}
