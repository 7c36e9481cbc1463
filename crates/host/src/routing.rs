//! Spin's HTTP routes: exact paths, `:name` segments and a trailing `/...`; the most specific match wins, and a
//! trailing slash makes no difference.

use crate::document::{Located, Mistake};

/// A route pattern, with the application's base path in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The pattern with its base, as a guest may see it.
    based: String,
    /// The pattern as the manifest has it.
    raw: String,
    segments: Vec<Segment>,
    wildcard: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Capture(String),
}

impl Route {
    pub(crate) fn parse(base: &str, raw: &Located<String>) -> Result<Self, Mistake> {
        let refuse = |why: &str| {
            Err(raw
                .place
                .mistake(format!("the route `{}` {why}", raw.value)))
        };
        if !raw.value.starts_with('/') {
            return refuse("does not start with `/`: add it");
        }
        if raw.value.contains(['?', '#']) {
            return refuse("has a query or a fragment: routes match paths only");
        }
        let based = format!("{}{}", base.trim_end_matches('/'), raw.value);
        let (path, wildcard) = match based.strip_suffix("/...") {
            Some(prefix) => (prefix, true),
            None => (based.as_str(), false),
        };
        let mut segments = Vec::new();
        for segment in split(path) {
            segments.push(match segment.strip_prefix(':') {
                Some("") => return refuse("has a `:` segment without a name"),
                Some(name) => Segment::Capture(name.to_owned()),
                None if segment.contains('*') || segment == "..." => {
                    return refuse("has a wildcard inside: only a last segment `/...` may be one");
                }
                None => Segment::Literal(segment.to_owned()),
            });
        }
        Ok(Self {
            raw: raw.value.clone(),
            segments,
            wildcard,
            based: based.clone(),
        })
    }

    pub(crate) fn based(&self) -> &str {
        &self.based
    }

    pub(crate) fn raw(&self) -> &str {
        &self.raw
    }

    /// The pattern as the manifest has it, without its trailing wildcard.
    pub(crate) fn raw_prefix(&self) -> &str {
        self.raw.strip_suffix("/...").unwrap_or(&self.raw)
    }

    fn matches<'p>(&self, path: &'p str) -> Option<Vec<(&str, &'p str)>> {
        let mut captures = Vec::new();
        let mut given = split(path);
        for segment in &self.segments {
            let value = given.next()?;
            match segment {
                Segment::Literal(literal) if literal == value => {}
                Segment::Literal(_) => return None,
                Segment::Capture(name) => captures.push((name.as_str(), value)),
            }
        }
        (self.wildcard || given.next().is_none()).then_some(captures)
    }

    /// What comes first in this order is tried first: segment by segment a literal, then a capture, then the
    /// pattern's end, then its wildcard.
    fn rank(&self) -> Vec<u8> {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Literal(_) => 0,
            Segment::Capture(_) => 1,
        });
        segments
            .chain([if self.wildcard { 3 } else { 2 }])
            .collect()
    }

    /// Whether both patterns match the same paths.
    fn collides(&self, other: &Self) -> bool {
        self.rank() == other.rank()
            && self
                .segments
                .iter()
                .zip(&other.segments)
                .all(|pair| match pair {
                    (Segment::Literal(one), Segment::Literal(two)) => one == two,
                    _ => true,
                })
    }
}

/// Splits at `/`, where slashes at either end make no segment.
fn split(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/')
        .unwrap_or(path)
        .strip_suffix('/')
        .or_else(|| path.strip_prefix('/'))
        .unwrap_or(path)
        .split('/')
        .filter({
            let root = path.is_empty() || path == "/";
            move |_| !root
        })
}

/// What a request's path leads to.
#[derive(Debug)]
pub(crate) struct Match<'r, 'p, T> {
    pub(crate) target: &'r T,
    pub(crate) route: &'r Route,
    pub(crate) captures: Vec<(&'r str, &'p str)>,
}

impl<T> Match<'_, '_, T> {
    /// The rest of `path` under the route's wildcard, with its leading slash: Spin's `spin-path-info`.
    pub(crate) fn path_info<'p>(&self, path: &'p str) -> &'p str {
        if !self.route.wildcard {
            return "";
        }
        let mut rest = path;
        for _ in &self.route.segments {
            rest = rest.strip_prefix('/').unwrap_or(rest);
            rest = rest
                .find('/')
                .and_then(|slash| rest.get(slash..))
                .unwrap_or("");
        }
        rest
    }
}

/// Routes in the order of their precedence.
#[derive(Debug)]
pub(crate) struct Router<T>(Vec<(Route, T)>);

