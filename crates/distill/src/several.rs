//! Several methods at once: each teaches beside what the ones before it made of the student's own loss. DE-RRD (Kang et al., CIKM
//! 2020) is `of = [{ kind = "de" }, { kind = "rrd" }]`; the authors of HTD likewise put it under RRD.
//!
//! All learn from the same teachers. A method that takes the place of the own loss (`het_comp`) comes first. The weight that
//! `rank_distil` gives the own loss is not that of a loss of vectors under it.

use crate::DISTILLERS;
use crate::settings::wrong;
use rankstill_core::registry::{Config, parse};
use rankstill_core::{Cases, Distiller, Objective, Requirements, Result, Trace};
use serde_json::{Value, json};

/// The methods, in their order.
pub struct Several {
    of: Vec<(&'static str, Box<dyn Distiller>)>,
}

impl Several {
    /// From a configuration.
    ///
    /// # Errors
    /// When a method is unknown, its settings are wrong, or the methods want lists of different things.
    pub fn parse(config: Config<'_>) -> Result<Self> {
        let path = config.path;
        let table = config.value.as_object();
        if let Some(key) = table.and_then(|table| table.keys().find(|key| *key != "of")) {
            let problem = "unknown; `several` takes `of` alone, a list of methods".into();
            return Err(wrong(path, key, problem));
        }
        let list = table.and_then(|table| table.get("of")).and_then(Value::as_array);
        let Some(list) = list.filter(|list| !list.is_empty()) else {
            let problem = "is missing; list methods, say [{ kind = \"de\" }, { kind = \"rrd\" }]";
            return Err(wrong(path, "of", problem.into()));
        };
        let each = list.iter().enumerate().map(|(at, value)| {
            let path = crate::settings::key(path, &format!("of[{at}]"));
            let (entry, distiller) = parse(DISTILLERS, Config { path: &path, value })?;
            Ok((entry.name, distiller))
        });
        let of: Vec<(&'static str, Box<dyn Distiller>)> = each.collect::<Result<_>>()?;
        if of.iter().skip(1).any(|(kind, _)| *kind == "het_comp") {
            let problem = "`het_comp` takes the place of the student's own loss: put it first";
            return Err(wrong(path, "of", problem.into()));
        }
        let mut wanted = of.iter().filter(|(_, one)| one.requires().lists.k > 0);
        if let Some((first, one)) = wanted.next() {
            let other = wanted.find(|(_, other)| {
                other.requires().lists.candidates != one.requires().lists.candidates
            });
            if let Some((other, _)) = other {
                let problem = format!(
                    "`{first}` and `{other}` want lists of different things; set `pass_over` so that they do not"
                );
                return Err(wrong(path, "of", problem));
            }
        }
        Ok(Self { of })
    }
}

impl Distiller for Several {
    /// The longest.
    fn requires(&self) -> Requirements {
        let all = self.of.iter().map(|(_, one)| one.requires());
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
    /// What the first one of them says that fails.
    fn teach(
        &self,
        own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>> {
        self.of.iter().try_fold(own, |own, (_, one)| one.teach(own, cases, traces))
    }

    fn config(&self) -> Value {
        let each = self.of.iter().map(|(kind, one)| {
            let mut config = json!({"kind": kind});
            if let (Some(table), Value::Object(settings)) = (config.as_object_mut(), one.config()) {
                table.extend(settings);
            }
            config
        });
        json!({"of": each.collect::<Vec<_>>()})
    }
}
