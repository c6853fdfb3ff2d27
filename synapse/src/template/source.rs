//! The text of a template as the original's library changes it before it is parsed, so that the same template makes the
//! same file. Pure.
//!
//! Trim markers at the edges of a line mean something else there than in Go: `{{-` at the start of a line drops its
//! indentation and keeps the line break before it; `-}}` at the end of a line joins the next one as it is. Everywhere else
//! they are Go's. Blanks at the end of a line go.

/// `text` as it is to be parsed. The last line has no newline.
pub(super) fn cleaned(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut current = String::new();
    for line in text.lines() {
        let line = line.trim_end_matches(' ');
        match line.trim_start_matches(' ').strip_prefix("{{-") {
            Some(action) => {
                current.push_str("{{");
                current.push_str(action);
            }
            None => current.push_str(line),
        }
        if let Some(joined) = current.strip_suffix("-}}") {
            current = format!("{joined}}}}}");
        } else {
            lines.push(std::mem::take(&mut current));
        }
    }
    if !current.is_empty() {
        lines.push(current);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_at_the_edge_of_a_line_is_the_originals() {
        for (text, cleaned_text) in [
            ("a\n  {{- if .X }}\nb\n", "a\n{{ if .X }}\nb"),
            ("a {{ .X -}}\n  b\n", "a {{ .X }}  b"),
            ("{{ .X -}}\n  {{- .Y }}", "{{ .X }}{{ .Y }}"),
            ("a {{- .X -}} b", "a {{- .X -}} b"),
            ("a  \r\nb\n\n", "a\nb\n"),
            ("a  \nb", "a\nb"),
            ("{{ .X -}}", "{{ .X }}"),
            ("", ""),
        ] {
            assert_eq!(cleaned(text), cleaned_text, "{text:?}");
        }
    }
}
