//! The suites we know how to run: which tests they hold and the command that runs one of them.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

use crate::process;
use crate::workspace::Workspace;

/// Whose suite it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Eclipse Paho's interoperability tests: `client_test5` (MQTT 5) and `client_test` (3.1.1).
    Paho,
    /// The tests of the gmqtt client library.
    Gmqtt,
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "paho" => Ok(Self::Paho),
            "gmqtt" => Ok(Self::Gmqtt),
            other => bail!("no suite kind `{other}`: paho or gmqtt"),
        }
    }
}

/// One test of a suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    pub module: String,
    pub name: String,
}

impl fmt::Display for Test {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.module, self.name)
    }
}

/// A checked-out suite, ready to run.
#[derive(Debug)]
pub struct Suite {
    kind: Kind,
    /// The folder its modules are imported from.
    folder: PathBuf,
    python: PathBuf,
    driver: PathBuf,
}

impl Suite {
    /// Checks that the suite is there and writes its driver into `scratch`.
    pub fn open(workspace: &Workspace, kind: Kind, at: &Path, scratch: &Path) -> Result<Self> {
        let (folder, needs, text) = match kind {
            Kind::Paho => (at.join("interoperability"), "client_test5.py", PAHO_DRIVER),
            Kind::Gmqtt => (at.to_owned(), "tests/test_mqtt5.py", GMQTT_DRIVER),
        };
        let missing = folder.join(needs);
        ensure!(missing.is_file(), "{} is missing: is this the suite?", missing.display());
        let driver = scratch.join("driver.py");
        fs::write(&driver, text).context("write the suite's driver")?;
        let python = match kind {
            Kind::Paho => PathBuf::from("python3"),
            Kind::Gmqtt => gmqtt_python(workspace)?,
        };
        Ok(Self { kind, folder, python, driver })
    }

    /// Every test it holds, in its order.
    pub fn tests(&self) -> Result<Vec<Test>> {
        let modules: &[&str] = match self.kind {
            Kind::Paho => &["client_test5", "client_test"],
            Kind::Gmqtt => &["test_mqtt5"],
        };
        let mut tests = Vec::new();
        for module in modules {
            let listed = process::run_quietly(self.python().args(["list", module]))?;
            tests.extend(
                listed
                    .lines()
                    .map(|name| Test { module: (*module).to_owned(), name: name.to_owned() }),
            );
        }
        Ok(tests)
    }

    /// The command that runs one test and succeeds if it does.
    pub fn command(&self, test: &Test, host: &str, port: u16) -> Command {
        let mut command = self.python();
        command.args(["run", &test.module, &test.name, host, &port.to_string()]);
        command
    }

    fn python(&self) -> Command {
        let mut command = Command::new(&self.python);
        command
            .current_dir(&self.folder)
            .env("PYTHONPATH", &self.folder)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(&self.driver);
        command
    }
}

/// gmqtt's tests need pytest, which the environment of the foreign clients has.
fn gmqtt_python(workspace: &Workspace) -> Result<PathBuf> {
    let python = workspace.target.join("foreign/python/bin/python");
    ensure!(
        python.is_file(),
        "{} is missing: run `cargo xtask test --only tools`",
        python.display()
    );
    Ok(python)
}

/// The suite reads its settings in a `__main__` part whose `-h` collides with unittest's own, and
/// keeps them in globals of the module: this sets those and runs one test.
const PAHO_DRIVER: &str = r##"import importlib
import logging
import sys
import unittest

action, name = sys.argv[1:3]
logging.getLogger().setLevel(logging.ERROR)
module = importlib.import_module(name)

if action == "list":
    for attribute in vars(module.Test):
        if attribute.startswith("test") or attribute.endswith("_test"):
            print(attribute)
    sys.exit()

test, host, port = sys.argv[3:6]
module.host, module.port = host, int(port)
module.topic_prefix = name + "/"
module.topics = ("TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA")
module.wildtopics = ("TopicA/+", "+/C", "#", "/#", "/+", "+/+", "TopicA/#")
module.nosubscribe_topics = ("test/nosubscribe",)
if hasattr(module, "setData"):
    # The suite calls it before each class: the address must survive that.
    set_data = module.setData

    def with_address():
        set_data()
        module.host, module.port = host, int(port)

    module.setData = with_address
result = unittest.TextTestRunner(verbosity=2).run(unittest.TestSuite([module.Test(test)]))
# A test that catches everything still counts its failures here.
sys.stdout.flush()
# Not sys.exit: a client thread of a failed test may never end.
import os

os._exit(0 if result.wasSuccessful() and result.testsRun == 1 else 1)
"##;

/// `test_basic_ssl` wants the library author's own server, so it is not listed.
const GMQTT_DRIVER: &str = r##"import ast
import os
import sys

action, name = sys.argv[1:3]
path = os.path.join("tests", name + ".py")

if action == "list":
    with open(path) as source:
        for node in ast.parse(source.read()).body:
            function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            if function and node.name.startswith("test_") and node.name != "test_basic_ssl":
                print(node.name)
    sys.exit()

test, host, port = sys.argv[3:6]
os.environ.pop("TOKEN", None)
os.environ["HOST"], os.environ["PORT"] = host, port
import pytest

sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", path + "::" + test]))
"##;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Linked;

    #[test]
    fn a_folder_that_is_no_suite_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let root = folder.path();
        let workspace = Workspace {
            root: root.to_owned(),
            target: root.to_owned(),
            packages: vec![],
            linked: Linked::new(),
        };
        let error = Suite::open(&workspace, Kind::Paho, root, root).expect_err("refused");
        assert!(error.to_string().contains("client_test5.py is missing"), "{error}");
    }
}
