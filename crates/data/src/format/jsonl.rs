//! JSON lines: an object a line. The first object's keys decide which are read; every later one must have them.

use super::fields::{Place, Roles, shown};
use super::rows::{Id, Row};
use super::{Format, ReadOptions, Rows, Source};
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::rc::Rc;

pub(super) const FORMAT: Format = Format {
    name: "jsonl",
    about: "JSON lines: an object a line, with keys such as `user_id`, `item_id`, `timestamp`, `rating`",
    sniff: |sample, _| sample.first_line().trim_ascii_start().starts_with(b"{"),
    read,
};

fn read(source: Source, options: &ReadOptions, rows: &mut Rows<'_>) -> Result<()> {
    let path = source.path().to_path_buf();
    let done = source.done();
    let mut lines = source.into_lines();
    let scale = options.time_scale.unwrap_or(1);
    let mut shape: Option<(Roles, Vec<String>)> = None;
    while let Some((line, bytes)) = lines.next()? {
        let object: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|error| Error::Line {
                path: path.clone(),
                line,
                problem: format!("expected a JSON object, found {} ({error})", shown(bytes)),
            })?;
        let (roles, names) = match &mut shape {
            Some(shape) => shape,
            none => {
                let names: Vec<String> = object.keys().cloned().collect();
                let roles = Roles::find(&path, &names, options, rows.names)?;
                rows.begin(&path, Rc::clone(&done), roles.time.is_some(), roles.weight.is_some())?;
                none.insert((roles, names))
            }
        };
        let place = |column: usize| Place { path: &path, line, column: &names[column] };
        let value = |column: usize| match object.get(&names[column]) {
            None | Some(Value::Null) => Err(place(column).expected("a value", "none")),
            Some(value) => Ok((place(column), value)),
        };
        let id = |column: usize| {
            let (place, value) = value(column)?;
            Ok::<_, Error>((place, id_text(place, value)?))
        };
        let time = roles.time.map(|column| {
            let (place, value) = value(column)?;
            match value {
                Value::String(text) => place.time(text.as_bytes(), scale),
                Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                    (Some(time), _) => place.time_of_i64(time, scale),
                    (None, Some(time)) => place.time_of_f64(time, scale),
                    _ => Err(place.expected("a time", number.to_string())),
                },
                other => Err(place.expected("a time", kind(other))),
            }
        });
        let weight = roles.weight.map(|column| {
            let (place, value) = value(column)?;
            match value {
                Value::String(text) => place.weight(text.as_bytes()),
                Value::Bool(flag) => Ok(f32::from(u8::from(*flag))),
                Value::Number(number) => place.weight_of_f64(number.as_f64().unwrap_or(f64::NAN)),
                other => Err(place.expected("a finite number", kind(other))),
            }
        });
        let (user_place, user) = id(roles.user)?;
        let (item_place, item) = id(roles.item)?;
        rows.push(&Row {
            user: Id { bytes: user.as_bytes(), place: user_place },
            item: Id { bytes: item.as_bytes(), place: item_place },
            time: time.transpose()?.unwrap_or_default(),
            weight: weight.transpose()?.unwrap_or_default(),
        })?;
    }
    Ok(())
}

fn id_text<'a>(place: Place<'_>, value: &'a Value) -> Result<Cow<'a, str>> {
    match value {
        Value::String(text) => Ok(Cow::Borrowed(text)),
        Value::Number(number) => match number.as_f64() {
            Some(id) if number.is_f64() => Ok(place.id_of_f64(id)?.to_string().into()),
            _ => Ok(number.to_string().into()),
        },
        other => Err(place.expected("an id: text or a whole number", kind(other))),
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
