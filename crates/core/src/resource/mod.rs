//! Names of protected objects: `<bucket>/<object key>`, normalised once.

pub mod pattern;

use std::fmt;

use percent_encoding::percent_decode_str;

/// The longest object key S3 stores, in bytes of UTF-8.
pub const MAX_KEY_LEN: usize = 1024;

/// A bucket's name in the configuration, followed by an object key in it.
///
/// The key has no empty, `.` or `..` segment and no control character or backslash: it means the same to the pattern
/// that guards it, to the URL that opens it and to every proxy between.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resource {
    text: String,
    bucket_len: usize,
}

/// Why a text names no resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// No `/` between bucket and key.
    #[error("a resource is written <bucket>/<object key>")]
    Shape,
    /// The bucket is no bucket name.
    #[error("the bucket name may have 1 to 63 lower-case letters, digits, dots and hyphens")]
    Bucket,
    /// The key is longer than [`MAX_KEY_LEN`].
    #[error("the object key is longer than {MAX_KEY_LEN} bytes")]
    TooLong,
    /// An empty, `.` or `..` segment.
    #[error("the object key has an empty, `.` or `..` segment")]
    Segment,
    /// A control character or a backslash.
    #[error("the object key has a control character or a backslash")]
    Character,
    /// A percent-encoded slash or backslash, or a broken percent-encoding.
    #[error("the path has a percent-encoded slash or a broken percent-encoding")]
    Encoding,
    /// The decoded path is not UTF-8.
    #[error("the path is not UTF-8")]
    Utf8,
}

impl Resource {
    /// Reads `<bucket>/<object key>` in plain text, as it stands in JSON.
    ///
    /// # Errors
    /// [`ResourceError`], for everything that two readers might take for different objects.
    pub fn parse(text: &str) -> Result<Self, ResourceError> {
        let (bucket, key) = text.split_once('/').ok_or(ResourceError::Shape)?;
        if !is_bucket_name(bucket) {
            return Err(ResourceError::Bucket);
        }
        if key.len() > MAX_KEY_LEN {
            return Err(ResourceError::TooLong);
        }
        if key.chars().any(|c| c.is_control() || c == '\\') {
            return Err(ResourceError::Character);
        }
        if key
            .split('/')
            .any(|segment| matches!(segment, "" | "." | ".."))
        {
            return Err(ResourceError::Segment);
        }
        Ok(Self {
            text: text.to_owned(),
            bucket_len: bucket.len(),
        })
    }

    /// Reads the same from the path of a URL, percent-decoding it exactly once.
    ///
    /// # Errors
    /// As [`Self::parse`], and for encodings that hide a separator.
    pub fn from_url_path(path: &str) -> Result<Self, ResourceError> {
        if path.len() > 3 * (MAX_KEY_LEN + 64) {
            return Err(ResourceError::TooLong);
        }
        let mut rest = path.as_bytes();
        while let Some(at) = rest.iter().position(|b| *b == b'%') {
            match rest.get(at + 1..at + 3) {
                Some([b'2', b'f' | b'F'] | [b'5', b'c' | b'C']) => {
                    return Err(ResourceError::Encoding);
                }
                Some([a, b]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {}
                _ => return Err(ResourceError::Encoding),
            }
            rest = rest.get(at + 3..).unwrap_or_default();
        }
        Self::parse(
            &percent_decode_str(path)
                .decode_utf8()
                .map_err(|_| ResourceError::Utf8)?,
        )
    }

    /// The bucket's name in the configuration.
    pub fn bucket(&self) -> &str {
        self.text.get(..self.bucket_len).unwrap_or_default()
    }

    /// The object key.
    pub fn key(&self) -> &str {
        self.text.get(self.bucket_len + 1..).unwrap_or_default()
    }

    /// The last segment of the key: what a download is called.
    pub fn file_name(&self) -> &str {
        self.key().rsplit('/').next().unwrap_or_default()
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

pub(crate) fn is_bucket_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !matches!(text, "." | "..")
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_and_key_are_split_at_the_first_slash() {
        let resource = Resource::parse("media/season-1/ep 1.mp4").unwrap();
        assert_eq!(
            (resource.bucket(), resource.key(), resource.file_name()),
            ("media", "season-1/ep 1.mp4", "ep 1.mp4")
        );
        assert_eq!(
            Resource::from_url_path("media/season-1/ep%201.mp4"),
            Ok(resource)
        );
        assert_eq!(
            Resource::from_url_path("media/100%2525").unwrap().key(),
            "100%25",
            "decoded once, not twice"
        );
    }

    #[test]
    fn ambiguous_names_are_refused() {
        let table = [
            ("media", ResourceError::Shape),
            ("", ResourceError::Shape),
            ("/media/x", ResourceError::Bucket),
            ("Media/x", ResourceError::Bucket),
            ("../x", ResourceError::Bucket),
            ("media/", ResourceError::Segment),
            ("media/a/", ResourceError::Segment),
            ("media//a", ResourceError::Segment),
            ("media/a/../b", ResourceError::Segment),
            ("media/./b", ResourceError::Segment),
            ("media/a\\b", ResourceError::Character),
            ("media/a\0b", ResourceError::Character),
            ("media/a\nb", ResourceError::Character),
            ("media/a\u{85}b", ResourceError::Character),
        ];
        for (text, error) in table {
            assert_eq!(Resource::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(
            Resource::parse(&format!("media/{}", "a".repeat(1025))),
            Err(ResourceError::TooLong)
        );
        assert!(Resource::parse(&format!("media/{}", "a".repeat(1024))).is_ok());
    }

    #[test]
    fn encodings_that_hide_a_separator_or_are_broken_are_refused() {
        let table = [
            ("media/a%2fb", ResourceError::Encoding),
            ("media/a%2Fb", ResourceError::Encoding),
            ("media/a%5cb", ResourceError::Encoding),
            ("media/a%", ResourceError::Encoding),
            ("media/a%2", ResourceError::Encoding),
            ("media/a%zz", ResourceError::Encoding),
            ("media/%2e%2e/b", ResourceError::Segment),
            ("media/%00", ResourceError::Character),
            ("media/%ff", ResourceError::Utf8),
        ];
        for (text, error) in table {
            assert_eq!(Resource::from_url_path(text), Err(error), "{text:?}");
        }
    }
}
