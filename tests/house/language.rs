//! The project is written in the field's terms and plain technical English. A thing is *it*: a server, a file or a task
//! reports and returns; it is not somebody who says and hears. These words came with an earlier, private vocabulary.

use regex_lite::Regex;

use crate::source::{files, root, shown, split};

/// Words that are refused in comments, strings and documents. Whole words, any case.
const BANNED_WORDS: &str = r"(?i)\b(who|whom|whoever|whomever|nobody|somebody|anybody|someone|anyone|everybody|everyone|says?|said|saying|unsaid|tells?|told|telling|hears?|heard|heirs?|crew|roster|believes?|believed|knows|asks|asked|asking|anew|heeds?|obeys?|lest)\b";

/// Phrases that are refused in the same places.
const BANNED_PHRASES: &str =
    r"(?i)(\b(last|first|own|no|its|their) words?\b|\bis no business\b|\bfor ever\b|\bone of us\b|\bas it is told\b)";

/// Identifiers that are refused in code: private metaphors, superlatives as bounds, timeouts named by a mood.
const BANNED_IDENTIFIERS: &str = r"\b(MOST_\w+|LONGEST\w*|WIDEST|DEEPEST|HEAVIEST|SOONEST|PATIENCE|SOON|FOR_EVER|LOOK|AGAIN|SURPRISE|Keeper|Roster|Crew|Bond|Bell|Wish|Rivalry|Voices?|Warmth|Unbuildable|Occupant|Town|heir|fn word)\b";

/// Parts of function names that are refused, between underscores.
const BANNED_IN_FUNCTIONS: &str = r"\bfn (?:\w+_)?(who|whom|whoever|nobody|somebody|anybody|says?|said|tells?|told|hears?|heard|heir|crew|roster|asks|asked)(?:_\w+)?\b";

/// Where a banned word is right, as (part of the path, part of the line, reason).
const ALLOWED: &[(&str, &str, &str)] = &[
    ("house/language.rs", "", "the words themselves"),
    ("", "world:anyone", "ZooKeeper's own scheme"),
    ("deploy/systemd", "--kill-whom", "systemctl's own option"),
    ("zk/node/tests.rs", "anyone", "ZooKeeper's own scheme"),
];

/// A banned word in a text, with the number of its line.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    line: usize,
    word: String,
}

/// The banned words of one file of Rust source, or of a document if `rust` is off.
struct Rules {
    words: Regex,
    phrases: Regex,
    identifiers: Regex,
    functions: Regex,
}

impl Rules {
    fn new() -> Self {
        let compile = |pattern| Regex::new(pattern).unwrap();
        Self {
            words: compile(BANNED_WORDS),
            phrases: compile(BANNED_PHRASES),
            identifiers: compile(BANNED_IDENTIFIERS),
            functions: compile(BANNED_IN_FUNCTIONS),
        }
    }

    fn rust(&self, source: &str) -> Vec<Finding> {
        let parts = split(source);
        let mut found = find(&parts.comments, &[&self.words, &self.phrases]);
        found.extend(find(&parts.strings, &[&self.words]));
        found.extend(find(&parts.code, &[&self.identifiers, &self.functions]));
        found.sort_by_key(|finding| finding.line);
        found
    }

    fn prose(&self, text: &str) -> Vec<Finding> {
        find(text, &[&self.words, &self.phrases])
    }
}

fn find(text: &str, rules: &[&Regex]) -> Vec<Finding> {
    let lines = text.lines().enumerate();
    lines
        .flat_map(|(at, line)| {
            let hits = rules.iter().flat_map(move |rule| rule.find_iter(line));
            hits.map(move |hit| Finding {
                line: at + 1,
                word: hit.as_str().to_owned(),
            })
        })
        .collect()
}

fn is_allowed(path: &str, line: &str) -> bool {
    ALLOWED
        .iter()
        .any(|(file, part, _)| path.contains(file) && line.contains(part))
}

#[test]
fn every_file_uses_the_terms_of_the_field() {
    let rules = Rules::new();
    let mut read = 0;
    let mut refused = Vec::new();
    for (directory, suffix) in [
        ("common/src", ".rs"),
        ("nerve/src", ".rs"),
        ("nerve/tests", ".rs"),
        ("synapse/src", ".rs"),
        ("synapse/tests", ".rs"),
        ("tests/house", ".rs"),
        ("tests/fuzz", ".rs"),
        ("", ".md"),
        ("", "Cargo.toml"),
    ] {
        for path in files(&root().join(directory), suffix) {
            let Ok(text) = std::fs::read_to_string(&path) else {
                continue; // a seed of the fuzz targets, not text
            };
            read += 1;
            let name = shown(&path);
            let findings = if suffix == ".rs" {
                rules.rust(&text)
            } else {
                rules.prose(&text)
            };
            for finding in findings {
                let line = text.lines().nth(finding.line - 1).unwrap_or_default().trim();
                if !is_allowed(&name, line) {
                    refused.push(format!("{name}:{}: `{}` in: {line}", finding.line, finding.word));
                }
            }
        }
    }
    assert!(read > 300, "only {read} files were read");
    assert!(refused.is_empty(), "{} findings\n{}", refused.len(), refused.join("\n"));
}

#[test]
fn a_planted_word_is_found_where_it_stands() {
    let rules = Rules::new();
    let source = "// Whoever reads it.\nlet a = \"it was told\";\nconst PATIENCE: u8 = 1;\nfn what_is_said() {}\n// its last word\n";
    let lines: Vec<usize> = rules.rust(source).iter().map(|finding| finding.line).collect();
    assert_eq!(lines, [1, 2, 3, 4, 5]);
    let prose = rules.prose("A node is nobody's.\n");
    assert_eq!(prose.first().map(|finding| finding.word.as_str()), Some("nobody"));
}

#[test]
fn plain_text_passes() {
    let rules = Rules::new();
    let source = "/// Returns the password that the `task` holds, because a taskmaster whose essay is said-free may.\nfn ask() {}\n";
    assert_eq!(
        rules.rust("/// Returns the desired state; the whole task.\nfn with_timeout() {}\n"),
        []
    );
    assert_eq!(
        rules.rust(source).len(),
        1,
        "`said` alone: whole words are refused, not parts of them"
    );
}
