//! Tables of `[[mcp_servers]]` and `[[mcp_clients]]`, and what their keys may say.

use agentmq_identity::{
    About, McpClientRule, McpServerRule, Pattern, name_filter_pattern, server_name_pattern,
};
use toml::Spanned;
use toml::de::DeValue;

use crate::access_text::Reading;
use crate::error::quoted;
use crate::policy_rule::ABOUT_KEYS;
use crate::value::{Allowed, Value};

impl Reading<'_> {
    pub(crate) fn mcp_servers(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<McpServerRule> {
        let items = self.tables("mcp_servers", value);
        items.iter().filter_map(|item| self.mcp_server(item)).collect()
    }

    pub(crate) fn mcp_clients(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<McpClientRule> {
        let items = self.tables("mcp_clients", value);
        items.iter().filter_map(|item| self.mcp_client(item)).collect()
    }

    fn mcp_server(&mut self, item: &Spanned<DeValue<'_>>) -> Option<McpServerRule> {
        let table = self.mcp_table("mcp_servers", item)?;
        let (mut about, mut name) = (About::default(), None);
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "server_name" => name = Some(self.name("server_name", value, server_name_pattern)),
                other if self.about(other, value, &mut about) => {}
                other => {
                    let known = [ABOUT_KEYS, &["server_name"]].concat();
                    self.unknown(key.span().start, other, &known);
                }
            }
        }
        let Some(name) = name else {
            let why = "the rule has no server_name: write server_name = \"acme/{client_id}\"";
            self.report(item.span().start, why.into());
            return None;
        };
        Some(McpServerRule { about, server_name: name? })
    }

    fn mcp_client(&mut self, item: &Spanned<DeValue<'_>>) -> Option<McpClientRule> {
        let table = self.mcp_table("mcp_clients", item)?;
        let mut rule = McpClientRule::default();
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "server_name_filters" => {
                    let filters = self.name_filters("server_name_filters", value);
                    rule.server_name_filters = Some(filters);
                }
                "rbac" => {
                    let items = self.tables("rbac", value).iter();
                    rule.roles = Some(items.filter_map(|item| self.mcp_role(item)).collect());
                }
                other if self.about(other, value, &mut rule.about) => {}
                other => {
                    let known = [ABOUT_KEYS, &["server_name_filters", "rbac"]].concat();
                    self.unknown(key.span().start, other, &known);
                }
            }
        }
        if rule.server_name_filters.is_none() && rule.roles.is_none() {
            let why = "the rule gives nothing: write server_name_filters = [\"acme/#\"] or rbac";
            self.report(item.span().start, why.into());
        }
        Some(rule)
    }

    fn mcp_role(&mut self, item: &Spanned<DeValue<'_>>) -> Option<(Pattern, String)> {
        let Some(table) = item.get_ref().as_table() else {
            let why = "a role is a table: { server_name = \"a/#\", role_name = \"reader\" }";
            self.report(item.span().start, why.into());
            return None;
        };
        let (mut filter, mut role) = (None, None);
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "server_name" => {
                    filter = Some(self.name("server_name", value, name_filter_pattern)?);
                }
                "role_name" => role = Some(self.mcp_text("role_name", value)?),
                other => self.unknown(key.span().start, other, &["server_name", "role_name"]),
            }
        }
        for (name, is_missing) in [("server_name", filter.is_none()), ("role_name", role.is_none())]
        {
            if is_missing && self.is_right() {
                self.report(item.span().start, format!("the role has no {name}"));
            }
        }
        filter.zip(role)
    }

    fn mcp_table<'v, 't>(
        &mut self,
        list: &str,
        item: &'v Spanned<DeValue<'t>>,
    ) -> Option<&'v toml::de::DeTable<'t>> {
        let table = item.get_ref().as_table();
        if table.is_none() {
            self.report(item.span().start, format!("a rule is a table: write [[{list}]]"));
        }
        table
    }

    fn name_filters(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Vec<Pattern> {
        let texts = self.list(key, value);
        texts
            .iter()
            .filter_map(|text| self.pattern(key, value, text, name_filter_pattern))
            .collect()
    }

    fn name(
        &mut self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        parse: fn(&str) -> Result<Pattern, String>,
    ) -> Option<Pattern> {
        let text = self.mcp_text(key, value)?;
        self.pattern(key, value, &text, parse)
    }

    fn pattern(
        &mut self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        text: &str,
        parse: fn(&str) -> Result<Pattern, String>,
    ) -> Option<Pattern> {
        let offset = value.span().start;
        parse(text)
            .map_err(|why| self.report(offset, format!("{key}: {}: {why}", quoted(text))))
            .ok()
    }

    fn mcp_text(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
        match self.read(key, Allowed::Text, value)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}
