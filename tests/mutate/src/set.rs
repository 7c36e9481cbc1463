//! The mutations of `tests/mutations/*.toml`, and whether they still fit the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// One way to break a line of defence, as a file of the set writes it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mutation {
    /// Unique in the whole set: lower case, digits and hyphens.
    pub(crate) id: String,
    /// What must hold, in one sentence.
    pub(crate) invariant: String,
    /// The mutated file, from the repository's root.
    pub(crate) file: String,
    /// Text that occurs exactly once in `file`.
    pub(crate) search: String,
    /// Text that takes its place: it breaks the invariant and compiles.
    pub(crate) replace: String,
    /// Further replacements, where the invariant is kept in more than one place.
    #[serde(default)]
    pub(crate) also: Vec<Edit>,
    /// A test that fails under the mutation: its function's name, with modules in front where that is not unique.
    pub(crate) killed_by: String,
    /// Whose tests decide: `core` and `app` by default, `tokengate` (the host) for files of the host.
    pub(crate) package: Option<String>,
    /// The stem of the file that it is in.
    #[serde(skip)]
    pub(crate) area: String,
}

/// One replacement.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edit {
    /// See [`Mutation::file`].
    pub(crate) file: String,
    /// See [`Mutation::search`].
    pub(crate) search: String,
    /// See [`Mutation::replace`].
    pub(crate) replace: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    mutation: Vec<Mutation>,
}

/// The crates whose tests decide whether a mutation is noticed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Package {
    Core,
    App,
    Host,
}

impl Package {
    /// Its name for cargo.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Core => "tokengate-core",
            Self::App => "tokengate-app",
            Self::Host => "tokengate",
        }
    }

    /// Its folder, from the repository's root.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Core => "crates/core",
            Self::App => "crates/app",
            Self::Host => "crates/host",
        }
    }
}

/// What cargo compiles a test into.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Target {
    /// The unit tests of a package's library or program.
    Unit,
    /// A file or folder of a package's `tests`.
    Integration(String),
}

/// Where a test is defined.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Place {
    pub(crate) package: Package,
    pub(crate) target: Target,
    /// From the repository's root.
    pub(crate) file: PathBuf,
}

/// Every test function of core, app and host, by its name.
pub(crate) struct Tests(BTreeMap<String, Vec<Place>>);

impl Tests {
    /// Finds the test functions in the sources below `root`.
    pub(crate) fn find(root: &Path) -> Result<Self> {
        let mut tests: BTreeMap<String, Vec<Place>> = BTreeMap::new();
        for package in [Package::Core, Package::App, Package::Host] {
            for part in ["src", "tests"] {
                let folder = Path::new(package.folder()).join(part);
                for file in rust_files(root, &folder)? {
                    let within = file.strip_prefix(&folder)?;
                    let target = match (part, within.components().next()) {
                        ("tests", Some(first)) => {
                            let name = Path::new(first.as_os_str()).with_extension("");
                            Target::Integration(name.to_string_lossy().into_owned())
                        }
                        _ => Target::Unit,
                    };
                    let text = fs::read_to_string(root.join(&file))?;
                    for name in test_functions(&text) {
                        tests.entry(name.into()).or_default().push(Place {
                            package,
                            target: target.clone(),
                            file: file.clone(),
                        });
                    }
                }
            }
        }
        Ok(Self(tests))
    }

    /// Where the test that `mutation` names is: more than one place, where the name is used more than once.
    pub(crate) fn places(&self, mutation: &Mutation) -> Vec<&Place> {
        let name = mutation
            .killed_by
            .rsplit("::")
            .next()
            .unwrap_or(&mutation.killed_by);
        let packages = mutation.packages();
        let all = self.0.get(name).map_or(&[][..], Vec::as_slice).iter();
        all.filter(|place| packages.contains(&place.package))
            .collect()
    }
}