impl<T> Router<T> {
    /// Fails when two routes match the same paths, naming the later one.
    pub(crate) fn new(routes: Vec<(Located<Route>, T)>) -> Result<Self, Mistake> {
        for (index, (route, _)) in routes.iter().enumerate() {
            if let Some((earlier, _)) = routes
                .iter()
                .take(index)
                .find(|(other, _)| other.value.collides(&route.value))
            {
                return Err(route.place.mistake(format!(
                    "the route `{}` matches the same paths as `{}` at {}: remove one of them",
                    route.value.raw, earlier.value.raw, earlier.place
                )));
            }
        }
        let mut routes: Vec<_> = routes
            .into_iter()
            .map(|(route, target)| (route.value, target))
            .collect();
        routes.sort_by_key(|(route, _)| route.rank());
        Ok(Self(routes))
    }

    pub(crate) fn route<'r, 'p>(&'r self, path: &'p str) -> Option<Match<'r, 'p, T>> {
        self.0.iter().find_map(|(route, target)| {
            let captures = route.matches(path)?;
            Some(Match {
                target,
                route,
                captures,
            })
        })
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

    fn route(base: &str, raw: &str) -> Result<Located<Route>, Mistake> {
        let raw = located(raw);
        Ok(Located {
            value: Route::parse(base, &raw)?,
            place: raw.place,
        })
    }

    fn router(routes: &[&'static str]) -> Result<Router<&'static str>, Mistake> {
        Router::new(
            routes
                .iter()
                .map(|raw| Ok((route("/", raw)?, *raw)))
                .collect::<Result<_, Mistake>>()?,
        )
    }

    #[test]
    fn the_most_specific_route_wins_in_any_order() {
        let mut patterns = [
            "/...", "/a", "/a/...", "/a/b/...", "/a/:x", "/a/:x/c", "/a/b/c", "/",
        ];
        for _ in 0..patterns.len() {
            patterns.rotate_left(1);
            let router = router(&patterns).unwrap();
            for (path, expected) in [
                ("/", "/"),
                ("/a", "/a"),
                ("/a/", "/a"),
                ("/a/b", "/a/b/..."),
                ("/a/b/c", "/a/b/c"),
                ("/a/b/d", "/a/b/..."),
                ("/a/z", "/a/:x"),
                ("/a/z/c", "/a/:x/c"),
                ("/a/z/d", "/a/..."),
                ("/b", "/..."),
                ("/ab", "/..."),
                ("//a", "/..."),
            ] {
                assert_eq!(
                    router.route(path).map(|found| *found.target),
                    Some(expected),
                    "{path} in {patterns:?}"
                );
            }
        }
    }

    #[test]
    fn what_no_route_matches_is_nowhere() {
        let router = router(&["/a", "/b/..."]).unwrap();
        for path in ["/", "/c", "/a/x", "/ab", "/bc", "/A"] {
            assert!(router.route(path).is_none(), "{path}");
        }
    }

    #[test]
    fn path_info_is_what_the_wildcard_covers() {
        let router = router(&["/a/:x/...", "/..."]).unwrap();
        for (path, info) in [
            ("/a/1", ""),
            ("/a/1/", "/"),
            ("/a/1/b/c", "/b/c"),
            ("/a/1/b/", "/b/"),
            ("/", "/"),
            ("/q/r", "/q/r"),
        ] {
            assert_eq!(router.route(path).unwrap().path_info(path), info, "{path}");
        }
        assert_eq!(router.route("/a/1/b").unwrap().captures, [("x", "1")]);
    }

    #[test]
    fn a_base_goes_in_front() {
        let router = Router::new(vec![(route("/base/", "/x/...").unwrap(), ())]).unwrap();
        assert!(router.route("/x/y").is_none());
        let found = router.route("/base/x/y").unwrap();
        assert_eq!(
            (
                found.route.based(),
                found.route.raw(),
                found.route.raw_prefix()
            ),
            ("/base/x/...", "/x/...", "/x")
        );
    }

    #[test]
    fn routes_that_match_the_same_paths_are_refused() {
        for pair in [["/a", "/a/"], ["/:x", "/:y"], ["/a/...", "/a/..."]] {
            assert!(
                router(&pair)
                    .unwrap_err()
                    .to_string()
                    .contains("same paths"),
                "{pair:?}"
            );
        }
        assert!(router(&["/a", "/a/..."]).is_ok());
    }

    #[test]
    fn malformed_routes_are_refused() {
        for raw in ["a", "/a?b", "/*", "/a/.../b", "/:", ""] {
            assert!(route("/", raw).is_err(), "{raw}");
        }
    }
}
