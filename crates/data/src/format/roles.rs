//! Which column is the user, the item, the time and the weight: by the options, by common names, or, without
//! a header, by what the columns hold.

use super::ReadOptions;
use super::date_time::DateReader;
use super::fields::ascii;
use super::times::is_time;
use super::understood::Purpose;
use crate::{Error, Result, error::listed};
use std::path::Path;

/// Common names of columns, compared without case, `_`, `-`, blanks and quotes. The first name that exists is
/// used.
pub(crate) struct ColumnAliases {
    pub(crate) purpose: Purpose,
    pub(crate) user: &'static [&'static str],
    pub(crate) item: &'static [&'static str],
    pub(crate) time: &'static [&'static str],
    /// One list after the other.
    pub(crate) weight: &'static [&'static [&'static str]],
}

const USER: &[&str] = &[
    "userid",
    "user",
    "uid",
    "useridx",
    "userindex",
    "usernumber",
    "username",
    "reviewerid",
    "customerid",
    "customer",
    "visitorid",
    "memberid",
    "clientid",
    "accountid",
    "profileid",
    "playerid",
    "deviceid",
    "query",
    "queryid",
    "qid",
    "sessionid",
    "session",
];
pub(super) const ITEM: &[&str] = &[
    "itemid",
    "item",
    "iid",
    "itemidx",
    "itemindex",
    "itemnumber",
    "movieid",
    "movie",
    "productid",
    "parentasin",
    "asin",
    "trackid",
    "songid",
    "artistid",
    "bookid",
    "isbn",
    "articleid",
    "clickarticleid",
    "newsid",
    "businessid",
    "gmapid",
    "locationid",
    "poiid",
    "venueid",
    "placeid",
    "videoid",
    "photoid",
    "recipeid",
    "animeid",
    "gameid",
    "appid",
    "courseid",
    "contentid",
    "goodsid",
    "skuid",
    "sku",
    "stockcode",
    "docid",
    "documentid",
    "product",
];

const WEIGHT: &[&str] = &[
    "rating",
    "weight",
    "count",
    "score",
    "value",
    "stars",
    "overall",
    "bookrating",
    "userrating",
    "plays",
    "playcount",
    "listencount",
    "frequency",
    "quantity",
    "watchratio",
    "label",
];
const GRADE: &[&str] = &["grade", "relevance", "rel"];

/// For interaction logs.
pub(crate) static LOG_ALIASES: ColumnAliases = ColumnAliases {
    purpose: Purpose::Log,
    user: USER,
    item: ITEM,
    time: &[
        "timestamp",
        "time",
        "ts",
        "datetime",
        "unixtime",
        "unixtimestamp",
        "unixreviewtime",
        "eventtime",
        "eventtimestamp",
        "timestampms",
        "timems",
        "utctime",
        "utctimestamp",
        "checkintime",
        "clicktimestamp",
        "createdat",
        "updatedat",
        "invoicedate",
        "date",
        "reviewtime",
        "eventdate",
    ],
    weight: &[WEIGHT],
};

/// For rankings: the rank is read as a time, the score as a weight.
pub(crate) static RANKING_ALIASES: ColumnAliases = ColumnAliases {
    purpose: Purpose::Rankings,
    user: USER,
    item: ITEM,
    time: &["rank", "position"],
    weight: &[&["score", "prediction"]],
};

/// For pairs of users and items, which have no other columns.
pub(crate) static PAIR_ALIASES: ColumnAliases =
    ColumnAliases { purpose: Purpose::Pairs, user: USER, item: ITEM, time: &[], weight: &[] };

/// For test interactions with grades, which need no time.
pub(crate) static GRADED_ALIASES: ColumnAliases = ColumnAliases {
    purpose: Purpose::Judgements,
    user: USER,
    item: ITEM,
    time: &[],
    weight: &[GRADE, WEIGHT],
};

/// Columns that say what kind of event a row is, for a hint.
const KINDS: &[&str] =
    &["event", "eventtype", "behavior", "behaviortype", "action", "actiontype", "interactiontype"];

/// The indices of the columns. One column has one role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Roles {
    pub(crate) user: usize,
    pub(crate) item: usize,
    pub(crate) time: Option<usize>,
    pub(crate) weight: Option<usize>,
}

