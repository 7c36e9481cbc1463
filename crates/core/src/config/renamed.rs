//! Keys that have another name now: an old one is an error that says where it stands and what to write in its place.

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::{ConfigError, Place, duration};

/// A table of the file, a key that it had, and the key that it has.
const KEYS: &[(&str, &str, &str)] = &[
    ("", "deadlines", "timeouts"),
    ("", "events", "webhook"),
    ("service", "deny_after", "deny_max_age"),
    ("limits", "client_header", "client_ip_header"),
    ("limits", "proxies", "proxy_hops"),
    ("cache", "memory", "memory_ttl"),
    ("cache", "memory_bytes", "memory_size"),
    ("cache", "refresh", "refresh_ahead"),
    ("cache", "warm", "prefetch"),
    ("chain", "tolerance", "max_lag"),
    ("chain", "head_age", "max_head_age"),
    ("chain", "agreement", "quorum"),
    ("gate", "fresh", "max_age"),
    ("gate", "agreement", "quorum"),
    ("events", "source", "id"),
    ("events", "kind", "provider"),
];

/// An old key: where it stands, and what it is now.
type Renamed<'a> = (std::ops::Range<usize>, &'a str, String);

/// The error for the first old key of a file, which also names the others. A file that is not TOML has none.
pub(super) fn find(place: &Place<'_>) -> Option<ConfigError> {
    let document = DeTable::parse(place.text).ok()?;
    let mut found = Vec::new();
    of_table("", document.get_ref(), &mut found);
    found.sort_by_key(|(span, ..)| span.start);
    let mut found = found.into_iter();
    let (span, old, help) = found.next()?;
    let mut help = format!("write {help}");
    for (span, old, now) in found {
        let line = place.position(&span).line;
        help.push_str(&format!("; line {line}: {now} in place of `{old}`"));
    }
    Some(place.error(span, format!("`{old}` has another name now"), help))
}

fn of_table<'a>(name: &str, table: &'a DeTable<'_>, found: &mut Vec<Renamed<'a>>) {
    for (key, value) in table {
        let (span, old) = (key.span(), key.get_ref().as_ref());
        let known = KEYS.iter().find(|(of, was, _)| (*of, *was) == (name, old));
        let help = match (name, old) {
            // What it means has changed as well: a duration after `max_age`, no longer an age.
            ("gate", "stale") => Some(beyond(table, value.get_ref())),
            ("chain", "read_at") => Some(state(value.get_ref())),
            ("chain", "multicall3") => Some(
                "reader = \"calls\" where it was \"none\", the address of a deployed reader where providers can do nothing else, or nothing"
                    .to_owned(),
            ),
            ("bucket", "bucket") => Some("`name`, and `id` for what was `name`".to_owned()),
            ("bucket", "name") if !table.contains_key("id") && !table.contains_key("bucket") => {
                Some("`id`".to_owned())
            }
            ("require", "owner_of_account") => Some("`erc6551_owner`".to_owned()),
            _ => known.map(|(.., now)| format!("`{now}`")),
        };
        if let Some(help) = help {
            found.push((span, old, help));
        }
        if name.is_empty() || name == "gate" || name == "require" {
            let inner = if name.is_empty() { old } else { "require" };
            of_value(inner, value, found);
        }
    }
}

fn of_value<'a>(name: &str, value: &'a Spanned<DeValue<'_>>, found: &mut Vec<Renamed<'a>>) {
    match value.get_ref() {
        DeValue::Table(table) => of_table(name, table, found),
        DeValue::Array(values) => values.iter().for_each(|value| of_value(name, value, found)),
        _ => {}
    }
}

fn text<'a>(value: &'a DeValue<'_>) -> Option<&'a str> {
    match value {
        DeValue::String(text) => Some(text.as_ref()),
        _ => None,
    }
}

/// `stale_while_revalidate` of a gate that had `stale`.
fn beyond(gate: &DeTable<'_>, stale: &DeValue<'_>) -> String {
    let age = |key: &str| {
        let value: Option<&Spanned<DeValue<'_>>> =
            gate.get(&Spanned::new(0..0, DeString::from(key)));
        duration(text(value?.get_ref())?)
    };
    let max_age = age("max_age").or_else(|| age("fresh"));
    let stale = text(stale).and_then(duration);
    match stale
        .zip(max_age)
        .map(|(stale, max_age)| stale.checked_sub(max_age))
    {
        Some(Some(beyond)) => format!(
            "`stale_while_revalidate = \"{}\"` (a duration after `max_age`)",
            spelled(beyond.as_millis())
        ),
        _ => "`stale_while_revalidate`, a duration after `max_age`".to_owned(),
    }
}

