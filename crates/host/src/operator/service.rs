//! A running service, which does what only its operator may ask for: the client of `/v1/admin`.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::Value;

use super::demo::Demo;
use super::ports::Native;
use crate::cli;

/// Where the token is looked for. Never among the arguments, which every user of the machine can read.
const TOKEN_VARIABLE: &str = "TOKENGATE_ADMIN_TOKEN";
/// How long an answer may take: longer than the service takes to give up.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest answer that is read, in bytes.
const MAX_ANSWER_LEN: usize = 1024 * 1024;

/// One thing that the service does.
pub(super) struct Service {
    base: String,
    target: String,
    headers: HeaderMap,
}

/// Why there is no answer, with what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The next time may be better, and is to come after so long if the service says it.
    Passing(String, Option<Duration>),
    /// The same will be answered to the same.
    Lasting(String),
}

impl Service {
    /// What the service does at `path`, with the operator's token.
    pub(super) fn new(named: &cli::Service, path: &str) -> anyhow::Result<Self> {
        let (url, token) = match named.demo.as_deref().map(Demo::read).transpose()? {
            Some(demo) => (demo.url, demo.admin_token),
            None => (named.url.clone(), token(named)?),
        };
        let base = url.as_str().trim_end_matches('/');
        Ok(Self {
            base: base.to_owned(),
            target: format!("{base}{path}"),
            headers: HeaderMap::from_iter([(AUTHORIZATION, authorization(&token)?)]),
        })
    }

    /// The service's URL, which paths are appended to.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// What `parse` makes of the answer; where that is nothing, it is no answer of the service.
    pub(super) async fn ask<T>(
        &self,
        ports: &Native,
        body: Option<&Value>,
        parse: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T, Failure> {
        let mut headers = self.headers.clone();
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let target = &self.target;
        let answer = ports.send(Method::POST, target, headers, body.into(), MAX_ANSWER_LEN);
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok((status, headers, body))) => read(status, &headers, &body, parse),
            Ok(Err(error)) => Err(Failure::Passing(
                format!("{error}; see that the service runs at {target}"),
                None,
            )),
            Err(_) => Err(Failure::Passing(
                format!("no answer in {PATIENCE:?}; see what {target} does"),
                None,
            )),
        }
    }
}

impl Failure {
    /// What is said of it.
    pub(super) fn text(self) -> String {
        match self {
            Self::Passing(text, _) | Self::Lasting(text) => text,
        }
    }
}

fn token(named: &cli::Service) -> anyhow::Result<String> {
    Ok(match &named.token_file {
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| anyhow::anyhow!("{} cannot be read: {error}", file.display()))?,
        None => std::env::var(TOKEN_VARIABLE).unwrap_or_default(),
    })
}

fn authorization(token: &str) -> anyhow::Result<HeaderValue> {
    let token = token.trim();
    ensure!(
        !token.is_empty(),
        "there is no token: give the value of the service's variable admin_token in {TOKEN_VARIABLE} or by --token-file"
    );
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .ok()
        .context("the token has characters that no header can carry")?;
    value.set_sensitive(true);
    Ok(value)
}

fn read<T>(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    parse: impl FnOnce(&Value) -> Option<T>,
) -> Result<T, Failure> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    if status == StatusCode::OK
        && let Some(parsed) = parse(&answer)
    {
        return Ok(parsed);
    }
    let code = answer.get("code").and_then(Value::as_str);
    let mend = match (status, code) {
        (StatusCode::UNAUTHORIZED, _) => "give the value of the service's variable admin_token",
        (_, Some("unknown-gate")) => "give the id of a [[gate]] in the service's tokengate.toml",
        (StatusCode::NOT_FOUND, _) => {
            "give the service a variable admin_token of at least 32 characters, and its URL here"
        }
        _ => LOG,
    };
    let text = format!("{}: {}{mend}", status.as_u16(), detail(&answer));
    let passing = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
    Err(if passing {
        let seconds = headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok());
        let seconds = seconds.and_then(|seconds| seconds.parse().ok());
        Failure::Passing(text, seconds.map(Duration::from_secs))
    } else {
        Failure::Lasting(text)
    })
}

/// Where it says why.
pub(super) const LOG: &str = "the service's log says more";

/// What a problem document says, if it is one.
pub(super) fn detail(problem: &Value) -> String {
    let detail = problem.get("detail").and_then(Value::as_str);
    detail.map_or_else(String::new, |detail| {
        // Of a service that need not be ours: nothing that a terminal would act upon.
        let detail: String = detail.chars().filter(|c| !c.is_control()).collect();
        format!("{}; ", detail.trim().trim_end_matches('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_to_do_and_whether_to_ask_again() {
        let wait = Some(Duration::from_secs(7));
        for (status, body, expected, passes) in [
            (
                401,
                r#"{"detail":"This is not the admin token."}"#,
                "401: This is not the admin token; give the value",
                false,
            ),
            (
                404,
                "",
                "404: give the service a variable admin_token",
                false,
            ),
            (
                404,
                r#"{"code":"unknown-gate","detail":"There is no such gate."}"#,
                "404: There is no such gate; give the id of a [[gate]]",
                false,
            ),
            (429, "", "429: the service's log says more", true),
            (503, "<html>", "503: the service's log says more", true),
            (
                200,
                r#"{"chains":{}}"#,
                "200: the service's log says more",
                false,
            ),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, 7.into())]);
            let status = StatusCode::from_u16(status).unwrap();
            let chains = |answer: &Value| answer.get("chains")?.as_array().cloned();
            let failure = read(status, &headers, body.as_bytes(), chains).unwrap_err();
            assert_eq!(
                matches!(&failure, Failure::Passing(_, pause) if *pause == wait),
                passes,
                "{failure:?}"
            );
            let text = failure.text();
            assert!(text.starts_with(expected), "{text}");
        }
    }
}