impl Mutation {
    /// The packages whose tests have to notice it.
    pub(crate) fn packages(&self) -> &'static [Package] {
        let host = match &self.package {
            Some(package) => package == Package::Host.name(),
            None => self.file.starts_with(Package::Host.folder()),
        };
        if host {
            &[Package::Host]
        } else {
            &[Package::Core, Package::App]
        }
    }

    /// The mutated files and their content.
    ///
    /// # Errors
    /// A text that does not occur exactly once where it is looked for, a replacement that changes nothing.
    pub(crate) fn apply(&self, root: &Path) -> Result<BTreeMap<PathBuf, String>> {
        let first = Edit {
            file: self.file.clone(),
            search: self.search.clone(),
            replace: self.replace.clone(),
        };
        let mut mutated: BTreeMap<PathBuf, String> = BTreeMap::new();
        for edit in [&first].into_iter().chain(&self.also) {
            let file = PathBuf::from(&edit.file);
            let text = match mutated.remove(&file) {
                Some(text) => text,
                None => fs::read_to_string(root.join(&file))
                    .with_context(|| format!("{} cannot be read", edit.file))?,
            };
            ensure!(!edit.search.is_empty(), "an empty search text");
            let found = text.matches(&edit.search).count();
            ensure!(
                found == 1,
                "the search text occurs {found} times in {}, not once: {:?}",
                edit.file,
                edit.search
            );
            ensure!(
                edit.search != edit.replace,
                "the replacement in {} changes nothing",
                edit.file
            );
            mutated.insert(file, text.replacen(&edit.search, &edit.replace, 1));
        }
        Ok(mutated)
    }

    /// Says why this entry is of no use any longer, if it is not.
    ///
    /// # Errors
    /// Whatever [`Self::apply`] fails for, a test that is not in the sources, a package that is not known.
    pub(crate) fn check(&self, root: &Path, tests: &Tests) -> Result<()> {
        if let Some(package) = &self.package {
            ensure!(
                package == Package::Host.name(),
                "no such package: {package:?}"
            );
        }
        ensure!(
            !self.invariant.trim().is_empty(),
            "it does not say which invariant it breaks"
        );
        self.apply(root)?;
        if tests.places(self).is_empty() {
            let packages = self.packages().iter().map(|package| package.name());
            bail!(
                "no test function {:?} in {}",
                self.killed_by,
                packages.collect::<Vec<_>>().join(" or ")
            );
        }
        Ok(())
    }
}

/// Reads all files of the set, in the order of their names.
///
/// # Errors
/// A file that cannot be read or is no such document, and an id that is no name or is used twice.
pub(crate) fn load(root: &Path) -> Result<Vec<Mutation>> {
    let folder = root.join("tests/mutations");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .with_context(|| format!("{} cannot be read", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|end| end == "toml"));
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let area = file.file_stem().unwrap_or_default().to_string_lossy();
        let text = fs::read_to_string(&file)?;
        all.extend(read(&area, &text).with_context(|| format!("tests/mutations/{area}.toml"))?);
    }
    let mut ids = BTreeSet::new();
    for mutation in &all {
        let name = mutation.id.chars();
        let plain = name
            .clone()
            .all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-'));
        ensure!(
            plain && name.count() > 0,
            "tests/mutations/{}.toml: {:?} is no id",
            mutation.area,
            mutation.id
        );
        ensure!(
            ids.insert(&mutation.id),
            "tests/mutations/{}.toml: the id {} is used twice",
            mutation.area,
            mutation.id
        );
    }
    Ok(all)
}

/// Reads one file of the set.
pub(crate) fn read(area: &str, text: &str) -> Result<Vec<Mutation>> {
    let mut mutations = toml::from_str::<Document>(text)?.mutation;
    for mutation in &mut mutations {
        mutation.area = area.into();
    }
    Ok(mutations)
}

