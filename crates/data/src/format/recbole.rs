//! RecBole atomic files: a header of `name:type`, columns separated by tabs.

use super::Format;
use super::delimited::{self, Dialect, HeaderStyle};

pub(super) const FORMAT: Format = Format {
    name: "recbole",
    about: "RecBole atomic files: a header of `name:type`, columns separated by tabs",
    sniff: |head, options| {
        let delimiter = options.delimiter.unwrap_or('\t');
        let fields = std::str::from_utf8(head.first_line()).map(|line| {
            let mut fields = line.split(delimiter).map(|field| field.trim().rsplit_once(':'));
            fields.all(|field| field.is_some_and(|(_, kind)| TYPES.contains(&kind)))
        });
        fields == Ok(true)
    },
    read: |source, options, builder| {
        let delimiter = delimited::option_delimiter(options)?.unwrap_or(b'\t');
        let quoting = options.quoting.unwrap_or(false);
        delimited::read(
            source,
            options,
            builder,
            &Dialect { delimiter, quoting, header: HeaderStyle::Typed },
        )
    },
};

const TYPES: [&str; 4] = ["token", "token_seq", "float", "float_seq"];
