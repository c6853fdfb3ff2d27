//! The sources as the tests of this folder read them: files, and a file's code, comments and strings apart.

use std::path::{Path, PathBuf};

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every file below `directory` whose name ends with `suffix`, build directories left out, in order.
pub(crate) fn files(directory: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        for entry in std::fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                pending.push(path);
            } else if path.is_file() && name.ends_with(suffix) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A path as it is written in a failure: relative to the workspace.
pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The three kinds of text in Rust source, each with the line breaks of the whole, so that line numbers agree.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// Code, with the content of strings and comments left out.
    pub(crate) code: String,
    /// Comments, documentation included.
    pub(crate) comments: String,
    /// The content of string literals.
    pub(crate) strings: String,
}

/// Splits Rust source. Handles line comments, strings with escapes, raw strings and character literals; the workspace
/// has no block comments.
pub(crate) fn split(source: &str) -> Parts {
    const CODE: usize = 0;
    const COMMENTS: usize = 1;
    const STRINGS: usize = 2;
    let mut texts = [const { String::new() }; 3];
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let (kind, end) = if rest.starts_with("//") {
            (COMMENTS, rest.find('\n').unwrap_or(rest.len()))
        } else if let Some((open, close)) = raw_string(rest) {
            let end = rest[open..]
                .find(&close)
                .map_or(rest.len(), |at| open + at + close.len());
            (STRINGS, end)
        } else if first == '"' {
            (STRINGS, string_end(rest))
        } else {
            (CODE, character_end(rest).unwrap_or(first.len_utf8()))
        };
        let (taken, left) = rest.split_at(end);
        for (at, text) in texts.iter_mut().enumerate() {
            if at == kind {
                text.push_str(taken);
            } else {
                text.extend(taken.chars().filter(|character| *character == '\n'));
            }
        }
        rest = left;
    }
    let [code, comments, strings] = texts;
    Parts {
        code,
        comments,
        strings,
    }
}

/// Length of the opening of a raw string at the start of `rest`, and the text that closes it.
fn raw_string(rest: &str) -> Option<(usize, String)> {
    let hashes = rest.strip_prefix('r')?.bytes().take_while(|byte| *byte == b'#').count();
    rest[1 + hashes..]
        .starts_with('"')
        .then(|| (2 + hashes, format!("\"{}", "#".repeat(hashes))))
}

/// Length of the string literal that starts `rest`.
fn string_end(rest: &str) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Length of the character literal that starts `rest`; `None` for a lifetime.
fn character_end(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('\'')?;
    if inner.starts_with('\\') {
        return inner[2..].find('\'').map(|at| at + 4);
    }
    let first = inner.chars().next()?;
    inner[first.len_utf8()..]
        .starts_with('\'')
        .then(|| first.len_utf8() + 2)
}

/// The code of `source` without its test modules and test-only items.
pub(crate) fn production(code: &str) -> String {
    let mut kept = String::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let attribute = line.trim_start();
        if !(attribute.starts_with("#[cfg(test") || attribute.starts_with("#[cfg(any(test")) {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        kept.push('\n');
        let (mut depth, mut opened) = (0_i32, false);
        for line in lines.by_ref() {
            kept.push('\n');
            if line.trim_start().starts_with("#[") {
                continue;
            }
            opened |= line.contains('{');
            depth += balance(line);
            if (opened && depth <= 0) || (!opened && (line.trim_end().ends_with(';') || line.trim_end().ends_with(',')))
            {
                break;
            }
        }
    }
    kept
}

fn balance(line: &str) -> i32 {
    line.chars().fold(0, |depth, character| match character {
        '{' => depth + 1,
        '}' => depth - 1,
        _ => depth,
    })
}

#[test]
fn source_is_split_into_code_comments_and_strings() {
    let parts = split("let a = \"x // y\"; // note\nlet b = r#\"raw \"q\" \"#; let c = '\"';\n/// doc\n");
    assert_eq!(parts.code.lines().next(), Some("let a = ; "));
    assert!(parts.strings.contains("x // y") && parts.strings.contains("raw \"q\""));
    assert!(parts.comments.contains("// note") && parts.comments.contains("/// doc"));
    assert_eq!(parts.code.matches('\n').count(), 3);
    assert_eq!(parts.comments.matches('\n').count(), 3);
}

#[test]
fn production_code_has_no_test_items() {
    let kept = production("fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n");
    assert!(kept.contains("fn a") && kept.contains("fn c") && !kept.contains("fn b"));
}
