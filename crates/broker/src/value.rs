//! Setting values: their types and ranges, and how they are read from TOML or a variable and
//! written back.

use std::fmt;

use toml::de::DeValue;

use crate::error::quoted;

/// The value of a setting. Its `Display` is TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number; none is negative.
    Integer(u64),
    /// A text.
    Text(String),
    /// Texts.
    List(Vec<String>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Text(text) => f.write_str(&basic_string(text)),
            Self::List(texts) => {
                let items: Vec<_> = texts.iter().map(|text| basic_string(text)).collect();
                write!(f, "[{}]", items.join(", "))
            }
        }
    }
}

/// Which values a setting may have. Its `Display` completes "write …".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// A boolean.
    Boolean,
    /// A whole number of a range.
    Integer {
        /// The smallest.
        minimum: u64,
        /// The largest.
        maximum: u64,
    },
    /// Any text; the setting's own rules come later.
    Text,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// A list of texts.
    List,
}

impl Allowed {
    /// The value that the file has, or what is wrong with it.
    pub(crate) fn read(&self, written: &DeValue<'_>) -> Result<Value, String> {
        let value = match written {
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::String(text) => Value::Text(text.clone().into_owned()),
            DeValue::Integer(number) => {
                match u64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(value) => Value::Integer(value),
                    Err(_) if matches!(self, Self::Integer { .. }) => {
                        return Err(format!("{number} is out of range: write {self}"));
                    }
                    Err(_) => return Err(self.instead_of("a number")),
                }
            }
            DeValue::Array(items) => {
                let texts: Option<Vec<String>> =
                    items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect();
                Value::List(texts.ok_or_else(|| self.instead_of("a list with other items"))?)
            }
            DeValue::Float(_) => return Err(self.instead_of("a number with a fraction")),
            DeValue::Datetime(_) => return Err(self.instead_of("a date or time")),
            DeValue::Table(_) => return Err(self.instead_of("a table")),
        };
        self.accept(value)
    }

    /// The value that an environment variable has, or what is wrong with it. The items of a list
    /// are separated by commas.
    pub(crate) fn parse(&self, text: &str) -> Result<Value, String> {
        let value = match self {
            Self::Boolean => match text {
                "true" => Value::Boolean(true),
                "false" => Value::Boolean(false),
                _ => return Err(self.instead_of(&quoted(text))),
            },
            Self::Integer { .. } => match text.parse() {
                Ok(value) => Value::Integer(value),
                Err(_) => return Err(self.instead_of(&quoted(text))),
            },
            Self::Text | Self::Choice(_) => Value::Text(text.to_owned()),
            Self::List if text.trim().is_empty() => Value::List(Vec::new()),
            Self::List => Value::List(text.split(',').map(|item| item.trim().to_owned()).collect()),
        };
        self.accept(value)
    }

    /// Checks type and range.
    pub(crate) fn accept(&self, value: Value) -> Result<Value, String> {
        match (self, &value) {
            (Self::Boolean, Value::Boolean(_))
            | (Self::Text, Value::Text(_))
            | (Self::List, Value::List(_)) => Ok(value),
            (Self::Integer { minimum, maximum }, Value::Integer(number)) => {
                if (minimum..=maximum).contains(&number) {
                    Ok(value)
                } else {
                    Err(format!("{number} is out of range: write {self}"))
                }
            }
            (Self::Choice(choices), Value::Text(text)) => {
                if choices.contains(&text.as_str()) {
                    return Ok(value);
                }
                let near = crate::suggestion::nearest(text, choices.iter().copied());
                let near =
                    near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
                Err(format!("{} is not known: write {self}{near}", quoted(text)))
            }
            (_, Value::Boolean(_)) => Err(self.instead_of("a boolean")),
            (_, Value::Integer(_)) => Err(self.instead_of("a number")),
            (_, Value::Text(_)) => Err(self.instead_of("a text")),
            (_, Value::List(_)) => Err(self.instead_of("a list")),
        }
    }

    fn instead_of(&self, found: &str) -> String {
        format!("write {self} instead of {found}")
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("true or false"),
            Self::Integer { minimum, maximum } => {
                write!(f, "a whole number from {minimum} to {maximum}")
            }
            Self::Text => f.write_str("a text in quotes"),
            Self::Choice(choices) => {
                let quoted: Vec<_> = choices.iter().map(|choice| format!("{choice:?}")).collect();
                match quoted.as_slice() {
                    [only] => f.write_str(only),
                    _ => write!(f, "one of {}", quoted.join(", ")),
                }
            }
            Self::List => f.write_str("a list of texts in quotes"),
        }
    }
}

/// A Rust type that a setting has.
pub(crate) trait Setting: Sized {
    /// As a value.
    fn to_value(&self) -> Value;
    /// From a value; `None` when type or range do not fit, which [`Allowed`] has excluded.
    fn from_value(value: Value) -> Option<Self>;
}

impl Setting for bool {
    fn to_value(&self) -> Value {
        Value::Boolean(*self)
    }

    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Boolean(value) => Some(value),
            _ => None,
        }
    }
}

impl Setting for String {
    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }

    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Setting for std::path::PathBuf {
    fn to_value(&self) -> Value {
        Value::Text(self.to_string_lossy().into_owned())
    }

    fn from_value(value: Value) -> Option<Self> {
        String::from_value(value).map(Self::from)
    }
}

