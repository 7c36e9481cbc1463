//! `spin.toml`, manifest version 2: the part of it that this host serves. Whatever else it says is a mistake, with
//! its place and what to do instead.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::document::{Document, Item, Located, Mistake, Table};
use crate::routing::Route;
use crate::variables::{Declaration, Template, is_name};

#[derive(Debug)]
pub(crate) struct Manifest {
    /// The directory that relative paths in the manifest start from.
    pub(crate) directory: PathBuf,
    pub(crate) name: String,
    /// The path that every component is asked for before the host listens.
    pub(crate) startup_check: Option<String>,
    pub(crate) variables: BTreeMap<String, Declaration>,
    pub(crate) routes: Vec<(Located<Route>, Target)>,
    pub(crate) components: BTreeMap<String, Component>,
}

/// What a route leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Component(String),
    Static(StaticResponse),
}

/// `static_response`: an answer that needs no component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StaticResponse {
    pub(crate) status: http::StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

#[derive(Debug)]
pub(crate) struct Component {
    pub(crate) source: Located<PathBuf>,
    pub(crate) files: Vec<Located<Files>>,
    pub(crate) exclude_files: Vec<Located<String>>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) variables: BTreeMap<String, Located<Template>>,
    pub(crate) key_value_stores: Vec<Located<String>>,
    pub(crate) allowed_outbound_hosts: Vec<Located<Template>>,
}

/// An entry of `files`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Files {
    /// Mounted at the path they have below the manifest.
    Pattern(String),
    /// A file or directory mounted elsewhere.
    Placed {
        source: PathBuf,
        destination: PathBuf,
    },
}

impl Manifest {
    pub(crate) fn read(path: &Path) -> Result<Self, Mistake> {
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Self::parse(&Document::read(path)?, directory)
    }

    fn parse(document: &Document, directory: PathBuf) -> Result<Self, Mistake> {
        let parsed = document.parse()?;
        let root = document.root(&parsed);

        let version = root.required("spin_manifest_version")?;
        if version.integer()? != 2 {
            return Err(version.mistake("must be 2: convert the manifest with `spin doctor`"));
        }
        let application = Application::parse(root.required("application")?.table()?)?;
        let variables = match root.optional("variables") {
            Some(item) => parse_variables(&item.table()?)?,
            None => BTreeMap::new(),
        };
        let mut components = BTreeMap::new();
        if let Some(item) = root.optional("component") {
            for (id, item) in item.table()?.named() {
                components.insert(
                    component_id(&id)?,
                    Component::parse(&directory, item.table()?)?,
                );
            }
        }
        let mut routes = Vec::new();
        for (kind, triggers) in root.required("trigger")?.table()?.named() {
            if kind.value != "http" {
                return Err(kind.place.mistake(format!(
                    "triggers of type `{}` are not supported by this host: only `[[trigger.http]]` is",
                    kind.value
                )));
            }
            for trigger in triggers.array()? {
                routes.push(parse_trigger(
                    &application.base,
                    &components,
                    trigger.table()?,
                )?);
            }
        }
        root.finish(&[])?;
        if routes.is_empty() {
            return Err(document
                .start()
                .mistake("no `[[trigger.http]]`: nothing would be served, so add one"));
        }
        Ok(Self {
            directory,
            name: application.name,
            startup_check: application.startup_check,
            variables,
            routes,
            components,
        })
    }
}

struct Application {
    name: String,
    base: String,
    startup_check: Option<String>,
}

impl Application {
    fn parse(table: Table<'_>) -> Result<Self, Mistake> {
        let name = table.required("name")?.string()?.value;
        for metadata in ["version", "description"] {
            if let Some(item) = table.optional(metadata) {
                item.string()?;
            }
        }
        if let Some(authors) = table.optional("authors") {
            authors.strings()?;
        }
        let mut base = "/".to_owned();
        if let Some(item) = table.optional("trigger") {
            let triggers = item.table()?;
            if let Some(item) = triggers.optional("http") {
                let http = item.table()?;
                if let Some(item) = http.optional("base") {
                    let given = item.string()?;
                    if !given.value.starts_with('/') {
                        return Err(item.mistake("must start with `/`"));
                    }
                    base = given.value;
                }
                http.finish(&[])?;
            }
            triggers.finish(&[
                ("redis", "only HTTP triggers are"),
                ("mqtt", "only HTTP triggers are"),
            ])?;
        }
        let mut startup_check = None;
        if let Some(item) = table.optional("tool") {
            let tools = item.table()?;
            if let Some(item) = tools.optional("tokengate") {
                let own = item.table()?;
                if let Some(item) = own.optional("startup_check") {
                    let path = item.string()?.value;
                    if !path.starts_with('/') || path.parse::<http::uri::PathAndQuery>().is_err() {
                        return Err(item.mistake("must be a path such as \"/healthz/startup\""));
                    }
                    startup_check = Some(path);
                }
                own.finish(&[])?;
            }
            // Other tools' tables are theirs to read.
        }
        table.finish(&[])?;
        Ok(Self {
            name,
            base,
            startup_check,
        })
    }
}