impl Roles {
    /// Finds the columns by the names or positions in the options, otherwise by common names.
    pub(crate) fn find<S: AsRef<str>>(
        path: &Path,
        header: &[S],
        options: &ReadOptions,
        aliases: &ColumnAliases,
    ) -> Result<Self> {
        let header: Vec<&str> = header.iter().map(AsRef::as_ref).collect();
        let named = Named::find(path, &header, options)?;
        let plain: Vec<String> = header.iter().map(|name| normal(name)).collect();
        let mut taken = named.taken();
        let mut common = |named: Option<Option<usize>>, names: &[&str]| match named {
            Some(named) => named,
            None => {
                let find = |name: &&str| {
                    let free = |&at: &usize| plain[at] == *name && !taken.contains(&at);
                    (0..plain.len()).find(free)
                };
                let found = names.iter().find_map(find);
                taken.extend(found);
                found
            }
        };
        let needed = |role: &str, at: Option<usize>| {
            at.ok_or_else(|| Error::NoColumn {
                path: path.to_path_buf(),
                wanted: format!(
                    "column with a common name for the {role} (name it with `columns.{role}`, or set `header = false`)"
                ),
                existing: listed(&header),
            })
        };
        // With kinds, the weight column is the one that holds them.
        let kinds = !options.weights.is_empty();
        let weight = if kinds { KINDS.to_vec() } else { aliases.weight.concat() };
        let roles = Self {
            user: needed("user", common(named.user, aliases.user))?,
            item: needed("item", common(named.item, aliases.item))?,
            time: common(named.time, aliases.time),
            weight: common(named.weight, &weight),
        };
        if kinds && roles.weight.is_none() {
            let problem =
                "no column with a common name for the kind of event; name it with `columns.weight`";
            return Err(Error::config("weights", problem));
        }
        // Only the columns that are used must be unambiguous.
        let used = [Some(roles.user), Some(roles.item), roles.time, roles.weight];
        for name in used.into_iter().flatten().map(|at| header[at]) {
            if header.iter().filter(|&&other| other == name).count() > 1 {
                let problem =
                    format!("two columns are called `{name}`; the columns are {}", listed(&header));
                return Err(Error::Line { path: path.to_path_buf(), line: 1, problem });
            }
        }
        Ok(roles)
    }

    /// Without a header: the positions in the options; if there are none, the first two columns are user and
    /// item, and time and weight are told by what the other columns hold.
    pub(crate) fn by_content(
        path: &Path,
        names: &[String],
        options: &ReadOptions,
        columns: &[Content],
        purpose: Purpose,
    ) -> Result<Self> {
        let header: Vec<&str> = names.iter().map(String::as_str).collect();
        let named = Named::find(path, &header, options)?;
        let mut taken = named.taken();
        let mut needed = |role: &str, named: Option<Option<usize>>| match named.flatten() {
            Some(at) => Ok(at),
            None => {
                let free = (0..header.len()).find(|at| !taken.contains(at));
                taken.extend(free);
                free.ok_or_else(|| Error::NoColumn {
                    path: path.to_path_buf(),
                    wanted: format!("column left for the {role}"),
                    existing: listed(&header),
                })
            }
        };
        let (user, item) = (needed("user", named.user)?, needed("item", named.item)?);
        let mut roles =
            Self { user, item, time: named.time.flatten(), weight: named.weight.flatten() };
        let weighed = matches!(purpose, Purpose::Log | Purpose::Judgements);
        if !weighed || !named.taken().is_empty() {
            return Ok(roles);
        }
        let free: Vec<usize> = (0..columns.len()).filter(|&at| at != user && at != item).collect();
        let time = free.iter().copied().find(|&at| columns[at].time);
        if named.time.is_none() && purpose == Purpose::Log {
            roles.time = time;
        }
        // In wider tables a number may be anything.
        if named.weight.is_none() && columns.len() <= 4 {
            let is_weight = |at: &usize| columns[*at].number && Some(*at) != time;
            roles.weight = free.iter().copied().find(is_weight);
        }
        Ok(roles)
    }
}

/// The columns that the options name: `None` if a role is not mentioned, `Some(None)` if it is turned off.
struct Named {
    user: Option<Option<usize>>,
    item: Option<Option<usize>>,
    time: Option<Option<usize>>,
    weight: Option<Option<usize>>,
}

