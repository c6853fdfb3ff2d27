//! A report in the format of Go's `encoding/json`.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};

use super::Report;

impl Report {
    /// Returns the bytes that Go-Nerve writes for this report, without a newline.
    ///
    /// Go-Nerve always has a weight. A report without one, which only other writers make, is written without the key.
    pub fn encode(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(256);
        // Cannot fail: writing to a `Vec`, and a struct of texts and numbers.
        self.serialize(&mut Serializer::with_formatter(&mut json, GoFormatter))
            .ok();
        json
    }
}

/// Adds Go's escapes: `<`, `>`, `&` and the two line separators, for HTML and JavaScript, and no `\\b` and `\\f`.
struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for part in fragment.split_inclusive(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            match part.char_indices().next_back() {
                Some((at, last @ ('<' | '>' | '&' | '\u{2028}' | '\u{2029}'))) => {
                    let before = part.split_at_checked(at).unwrap_or_default().0;
                    write!(writer, "{before}\\u{:04x}", u32::from(last))?;
                }
                _ => writer.write_all(part.as_bytes())?,
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        let escape = match escape {
            CharEscape::Backspace => CharEscape::AsciiControl(8),
            CharEscape::FormFeed => CharEscape::AsciiControl(12),
            other => other,
        };
        CompactFormatter.write_char_escape(writer, escape)
    }
}
