//! What a principal has come with.

use serde_json::{Value, json};

/// What stands behind a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// Nothing but what the client says.
    #[default]
    Word,
    /// A password.
    Password,
    /// A client certificate.
    Certificate,
    /// What a hook says.
    Hook,
    /// A token.
    Token(TokenMark),
}

/// By what a token is known again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TokenMark {
    /// `jti`.
    pub(crate) id: Option<String>,
    /// `chain`.
    pub(crate) chain: Option<String>,
    /// `iat` of the first of its chain, in Unix seconds; 0 when it does not say.
    pub(crate) made_at: u64,
}

impl Evidence {
    /// As records keep it.
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::Word => Value::Null,
            Self::Password => json!("password"),
            Self::Certificate => json!("certificate"),
            Self::Hook => json!("hook"),
            Self::Token(TokenMark { id, chain, made_at }) => {
                json!({ "jti": id, "chain": chain, "iat": made_at })
            }
        }
    }

    pub(crate) fn of_value(value: &Value) -> Self {
        let text = |name| value.get(name).and_then(Value::as_str).map(str::to_owned);
        match value {
            Value::String(kind) if kind == "certificate" => Self::Certificate,
            Value::String(kind) if kind == "hook" => Self::Hook,
            Value::String(_) => Self::Password,
            Value::Object(_) => Self::Token(TokenMark {
                id: text("jti"),
                chain: text("chain"),
                made_at: value.get("iat").and_then(Value::as_u64).unwrap_or_default(),
            }),
            _ => Self::Word,
        }
    }
}
