//! Reading requests: each part is parsed once, strictly.

use http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use tokengate_core::merkle::Proof;

use crate::http::Request;
use crate::http::problem::Problem;

/// The body as JSON of exactly the expected shape.
pub(crate) fn json<T: DeserializeOwned>(request: &Request) -> Result<T, Problem> {
    let media_type = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::NotJson);
    }
    // A derived reader would also take a list of the members' values.
    if request.body().trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::Body("The body is not a JSON object.".into()));
    }
    // serde_json's words name the member and the place, and never repeat more of the input than a member's name.
    serde_json::from_slice(request.body()).map_err(|error| {
        Problem::Body(format!(
            "The body is not understood: {}.",
            brief(&error.to_string())
        ))
    })
}

/// The named query parameters, in order. Any other parameter, and any given twice, is a mistake worth telling.
pub(crate) fn query<const N: usize>(
    request: &Request,
    names: [&str; N],
) -> Result<[Option<String>; N], Problem> {
    let mut values = [const { None }; N];
    let query = request.uri().query().unwrap_or_default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let known = names
            .iter()
            .zip(values.iter_mut())
            .find(|(known, _)| **known == name);
        match known {
            Some((_, slot @ None)) => *slot = Some(value.into_owned()),
            Some((name, Some(_))) => {
                return Err(Problem::Query(format!(
                    "The parameter `{name}` is given twice."
                )));
            }
            None => {
                return Err(Problem::Query(format!(
                    "There is no parameter `{}` here.",
                    brief(&name)
                )));
            }
        }
    }
    Ok(values)
}

/// A query parameter that must be there.
pub(crate) fn required(value: Option<String>, name: &str) -> Result<String, Problem> {
    value.ok_or_else(|| Problem::Query(format!("The parameter `{name}` is missing.")))
}

/// A proof that an address is on a list, as a query parameter: its entries, separated by commas.
pub(crate) fn proof(value: Option<String>) -> Result<Option<Proof>, Problem> {
    let proof = value.map(|text| match text.as_str() {
        // A tree of one leaf: the leaf is the root.
        "" => Proof::parse([]),
        entries => Proof::parse(entries.split(',')),
    });
    Ok(proof.transpose()?)
}

fn brief(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(160).collect()
}
