//! Who has which plan: what `access.plans`, `access.default_plan` and the file of organisations
//! come to.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentmq_quota::Plans;

use crate::config_file::read_at_most;
use crate::error::{Findings, quoted};
use crate::plans_file::{PlansByName, built_in, parse};
use crate::suggestion::nearest;
use crate::{AccessConfig, ConfigError, Place};

impl AccessConfig {
    /// The plans that an organisation may have, by their names.
    pub fn load_plans(&self) -> Result<PlansByName, ConfigError> {
        if self.plans.as_os_str().is_empty() {
            return Ok(built_in());
        }
        parse(&read_at_most(&self.plans, LONGEST_FILE)?, &self.plans)
    }

    /// Who has which, with the plans of the file of organisations, whose names are known.
    pub(crate) fn assign_plans(
        &self,
        by_name: &PlansByName,
        of_organizations: BTreeMap<String, String>,
    ) -> Result<Plans, ConfigError> {
        let plan = |name: &str| by_name.get(name).map(Arc::clone);
        let of = of_organizations.into_iter();
        let of = of.filter_map(|(organization, name)| Some((organization, plan(&name)?))).collect();
        if self.default_plan.is_empty() {
            return Ok(Plans { of, default: None });
        }
        let default = plan(&self.default_plan);
        if default.is_none() {
            let mut findings = Findings::default();
            let place = || Place::Key("access.default_plan".into());
            findings.report(place, || no_plan(&self.default_plan, by_name));
            findings.into_result()?;
        }
        Ok(Plans { of, default })
    }
}

/// What to say of a plan that there is not.
pub(crate) fn no_plan(name: &str, by_name: &PlansByName) -> String {
    let near = nearest(name, by_name.keys().map(String::as_str));
    let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    format!("there is no plan {} (access.plans){near}", quoted(name))
}

/// Bytes of the file at most.
const LONGEST_FILE: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(default: &str, of: &[(&str, &str)]) -> Result<Plans, String> {
        let config = AccessConfig { default_plan: default.into(), ..AccessConfig::default() };
        let by_name = config.load_plans().expect("no file");
        let of = of.iter().map(|(organization, plan)| ((*organization).into(), (*plan).into()));
        config.assign_plans(&by_name, of.collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_word_nobody_has_a_plan() {
        assert_eq!(assigned("", &[]), Ok(Plans::default()));
    }

    #[test]
    fn an_organisation_has_its_own_plan_or_the_default_one() {
        let plans = assigned("free", &[("acme", "free")]).expect("is right");
        assert_eq!(plans.of.keys().collect::<Vec<_>>(), ["acme"]);
        assert!(plans.default.is_some_and(|plan| &*plan.name == "free"));
    }

    #[test]
    fn a_default_plan_that_there_is_not_is_an_error() {
        let expected =
            "access.default_plan: there is no plan `fre` (access.plans); did you mean `free`?";
        assert_eq!(assigned("fre", &[]), Err(expected.into()));
    }
}
