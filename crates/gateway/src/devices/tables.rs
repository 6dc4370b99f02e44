//! The tables of a file of devices, as they are written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileTable {
    pub(crate) name: Option<Spanned<String>>,
    pub(crate) description: Option<String>,
    #[serde(default)]
    pub(crate) tools: BTreeMap<Spanned<String>, ToolTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToolTable {
    pub(crate) description: Option<String>,
    pub(crate) arguments: Option<Spanned<Value>>,
    pub(crate) request: Option<RequestTable>,
    pub(crate) response: Option<Spanned<ResponseTable>>,
    pub(crate) state: Option<Spanned<StateTable>>,
    pub(crate) timeout_secs: Option<Spanned<u64>>,
    pub(crate) unit: Option<String>,
    pub(crate) annotations: Option<AnnotationsTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestTable {
    pub(crate) topic: Spanned<String>,
    pub(crate) text: Option<Spanned<String>>,
    pub(crate) json: Option<Spanned<Value>>,
    pub(crate) qos: Option<Spanned<u8>>,
    #[serde(default)]
    pub(crate) retain: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResponseTable {
    pub(crate) topic: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) correlated: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StateTable {
    pub(crate) topic: Spanned<String>,
    pub(crate) pointer: Option<Spanned<String>>,
    pub(crate) equals: Option<Spanned<String>>,
}

/// Hints in the words of MCP.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct AnnotationsTable {
    pub(crate) title: Option<String>,
    pub(crate) read_only_hint: Option<bool>,
    pub(crate) destructive_hint: Option<bool>,
    pub(crate) idempotent_hint: Option<bool>,
    pub(crate) open_world_hint: Option<bool>,
}
