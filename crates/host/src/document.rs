//! A TOML file read together with its positions, so that every mistake in it names the file, the line and the mend.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where in a file something is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    file: Arc<Path>,
    line: usize,
    column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

impl Place {
    /// The complaint `message` about what stands here.
    pub(crate) fn mistake(&self, message: impl Into<String>) -> Mistake {
        Mistake {
            place: Some(self.clone()),
            message: message.into(),
        }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// What is wrong in a configuration file, where, and how to mend it.
#[derive(Clone, Debug)]
pub(crate) struct Mistake {
    place: Option<Place>,
    message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mistake {}

/// A file's text and name.
pub(crate) struct Document {
    file: Arc<Path>,
    text: String,
}

/// Configuration files are written by hand; one beyond this size is not one.
const MAX_BYTES: u64 = 1 << 20;

impl Document {
    pub(crate) fn read(path: &Path) -> Result<Self, Mistake> {
        let unreadable = |why: String| Mistake {
            place: None,
            message: format!("{}: cannot be read: {why}", path.display()),
        };
        let metadata = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
        if metadata.len() > MAX_BYTES {
            return Err(unreadable(format!("larger than {MAX_BYTES} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        Ok(Self::new(path, text))
    }

    pub(crate) fn new(path: &Path, text: impl Into<String>) -> Self {
        Self {
            file: Arc::from(PathBuf::from(path)),
            text: text.into(),
        }
    }

    pub(crate) fn parse(&self) -> Result<Spanned<DeTable<'_>>, Mistake> {
        DeTable::parse(&self.text).map_err(|error| Mistake {
            place: error.span().map(|span| self.place(&span)),
            message: error.message().to_owned(),
        })
    }

    pub(crate) fn root<'a>(&'a self, parsed: &'a Spanned<DeTable<'a>>) -> Table<'a> {
        Table::new(self, String::new(), parsed.span(), parsed.get_ref())
    }

    pub(crate) fn start(&self) -> Place {
        self.place(&(0..0))
    }

    fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        }
    }
}

/// A table whose keys are asked for one by one; whatever nobody asked for is a mistake, never ignored.
pub(crate) struct Table<'a> {
    document: &'a Document,
    name: String,
    span: Range<usize>,
    entries: BTreeMap<&'a str, (Range<usize>, &'a Spanned<DeValue<'a>>)>,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    fn new(
        document: &'a Document,
        name: String,
        span: Range<usize>,
        table: &'a DeTable<'a>,
    ) -> Self {
        let entries = table
            .iter()
            .map(|(key, value)| (key.get_ref().as_ref(), (key.span(), value)))
            .collect();
        Self {
            document,
            name,
            span,
            entries,
            known: RefCell::default(),
        }
    }

    pub(crate) fn place(&self) -> Place {
        self.document.place(&self.span)
    }

    pub(crate) fn optional(&self, key: &'static str) -> Option<Item<'a>> {
        self.known.borrow_mut().push(key);
        self.entries
            .get(key)
            .map(|(_, value)| self.item(key, value))
    }

    pub(crate) fn required(&self, key: &'static str) -> Result<Item<'a>, Mistake> {
        self.optional(key).ok_or_else(|| {
            self.place()
                .mistake(format!("{} lacks the key `{key}`: add it", self.title()))
        })
    }

    /// Every entry, for tables whose keys are names that the author chose.
    pub(crate) fn named(&self) -> impl Iterator<Item = (Located<&'a str>, Item<'a>)> {
        self.entries.iter().map(|(key, (span, value))| {
            let key = Located {
                value: *key,
                place: self.document.place(span),
            };
            let item = self.item(key.value, value);
            (key, item)
        })
    }

    /// Refuses every key that was not asked for. `unsupported` says what to do instead of the keys that Spin knows
    /// and this host does not serve.
    pub(crate) fn finish(self, unsupported: &[(&str, &str)]) -> Result<(), Mistake> {
        let known = self.known.borrow();
        let stray = self
            .entries
            .iter()
            .filter(|(key, _)| !known.contains(key))
            .min_by_key(|(_, (span, _))| span.start);
        let Some((key, (span, _))) = stray else {
            return Ok(());
        };
        let message = match unsupported.iter().find(|(name, _)| name == key) {
            Some((_, mend)) => format!(
                "`{key}` in {} is not supported by this host: {mend}",
                self.title()
            ),
            None => format!(
                "unknown key `{key}` in {}: remove it or spell it as one of {}",
                self.title(),
                known.join(", ")
            ),
        };
        Err(self.document.place(span).mistake(message))
    }

    fn title(&self) -> String {
        if self.name.is_empty() {
            "the file".to_owned()
        } else {
            format!("`{}`", self.name)
        }
    }

    fn item(&self, key: &str, value: &'a Spanned<DeValue<'a>>) -> Item<'a> {
        let name = if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        };
        Item {
            document: self.document,
            name,
            value,
        }
    }
}