/// Milliseconds in the largest unit that fits.
fn spelled(millis: u128) -> String {
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ];
    let unit = units
        .iter()
        .find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit));
    match unit {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

/// `block` or `confirmations` of a chain that had `read_at`.
fn state(read_at: &DeValue<'_>) -> String {
    match read_at {
        DeValue::Integer(count) => format!("`confirmations = {}`", count.as_str()),
        _ => "`block`".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> Option<(usize, usize, String)> {
        let error = find(&Place { text })?;
        let position = error.position;
        Some((position.line, position.column, error.to_string()))
    }

    #[test]
    fn each_old_key_is_named_with_its_line_and_its_new_name() {
        for (text, line, now) in [
            ("[deadlines]\n", 1, "write `timeouts`"),
            (
                "[service]\ndeny_after = \"3s\"\n",
                2,
                "write `deny_max_age`",
            ),
            (
                "[limits]\nclient_header = \"x\"\n",
                2,
                "write `client_ip_header`",
            ),
            ("[limits]\n\nproxies = 2\n", 3, "write `proxy_hops`"),
            ("[cache]\nmemory = \"1s\"\n", 2, "write `memory_ttl`"),
            ("[cache]\nmemory_bytes = 9\n", 2, "write `memory_size`"),
            ("[cache]\nrefresh = \"off\"\n", 2, "write `refresh_ahead`"),
            ("[cache]\nwarm = \"off\"\n", 2, "write `prefetch`"),
            ("[[chain]]\nread_at = \"safe\"\n", 2, "write `block`"),
            ("[[chain]]\nread_at = 12\n", 2, "write `confirmations = 12`"),
            ("[[chain]]\ntolerance = 3\n", 2, "write `max_lag`"),
            ("[[chain]]\nhead_age = \"5m\"\n", 2, "write `max_head_age`"),
            ("[[chain]]\nagreement = 2\n", 2, "write `quorum`"),
            (
                "[[chain]]\nmulticall3 = \"none\"\n",
                2,
                "reader = \"calls\"",
            ),
            ("[[bucket]]\nname = \"media\"\n", 2, "write `id`"),
            (
                "[[bucket]]\nid = \"m\"\nbucket = \"media\"\n",
                3,
                "write `name`",
            ),
            ("[[gate]]\nfresh = \"5m\"\n", 2, "write `max_age`"),
            ("[[gate]]\nagreement = 2\n", 2, "write `quorum`"),
            (
                "[[gate]]\nmax_age = \"5m\"\nstale = \"1h\"\n",
                3,
                "write `stale_while_revalidate = \"55m\"`",
            ),
            (
                "[[gate]]\nstale = \"1h\"\n",
                2,
                "write `stale_while_revalidate`, a duration",
            ),
            (
                "[[gate]]\nrequire = { all = [{ not = { owner_of_account = {} } }] }\n",
                2,
                "write `erc6551_owner`",
            ),
        ] {
            let (found, _, said) = error(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(found, line, "{text}");
            assert!(said.contains(now), "{said}");
        }
    }

    #[test]
    fn all_old_keys_of_a_file_are_named_at_once() {
        let text = "[[events]]\nsource = \"a\"\nkind = \"moralis\"\n\n[[gate]]\nfresh = \"10s\"\nstale = \"1m\"\n";
        let (line, column, said) = error(text).unwrap();
        assert_eq!((line, column), (1, 3));
        for now in [
            "`events` has another name now; write `webhook`",
            "line 2: `id` in place of `source`",
            "line 3: `provider` in place of `kind`",
            "line 6: `max_age` in place of `fresh`",
            "line 7: `stale_while_revalidate = \"50s\"` (a duration after `max_age`) in place of `stale`",
        ] {
            assert!(said.contains(now), "{said}");
        }
    }

    #[test]
    fn new_keys_and_what_is_no_toml_have_no_old_keys() {
        for text in [
            "",
            "[[bucket]]\nid = \"media\"\nname = \"media-1\"\n",
            "[[gate]]\nid = \"events\"\nmax_age = \"1s\"\n",
            "[[webhook]]\nid = \"source\"\n",
            "[[gate]\nfresh = \"1s\"\n",
        ] {
            assert_eq!(error(text), None, "{text}");
        }
    }
}
