//! Several methods at once: each adds its loss to what the methods before it have made of the student's own loss. DE-RRD (Kang et
//! al., CIKM 2020) is `of = [{ kind = "de" }, { kind = "rrd" }]`; the authors of HTD combine it with RRD in the same way.
//!
//! All methods learn from the same teachers. A method that replaces the student's own loss (`het_comp`) must come first. The
//! weight that `rank_distil` gives the own loss does not apply to losses of vectors before it.

use super::DISTILLERS;
use crate::parts::settings::wrong;
use rankstill_core::registry::{Config, parse};
use rankstill_core::{Cases, Distiller, Error, Objective, Requirements, Result, Trace, UnderPath};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// The methods, in order.
pub struct Several {
    of: Vec<(&'static str, Box<dyn Distiller>)>,
}

impl Several {
    /// From a configuration.
    ///
    /// # Errors
    /// When a method is unknown, its settings are wrong, or the methods cannot be combined.
    pub fn parse(config: Config<'_>) -> Result<Self> {
        Self::read(config.value).under(config.path)
    }

    fn read(value: &Value) -> Result<Self> {
        let table = value.as_object();
        if let Some(key) = table.and_then(|table| table.keys().find(|key| *key != "of")) {
            return Err(wrong(
                key,
                "unknown; the only setting of `several` is `of`, a list of methods",
            ));
        }
        let list = table.and_then(|table| table.get("of")).and_then(Value::as_array);
        let Some(list) = list.filter(|list| !list.is_empty()) else {
            let problem = "is missing; list methods, say [{ kind = \"de\" }, { kind = \"rrd\" }]";
            return Err(wrong("of", problem));
        };
        let each = list.iter().enumerate().map(|(at, value)| {
            let (entry, method) = parse(DISTILLERS, Config { path: &format!("of[{at}]"), value })?;
            Ok((entry.name, method))
        });
        let of: Vec<(&'static str, Box<dyn Distiller>)> = each.collect::<Result<_>>()?;
        combinable(&of)?;
        Ok(Self { of })
    }
}

fn combinable(of: &[(&'static str, Box<dyn Distiller>)]) -> Result<(), Error> {
    if let Some((kind, _)) = of.iter().skip(1).find(|(_, method)| method.replaces_own_loss()) {
        let problem = format!("`{kind}` replaces the student's own loss: put it first");
        return Err(wrong("of", problem));
    }
    let candidates = |method: &dyn Distiller| method.requires().lists.candidates;
    let mut of = of.iter().filter(|(_, method)| method.requires().lists.k > 0);
    let Some((first, method)) = of.next() else { return Ok(()) };
    match of.find(|(_, other)| candidates(&**other) != candidates(&**method)) {
        None => Ok(()),
        Some((other, _)) => Err(wrong(
            "of",
            format!(
                "`{first}` and `{other}` need lists of different candidates; set `pass_over` to the same"
            ),
        )),
    }
}

impl Distiller for Several {
    /// What any of the methods needs; the longest lists.
    fn requires(&self) -> Requirements {
        let all = self.of.iter().map(|(_, method)| method.requires());
        all.reduce(|a, b| Requirements {
            lists: if b.lists.k > a.lists.k { b.lists } else { a.lists },
            trajectory: a.trajectory || b.trajectory,
            labelled_ranks: a.labelled_ranks || b.labelled_ranks,
            vectors: a.vectors || b.vectors,
            recipe: a.recipe || b.recipe,
        })
        .unwrap_or_else(|| Requirements::lists(0))
    }

    /// # Errors
    /// Those of the first method that fails.
    fn teach(
        &self,
        own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>> {
        self.of.iter().try_fold(own, |own, (_, method)| method.teach(own, cases, traces))
    }

    fn teaches_from(&self) -> Option<usize> {
        self.of.iter().filter_map(|(_, method)| method.teaches_from()).min()
    }

    fn replaces_own_loss(&self) -> bool {
        self.of.iter().any(|(_, method)| method.replaces_own_loss())
    }
}

impl Serialize for Several {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let each = self.of.iter().map(|(kind, method)| {
            let mut config = json!({"kind": kind});
            if let (Some(table), Value::Object(settings)) =
                (config.as_object_mut(), method.config())
            {
                table.extend(settings);
            }
            config
        });
        json!({"of": each.collect::<Vec<_>>()}).serialize(serializer)
    }
}
