//! JSON: one object per line, or one array of objects, or objects over several lines. The keys of the first
//! object decide which are read; every later object must have them.

use super::fields::{FieldPosition, shown};
use super::log_builder::RawId;
use super::roles::Roles;
use super::table::{Kept, layout};
use super::{LogBuilder, OpenFile, ReadOptions};
use crate::{Error, Result};
use serde::de::{DeserializeSeed, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::io::BufReader;
use std::path::PathBuf;

type Object = Map<String, Value>;

/// One object per line.
pub(super) fn read_lines(
    source: OpenFile,
    options: &ReadOptions,
    builder: &mut LogBuilder<'_>,
    keys: &[(String, String)],
) -> Result<()> {
    let mut rows = JsonRows::new("jsonl", &source, options, builder, keys);
    let path = source.path().to_path_buf();
    let mut lines = source.into_lines();
    while let Some((line, bytes)) = lines.next()? {
        let object = serde_json::from_slice(bytes).map_err(|error| Error::Line {
            path: path.clone(),
            line,
            problem: format!("expected a JSON object, found {} ({error})", shown(bytes)),
        })?;
        rows.push(line, &object)?;
    }
    rows.builder.end(&path)
}

/// An array of objects, or objects one after the other. Errors count the objects, from 1.
pub(super) fn read_values(
    source: OpenFile,
    options: &ReadOptions,
    builder: &mut LogBuilder<'_>,
    keys: &[(String, String)],
) -> Result<()> {
    let mut rows = JsonRows::new("json", &source, options, builder, keys);
    let path = source.path().to_path_buf();
    let array = source.head().bytes.trim_ascii_start().starts_with(b"[");
    let text = BufReader::new(source.into_text());
    let mut parser = serde_json::Deserializer::from_reader(text);
    let broken = |error: serde_json::Error| {
        let what = if array { "a JSON array of objects" } else { "JSON objects" };
        let problem = format!("expected {what}, found {error}");
        Error::Line { path: path.clone(), line: error.line() as u64, problem }
    };
    if array {
        let mut failed = None;
        let read = ArrayOf { rows: &mut rows, failed: &mut failed }.deserialize(&mut parser);
        if let Some(error) = failed {
            return Err(error);
        }
        read.and_then(|()| parser.end()).map_err(broken)?;
    } else {
        let mut line = 0;
        for object in parser.into_iter::<Object>() {
            line += 1;
            rows.push(line, &object.map_err(broken)?)?;
        }
    }
    rows.builder.end(&path)
}

/// Pushes the objects of an array one by one, without holding the array.
struct ArrayOf<'r, 'a, 'b> {
    rows: &'r mut JsonRows<'a, 'b>,
    failed: &'r mut Option<Error>,
}

impl<'de> DeserializeSeed<'de> for ArrayOf<'_, '_, '_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ArrayOf<'_, '_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of objects")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        let mut at = 0;
        while let Some(object) = array.next_element::<Object>()? {
            at += 1;
            if let Err(error) = self.rows.push(at, &object) {
                *self.failed = Some(error);
                return Err(serde::de::Error::custom("a row cannot be read"));
            }
        }
        Ok(())
    }
}

/// Turns objects into rows.
struct JsonRows<'a, 'b> {
    format: &'static str,
    path: PathBuf,
    done: std::rc::Rc<std::cell::Cell<u64>>,
    options: &'a ReadOptions,
    builder: &'a mut LogBuilder<'b>,
    keys: &'a [(String, String)],
    shape: Option<(Roles, Vec<String>, Kept)>,
}

impl<'a, 'b> JsonRows<'a, 'b> {
    fn new(
        format: &'static str,
        source: &OpenFile,
        options: &'a ReadOptions,
        builder: &'a mut LogBuilder<'b>,
        keys: &'a [(String, String)],
    ) -> Self {
        let (path, done) = (source.path().to_path_buf(), source.done());
        Self { format, path, done, options, builder, keys, shape: None }
    }

