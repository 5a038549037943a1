//! JSON lines: one object per line. The keys of the first object decide which are read; every later object
//! must have them.

use super::fields::{FieldPosition, Roles, shown};
use super::log_builder::{LogRow, RawId};
use super::{Format, LogBuilder, OpenFile, ReadOptions};
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::rc::Rc;

pub(super) const FORMAT: Format = Format {
    name: "jsonl",
    about: "JSON lines: one object per line, with keys such as `user_id`, `item_id`, `timestamp`, `rating`",
    sniff: |head, _| head.first_line().trim_ascii_start().starts_with(b"{"),
    read,
};

fn read(source: OpenFile, options: &ReadOptions, builder: &mut LogBuilder<'_>) -> Result<()> {
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
                let roles = Roles::find(&path, &names, options, builder.aliases)?;
                builder.begin(
                    &path,
                    Rc::clone(&done),
                    roles.time.is_some(),
                    roles.weight.is_some(),
                )?;
                none.insert((roles, names))
            }
        };
        let position = |column: usize| FieldPosition { path: &path, line, column: &names[column] };
        let value = |column: usize| match object.get(&names[column]) {
            None | Some(Value::Null) => Err(position(column).expected("a value", "nothing")),
            Some(value) => Ok((position(column), value)),
        };
        let id = |column: usize| {
            let (position, value) = value(column)?;
            Ok::<_, Error>((position, id_text(position, value)?))
        };
        let time = roles.time.map(|column| {
            let (position, value) = value(column)?;
            match value {
                Value::String(text) => position.time(text.as_bytes(), scale),
                Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                    (Some(time), _) => position.time_of_i64(time, scale),
                    (None, Some(time)) => position.time_of_f64(time, scale),
                    _ => Err(position.expected("a time", number.to_string())),
                },
                other => Err(position.expected("a time", kind(other))),
            }
        });
        let weight = roles.weight.map(|column| {
            let (position, value) = value(column)?;
            match value {
                Value::String(text) => position.weight(text.as_bytes()),
                Value::Bool(flag) => Ok(f32::from(u8::from(*flag))),
                Value::Number(number) => {
                    position.weight_of_f64(number.as_f64().unwrap_or(f64::NAN))
                }
                other => Err(position.expected("a finite number", kind(other))),
            }
        });
        let (user_position, user) = id(roles.user)?;
        let (item_position, item) = id(roles.item)?;
        builder.push(&LogRow {
            user: RawId { bytes: user.as_bytes(), position: user_position },
            item: RawId { bytes: item.as_bytes(), position: item_position },
            time: time.transpose()?.unwrap_or_default(),
            weight: weight.transpose()?.unwrap_or_default(),
        })?;
    }
    Ok(())
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