impl<T: Setting> Setting for Option<T> {
    fn to_value(&self) -> Value {
        self.as_ref().map_or_else(|| Value::Text(String::new()), Setting::to_value)
    }

    fn from_value(value: Value) -> Option<Self> {
        T::from_value(value).map(Some)
    }
}

impl Setting for Vec<String> {
    fn to_value(&self) -> Value {
        Value::List(self.clone())
    }

    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::List(texts) => Some(texts),
            _ => None,
        }
    }
}

macro_rules! integer_settings {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            fn to_value(&self) -> Value {
                Value::Integer(u64::from(*self))
            }

            fn from_value(value: Value) -> Option<Self> {
                match value {
                    Value::Integer(number) => Self::try_from(number).ok(),
                    _ => None,
                }
            }
        }
    )*};
}
integer_settings!(u16, u32, u64);

/// Gives an enum of unit variants its names in the configuration.
macro_rules! choices {
    ($type:ident { $($name:literal => $variant:ident),* $(,)? }) => {
        impl $type {
            /// The names that the configuration knows.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// Its name in the configuration.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The one of this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }

        impl $crate::value::Setting for $type {
            fn to_value(&self) -> $crate::value::Value {
                $crate::value::Value::Text(self.name().to_owned())
            }

            fn from_value(value: $crate::value::Value) -> Option<Self> {
                match value {
                    $crate::value::Value::Text(name) => Self::from_name(&name),
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use choices;

/// `text` as a TOML basic string, which may also be a key.
pub(crate) fn basic_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => {
                out.push_str(&format!("\\u{:04X}", u32::from(control)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: Allowed = Allowed::Integer { minimum: 1, maximum: 65_535 };

    fn read(allowed: &Allowed, text: &str) -> Result<Value, String> {
        allowed.read(DeValue::parse(text).unwrap().get_ref())
    }

    #[test]
    fn the_file_s_values_are_read_by_type() {
        assert_eq!(read(&Allowed::Boolean, "true"), Ok(Value::Boolean(true)));
        assert_eq!(read(&PORT, "1_883"), Ok(Value::Integer(1883)));
        assert_eq!(read(&PORT, "0xFFFF"), Ok(Value::Integer(65_535)));
        assert_eq!(read(&PORT, "+7"), Ok(Value::Integer(7)));
        assert_eq!(read(&Allowed::Text, "'a'"), Ok(Value::Text("a".into())));
        assert_eq!(
            read(&Allowed::List, "['a', 'b']"),
            Ok(Value::List(vec!["a".into(), "b".into()]))
        );
    }

    #[test]
    fn a_wrong_value_is_told_what_is_allowed() {
        for (allowed, text, message) in [
            (PORT, "0", "0 is out of range: write a whole number from 1 to 65535"),
            (PORT, "-1", "-1 is out of range: write a whole number from 1 to 65535"),
            (PORT, "0x1_0000", "65536 is out of range: write a whole number from 1 to 65535"),
            (PORT, "'1883'", "write a whole number from 1 to 65535 instead of a text"),
            (
                PORT,
                "1.5",
                "write a whole number from 1 to 65535 instead of a number with a fraction",
            ),
            (PORT, "{}", "write a whole number from 1 to 65535 instead of a table"),
            (PORT, "1979-05-27", "write a whole number from 1 to 65535 instead of a date or time"),
            (Allowed::Boolean, "1", "write true or false instead of a number"),
            (Allowed::Boolean, "-1", "write true or false instead of a number"),
            (Allowed::Text, "true", "write a text in quotes instead of a boolean"),
            (Allowed::List, "'a'", "write a list of texts in quotes instead of a text"),
            (
                Allowed::List,
                "[1]",
                "write a list of texts in quotes instead of a list with other items",
            ),
            (
                Allowed::Choice(&["json", "text"]),
                "'jsno'",
                "`jsno` is not known: write one of \"json\", \"text\"; did you mean \"json\"?",
            ),
        ] {
            assert_eq!(read(&allowed, text), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn the_environment_s_values_are_read_by_what_is_allowed() {
        assert_eq!(Allowed::Boolean.parse("true"), Ok(Value::Boolean(true)));
        assert_eq!(PORT.parse("1883"), Ok(Value::Integer(1883)));
        assert_eq!(Allowed::Text.parse("1883"), Ok(Value::Text("1883".into())));
        assert_eq!(Allowed::List.parse(""), Ok(Value::List(vec![])));
        assert_eq!(Allowed::List.parse("a, b"), Ok(Value::List(vec!["a".into(), "b".into()])));
        for wrong in ["", "yes", "1.5", "-1", "99999999999999999999999"] {
            assert!(PORT.parse(wrong).is_err(), "{wrong}");
            assert!(Allowed::Boolean.parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_printed_is_read_again() {
        for text in ["", "a\"b\\c", "\n\r\t\u{1}\u{7f}\u{85}", "é…", "'''\"\"\""] {
            let value = Value::Text(text.to_owned());
            assert_eq!(read(&Allowed::Text, &value.to_string()), Ok(value));
        }
        let value = Value::Integer(u64::MAX);
        let any = Allowed::Integer { minimum: 0, maximum: u64::MAX };
        assert_eq!(read(&any, &value.to_string()), Ok(value));
    }
}