impl Named {
    fn find(path: &Path, header: &[&str], options: &ReadOptions) -> Result<Self> {
        let find = |role: &str, wanted: &Option<String>| match wanted.as_deref() {
            None => Ok(None),
            Some("") => Ok(Some(None)),
            Some(wanted) => column(path, header, role, wanted).map(|at| Some(Some(at))),
        };
        let wanted = &options.columns;
        let named = Self {
            user: find("user", &wanted.user)?,
            item: find("item", &wanted.item)?,
            time: find("time", &wanted.time)?,
            weight: find("weight", &wanted.weight)?,
        };
        let taken = named.taken();
        if let Some(at) = (1..taken.len()).find(|&at| taken[..at].contains(&taken[at])) {
            let problem = format!("column `{}` is named for two roles", header[taken[at]]);
            return Err(Error::config("columns", problem));
        }
        Ok(named)
    }

    fn taken(&self) -> Vec<usize> {
        let all = [self.user, self.item, self.time, self.weight];
        all.into_iter().flatten().flatten().collect()
    }
}

/// The column of this name, or at this position, counted from 1.
pub(crate) fn column(path: &Path, header: &[&str], role: &str, wanted: &str) -> Result<usize> {
    let by_name = header.iter().position(|&name| name == wanted);
    let by_position = || wanted.parse().ok().filter(|at| (1..=header.len()).contains(at));
    by_name.or_else(|| by_position().map(|at: usize| at - 1)).ok_or_else(|| Error::NoColumn {
        path: path.to_path_buf(),
        wanted: format!("column `{wanted}` ({role})"),
        existing: listed(header),
    })
}

/// Whether a header with these names has a user and an item column.
pub(crate) fn is_header<'a>(
    names: impl Iterator<Item = &'a [u8]> + Clone,
    options: &ReadOptions,
) -> bool {
    let has = |wanted: &Option<String>, common: &[&str]| {
        // A position says nothing about names.
        let wanted = wanted.as_deref().filter(|wanted| wanted.parse::<usize>().is_err());
        names.clone().any(|name| {
            let name = name.trim_ascii();
            let name = name.strip_prefix(b"\"").and_then(|n| n.strip_suffix(b"\"")).unwrap_or(name);
            match wanted {
                Some(wanted) => name == wanted.as_bytes(),
                None => std::str::from_utf8(name)
                    .is_ok_and(|name| common.contains(&normal(name).as_str())),
            }
        })
    };
    has(&options.columns.user, USER) && has(&options.columns.item, ITEM)
}

/// The column that says what kind of event a row is, if a header has one.
pub(crate) fn kind_column<S: AsRef<str>>(header: &[S]) -> Option<usize> {
    header.iter().position(|name| KINDS.contains(&normal(name.as_ref()).as_str()))
}

pub(super) fn normal(name: &str) -> String {
    let significant =
        name.chars().filter(|c| !matches!(c, '_' | '-' | '"' | '.') && !c.is_whitespace());
    significant.flat_map(char::to_lowercase).collect()
}

/// What the fields of a column can be, by the lines looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// Dates, or numbers between 1990 and 2100 in one unit of time: all of them.
    pub(crate) time: bool,
    /// Numbers.
    pub(crate) number: bool,
    /// Whole numbers.
    pub(crate) whole: bool,
    /// Words with a digit, as ids are.
    pub(crate) word: bool,
}

impl Content {
    pub(crate) fn of<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut n, mut wholes, mut numbers, mut words) = (0, 0, 0, 0);
        let mut times = true;
        let mut dates = DateReader::iso_or_known();
        for field in fields {
            n += 1;
            let text = ascii(field).unwrap_or_default();
            times = times && is_time(field, &mut dates);
            let whole = text.strip_suffix(".0").unwrap_or(text).parse::<i64>().is_ok();
            wholes += usize::from(whole);
            numbers += usize::from(text.parse::<f64>().is_ok_and(f64::is_finite));
            words += usize::from(is_id_like(text));
        }
        // One wrong field among many is an error for the reader to name, not another kind of column.
        let nearly = |found: usize| found > 0 && found * 20 >= n * 19;
        Self {
            time: times && n > 0,
            number: nearly(numbers),
            whole: nearly(wholes),
            word: nearly(words),
        }
    }

    /// Whether ids can look like this.
    pub(crate) fn is_id(self) -> bool {
        self.whole || (self.word && !self.number)
    }
}

/// One word of letters and digits, with a digit: `B00X4WHP5E`, `user_000001`, `550e8400-e29b`.
fn is_id_like(text: &str) -> bool {
    let letter = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b':' | b'.' | b'@' | b'+' | b'/' | b'=')
    };
    text.bytes().all(letter) && text.bytes().any(|byte| byte.is_ascii_digit())
}
