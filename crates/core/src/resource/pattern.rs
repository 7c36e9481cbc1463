//! Patterns over resources: which gate guards which objects.

use std::cmp::Ordering;
use std::fmt;

use crate::resource::{Resource, is_bucket_name};

/// A pattern such as `media/season-1/**` or `media/posters/*.jpg`.
///
/// The bucket is literal. In a key segment `*` stands for any run of characters but `/`; a last segment `**` stands
/// for one or more whole segments. Patterns are ordered by how specific they are, the most specific first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    bucket: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// The literal pieces around the stars of a segment: `a*b` is `["a", "b"]`.
    Stars(Vec<String>),
    Rest,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not `<bucket>/<key pattern>`.
    #[error("a pattern is written <bucket>/<key pattern>, for example media/season-1/**")]
    Shape,
    /// The bucket part is no bucket name; wildcards are not allowed in it.
    #[error("the bucket of a pattern is a literal bucket name")]
    Bucket,
    /// An empty, `.` or `..` segment, a control character or a backslash: it could never match.
    #[error(
        "the key pattern has an empty, `.` or `..` segment, a control character or a backslash"
    )]
    Segment,
    /// `**` elsewhere than as the whole last segment.
    #[error("`**` may only be the whole last segment")]
    Rest,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PatternError`]; a pattern that could never match is an error, not an empty guard.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (bucket, key) = text.split_once('/').ok_or(PatternError::Shape)?;
        if !is_bucket_name(bucket) {
            return Err(PatternError::Bucket);
        }
        if key.chars().any(|c| c.is_control() || c == '\\') {
            return Err(PatternError::Segment);
        }
        let mut segments = Vec::new();
        let mut parts = key.split('/').peekable();
        while let Some(part) = parts.next() {
            segments.push(match part {
                "" | "." | ".." => return Err(PatternError::Segment),
                "**" if parts.peek().is_none() => Segment::Rest,
                part if part.contains("**") => return Err(PatternError::Rest),
                part if part.contains('*') => {
                    Segment::Stars(part.split('*').map(str::to_owned).collect())
                }
                part => Segment::Literal(part.to_owned()),
            });
        }
        Ok(Self {
            text: text.to_owned(),
            bucket: bucket.to_owned(),
            segments,
        })
    }

    /// The bucket that the pattern is about.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Whether the pattern covers `resource`.
    pub fn matches(&self, resource: &Resource) -> bool {
        if self.bucket != resource.bucket() {
            return false;
        }
        let mut parts = resource.key().split('/');
        for segment in &self.segments {
            let Some(part) = parts.next() else {
                return false;
            };
            let fits = match segment {
                Segment::Literal(literal) => literal == part,
                Segment::Stars(pieces) => stars_match(pieces, part),
                Segment::Rest => return true,
            };
            if !fits {
                return false;
            }
        }
        parts.next().is_none()
    }

    /// Orders two patterns that cover the same resource: the more specific one is `Less`.
    ///
    /// Segment by segment from the left: a literal before stars, stars with more literal characters before stars with
    /// fewer, `**` last.
    pub fn specificity(&self, other: &Self) -> Ordering {
        let ranks = |pattern: &Self| {
            pattern
                .segments
                .iter()
                .map(Segment::rank)
                .collect::<Vec<_>>()
        };
        ranks(other).cmp(&ranks(self))
    }

    /// Whether some resource could be covered by both, and neither pattern lies within the other: then which of them is
    /// the more specific would be an accident of their spelling.
    pub fn conflicts(&self, other: &Self) -> bool {
        self.meets(other) && self.lies_within(other) == other.lies_within(self)
    }

    fn meets(&self, other: &Self) -> bool {
        let (mut a, mut b) = (self.segments.iter(), other.segments.iter());
        self.bucket == other.bucket
            && loop {
                match (a.next(), b.next()) {
                    (Some(Segment::Rest), Some(_)) | (Some(_), Some(Segment::Rest)) => break true,
                    (Some(a), Some(b)) if a.may_meet(b) => {}
                    (None, None) => break true,
                    _ => break false,
                }
            }
    }

    fn lies_within(&self, other: &Self) -> bool {
        let (mut a, mut b) = (self.segments.iter(), other.segments.iter());
        self.bucket == other.bucket
            && loop {
                match (a.next(), b.next()) {
                    (Some(_), Some(Segment::Rest)) => break true,
                    (Some(a), Some(b)) if a.lies_within(b) => {}
                    (None, None) => break true,
                    _ => break false,
                }
            }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Segment {
    /// Greater is more specific.
    fn rank(&self) -> (u8, usize) {
        match self {
            Self::Literal(_) => (2, 0),
            Self::Stars(pieces) => (1, pieces.iter().map(String::len).sum()),
            Self::Rest => (0, 0),
        }
    }

    /// Whether every text that fits this also fits `other`. May say no too often (which refuses a configuration).
    fn lies_within(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(a), Self::Literal(b)) => a == b,
            (Self::Literal(a), Self::Stars(b)) => stars_match(b, a),
            (Self::Stars(a), Self::Stars(b)) => a == b || b.iter().all(String::is_empty),
            _ => false,
        }
    }

    /// Whether one text could fit both. May say yes too often (which refuses a configuration), never no too often.
    fn may_meet(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(a), Self::Literal(b)) => a == b,
            (Self::Literal(text), Self::Stars(pieces))
            | (Self::Stars(pieces), Self::Literal(text)) => stars_match(pieces, text),
            (Self::Stars(a), Self::Stars(b)) => {
                let ends_agree =
                    |a: Option<&String>, b: Option<&String>, agree: fn(&str, &str) -> bool| match (
                        a, b,
                    ) {
                        (Some(a), Some(b)) => agree(a, b) || agree(b, a),
                        _ => true,
                    };
                ends_agree(a.first(), b.first(), |a, b| a.starts_with(b))
                    && ends_agree(a.last(), b.last(), |a, b| a.ends_with(b))
            }
            _ => true,
        }
    }
}

/// Matches the pieces around stars: the first at the start, the last at the end, those between in order, leftmost first.
fn stars_match(pieces: &[String], text: &str) -> bool {
    let [first, middle @ .., last] = pieces else {
        return false;
    };
    let Some(mut rest) = text
        .strip_prefix(first.as_str())
        .and_then(|rest| rest.strip_suffix(last.as_str()))
    else {
        return false;
    };
    for piece in middle {
        match rest.split_once(piece.as_str()) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    fn matches(text: &str, resource: &str) -> bool {
        pattern(text).matches(&Resource::parse(resource).unwrap())
    }

    #[test]
    fn patterns_cover_what_they_say() {
        let table = [
            ("media/season-1/**", "media/season-1/ep1.mp4", true),
            ("media/season-1/**", "media/season-1/a/b/c", true),
            ("media/season-1/**", "media/season-1", false),
            ("media/season-1/**", "media/season-10/ep1.mp4", false),
            ("media/season-1/**", "other/season-1/ep1.mp4", false),
            ("media/**", "media/anything", true),
            ("media/*", "media/a", true),
            ("media/*", "media/a/b", false),
            ("media/*/x", "media/a/x", true),
            ("media/*.jpg", "media/.jpg", true),
            ("media/a*a", "media/a", false),
            ("media/a*a", "media/aa", true),
            ("media/a*b*c", "media/a-b-b-c", true),
            ("media/a*b*c", "media/acb", false),
            ("media/x", "media/x", true),
            ("media/x", "media/X", false),
        ];
        for (text, resource, expected) in table {
            assert_eq!(matches(text, resource), expected, "{text} over {resource}");
        }
    }

    #[test]
    fn the_more_specific_pattern_comes_first() {
        let ordered = [
            "media/a/b",
            "media/a/b*",
            "media/a/*",
            "media/a/**",
            "media/*/b",
            "media/*/**",
            "media/**",
        ];
        for (i, a) in ordered.iter().enumerate() {
            for (j, b) in ordered.iter().enumerate() {
                assert_eq!(
                    pattern(a).specificity(&pattern(b)),
                    i.cmp(&j),
                    "{a} and {b}"
                );
            }
        }
    }

    #[test]
    fn overlapping_patterns_conflict_unless_one_lies_within_the_other() {
        for (a, b, expected) in [
            ("media/**", "media/**", true),
            ("media/a*", "media/*a", true),
            ("media/a*", "media/b*", false),
            ("media/*a", "media/*b", false),
            ("media/*/x", "media/*/y", false),
            ("media/**", "other/**", false),
            ("media/a/**", "media/**", false),
            ("media/a/*", "media/*", false),
            ("media/abc", "media/a*", false),
            ("media/a*", "media/*", false),
            ("media/*/b", "media/a/*", true),
            ("media/s*/private/**", "media/*2024/**", true),
        ] {
            assert_eq!(pattern(a).conflicts(&pattern(b)), expected, "{a} and {b}");
            assert_eq!(pattern(b).conflicts(&pattern(a)), expected, "{b} and {a}");
        }
    }

    #[test]
    fn patterns_that_could_never_match_are_refused() {
        for (text, error) in [
            ("media", PatternError::Shape),
            ("*/x", PatternError::Bucket),
            ("/x", PatternError::Bucket),
            ("media/", PatternError::Segment),
            ("media//x", PatternError::Segment),
            ("media/../x", PatternError::Segment),
            ("media/a\\b", PatternError::Segment),
            ("media/**/x", PatternError::Rest),
            ("media/a**", PatternError::Rest),
        ] {
            assert_eq!(Pattern::parse(text).unwrap_err(), error, "{text}");
        }
    }
}
