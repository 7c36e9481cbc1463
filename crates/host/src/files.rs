//! The files that a component sees: copied at start into a directory of its own, which is mounted read-only as the
//! guest's root.

use std::fs;
use std::io;
use std::path::{Component as Part, Path, PathBuf};

use crate::document::{Located, Mistake};
use crate::manifest::Files;

/// Fills `root` with what `files` names, less what `exclude` names; both start from `directory`.
pub(crate) fn assemble(
    files: &[Located<Files>],
    exclude: &[Located<String>],
    directory: &Path,
    root: &Path,
) -> Result<(), Mistake> {
    let exclude = exclude
        .iter()
        .map(|pattern| {
            glob::Pattern::new(&pattern.value).map_err(|error| {
                pattern
                    .place
                    .mistake(format!("is no pattern of paths: {error}"))
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let excluded = |relative: &Path| exclude.iter().any(|pattern| pattern.matches_path(relative));
    for entry in files {
        let failed = |error: io::Error, path: &Path| {
            entry
                .place
                .mistake(format!("`{}` cannot be mounted: {error}", path.display()))
        };
        // Though everything be excluded: then the root is empty.
        fs::create_dir_all(root).map_err(|error| failed(error, root))?;
        match &entry.value {
            Files::Pattern(pattern) => {
                let home = directory
                    .canonicalize()
                    .map_err(|error| failed(error, directory))?;
                let relative = relative(Path::new(pattern)).ok_or_else(|| {
                    entry.place.mistake(format!(
                        "`{pattern}` leaves the manifest's directory: use {{ source = \"…\", destination = \"/…\" }}"
                    ))
                })?;
                let anchored =
                    Path::new(&glob::Pattern::escape(&directory.to_string_lossy())).join(relative);
                let matches = glob::glob(&anchored.to_string_lossy()).map_err(|error| {
                    entry
                        .place
                        .mistake(format!("`{pattern}` is no pattern of paths: {error}"))
                })?;
                let mut found = false;
                for path in matches {
                    let path = path.map_err(|error| {
                        failed(io::Error::other(error.to_string()), error.path())
                    })?;
                    let below = path.strip_prefix(directory).unwrap_or(&path);
                    if !excluded(below) {
                        copy(&path, &root.join(below), below, Some(&home), &excluded)
                            .map_err(|error| failed(error, &path))?;
                    }
                    found = true;
                }
                if !found {
                    return Err(entry.place.mistake(format!(
                        "`{pattern}` matches no file: create it or remove the entry"
                    )));
                }
            }
            Files::Placed {
                source,
                destination,
            } => {
                let below = destination
                    .strip_prefix("/")
                    .ok()
                    .and_then(relative)
                    .ok_or_else(|| {
                        entry.place.mistake(format!(
                            "the destination `{}` is no absolute path",
                            destination.display()
                        ))
                    })?;
                let path = directory.join(source);
                copy(&path, &root.join(below), source, None, &excluded)
                    .map_err(|error| failed(error, &path))?;
            }
        }
    }
    Ok(())
}

/// `path` itself, if it stays below where it starts.
fn relative(path: &Path) -> Option<&Path> {
    path.components()
        .all(|part| matches!(part, Part::Normal(_) | Part::CurDir))
        .then_some(path)
}

/// Copies what is at `from`, and refuses what a link leads to outside of `home`.
fn copy(
    from: &Path,
    to: &Path,
    relative: &Path,
    home: Option<&Path>,
    excluded: &impl Fn(&Path) -> bool,
) -> io::Result<()> {
    if let Some(home) = home
        && !from.canonicalize()?.starts_with(home)
    {
        return Err(io::Error::other(format!(
            "`{}` leads out of the manifest's directory",
            from.display()
        )));
    }
    if fs::metadata(from)?.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let name = PathBuf::from(entry?.file_name());
            let below = relative.join(&name);
            if !excluded(&below) {
                copy(&from.join(&name), &to.join(&name), &below, home, excluded)?;
            }
        }
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;

    fn located<T>(value: T) -> Located<T> {
        Located {
            value,
            place: Document::new(Path::new("spin.toml"), "").start(),
        }
    }

    fn tree() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("assets/deep")).unwrap();
        for (path, text) in [
            ("gate.toml", "g"),
            ("assets/a.js", "a"),
            ("assets/a.map", "m"),
            ("assets/deep/b.js", "b"),
        ] {
            fs::write(directory.path().join(path), text).unwrap();
        }
        directory
    }

    fn mounted(files: Vec<Files>, exclude: &[&str]) -> Result<Vec<String>, String> {
        let directory = tree();
        let root = tempfile::tempdir().unwrap();
        let files: Vec<_> = files.into_iter().map(located).collect();
        let exclude: Vec<_> = exclude
            .iter()
            .map(|pattern| located((*pattern).to_owned()))
            .collect();
        assemble(&files, &exclude, directory.path(), root.path())
            .map_err(|mistake| mistake.to_string())?;
        let pattern = format!("{}/**/*", root.path().display());
        Ok(glob::glob(&pattern)
            .unwrap()
            .map(Result::unwrap)
            .filter(|path| path.is_file())
            .map(|path| {
                path.strip_prefix(root.path())
                    .unwrap()
                    .display()
                    .to_string()
            })
            .collect())
    }

    #[test]
    fn patterns_keep_their_path_and_placed_files_get_theirs() {
        let files = vec![
            Files::Pattern("gate.toml".into()),
            Files::Pattern("assets/**/*.js".into()),
            Files::Placed {
                source: "assets".into(),
                destination: "/www".into(),
            },
            Files::Placed {
                source: "gate.toml".into(),
                destination: "/etc/g.toml".into(),
            },
        ];
        assert_eq!(
            mounted(files, &["**/*.map"]).unwrap(),
            [
                "assets/a.js",
                "assets/deep/b.js",
                "etc/g.toml",
                "gate.toml",
                "www/a.js",
                "www/deep/b.js"
            ]
        );
    }

    #[test]
    fn a_link_out_of_the_directory_is_refused() {
        let (directory, root) = (tree(), tempfile::tempdir().unwrap());
        let outside = tempfile::NamedTempFile::new().unwrap();
        let link = directory.path().join("assets/deep/link");
        std::os::unix::fs::symlink(outside.path(), link).unwrap();
        for pattern in ["assets", "assets/deep/*"] {
            let files = [located(Files::Pattern(pattern.into()))];
            let mistake = assemble(&files, &[], directory.path(), root.path()).unwrap_err();
            assert!(mistake.to_string().contains("leads out"), "{mistake}");
        }
    }

    #[test]
    fn the_root_is_there_though_everything_is_excluded() {
        let (directory, parent) = (tree(), tempfile::tempdir().unwrap());
        let root = parent.path().join("root");
        let files = [located(Files::Pattern("gate.toml".into()))];
        let exclude = [located("gate.toml".to_owned())];
        assemble(&files, &exclude, directory.path(), &root).unwrap();
        assert!(root.is_dir());
    }

    #[test]
    fn a_missing_file_and_an_escape_are_mistakes() {
        for (files, says) in [
            (Files::Pattern("gone.toml".into()), "matches no file"),
            (
                Files::Pattern("../x".into()),
                "leaves the manifest's directory",
            ),
            (
                Files::Pattern("/etc/passwd".into()),
                "leaves the manifest's directory",
            ),
            (
                Files::Placed {
                    source: "gone".into(),
                    destination: "/x".into(),
                },
                "cannot be mounted",
            ),
            (
                Files::Placed {
                    source: "assets".into(),
                    destination: "x".into(),
                },
                "no absolute path",
            ),
            (
                Files::Placed {
                    source: "assets".into(),
                    destination: "/../x".into(),
                },
                "no absolute path",
            ),
        ] {
            assert!(
                mounted(vec![files], &[]).unwrap_err().contains(says),
                "{says}"
            );
        }
    }
}
