//! Escapes text from outside for logs.

use std::fmt::Write;

/// `text` with everything but graphic ASCII and spaces escaped as JSON does (`\u009b`, a surrogate pair beyond the
/// basic plane; RFC 8259 section 7): controls (C0, DEL, C1), bidirectional overrides and line separators act on the
/// terminal or the reader. Within a JSON document this is the same document, so one function serves every log.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    push(&mut escaped, text);
    escaped
}

/// [`escape`] for bytes: what is not UTF-8 becomes U+FFFD, escaped. Line feeds stay, for they end lines.
pub(crate) fn escape_lines(bytes: &[u8]) -> Vec<u8> {
    let mut escaped = String::with_capacity(bytes.len());
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if index > 0 {
            escaped.push('\n');
        }
        for chunk in line.utf8_chunks() {
            push(&mut escaped, chunk.valid());
            if !chunk.invalid().is_empty() {
                push(&mut escaped, "\u{fffd}");
            }
        }
    }
    escaped.into_bytes()
}

fn push(escaped: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_ascii_graphic() || c == ' ' {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_graphic_ascii_or_a_space_is_escaped() {
        for (text, escaped) in [
            ("", ""),
            (" GET /v1/\"x\"\\~", " GET /v1/\"x\"\\~"),
            (
                "\0\u{7}\t\r\n\u{1b}[2J",
                "\\u0000\\u0007\\u0009\\u000d\\u000a\\u001b[2J",
            ),
            ("\u{7f}", "\\u007f"),
            (
                "\u{80}\u{85}\u{9b}2J\u{9f}\u{a0}",
                "\\u0080\\u0085\\u009b2J\\u009f\\u00a0",
            ),
            (
                "\u{202e}\u{2066}\u{2069}\u{200f}\u{61c}",
                "\\u202e\\u2066\\u2069\\u200f\\u061c",
            ),
            (
                "\u{2028}\u{2029}\u{feff}\u{e0001}",
                "\\u2028\\u2029\\ufeff\\udb40\\udc01",
            ),
            ("é\u{1f600}", "\\u00e9\\ud83d\\ude00"),
        ] {
            assert_eq!(escape(text), escaped, "{text:?}");
        }
    }

    #[test]
    fn every_character_is_graphic_ascii_afterwards_and_json_reads_it_back() {
        for c in (0..=0x0010_ffff).filter_map(char::from_u32) {
            let escaped = escape(&c.to_string());
            assert!(
                escaped
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() || byte == b' '),
                "{c:?}"
            );
            if !matches!(c, '"' | '\\') {
                let read: String = serde_json::from_str(&format!("\"{escaped}\"")).unwrap();
                assert_eq!(read, c.to_string());
            }
        }
    }

    #[test]
    fn lines_stay_lines_and_bytes_that_are_no_text_are_replaced() {
        assert_eq!(
            escape_lines(b"a\xffb\n\xe2\x80\xae\r\n\n\xe2\x80"),
            b"a\\ufffdb\n\\u202e\\u000d\n\n\\ufffd"
        );
        assert_eq!(escape_lines(b"\n"), b"\n");
        assert_eq!(escape_lines(b""), b"");
        // C1 as a lone byte: what a terminal that reads Latin-1 would obey.
        assert_eq!(escape_lines(b"\x9b2J"), b"\\ufffd2J");
    }
}