/// A value of a table or an array, not yet known to be of the type that its place wants.
pub(crate) struct Item<'a> {
    document: &'a Document,
    name: String,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Item<'a> {
    pub(crate) fn place(&self) -> Place {
        self.document.place(&self.value.span())
    }

    pub(crate) fn mistake(&self, message: impl fmt::Display) -> Mistake {
        self.place().mistake(format!("`{}` {message}", self.name))
    }

    pub(crate) fn is_string(&self) -> bool {
        self.value.get_ref().is_str()
    }

    pub(crate) fn string(&self) -> Result<Located<String>, Mistake> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(Located {
                value: text.clone().into_owned(),
                place: self.place(),
            }),
            _ => Err(self.wanted("a string")),
        }
    }

    pub(crate) fn boolean(&self) -> Result<bool, Mistake> {
        self.value
            .get_ref()
            .as_bool()
            .ok_or_else(|| self.wanted("true or false"))
    }

    pub(crate) fn integer(&self) -> Result<i64, Mistake> {
        self.value
            .get_ref()
            .as_integer()
            .and_then(|integer| i64::from_str_radix(integer.as_str(), integer.radix()).ok())
            .ok_or_else(|| self.wanted("an integer"))
    }

    pub(crate) fn table(&self) -> Result<Table<'a>, Mistake> {
        match self.value.get_ref() {
            DeValue::Table(table) => Ok(Table::new(
                self.document,
                self.name.clone(),
                self.value.span(),
                table,
            )),
            _ => Err(self.wanted("a table")),
        }
    }

    pub(crate) fn array(&self) -> Result<Vec<Item<'a>>, Mistake> {
        match self.value.get_ref() {
            DeValue::Array(items) => Ok(items
                .iter()
                .enumerate()
                .map(|(index, value)| Item {
                    document: self.document,
                    name: format!("{}[{index}]", self.name),
                    value,
                })
                .collect()),
            _ => Err(self.wanted("an array")),
        }
    }

    pub(crate) fn strings(&self) -> Result<Vec<Located<String>>, Mistake> {
        self.array()?.iter().map(Item::string).collect()
    }

    fn wanted(&self, what: &str) -> Mistake {
        self.mistake(format!(
            "must be {what}, not {}",
            self.value.get_ref().type_str()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str, read: impl Fn(&Table<'_>) -> Result<(), Mistake>) -> String {
        let document = Document::new(Path::new("a.toml"), text);
        let parsed = match document.parse() {
            Ok(parsed) => parsed,
            Err(mistake) => return mistake.to_string(),
        };
        let table = document.root(&parsed);
        match read(&table).and_then(|()| table.finish(&[("old", "use `new`")])) {
            Ok(()) => String::new(),
            Err(mistake) => mistake.to_string(),
        }
    }

    #[test]
    fn a_mistake_names_file_line_and_column() {
        assert_eq!(
            complaint("a = 1\n  stray = 2\n", |table| table
                .required("a")?
                .integer()
                .map(drop)),
            "a.toml:2:3: unknown key `stray` in the file: remove it or spell it as one of a"
        );
        assert_eq!(
            complaint("a = \"x\"\n", |table| table
                .required("a")?
                .integer()
                .map(drop)),
            "a.toml:1:5: `a` must be an integer, not string"
        );
        assert_eq!(
            complaint("", |table| table.required("a").map(drop)),
            "a.toml:1:1: the file lacks the key `a`: add it"
        );
    }

    #[test]
    fn an_unsupported_key_says_what_to_do_instead() {
        assert_eq!(
            complaint("old = 1\n", |_| Ok(())),
            "a.toml:1:1: `old` in the file is not supported by this host: use `new`"
        );
    }

    #[test]
    fn a_syntax_error_is_placed() {
        assert!(complaint("a = 1\nb = = 2\n", |_| Ok(())).starts_with("a.toml:2:"));
    }
}
