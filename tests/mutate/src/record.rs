//! What earlier runs found, so that one that was cut off goes on where it was.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The file of results: a line each, `id <tab> digest <tab> outcome`.
pub(crate) struct Record {
    file: File,
    known: BTreeMap<(String, String), String>,
}

impl Record {
    /// Opens the file, and empties it before if `again`.
    pub(crate) fn open(path: &Path, again: bool) -> Result<Self> {
        let open = || -> Result<Self> {
            let known = match fs::read_to_string(path) {
                Ok(text) if !again => lines(&text),
                _ => BTreeMap::new(),
            };
            let mut options = OpenOptions::new();
            options.create(true);
            let file = if again {
                options.write(true).truncate(true).open(path)?
            } else {
                options.append(true).open(path)?
            };
            Ok(Self { file, known })
        };
        open().with_context(|| path.display().to_string())
    }

    /// What was found for this id and digest.
    pub(crate) fn known(&self, id: &str, digest: &str) -> Option<&str> {
        self.known
            .get(&(id.into(), digest.into()))
            .map(String::as_str)
    }

    /// Notes a finding at once: the next moment may be the run's last.
    pub(crate) fn note(&mut self, id: &str, digest: &str, outcome: &str) -> Result<()> {
        writeln!(self.file, "{id}\t{digest}\t{outcome}")?;
        self.file.flush()?;
        self.known
            .insert((id.into(), digest.into()), outcome.into());
        Ok(())
    }
}

/// A line that was cut off says nothing.
fn lines(text: &str) -> BTreeMap<(String, String), String> {
    let whole = text
        .split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'));
    whole
        .filter_map(|line| {
            let mut parts = line.splitn(3, '\t');
            let (id, digest) = (parts.next()?, parts.next()?);
            Some(((id.into(), digest.into()), parts.next()?.into()))
        })
        .collect()
}

/// A digest over texts that cannot be shifted between them.
pub(crate) struct Fingerprint(Sha256);

impl Fingerprint {
    pub(crate) fn new() -> Self {
        Self(Sha256::new())
    }

    pub(crate) fn text(&mut self, text: &[u8]) {
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.0.update(length.to_be_bytes());
        self.0.update(text);
    }

    /// The files' names and content.
    pub(crate) fn files<'a>(
        &mut self,
        root: &Path,
        files: impl IntoIterator<Item = &'a PathBuf>,
    ) -> Result<()> {
        for file in files {
            self.text(file.to_string_lossy().as_bytes());
            let content = fs::read(root.join(file));
            self.text(&content.with_context(|| file.display().to_string())?);
        }
        Ok(())
    }

    /// The first 128 bits, in hexadecimal.
    pub(crate) fn hex(self) -> String {
        let mut digest = hex::encode(self.0.finalize());
        digest.truncate(32);
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_read_back_unless_cut_off_or_told_to_forget() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results");
        let mut record = Record::open(&path, false).unwrap();
        record.note("a", "1", "killed by x").unwrap();
        record.note("b", "1", "survived").unwrap();
        drop(record);
        fs::write(&path, fs::read_to_string(&path).unwrap() + "c\t1\tkil").unwrap();
        let record = Record::open(&path, false).unwrap();
        assert_eq!(record.known("a", "1"), Some("killed by x"));
        assert_eq!(record.known("b", "1"), Some("survived"));
        assert_eq!(record.known("a", "2"), None);
        assert_eq!(record.known("c", "1"), None);
        drop(record);
        let record = Record::open(&path, true).unwrap();
        assert_eq!(record.known("a", "1"), None);
    }

    #[test]
    fn a_fingerprint_tells_texts_apart_that_concatenate_to_the_same() {
        let of = |texts: &[&str]| {
            let mut fingerprint = Fingerprint::new();
            texts
                .iter()
                .for_each(|text| fingerprint.text(text.as_bytes()));
            fingerprint.hex()
        };
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
    }
}
