//! `tests/foreign/manifest.toml`: which foreign client does what, and how long it may take.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// One run of a foreign client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    pub name: String,
    pub runtime: ClientRuntime,
    /// Program and arguments, with `{host}`, `{port}`, `{ws_port}`, `{scratch}` and `{agentmq}` in
    /// them.
    pub command: Vec<String>,
    /// Debian packages that bring the programs it uses.
    pub debian: Vec<String>,
    pub limit: Duration,
}

/// What a scenario runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientRuntime {
    /// Python with paho-mqtt 1.
    PythonPaho1,
    Python,
    Node,
    Shell,
    Cargo,
}

/// What the placeholders stand for.
#[derive(Debug)]
pub struct Places<'a> {
    pub host: &'a str,
    pub port: u16,
    pub ws_port: u16,
    pub scratch: &'a str,
    /// The program under test.
    pub agentmq: &'a str,
}

/// Reads the manifest: one table per scenario in the array `scenario`.
pub fn parse(text: &str) -> Result<Vec<Scenario>> {
    let table: toml::Table = text.parse().context("tests/foreign/manifest.toml")?;
    let listed = table.get("scenario").and_then(toml::Value::as_array);
    let listed = listed.context("tests/foreign/manifest.toml: no [[scenario]]")?;
    let scenarios: Vec<Scenario> = listed.iter().map(scenario).collect::<Result<_>>()?;
    for (index, scenario) in scenarios.iter().enumerate() {
        let twice = scenarios.iter().take(index).any(|other| other.name == scenario.name);
        ensure!(!twice, "two scenarios are named `{}`", scenario.name);
    }
    Ok(scenarios)
}

fn scenario(value: &toml::Value) -> Result<Scenario> {
    let text = |key: &str| value.get(key).and_then(toml::Value::as_str);
    let name = text("name").context("a scenario without a name")?;
    let runtime = match text("runtime") {
        Some("python-paho1") => ClientRuntime::PythonPaho1,
        Some("python") => ClientRuntime::Python,
        Some("node") => ClientRuntime::Node,
        Some("shell") => ClientRuntime::Shell,
        Some("cargo") => ClientRuntime::Cargo,
        other => bail!("{name}: no runtime {other:?}"),
    };
    let command = words(value.get("command")).filter(|words| !words.is_empty());
    let command = command.with_context(|| format!("{name}: command is no list of words"))?;
    let debian = value.get("debian").map_or_else(|| Some(Vec::new()), |list| words(Some(list)));
    let debian = debian.with_context(|| format!("{name}: debian is no list of words"))?;
    let seconds = value.get("timeout_s").and_then(toml::Value::as_integer);
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok()).filter(|s| *s > 0);
    let seconds = seconds.with_context(|| format!("{name}: no timeout_s"))?;
    let limit = Duration::from_secs(seconds);
    Ok(Scenario { name: name.to_owned(), runtime, command, debian, limit })
}

fn words(value: Option<&toml::Value>) -> Option<Vec<String>> {
    let words = value?.as_array()?.iter();
    words.map(|word| word.as_str().map(str::to_owned)).collect()
}

impl Scenario {
    /// The command with the placeholders replaced.
    pub fn words(&self, places: &Places<'_>) -> Vec<String> {
        let replace = |word: &String| {
            word.replace("{host}", places.host)
                .replace("{port}", &places.port.to_string())
                .replace("{ws_port}", &places.ws_port.to_string())
                .replace("{scratch}", places.scratch)
                .replace("{agentmq}", places.agentmq)
        };
        self.command.iter().map(replace).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"
[[scenario]]
name = "paho"
runtime = "python"
command = ["python", "a.py", "{host}:{port}", "{ws_port}{scratch}"]
timeout_s = 20
"#;

    #[test]
    fn a_scenario_is_read_and_its_places_filled() {
        let scenarios = parse(ONE).expect("parses");
        assert_eq!(scenarios[0].limit, Duration::from_secs(20));
        assert_eq!(scenarios[0].runtime, ClientRuntime::Python);
        let places = Places { host: "h", port: 1, ws_port: 2, scratch: "/s", agentmq: "" };
        assert_eq!(scenarios[0].words(&places), ["python", "a.py", "h:1", "2/s"]);
    }

    #[test]
    fn mistakes_are_refused() {
        assert!(parse("").is_err());
        assert!(parse(&format!("{ONE}{ONE}")).is_err());
        for (right, wrong) in [
            ("\"python\"\n", "\"perl\"\n"),
            ("timeout_s = 20", "timeout_s = 0"),
            ("timeout_s = 20", ""),
            ("name = \"paho\"", ""),
            ("command = [", "comment = ["),
            ("timeout_s", "debian = 1\ntimeout_s"),
        ] {
            assert!(parse(&ONE.replacen(right, wrong, 1)).is_err(), "{wrong}");
        }
    }
}
