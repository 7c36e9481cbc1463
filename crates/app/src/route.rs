//! Routes: a path, and what answers its methods.

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;
use http::Method;

use crate::context::Context;
use crate::http::problem::Problem;
use crate::http::{Request, Response};
use crate::ports::Ports;

/// The longest request body that is read, in bytes, where a route does not say otherwise.
pub const MAX_BODY_LEN: usize = 64 * 1024;

/// What answers a request; what it cannot answer is a problem.
type Handler<P, S> = Rc<
    dyn for<'a> Fn(
        &'a Context<P, S>,
        &'a Request,
        &'a str,
    ) -> LocalBoxFuture<'a, Result<Response, Problem>>,
>;

/// A path, and what answers its methods with the state `S`.
pub struct Route<P, S> {
    /// `/exact`, `/prefix/{rest…}` (one or more segments), or `/a/{segment}/b`. In the log it stands for the path.
    pub(crate) path: &'static str,
    body_len: usize,
    is_there: Rc<dyn Fn(&S) -> bool>,
    handlers: Vec<(Method, Handler<P, S>)>,
}

impl<P, S> Route<P, S> {
    /// A path, without a method yet.
    pub(crate) fn new(path: &'static str) -> Self {
        Self {
            path,
            body_len: MAX_BODY_LEN,
            is_there: Rc::new(|_| true),
            handlers: Vec::new(),
        }
    }

    /// Takes bodies of up to so many bytes.
    #[must_use]
    pub(crate) fn with_bodies_of(mut self, len: usize) -> Self {
        self.body_len = len;
        self
    }
}

impl<P: Ports, S: 'static> Route<P, S> {
    /// Is there only where `condition` holds.
    #[must_use]
    pub(crate) fn only_if(mut self, condition: fn(&S) -> bool) -> Self {
        self.is_there = Rc::new(condition);
        self
    }

    /// Answers `method` by `handler`, which is given the part of the path that the placeholder stands for. `HEAD` is
    /// answered through `GET` where it is not named.
    #[must_use]
    pub(crate) fn on<H>(mut self, method: Method, handler: H) -> Self
    where
        H: AsyncFn(&Context<P, S>, &Request, &str) -> Result<Response, Problem> + Copy + 'static,
    {
        fn boxed<P, S, F>(handler: F) -> Handler<P, S>
        where
            F: for<'a> Fn(
                    &'a Context<P, S>,
                    &'a Request,
                    &'a str,
                ) -> LocalBoxFuture<'a, Result<Response, Problem>>
                + 'static,
        {
            Rc::new(handler)
        }
        let handler = boxed(move |context, request, captured| {
            Box::pin(async move { handler(context, request, captured).await })
        });
        self.handlers.push((method, handler));
        self
    }

    /// The same route for a component whose state has that of this route as a part.
    pub fn within<T: 'static>(self, part: fn(&T) -> S) -> Route<P, T> {
        let is_there = self.is_there;
        let handlers = self.handlers.into_iter().map(|(method, handler)| {
            let handler: Handler<P, T> = Rc::new(move |context, request, captured| {
                let (context, handler) = (context.within(part), handler.clone());
                Box::pin(async move { handler(&context, request, captured).await })
            });
            (method, handler)
        });
        Route {
            path: self.path,
            body_len: self.body_len,
            is_there: Rc::new(move |state| is_there(&part(state))),
            handlers: handlers.collect(),
        }
    }

    /// Whether there is such a route in a component with this state.
    pub(crate) fn is_there(&self, state: &S) -> bool {
        (self.is_there)(state)
    }

    /// What answers `method`.
    ///
    /// # Errors
    /// [`Problem::MethodNotAllowed`].
    pub(crate) fn handler(&self, method: &Method) -> Result<&Handler<P, S>, Problem> {
        let of = |wanted: &Method| {
            let mut handlers = self.handlers.iter();
            let found = handlers.find(|(method, _)| method == wanted);
            found.map(|(_, handler)| handler)
        };
        let found = of(method).or_else(|| {
            let is_head = method == Method::HEAD;
            is_head.then(|| of(&Method::GET)).flatten()
        });
        found.ok_or_else(|| {
            let methods = self.handlers.iter().map(|(method, _)| method.as_str());
            let mut allowed: Vec<&str> = methods.collect();
            if of(&Method::GET).is_some() && of(&Method::HEAD).is_none() {
                allowed.push("HEAD");
            }
            Problem::MethodNotAllowed(allowed.join(", "))
        })
    }
}

impl<P, S> Route<P, S> {
    /// The part of `path` that the placeholder stands for (empty without one), if the route covers it.
    pub(crate) fn captures<'a>(&self, path: &'a str) -> Option<&'a str> {
        captures(self.path, path)
    }
}

fn captures<'a>(route: &str, path: &'a str) -> Option<&'a str> {
    let Some((before, rest)) = route.split_once('{') else {
        return (route == path).then_some("");
    };
    let (name, after) = rest.split_once('}')?;
    let captured = path.strip_prefix(before)?.strip_suffix(after)?;
    let whole = !captured.is_empty() && (name.ends_with('…') || !captured.contains('/'));
    whole.then_some(captured)
}

/// The longest body, in bytes, that the first of `routes` which covers `path` takes.
pub fn max_body_len<P, S>(routes: &[Route<P, S>], path: &str) -> usize {
    let mut routes = routes.iter();
    let route = routes.find(|route| route.captures(path).is_some());
    route.map_or(MAX_BODY_LEN, |route| route.body_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_take_one_segment_and_with_an_ellipsis_the_rest() {
        assert_eq!(captures("/v1/gates", "/v1/gates"), Some(""));
        assert_eq!(captures("/v1/gates", "/v1/gates/"), None);
        assert_eq!(captures("/v1/gates/{id}", "/v1/gates/a"), Some("a"));
        assert_eq!(captures("/v1/gates/{id}", "/v1/gates/a/b"), None);
        assert_eq!(captures("/v1/gates/{id}", "/v1/gates/"), None);
        assert_eq!(
            captures("/v1/gates/{id}/check", "/v1/gates/a/check"),
            Some("a")
        );
        assert_eq!(captures("/v1/gates/{id}/check", "/v1/gates/check"), None);
        assert_eq!(
            captures("/v1/content/{resource…}", "/v1/content/media/a/b"),
            Some("media/a/b")
        );
        assert_eq!(captures("/v1/content/{resource…}", "/v1/content/"), None);
    }

    #[test]
    fn only_a_route_that_says_so_takes_long_bodies() {
        let route = Route::<(), ()>::new;
        let routes = [route("/a"), route("/b/{id}").with_bodies_of(1 << 20)];
        let len = |path| max_body_len(&routes, path);
        assert_eq!(len("/b/c"), 1 << 20);
        for path in ["/a", "/b", "/b/c/d", "/c"] {
            assert_eq!(len(path), MAX_BODY_LEN, "{path}");
        }
    }
}
