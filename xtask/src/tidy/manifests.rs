//! What each of our Cargo.toml files must say.

use super::{SourceFile, Violation};
use crate::workspace::Package;

pub fn check(packages: &[Package], files: &[SourceFile]) -> Vec<Violation> {
    let mut found = Vec::new();
    for package in packages.iter().filter(|package| package.ours) {
        let Some(file) = files.iter().find(|file| file.path == package.manifest) else {
            continue; // not in the repository, so not our business
        };
        found.extend(manifest(package, file));
    }
    found
}

fn manifest(package: &Package, file: &SourceFile) -> Vec<Violation> {
    let Ok(table) = file.text.parse::<toml::Table>() else {
        return vec![report(file, "it is not TOML".into(), "repair it")];
    };
    let mut found = Vec::new();
    let inherits = |value: Option<&toml::Value>| {
        let flag = value.and_then(|value| value.get("workspace"));
        flag.and_then(toml::Value::as_bool) == Some(true)
    };
    if !inherits(table.get("lints")) {
        let what = "no `[lints] workspace = true`";
        found.push(report(file, what.into(), "add it: the lints hold for every crate"));
    }
    let ours = table.get("package");
    for key in INHERITED {
        if !inherits(ours.and_then(|package| package.get(key))) {
            let fix = format!("write `{key}.workspace = true`");
            found.push(report(file, format!("`{key}` is not the workspace's"), fix));
        }
    }
    if package.description.as_deref().unwrap_or_default().is_empty() {
        found.push(report(file, "no `description`".into(), "say in one line what the crate does"));
    }
    let publish = ours.and_then(|package| package.get("publish"));
    if publish.and_then(toml::Value::as_bool) != Some(false) {
        found.push(report(file, "no `publish = false`".into(), "add it"));
    }
    found
}

fn report(file: &SourceFile, what: String, fix: impl Into<String>) -> Violation {
    Violation::failure("manifests", &file.path, 0, what)
        .why("versions, licence and lints have one home: the workspace")
        .fix(fix)
}

const INHERITED: &[&str] = &["version", "edition", "rust-version", "license", "repository"];

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[package]\nname = \"a\"\nversion.workspace = true\n\
                        edition.workspace = true\nrust-version.workspace = true\n\
                        license.workspace = true\nrepository.workspace = true\n\
                        publish = false\n\n[lints]\nworkspace = true\n";

    fn count(text: &str, description: &str) -> usize {
        let package = Package {
            ours: true,
            manifest: "crates/a/Cargo.toml".into(),
            description: Some(description.into()),
            ..Package::default()
        };
        check(&[package], &[SourceFile::planted("crates/a/Cargo.toml", text)]).len()
    }

    #[test]
    fn a_complete_manifest_passes() {
        assert_eq!(count(GOOD, "Does it"), 0);
    }

    #[test]
    fn each_missing_line_is_found() {
        assert_eq!(count(GOOD, ""), 1);
        assert_eq!(count("not toml", "Does it"), 1);
        for (line, with) in [
            ("workspace = true\n", ""),
            ("license.workspace = true\n", "license = \"MIT\"\n"),
            ("publish = false\n", ""),
        ] {
            // The first match from the end, so that `[lints]` loses its own line.
            let at = GOOD.rfind(line).expect("in the text");
            let text = format!("{}{with}{}", &GOOD[..at], &GOOD[at + line.len()..]);
            assert_eq!(count(&text, "Does it"), 1, "without {line}");
        }
    }
}
