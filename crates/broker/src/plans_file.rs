//! The file of plans: TOML, a table for each, whose keys are bounds, and in it a table `client`
//! with the bounds of each single client.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use agentmq_quota::{Bounds, Plan, Quantity};
use toml::de::{DeTable, DeValue};

use crate::ConfigError;
use crate::access_text::{Reading, read};
use crate::value::{Allowed, Value};

/// Plans by their names.
pub type PlansByName = BTreeMap<String, Arc<Plan>>;

/// The plans in a text, and those that are there without one; `path` is only its name in messages.
pub fn parse(text: &str, path: &Path) -> Result<PlansByName, ConfigError> {
    let mut plans = built_in();
    plans.extend(read(text, path, Reading::plans)?);
    Ok(plans)
}

/// The text that [`parse`] reads.
#[must_use]
pub fn print(plans: &PlansByName) -> String {
    let mut document = toml::Table::new();
    for (name, plan) in plans {
        let mut table = bounds_table(&plan.organization);
        let client = bounds_table(&plan.client);
        if !client.is_empty() {
            table.insert(CLIENT.into(), toml::Value::Table(client));
        }
        document.insert(name.clone(), toml::Value::Table(table));
    }
    format!("# Plans of an AgentMQ broker (access.plans).\n\n{document}")
}

/// The plans of a broker without a file of them.
pub(crate) fn built_in() -> PlansByName {
    let free = Plan::free();
    [(free.name.to_string(), Arc::new(free))].into()
}

fn bounds_table(bounds: &Bounds) -> toml::Table {
    let bound = |quantity: &Quantity| {
        let bound = i64::try_from(bounds.get(*quantity)?).unwrap_or(i64::MAX);
        Some((quantity.name().to_owned(), toml::Value::Integer(bound)))
    };
    Quantity::ALL.iter().filter_map(bound).collect()
}

impl Reading<'_> {
    fn plans(&mut self, document: &DeTable<'_>) -> PlansByName {
        let mut plans = PlansByName::new();
        for (name, value) in document {
            let Some(table) = value.get_ref().as_table() else {
                let why = "a plan is a table: write [NAME], and its bounds below";
                self.report(value.span().start, why.into());
                continue;
            };
            let name = name.get_ref().to_string();
            if name.is_empty() || name.len() > LONGEST_NAME {
                let why = format!("a plan's name has 1 to {LONGEST_NAME} bytes");
                self.report(value.span().start, why);
                continue;
            }
            let plan = self.plan(&name, table);
            plans.insert(name, Arc::new(plan));
        }
        plans
    }

    fn plan(&mut self, name: &str, table: &DeTable<'_>) -> Plan {
        let mut plan =
            Plan { name: name.into(), organization: Bounds::default(), client: Bounds::default() };
        for (key, value) in table {
            let (name, at) = (key.get_ref().as_ref(), key.span().start);
            if name != CLIENT {
                self.bound(&mut plan.organization, at, name, value, &known(true));
                continue;
            }
            let Some(client) = value.get_ref().as_table() else {
                self.report(value.span().start, "client is a table: write [PLAN.client]".into());
                continue;
            };
            for (key, value) in client {
                let (name, at) = (key.get_ref().as_ref(), key.span().start);
                self.bound(&mut plan.client, at, name, value, &known(false));
            }
        }
        plan
    }

    fn bound(
        &mut self,
        bounds: &mut Bounds,
        at: usize,
        name: &str,
        value: &toml::Spanned<DeValue<'_>>,
        known: &[&str],
    ) {
        let quantity = Quantity::ALL.iter().find(|it| it.name() == name && known.contains(&name));
        let Some(quantity) = quantity else { return self.unknown(at, name, known) };
        match BOUND.read(value.get_ref()) {
            Ok(Value::Integer(bound)) => bounds.set(*quantity, bound),
            Ok(_) => self.report(value.span().start, format!("{name} is no number")),
            Err(message) => self.report(value.span().start, format!("{name}: {message}")),
        }
    }
}

/// The keys that a plan knows, or its table for single clients, each of which has one connection
/// and one session.
fn known(is_of_organization: bool) -> Vec<&'static str> {
    let all = Quantity::ALL.iter();
    let is_one = |it: &Quantity| matches!(it, Quantity::Connections | Quantity::Sessions);
    let names = all.filter(|it| is_of_organization || !is_one(it));
    names.map(|it| it.name()).chain(is_of_organization.then_some(CLIENT)).collect()
}

const CLIENT: &str = "client";
const BOUND: Allowed = Allowed::Integer { minimum: 0, maximum: Bounds::LARGEST };
/// Bytes of a plan's name at most: it stands in every refusal.
const LONGEST_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<PlansByName, String> {
        parse(text, Path::new("p.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_plan_is_read_with_its_bounds() {
        let text = "[pro]\nmessages_per_day = 1_000_000\nconnections = 7\n\n[pro.client]\n\
                    messages_per_second = 10\n";
        let plans = parsed(text).expect("is right");
        let pro = &plans["pro"];
        assert_eq!(pro.organization.get(Quantity::MessagesPerDay), Some(1_000_000));
        assert_eq!(pro.organization.get(Quantity::Connections), Some(7));
        assert_eq!(pro.organization.get(Quantity::MessagesPerSecond), None);
        assert_eq!(pro.client.get(Quantity::MessagesPerSecond), Some(10));
        assert_eq!(*plans["free"], Plan::free(), "it is there without a word");
        assert_eq!(parsed(&print(&plans)), Ok(plans));
    }

    #[test]
    fn the_plan_that_comes_with_the_broker_can_be_another() {
        let plans = parsed("[free]\nmessages_per_day = 7\n").expect("is right");
        assert_eq!(plans["free"].organization.get(Quantity::MessagesPerDay), Some(7));
        assert_eq!(plans["free"].organization.get(Quantity::Connections), None, "whole");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, expected) in [
            ("free = 7", "p.toml:1:8: a plan is a table"),
            ("[a]\nmessages_per_dy = 1", "p.toml:2:1: `messages_per_dy` is not known here; did"),
            ("[a]\nconnections = -1", "p.toml:2:15: connections: -1 is out of range"),
            ("[a]\nconnections = 'many'", "p.toml:2:15: connections: write a whole number"),
            ("[a]\nconnections = 999999999999999", "p.toml:2:15: connections: 999999999999999"),
            ("[a]\nclient = 7", "p.toml:2:10: client is a table"),
            ("[a.client]\nconnections = 1", "p.toml:2:1: `connections` is not known here"),
            ("[a.client.client]\n", "p.toml:1:11: `client` is not known here"),
            ("['']\n", "p.toml:1:1: a plan's name has 1 to 64 bytes"),
            ("[a", "p.toml:1:"),
        ] {
            let error = parsed(text).expect_err(text);
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