fn parse_variables(table: &Table<'_>) -> Result<BTreeMap<String, Declaration>, Mistake> {
    let mut variables = BTreeMap::new();
    for (name, item) in table.named() {
        if !is_name(name.value) {
            return Err(name.place.mistake(format!(
                "`{}` is no variable's name: use lower-case letters, digits and single `_`, starting with a letter",
                name.value
            )));
        }
        let declaration = item.table()?;
        let default = declaration
            .optional("default")
            .map(|item| item.string())
            .transpose()?;
        let required = declaration
            .optional("required")
            .map(|item| item.boolean())
            .transpose()?
            .unwrap_or(false);
        if let Some(secret) = declaration.optional("secret") {
            // Nothing here ever shows a variable's value, secret or not.
            secret.boolean()?;
        }
        if let Some(description) = declaration.optional("description") {
            description.string()?;
        }
        declaration.finish(&[])?;
        if required == default.is_some() {
            return Err(item.mistake("must have either `required = true` or a `default`"));
        }
        variables.insert(
            name.value.to_owned(),
            Declaration {
                default: default.map(|text| text.value),
            },
        );
    }
    Ok(variables)
}

fn component_id(id: &Located<&str>) -> Result<String, Mistake> {
    let sound = id.value.starts_with(|c: char| c.is_ascii_alphabetic())
        && id
            .value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if sound {
        Ok(id.value.to_owned())
    } else {
        Err(id.place.mistake(format!(
            "`{}` is no component's id: use letters, digits and `-`, starting with a letter",
            id.value
        )))
    }
}

fn parse_trigger(
    base: &str,
    components: &BTreeMap<String, Component>,
    table: Table<'_>,
) -> Result<(Located<Route>, Target), Mistake> {
    if let Some(id) = table.optional("id") {
        id.string()?;
    }
    let route = table.required("route")?;
    if !route.is_string() {
        return Err(route.mistake(
            "must be a path: private routes serve local service chaining, which this host does not have, so remove this trigger",
        ));
    }
    let text = route.string()?;
    let route = Located {
        value: Route::parse(base, &text)?,
        place: text.place,
    };
    if let Some(executor) = table.optional("executor") {
        let executor = executor.table()?;
        let kind = executor.required("type")?;
        if !matches!(kind.string()?.value.as_str(), "http" | "spin") {
            return Err(
                kind.mistake("must be \"http\": this host runs components that export wasi:http")
            );
        }
        executor.finish(&[])?;
    }
    let component = table.optional("component");
    let static_response = table.optional("static_response");
    let target = match (component, static_response) {
        (Some(component), None) => {
            if !component.is_string() {
                return Err(component.mistake(
                    "must be the id of a `[component.<id>]`: move the inline component there",
                ));
            }
            let id = component.string()?;
            if !components.contains_key(&id.value) {
                return Err(
                    component.mistake(format!("names no component: add [component.{}]", id.value))
                );
            }
            Target::Component(id.value)
        }
        (None, Some(item)) => Target::Static(StaticResponse::parse(item.table()?)?),
        _ => {
            return Err(table.place().mistake(
                "a trigger has either `component` or `static_response`: give one of them",
            ));
        }
    };
    table.finish(&[])?;
    Ok((route, target))
}