/// All Rust files below `folder`, as paths from `root`.
fn rust_files(root: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            files.extend(rust_files(root, &path)?);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The names of the functions below an attribute that makes them tests.
fn test_functions(text: &str) -> impl Iterator<Item = &str> {
    let mut attributed = false;
    text.lines().filter_map(move |line| {
        let line = line.trim_start();
        if line.starts_with("#[") {
            attributed |= line.contains("test]") || line.contains("test(");
            return None;
        }
        if line.is_empty() {
            attributed = false;
        }
        if line.starts_with("//") || !attributed {
            return None;
        }
        let (before, rest) = line.split_once("fn ")?;
        attributed = false;
        let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric())?;
        let name = rest.get(..end)?;
        matches!(before, "" | "async " | "pub " | "pub async ").then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    #[test]
    fn every_mutation_fits_the_sources_and_names_a_test() {
        let root = repository();
        let tests = Tests::find(&root).unwrap();
        let mutations = load(&root).unwrap();
        assert!(!mutations.is_empty());
        let stale: Vec<_> = mutations
            .iter()
            .filter_map(|mutation| {
                let error = mutation.check(&root, &tests).err()?;
                let (area, id) = (&mutation.area, &mutation.id);
                Some(format!("tests/mutations/{area}.toml: {id}: {error:#}"))
            })
            .collect();
        assert!(stale.is_empty(), "stale mutations:\n{}", stale.join("\n"));
    }

    /// A repository with one source file and one test.
    fn small() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for package in [Package::Core, Package::App, Package::Host] {
            for part in ["src", "tests"] {
                fs::create_dir_all(folder.path().join(package.folder()).join(part)).unwrap();
            }
        }
        let source = "fn ok() -> bool { true }\nfn other() -> bool { true }\n";
        fs::write(folder.path().join("crates/core/src/x.rs"), source).unwrap();
        let test = "#[test]\nfn it_is_ok() {}\n\nfn helper() {}\n";
        fs::write(folder.path().join("crates/app/tests/y.rs"), test).unwrap();
        folder
    }

    fn entry(search: &str, replace: &str, killed_by: &str) -> Mutation {
        let text = format!(
            "[[mutation]]\nid = \"a\"\ninvariant = \"it is ok\"\nfile = \"crates/core/src/x.rs\"\nsearch = '''{search}'''\n\
             replace = '''{replace}'''\nkilled_by = \"{killed_by}\"\n"
        );
        read("area", &text).unwrap().remove(0)
    }

    #[test]
    fn an_entry_is_stale_unless_its_text_occurs_once_and_its_test_exists() {
        let folder = small();
        let tests = Tests::find(folder.path()).unwrap();
        let check = |search: &str, replace: &str, killed_by: &str| {
            entry(search, replace, killed_by)
                .check(folder.path(), &tests)
                .map_err(|error| error.to_string())
        };
        assert_eq!(
            check(
                "ok() -> bool { true }",
                "ok() -> bool { false }",
                "it_is_ok"
            ),
            Ok(())
        );
        assert_eq!(check("ok() -> bool { true }", "", "y::it_is_ok"), Ok(()));
        for (search, replace, killed_by, expected) in [
            ("{ true }", "{ false }", "it_is_ok", "occurs 2 times"),
            ("{ maybe }", "{ false }", "it_is_ok", "occurs 0 times"),
            ("", "{ false }", "it_is_ok", "empty"),
            ("ok()", "ok()", "it_is_ok", "changes nothing"),
            ("ok()", "ko()", "helper", "no test function"),
            ("ok()", "ko()", "it_is_gone", "no test function"),
        ] {
            let error = check(search, replace, killed_by).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn further_replacements_apply_after_the_first_and_each_occurs_once() {
        let folder = small();
        let mut mutation = entry(
            "ok() -> bool { true }",
            "ok() -> bool { false }",
            "it_is_ok",
        );
        let further = |search: &str| Edit {
            file: "crates/core/src/x.rs".into(),
            search: search.into(),
            replace: "{ panic!() }".into(),
        };
        mutation.also = vec![further("{ true }")];
        let mutated = mutation.apply(folder.path()).unwrap();
        assert_eq!(
            mutated.values().collect::<Vec<_>>(),
            ["fn ok() -> bool { false }\nfn other() -> bool { panic!() }\n"]
        );
        mutation.also.push(further("{ true }"));
        assert!(mutation.apply(folder.path()).is_err());
    }

    #[test]
    fn only_functions_below_a_test_attribute_are_tests() {
        let text = "#[test]\nfn one() {}\n#[derive(Debug)]\nstruct S;\nfn two() {}\n#[tokio::test(flavor = \"multi_thread\")]\n\
                    /// Said here.\n    async fn three() {}\n#[test]\n#[ignore]\nfn four(x in 0..3) {}\n";
        let names: Vec<_> = test_functions(text).collect();
        assert_eq!(names, ["one", "three", "four"]);
    }

    #[test]
    fn unknown_members_are_refused() {
        let text = "[[mutation]]\nid = \"a\"\ninvariant = \"b\"\nfile = \"c\"\nsearch = \"d\"\nreplace = \"e\"\nkilled_by = \"f\"\n\
                    seach = \"g\"\n";
        assert!(read("area", text).is_err());
    }
}
