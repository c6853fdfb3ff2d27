//! Checks that the blocks of a template are closed and not nested too deeply for the engine. Pure.
//!
//! The engine takes the end of the text for a missing `{{end}}`, and a surplus `{{end}}` for the end of the text: half a
//! configuration would be read as a complete one. In Go both are errors, and so they are here.

use std::fmt;

/// An unbalanced block, with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unbalanced {
    line: usize,
    what: String,
}

impl fmt::Display for Unbalanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.what)
    }
}

/// The keywords that begin a block.
const OPENING: [&str; 5] = ["block", "define", "if", "range", "with"];

/// Greatest depth: the engine recurses for each block and each of its `{{else}}`, and its stack is finite.
const MAX_LEVELS: usize = 100;

/// A block that is not closed yet.
struct Block {
    line: usize,
    opening: &'static str,
    /// One, and one for each `{{else}}`.
    levels: usize,
}

/// Checks `text`. The engine reports invalid actions, such as one that is not closed.
pub fn check(text: &str) -> Result<(), Unbalanced> {
    let mut open: Vec<Block> = Vec::new();
    let mut levels = 0;
    let (mut rest, mut line) = (text, 1);
    while let Some((before, after)) = rest.split_once("{{") {
        line += lines(before);
        let Some((action, after)) = action(after) else { break };
        let word = keyword(action);
        let wrong = |what| Err(Unbalanced { line, what });
        if let Some(opening) = OPENING.iter().find(|opening| **opening == word) {
            levels += 1;
            open.push(Block {
                line,
                opening,
                levels: 1,
            });
        } else if word == "else"
            && let Some(block) = open.last_mut()
        {
            levels += 1;
            block.levels += 1;
        } else if word == "end"
            && let Some(block) = open.pop()
        {
            levels -= block.levels;
        } else if matches!(word, "else" | "end") {
            return wrong(format!("`{{{{{word}}}}}` has nothing before it that it belongs to"));
        }
        if levels > MAX_LEVELS {
            return wrong(format!(
                "more than {MAX_LEVELS} blocks and `{{{{else}}}}` are in one another"
            ));
        }
        line += lines(action);
        rest = after;
    }
    match open.pop() {
        None => Ok(()),
        Some(Block { line, opening, .. }) => Err(Unbalanced {
            line,
            what: format!("`{{{{{opening}}}}}` has no `{{{{end}}}}`"),
        }),
    }
}

fn lines(text: &str) -> usize {
    text.matches('\n').count()
}

/// Splits the text after `{{` into the action and the rest after its `}}`: the first one outside comments and texts.
fn action(text: &str) -> Option<(&str, &str)> {
    let trimmed = text.strip_prefix('-').map_or(text, str::trim_start);
    let mut from = 0;
    if trimmed.starts_with("/*") {
        from = text.find("*/")? + 2;
    }
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices().skip_while(|(at, _)| *at < from) {
        match quote {
            _ if escaped => escaped = false,
            Some('"' | '\'') if c == '\\' => escaped = true,
            Some(closing) if c == closing => quote = None,
            None if matches!(c, '"' | '\'' | '`') => quote = Some(c),
            None if c == '}' => {
                let (action, end) = text.split_at_checked(at)?;
                if let Some(after) = end.strip_prefix("}}") {
                    return Some((action, after));
                }
            }
            _ => {}
        }
    }
    None
}

/// Returns the keyword of an action.
fn keyword(action: &str) -> &str {
    let action = action.strip_prefix('-').unwrap_or(action).trim_start();
    let end = action.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    end.and_then(|end| action.split_at_checked(end))
        .map_or(action, |(word, _)| word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> String {
        check(text).expect_err("unbalanced").to_string()
    }

    #[test]
    fn what_go_takes_is_right() {
        for text in [
            "",
            "no action",
            "{{.A}}",
            "{{if .A}}a{{else if .B}}b{{else}}c{{end}}",
            "{{- range .}}\n{{with .X -}}x{{- end}}{{ end }}",
            "{{define \"a\"}}{{end}}{{block \"b\" .}}{{end}}",
            "{{/* if }} */}}{{- /* end */ -}}",
            r#"{{"{{end}}"}}{{`}}`}}{{'}'}}{{"\"}}"}}"#,
            "{{ending}}{{.end}}{{$if}}",
            "}} {",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_go_refuses_is_wrong() {
        assert_eq!(error("a\n{{range .}}"), "2: `{{range}}` has no `{{end}}`");
        assert_eq!(error("{{if .A}}{{with .B}}{{end}}"), "1: `{{if}}` has no `{{end}}`");
        assert_eq!(
            error("{{end}}"),
            "1: `{{end}}` has nothing before it that it belongs to"
        );
        assert_eq!(
            error("{{if .A}}\n{{end}}\n{{else}}"),
            "3: `{{else}}` has nothing before it that it belongs to"
        );
    }

    #[test]
    fn a_stack_is_not_deeper_than_the_engine_bears() {
        let nested = |count: usize| ["{{if .A}}".repeat(count), "{{end}}".repeat(count)].concat();
        let branches = |count: usize| ["{{if .A}}", &"{{else if .B}}".repeat(count), "{{end}}"].concat();
        assert_eq!(check(&nested(100).repeat(2)), Ok(()));
        assert_eq!(check(&branches(99).repeat(2)), Ok(()));
        let deep = "1: more than 100 blocks and `{{else}}` are in one another";
        assert_eq!(error(&nested(101)), deep);
        assert_eq!(error(&branches(100_000)), deep);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in r#"([a-z .|$"'`\\\n{}()*/-]|\{\{|\}\}|if|end|range)*"#) {
            let _outcome = check(&text);
        }
    }
}