impl StaticResponse {
    fn parse(table: Table<'_>) -> Result<Self, Mistake> {
        let status = match table.optional("status_code") {
            Some(item) => u16::try_from(item.integer()?)
                .ok()
                .and_then(|code| http::StatusCode::from_u16(code).ok())
                .filter(|status| !status.is_informational())
                .ok_or_else(|| item.mistake("must be an HTTP status from 200 on"))?,
            None => http::StatusCode::OK,
        };
        let mut headers = http::HeaderMap::new();
        if let Some(item) = table.optional("headers") {
            for (name, item) in item.table()?.named() {
                let value = item.string()?.value;
                let name: http::HeaderName = name
                    .value
                    .parse()
                    .map_err(|_| name.place.mistake("is no header's name"))?;
                headers.append(
                    name,
                    value
                        .parse()
                        .map_err(|_| item.mistake("is no header's value"))?,
                );
            }
        }
        let body = table
            .optional("body")
            .map(|item| item.string())
            .transpose()?
            .map_or_else(String::new, |text| text.value);
        table.finish(&[])?;
        Ok(Self {
            status,
            headers,
            body,
        })
    }
}

impl Component {
    fn parse(directory: &Path, table: Table<'_>) -> Result<Self, Mistake> {
        let source = table.required("source")?;
        if !source.is_string() {
            return Err(source.mistake("must be a path: download the component and name its file"));
        }
        let source = source.string()?;
        if let Some(description) = table.optional("description") {
            description.string()?;
        }
        let mut files = Vec::new();
        if let Some(item) = table.optional("files") {
            for item in item.array()? {
                files.push(Located {
                    place: item.place(),
                    value: parse_files(&item)?,
                });
            }
        }
        let strings = |key| match table.optional(key) {
            Some(item) => item.strings(),
            None => Ok(Vec::new()),
        };
        let exclude_files = strings("exclude_files")?;
        let key_value_stores = strings("key_value_stores")?;
        let allowed_outbound_hosts = strings("allowed_outbound_hosts")?
            .iter()
            .map(|text| {
                Ok(Located {
                    value: Template::parse(text)?,
                    place: text.place.clone(),
                })
            })
            .collect::<Result<_, Mistake>>()?;
        let mut environment = Vec::new();
        if let Some(item) = table.optional("environment") {
            for (name, item) in item.table()?.named() {
                environment.push((name.value.to_owned(), item.string()?.value));
            }
        }
        let mut variables = BTreeMap::new();
        if let Some(item) = table.optional("variables") {
            for (name, item) in item.table()?.named() {
                if !is_name(name.value) {
                    return Err(name
                        .place
                        .mistake(format!("`{}` is no variable's name", name.value)));
                }
                let text = item.string()?;
                variables.insert(
                    name.value.to_owned(),
                    Located {
                        value: Template::parse(&text)?,
                        place: text.place,
                    },
                );
            }
        }
        if let Some(build) = table.optional("build") {
            parse_build(build.table()?)?;
        }
        if let Some(tool) = table.optional("tool") {
            tool.table()?;
        }
        table.finish(&[
            ("sqlite_databases", "keep the data in a key-value store"),
            ("ai_models", "call a model's HTTP interface instead"),
            (
                "allowed_http_hosts",
                "name them in `allowed_outbound_hosts`, as scheme://host:port",
            ),
            (
                "dependencies",
                "compose the component beforehand, for example with `wac`",
            ),
            (
                "dependencies_inherit_configuration",
                "compose the component beforehand",
            ),
            ("targets", "remove it"),
            ("profile", "name the built file in `source`"),
        ])?;
        Ok(Self {
            source: Located {
                value: directory.join(source.value),
                place: source.place,
            },
            files,
            exclude_files,
            environment,
            variables,
            key_value_stores,
            allowed_outbound_hosts,
        })
    }
}

fn parse_files(item: &Item<'_>) -> Result<Files, Mistake> {
    if item.is_string() {
        return Ok(Files::Pattern(item.string()?.value));
    }
    let table = item.table()?;
    let source = table.required("source")?.string()?.value;
    let destination = table.required("destination")?.string()?.value;
    table.finish(&[])?;
    Ok(Files::Placed {
        source: source.into(),
        destination: destination.into(),
    })
}

