//! The line of the file that a problem is about, fit to be shown: secrets hidden, no control characters, not too long.
//!
//! Everything after a name that suggests a secret is hidden, on the line itself or on a line that encloses it. Too much is
//! hidden rather than too little, because messages end up in logs and tickets. Pure.

use super::problem::Location;
use super::yaml::Position;

/// Parts of the names of secrets, in lower case.
const SECRET_WORDS: [&str; 8] = [
    "passw",
    "secret",
    "token",
    "auth",
    "credential",
    "datasource",
    "api_key",
    "apikey",
];

/// Greatest number of characters shown of a line.
const MAX_WIDTH: usize = 100;

const HIDDEN: char = '…';

/// A text, and its form before it was transformed: problems show that one, because the text may hold secrets that the
/// file does not.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) read: String,
    pub(super) source: Option<String>,
}

/// Returns the location of a problem of `key`, with its excerpt.
pub(super) fn location(text: &Text, at: Position, key: &str) -> Location {
    let (line, column) = at;
    let excerpt = match &text.source {
        None => excerpt(&text.read, at, key),
        Some(source) => of_source(source, &text.read, at, key),
    };
    Location { line, column, excerpt }
}

/// Returns the line before the text was transformed, with a caret when it is the same; empty when the number of lines
/// changed, because the line can not be identified then.
fn of_source(source: &str, read: &str, at: Position, key: &str) -> String {
    if source.lines().count() != read.lines().count() {
        return String::new();
    }
    let shown = excerpt(source, at, key);
    let (line, _) = at;
    let number = line.saturating_sub(1);
    if source.lines().nth(number) == read.lines().nth(number) {
        return shown;
    }
    shown.lines().next().unwrap_or_default().to_owned()
}

/// Returns the line at `at` and, on a second line, a caret below its column; empty when there is no such line.
fn excerpt(text: &str, at: Position, key: &str) -> String {
    let (line, column) = at;
    let above: Vec<&str> = text.lines().take(line).collect();
    let Some((source, above)) = above.split_last().filter(|(_, above)| above.len() + 1 == line) else {
        return String::new();
    };
    let indent = indentation(source);
    let mut shown: Vec<char> = source
        .chars()
        .skip(indent)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let mut caret = column.saturating_sub(1).saturating_sub(indent);
    if let Some(visible) = visible(source, above, key) {
        let visible = visible.saturating_sub(indent);
        if visible < shown.len() {
            shown.truncate(visible);
            shown.push(HIDDEN);
        }
    }
    caret = caret.min(shown.len());
    if shown.len() > MAX_WIDTH {
        let start = caret.saturating_sub(MAX_WIDTH / 2);
        let cut_after = start + MAX_WIDTH < shown.len();
        shown = shown.into_iter().skip(start).take(MAX_WIDTH).collect();
        caret -= start;
        if start > 0 {
            shown.insert(0, HIDDEN);
            caret += 1;
        }
        if cut_after {
            shown.push(HIDDEN);
        }
    }
    let shown = String::from_iter(shown);
    format!("{}\n{:caret$}^", shown.trim_end(), "")
}

/// Returns whether a value of this key must be hidden.
pub(super) fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// Returns the number of characters of the line that may be shown; `None` for all of them.
fn visible(source: &str, above: &[&str], key: &str) -> Option<usize> {
    secret_on_line(source).or_else(|| (is_secret(key) || enclosed_by_secret(source, above)).then_some(0))
}

/// Returns the number of characters before the first secret of the line.
fn secret_on_line(source: &str) -> Option<usize> {
    let lower = source.to_ascii_lowercase();
    let named = SECRET_WORDS
        .iter()
        .filter_map(|word| lower.find(word))
        .min()
        .and_then(|start| {
            // The rest of the name, then the sign between it and its value.
            let after = lower.get(start..)?;
            let value = after
                .trim_start_matches(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '"' | '\''))
                .trim_start_matches([' ', ':', '=']);
            lower.len().checked_sub(value.len())
        });
    // `scheme://user:password@host`
    let url = lower
        .find("://")
        .filter(|start| lower.get(*start..).is_some_and(|rest| rest.contains('@')))
        .map(|start| start + 3);
    let byte = named.into_iter().chain(url).min()?;
    source.get(..byte).map(|before| before.chars().count())
}