    fn push(&mut self, line: u64, object: &Object) -> Result<()> {
        if self.shape.is_none() {
            self.begin(object)?;
        }
        let Some((roles, names, kept)) = &self.shape else { return Ok(()) };
        let (path, n) = (&self.path, names.len() - self.keys.len());
        let position = |column: usize| FieldPosition { path, line, column: &names[column] };
        let value = |column: usize| match column.checked_sub(n) {
            Some(key) => {
                Ok((position(column), Cow::Owned(Value::String(self.keys[key].1.clone()))))
            }
            None => match object.get(&names[column]) {
                None | Some(Value::Null) => Err(position(column).expected("a value", "nothing")),
                Some(value) => Ok((position(column), Cow::Borrowed(value))),
            },
        };
        let text = |column: usize| match value(column) {
            Ok((_, value)) => match &*value {
                Value::String(text) => Cow::Owned(text.clone().into_bytes()),
                other => Cow::Owned(other.to_string().into_bytes()),
            },
            Err(_) => Cow::Borrowed(&b""[..]),
        };
        if !kept.is_empty() && !kept.keeps(text) {
            self.builder.left_out += 1;
            return Ok(());
        }
        let id = |column: usize| {
            let (position, value) = value(column)?;
            let text = match value {
                Cow::Borrowed(value) => id_text(position, value)?,
                Cow::Owned(value) => Cow::Owned(id_text(position, &value)?.into_owned()),
            };
            Ok::<_, Error>((position, text))
        };
        let (user_position, user) = id(roles.user)?;
        let (item_position, item) = id(roles.item)?;
        if let Some((column, times)) = roles.time.zip(self.builder.times.as_mut()) {
            let (position, value) = value(column)?;
            match &*value {
                Value::String(text) => times.push_text(position, text.as_bytes())?,
                Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                    (Some(time), _) => times.push_number(position, time)?,
                    (None, Some(time)) => times.push_float(position, time)?,
                    _ => return Err(position.expected("a time", number.to_string())),
                },
                other => return Err(position.expected("a time", kind(other))),
            }
        }
        if let Some((column, weights)) = roles.weight.zip(self.builder.weights.as_mut()) {
            let (position, value) = value(column)?;
            match &*value {
                Value::String(text) => weights.push_text(position, text.as_bytes())?,
                Value::Bool(flag) => weights.push_int(i64::from(*flag)),
                Value::Number(number) => match number.as_f64() {
                    // Through the text, so that a 32-bit weight is rounded once, as in other formats.
                    Some(_) => weights.push_text(position, number.to_string().as_bytes())?,
                    None => return Err(position.expected("a finite number", number.to_string())),
                },
                other => return Err(position.expected("a finite number", kind(other))),
            }
        }
        self.builder.push_ids(
            &RawId { bytes: user.as_bytes(), position: user_position },
            &RawId { bytes: item.as_bytes(), position: item_position },
        )
    }

    fn begin(&mut self, first: &Object) -> Result<()> {
        let mut names: Vec<String> = first.keys().cloned().collect();
        names.extend(self.keys.iter().map(|(key, _)| key.clone()));
        let purpose = self.builder.aliases.purpose;
        let roles = Roles::find(&self.path, &names, self.options, self.builder.aliases)?;
        let kept = Kept::find(&self.path, &names, &roles, self.options)?;
        self.builder.note_kinds(&names);
        let layout = layout(self.format, &names, &roles, purpose);
        self.builder.begin(&self.path, self.done.clone(), layout)?;
        self.shape = Some((roles, names, kept));
        Ok(())
    }
}

fn id_text<'a>(position: FieldPosition<'_>, value: &'a Value) -> Result<Cow<'a, str>> {
    match value {
        Value::String(text) => Ok(Cow::Borrowed(text)),
        Value::Number(number) => match number.as_f64() {
            Some(id) if number.is_f64() => Ok(position.id_of_f64(id)?.to_string().into()),
            _ => Ok(number.to_string().into()),
        },
        other => Err(position.expected("an id: text or a whole number", kind(other))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