/// `spin build` runs this; here it is checked and left alone.
fn parse_build(table: Table<'_>) -> Result<(), Mistake> {
    let command = table.required("command")?;
    if command.is_string() {
        command.string()?;
    } else {
        command.strings()?;
    }
    if let Some(workdir) = table.optional("workdir") {
        workdir.string()?;
    }
    if let Some(watch) = table.optional("watch") {
        watch.strings()?;
    }
    table.finish(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Manifest, String> {
        Manifest::parse(
            &Document::new(Path::new("spin.toml"), text),
            PathBuf::from("/app"),
        )
        .map_err(|mistake| mistake.to_string())
    }

    const WHOLE: &str = r#"
spin_manifest_version = 2
[application]
name = "gate"
version = "1.0.0"
authors = ["a <a@example.com>"]
[application.tool.other]
anything = [1, 2]
[application.tool.tokengate]
startup_check = "/healthz/startup"
[application.trigger.http]
base = "/api"
[variables]
key = { required = true, secret = true }
origin = { default = "http://127.0.0.1:8545", description = "a chain" }
[[trigger.http]]
id = "one"
route = "/one/..."
component = "one"
[[trigger.http]]
route = "/robots.txt"
static_response = { status_code = 203, headers = { content-type = "text/plain" }, body = "no" }
[component.one]
source = "one.wasm"
description = "first"
files = ["tokengate.toml", { source = "assets", destination = "/www" }]
exclude_files = ["*.map"]
key_value_stores = ["default"]
allowed_outbound_hosts = ["{{ origin }}"]
environment = { MODE = "x" }
[component.one.variables]
secret = "{{ key }}"
[component.one.build]
command = "cargo build"
watch = ["src/**"]
[component.one.tool.other]
x = 1
"#;

    #[test]
    fn everything_supported_is_read() {
        let manifest = parse(WHOLE).unwrap();
        assert_eq!(manifest.name, "gate");
        assert_eq!(manifest.startup_check.as_deref(), Some("/healthz/startup"));
        assert_eq!(
            manifest.variables["origin"].default.as_deref(),
            Some("http://127.0.0.1:8545")
        );
        assert!(manifest.variables["key"].default.is_none());
        let (route, target) = &manifest.routes[0];
        assert_eq!(
            (route.value.based(), target),
            ("/api/one/...", &Target::Component("one".into()))
        );
        let Target::Static(response) = &manifest.routes[1].1 else {
            panic!("no static response")
        };
        assert_eq!(
            (response.status.as_u16(), response.body.as_str()),
            (203, "no")
        );
        let component = &manifest.components["one"];
        assert_eq!(component.source.value, Path::new("/app/one.wasm"));
        assert_eq!(
            component.files[0].value,
            Files::Pattern("tokengate.toml".into())
        );
        assert_eq!(
            component.files[1].value,
            Files::Placed {
                source: "assets".into(),
                destination: "/www".into()
            }
        );
        assert_eq!(component.variables["secret"].value.source(), "{{ key }}");
        assert_eq!(component.environment, [("MODE".to_owned(), "x".to_owned())]);
    }

    #[test]
    fn what_is_not_supported_is_named_with_place_and_mend() {
        for (from, to, place, says) in [
            (
                "spin_manifest_version = 2",
                "spin_manifest_version = 1",
                "2:25",
                "must be 2",
            ),
            (
                "[[trigger.http]]\nid",
                "[[trigger.redis]]\nid",
                "16:11",
                "only `[[trigger.http]]`",
            ),
            (
                "\"/one/...\"",
                "{ private = true }",
                "18:9",
                "service chaining",
            ),
            (
                "source = \"one.wasm\"",
                "source = { url = \"https://x\", digest = \"y\" }",
                "24:10",
                "must be a path",
            ),
            (
                "description = \"first\"",
                "sqlite_databases = [\"default\"]",
                "25:1",
                "key-value",
            ),
            (
                "description = \"first\"",
                "allowed_http_hosts = []",
                "25:1",
                "allowed_outbound_hosts",
            ),
            (
                "description = \"first\"",
                "descripton = \"first\"",
                "25:1",
                "unknown key `descripton`",
            ),
            ("startup_check =", "startup_chek =", "10:1", "unknown key"),
            (
                "required = true,",
                "",
                "14:7",
                "either `required = true` or a `default`",
            ),
            (
                "component = \"one\"",
                "component = \"two\"",
                "19:13",
                "add [component.two]",
            ),
            ("{{ origin }}", "{{ origin", "29:27", "never closed"),
            (
                "command = \"cargo build\"",
                "comand = \"cargo build\"",
                "33:1",
                "lacks the key `command`",
            ),
        ] {
            assert!(WHOLE.contains(from), "{from}");
            let error = parse(&WHOLE.replacen(from, to, 1)).unwrap_err();
            assert!(
                error.starts_with(&format!("spin.toml:{place}: ")) && error.contains(says),
                "{error}"
            );
        }
    }

    #[test]
    fn a_manifest_that_serves_nothing_is_refused() {
        let text = "spin_manifest_version = 2\n[application]\nname = \"x\"\n[trigger]\n";
        assert!(parse(text).unwrap_err().contains("nothing would be served"));
    }
}
