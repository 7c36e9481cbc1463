//! Application variables: declared in the manifest, given by the command line or the environment, and expanded in
//! the templates (`{{ name }}`) of components. Everything is resolved at start, so a missing one stops the start.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use crate::document::{Located, Mistake};

/// The prefix of the environment variables that Spin's default provider reads.
const ENVIRONMENT_PREFIX: &str = "SPIN_VARIABLE_";

/// A variable of `[variables]`.
#[derive(Debug)]
pub(crate) struct Declaration {
    /// `None` when the variable is required.
    pub(crate) default: Option<String>,
}

/// A text with `{{ name }}` places in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Variable(String),
}

impl Template {
    pub(crate) fn parse(source: &Located<String>) -> Result<Self, Mistake> {
        let mut parts = Vec::new();
        let mut rest = source.value.as_str();
        while let Some((literal, after)) = rest.split_once("{{") {
            let Some((name, after)) = after.split_once("}}") else {
                return Err(source
                    .place
                    .mistake("`{{` is never closed: write `{{ name }}`"));
            };
            let name = name.trim();
            if !is_name(name) {
                return Err(source.place.mistake(format!(
                    "`{name}` is no variable's name: names are lower-case letters, digits and single `_`, and start with a letter"
                )));
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            parts.push(Part::Variable(name.to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Self {
            source: source.value.clone(),
            parts,
        })
    }

    /// The text as written, for messages: an expansion may hold a secret.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }
}

/// Spin's rule for names.
pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('_')
        && !name.contains("__")
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Every application variable's value. `Debug` shows names only, since any of them may be secret.
pub(crate) struct Variables(BTreeMap<String, String>);

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("--variable {0}: the manifest declares no such variable under [variables]")]
    Undeclared(String),
    #[error("the environment variable {0} is not UTF-8")]
    NotUnicode(String),
    #[error("no value for {}: give each with --variable NAME=VALUE or as the environment variable {ENVIRONMENT_PREFIX}<NAME in capitals>", .0.join(", "))]
    Missing(Vec<String>),
}

impl Variables {
    /// As in Spin, `given` (the command line) goes before `environment`, and that before the default.
    pub(crate) fn resolve(
        declared: &BTreeMap<String, Declaration>,
        given: &[(String, String)],
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Error> {
        if let Some((name, _)) = given.iter().find(|(name, _)| !declared.contains_key(name)) {
            return Err(Error::Undeclared(name.clone()));
        }
        let mut values = BTreeMap::new();
        let mut missing = Vec::new();
        for (name, declaration) in declared {
            let given = given
                .iter()
                .rev()
                .find(|(candidate, _)| candidate == name)
                .map(|(_, value)| value.clone());
            let value = match given {
                Some(value) => Some(value),
                None => {
                    let source = format!("{ENVIRONMENT_PREFIX}{}", name.to_ascii_uppercase());
                    environment(&source)
                        .map(OsString::into_string)
                        .transpose()
                        .map_err(|_| Error::NotUnicode(source))?
                        .or_else(|| declaration.default.clone())
                }
            };
            match value {
                Some(value) => drop(values.insert(name.clone(), value)),
                None => missing.push(format!("`{name}`")),
            }
        }
        if missing.is_empty() {
            Ok(Self(values))
        } else {
            Err(Error::Missing(missing))
        }
    }

    pub(crate) fn expand(&self, template: &Located<Template>) -> Result<String, Mistake> {
        let mut text = String::new();
        for part in &template.value.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Variable(name) => text.push_str(self.0.get(name).ok_or_else(|| {
                    template.place.mistake(format!(
                        "`{name}` is not declared: add it under [variables]"
                    ))
                })?),
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::document::Document;

    fn located(text: &str) -> Located<String> {
        let source = format!("t = '{text}'");
        let document = Document::new(Path::new("spin.toml"), source);
        let parsed = document.parse().unwrap();
        document
            .root(&parsed)
            .required("t")
            .unwrap()
            .string()
            .unwrap()
    }

    fn declared(entries: &[(&str, Option<&str>)]) -> BTreeMap<String, Declaration> {
        entries
            .iter()
            .map(|(name, default)| {
                (
                    (*name).to_owned(),
                    Declaration {
                        default: default.map(str::to_owned),
                    },
                )
            })
            .collect()
    }

    fn expand(variables: &Variables, text: &str) -> Result<String, String> {
        let source = located(text);
        let template = Template::parse(&source).map_err(|mistake| mistake.to_string())?;
        variables
            .expand(&Located {
                value: template,
                place: source.place,
            })
            .map_err(|mistake| mistake.to_string())
    }

    #[test]
    fn templates_expand_every_place() {
        let variables = Variables::resolve(
            &declared(&[("host", Some("h")), ("port", Some("1"))]),
            &[],
            |_| None,
        )
        .unwrap();
        assert_eq!(
            expand(&variables, "http://{{host}}:{{ port }}/").unwrap(),
            "http://h:1/"
        );
        assert_eq!(expand(&variables, "plain").unwrap(), "plain");
    }

    #[test]
    fn bad_templates_are_refused_where_they_stand() {
        let variables = Variables::resolve(&declared(&[]), &[], |_| None).unwrap();
        assert!(
            expand(&variables, "{{ gone }}")
                .unwrap_err()
                .contains("spin.toml:1:5: `gone` is not declared")
        );
        assert!(
            expand(&variables, "{{ open")
                .unwrap_err()
                .contains("never closed")
        );
        assert!(
            expand(&variables, "{{ Upper }}")
                .unwrap_err()
                .contains("no variable's name")
        );
        assert!(
            expand(&variables, "{{ a__b }}")
                .unwrap_err()
                .contains("no variable's name")
        );
    }

    #[test]
    fn the_command_line_goes_before_the_environment_and_that_before_the_default() {
        let declared = declared(&[("a", Some("default"))]);
        let environment = |name: &str| (name == "SPIN_VARIABLE_A").then(|| "environment".into());
        let given = [("a".to_owned(), "given".to_owned())];
        let value = |given: &[(String, String)], environment: &dyn Fn(&str) -> Option<OsString>| {
            let variables = Variables::resolve(&declared, given, environment).unwrap();
            expand(&variables, "{{ a }}").unwrap()
        };
        assert_eq!(value(&given, &environment), "given");
        assert_eq!(value(&[], &environment), "environment");
        assert_eq!(value(&[], &|_| None), "default");
    }

    #[test]
    fn a_required_variable_without_a_value_and_an_undeclared_one_are_errors() {
        let declared = declared(&[("key", None), ("other", None)]);
        let error = Variables::resolve(&declared, &[], |_| None)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`key`, `other`") && error.contains("SPIN_VARIABLE_"),
            "{error}"
        );
        let stray = [("typo".to_owned(), String::new())];
        assert!(
            matches!(Variables::resolve(&declared, &stray, |_| None), Err(Error::Undeclared(name)) if name == "typo")
        );
    }

    #[test]
    fn a_value_that_is_no_text_is_an_error_rather_than_none() {
        use std::os::unix::ffi::OsStringExt;

        let declared = declared(&[("a", Some("default"))]);
        let environment = |_: &str| Some(OsString::from_vec(vec![0xff]));
        assert!(matches!(
            Variables::resolve(&declared, &[], environment),
            Err(Error::NotUnicode(name)) if name == "SPIN_VARIABLE_A"
        ));
    }

    #[test]
    fn debug_shows_no_value() {
        let variables =
            Variables::resolve(&declared(&[("key", Some("hidden"))]), &[], |_| None).unwrap();
        assert_eq!(format!("{variables:?}"), r#"{"key"}"#);
    }
}
