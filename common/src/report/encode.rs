//! A report as Go's `encoding/json` writes it.

use super::Report;

impl Report {
    /// The bytes Go-Nerve writes for this report, to the byte; no newline.
    ///
    /// Go-Nerve always has a weight. A report without one, which only other writers make, is written without the key.
    pub fn encode(&self) -> Vec<u8> {
        let mut json = String::with_capacity(256);
        json.push_str(if self.available {
            r#"{"available":true"#
        } else {
            r#"{"available":false"#
        });
        if !self.unavailable_reason.is_empty() {
            json.push_str(r#","unavailable_reason":"#);
            push_text(&mut json, &self.unavailable_reason);
        }
        json.push_str(r#","host":"#);
        push_text(&mut json, &self.host);
        json.push_str(r#","port":"#);
        json.push_str(&self.port.to_string());
        json.push_str(r#","name":"#);
        push_text(&mut json, &self.name);
        if !self.haproxy_server_options.is_empty() {
            json.push_str(r#","haproxy_server_options":"#);
            push_text(&mut json, &self.haproxy_server_options);
        }
        if let Some(weight) = self.weight {
            json.push_str(r#","weight":"#);
            json.push_str(&weight.to_string());
        }
        let mut before = r#","labels":{"#;
        for (label, value) in &self.labels {
            json.push_str(before);
            push_text(&mut json, label);
            json.push(':');
            push_text(&mut json, value);
            before = ",";
        }
        json.push_str(if self.labels.is_empty() { "}" } else { "}}" });
        json.into_bytes()
    }
}

/// A JSON string with Go's escapes: also `<`, `>`, `&` and the two line separators, for the sake of HTML and JavaScript.
fn push_text(json: &mut String, text: &str) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                json.push_str("\\u");
                let digits = [12, 8, 4, 0].map(|shift| u32::from(character) >> shift & 0xf);
                json.extend(digits.iter().filter_map(|digit| char::from_digit(*digit, 16)));
            }
            _ => json.push(character),
        }
    }
    json.push('"');
}
