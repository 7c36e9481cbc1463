//! Files and directories that this user alone may change: what is in them is trusted.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Permission to write for the group and for others.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Any permission for the group and for others.
const ANYTHING_FOR_OTHERS: u32 = 0o077;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Owned by someone else, writable by others, or not what it must be (a link, a device).
    #[error("others own it or may write it")]
    NotOurs,
}

/// Makes `directory` with mode 0700 if it is missing, and refuses one that others own or may write, and a link.
pub(crate) fn directory(directory: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let metadata = fs::symlink_metadata(directory)?;
    if metadata.is_dir() && is_ours(&metadata) {
        Ok(())
    } else {
        Err(Error::NotOurs)
    }
}

/// Who else may use a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exposure {
    /// Nobody but this user.
    Private,
    /// Others may read what is in it, or what it is called.
    Readable,
    /// Others own it or may write it, or it is a link.
    Writable,
}

/// How exposed a file or directory is; `None` if there is none. Nothing is changed.
///
/// # Errors
/// [`io::Error`], if it cannot be looked at.
pub(crate) fn exposure(path: &Path) -> io::Result<Option<Exposure>> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let is_kept = metadata.is_dir() || metadata.is_file();
    Ok(Some(if !is_kept || !is_ours(&metadata) {
        Exposure::Writable
    } else if metadata.mode() & ANYTHING_FOR_OTHERS == 0 {
        Exposure::Private
    } else {
        Exposure::Readable
    }))
}

/// An existing file for reading. What is checked is what is read: the name is resolved once, and not through a link.
pub(crate) fn open(path: &Path) -> Result<fs::File, Error> {
    let file = fs::File::options()
        .read(true)
        .custom_flags(no_link())
        .open(path)?;
    checked(file)
}

/// A file for reading and writing, made with mode 0600 if it is missing. `true` if an existing one could be read by
/// others until now; it no longer can.
pub(crate) fn open_or_create(path: &Path) -> Result<(fs::File, bool), Error> {
    let file = fs::File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(no_link())
        .open(path)
        .map_err(|error| {
            // ELOOP: the name is a link, which O_NOFOLLOW does not go through.
            let link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
            if link { Error::NotOurs } else { error.into() }
        })?;
    let file = checked(file)?;
    let mode = file.metadata()?.mode();
    let was_open = mode & ANYTHING_FOR_OTHERS != 0;
    if was_open {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok((file, was_open))
}

fn no_link() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32
}

fn checked(file: fs::File) -> Result<fs::File, Error> {
    let metadata = file.metadata()?;
    if metadata.is_file() && is_ours(&metadata) {
        Ok(file)
    } else {
        Err(Error::NotOurs)
    }
}

fn is_ours(metadata: &fs::Metadata) -> bool {
    is_owned_by(
        rustix::process::geteuid().as_raw(),
        metadata.uid(),
        metadata.mode(),
    )
}

fn is_owned_by(user: u32, owner: u32, mode: u32) -> bool {
    owner == user && mode & WRITABLE_BY_OTHERS == 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn only_what_the_user_owns_and_nobody_else_writes_is_ours() {
        for (owner, mode, ours) in [
            (7, 0o700, true),
            (7, 0o755, true),
            (7, 0o775, false),
            (7, 0o757, false),
            (7, 0o1777, false),
            (8, 0o700, false),
            (0, 0o700, false),
        ] {
            assert_eq!(is_owned_by(7, owner, mode), ours, "{owner} {mode:o}");
        }
    }

    #[test]
    fn a_directory_is_made_private_and_refused_if_others_may_write_it() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        directory(&path).unwrap();
        assert_eq!(
            (mode(&path), mode(&parent.path().join("a"))),
            (0o700, 0o700)
        );
        for (permissions, accepted) in [(0o755, true), (0o775, false), (0o702, false)] {
            set(&path, permissions);
            assert_eq!(directory(&path).is_ok(), accepted, "{permissions:o}");
        }
        set(&path, 0o700);
        let link = parent.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(matches!(directory(&link), Err(Error::NotOurs)));
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(directory(&file).is_err());
    }

    #[test]
    fn a_file_is_made_private_whatever_may_have_been_asked_before() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("file");
        assert!(matches!(open_or_create(&path), Ok((_, false))));
        assert_eq!(mode(&path), 0o600);
        for readable in [0o640, 0o604, 0o644, 0o611] {
            set(&path, readable);
            assert!(
                matches!(open_or_create(&path), Ok((_, true))),
                "{readable:o}"
            );
            assert_eq!(mode(&path), 0o600);
        }
        for writable in [0o620, 0o602, 0o666] {
            set(&path, writable);
            assert!(
                matches!(open_or_create(&path), Err(Error::NotOurs)),
                "{writable:o}"
            );
            assert_eq!(mode(&path), writable, "it is left as it was found");
        }
    }

    #[test]
    fn an_exposed_file_or_directory_is_told_and_left_as_it_is() {
        let parent = tempfile::tempdir().unwrap();
        let (directory, file) = (parent.path().join("d"), parent.path().join("f"));
        fs::create_dir(&directory).unwrap();
        fs::write(&file, "").unwrap();
        for path in [&directory, &file] {
            for (permissions, expected) in [
                (0o700, Exposure::Private),
                (0o750, Exposure::Readable),
                (0o701, Exposure::Readable),
                (0o770, Exposure::Writable),
                (0o702, Exposure::Writable),
            ] {
                set(path, permissions);
                assert_eq!(exposure(path).unwrap(), Some(expected), "{permissions:o}");
                assert_eq!(mode(path), permissions);
            }
        }
        let link = parent.path().join("link");
        symlink(&file, &link).unwrap();
        assert_eq!(exposure(&link).unwrap(), Some(Exposure::Writable));
        assert_eq!(exposure(&parent.path().join("none")).unwrap(), None);
    }

    #[test]
    fn a_link_and_what_is_no_file_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("target");
        fs::write(&target, "").unwrap();
        let link = parent.path().join("link");
        symlink(&target, &link).unwrap();
        assert!(matches!(open_or_create(&link), Err(Error::NotOurs)));
        let dangling = parent.path().join("dangling");
        symlink(parent.path().join("nothing"), &dangling).unwrap();
        assert!(matches!(open_or_create(&dangling), Err(Error::NotOurs)));
        assert!(!parent.path().join("nothing").exists());
        assert!(open(&link).is_err());
        assert!(open(parent.path()).is_err());
    }
}