/// Returns whether a less indented line, which encloses this one, names a secret.
fn enclosed_by_secret(source: &str, above: &[&str]) -> bool {
    let mut indent = indentation(source);
    above.iter().rev().filter(|line| !line.trim().is_empty()).any(|line| {
        let encloses = indentation(line) < indent;
        if encloses {
            indent = indentation(line);
        }
        encloses && is_secret(line)
    })
}

/// Leading white space, in characters.
fn indentation(line: &str) -> usize {
    line.chars().take_while(|c| c.is_whitespace()).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_caret_is_below_the_column() {
        assert_eq!(
            excerpt("a: 1\n  port: \"80\"\n", (2, 9), "port"),
            "port: \"80\"\n      ^"
        );
        assert_eq!(excerpt("é: [ü, x]", (1, 8), ""), "é: [ü, x]\n       ^");
        assert_eq!(excerpt("a: 1", (7, 1), ""), "", "no such line");
        assert_eq!(excerpt("", (1, 1), ""), "");
    }

    #[test]
    fn control_characters_are_blanked() {
        assert_eq!(excerpt("a:\t\u{1b}[31m", (1, 1), ""), "a:  [31m\n^");
    }

    #[test]
    fn a_long_line_is_shown_around_the_column() {
        let line = "x".repeat(400);
        let shown = excerpt(&line, (1, 200), "");
        let (first, second) = shown.split_once('\n').expect("two lines");
        assert_eq!(first, format!("…{}…", "x".repeat(100)));
        assert_eq!(second, format!("{:51}^", ""));
    }

    #[test]
    fn secrets_are_hidden() {
        for (text, line, key, shown) in [
            ("  proxyPassword: hunter2", 1, "", "proxyPassword: …"),
            (
                "{\"password\" : \"hunter2\", \"port\": \"80\"}",
                1,
                "port",
                "{\"password\" : …",
            ),
            ("command: [login, --token=hunter2]", 1, "", "command: [login, --token=…"),
            ("command: [login, --token, hunter2]", 1, "", "command: [login, --token…"),
            ("url: http://bob:hunter2@host/", 1, "", "url: http://…"),
            ("datasource: bob:hunter2@tcp(host)", 1, "", "datasource: …"),
            ("password: |\n  hunter2", 2, "", "…"),
            ("passwords:\n- hunter2", 2, "passwords[0]", "…"),
            ("secrets:\n  a:\n\n    b: hunter2", 4, "", "…"),
            ("password:\n  x\nport: 80", 3, "", "port: 80"),
            ("url: http://host/", 1, "", "url: http://host/"),
        ] {
            let excerpt = excerpt(text, (line, 1), key);
            assert_eq!(excerpt.lines().next(), Some(shown), "{text}");
        }
    }

    #[test]
    fn a_line_is_shown_as_it_was_before_its_template() {
        let shown = |source: &str, read: &str, at: Position| {
            let (read, source) = (read.to_owned(), Some(source.to_owned()));
            location(&Text { read, source }, at, "").excerpt
        };
        let source = "host: {{ .HOST }}\nport: x";
        let read = "host: hunter2\nport: x";
        assert_eq!(shown(source, read, (1, 7)), "host: {{ .HOST }}");
        assert_eq!(shown(source, read, (2, 7)), "port: x\n      ^");
        assert_eq!(
            shown(source, "host: hunter2\nhunter3\nport: x", (2, 1)),
            "",
            "lines came"
        );
    }

    proptest! {
        #[test]
        fn no_secret_is_shown(
            before in "[ a-z\"{,é]{0,9}",
            word in prop::sample::select(&SECRET_WORDS),
            between in "[a-zA-Z]{0,4}[\"']?[ ]?[:=,][ ]?",
            secret in "[0-9]{4,200}",
            column in 0_usize..300,
        ) {
            let line = format!("{before}{word}{between}{secret}");
            prop_assert!(!excerpt(&line, (1, column), "").contains(|c: char| c.is_ascii_digit()), "{line}");
        }

        #[test]
        fn nothing_panics(text in "(\\PC|\n|\t|password: |://|@){0,40}", line in 0_usize..9, column in 0_usize..99, key in "[a-z]*") {
            let _shown = excerpt(&text, (line, column), &key);
        }
    }
}
