//! A file whose documentation claims `Pure.` decides and does nothing else: no runtime, no I/O, no clock, no chance, no
//! log. So a property test can run it a thousand times in a moment, and a decision can be replayed.

use crate::source::{files, production, root, shown, split};

/// What a pure file may not name outside its tests.
const EFFECTS: [&str; 12] = [
    ".await",
    "Instant::now",
    "SystemTime",
    "TcpListener",
    "TcpStream",
    "UnixStream",
    "fastrand::",
    "std::fs",
    "std::process",
    "tokio::net",
    "tokio::sync",
    "tracing::",
];

/// Whether the documentation of the module claims purity.
fn claims_purity(source: &str) -> bool {
    source
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .flat_map(str::split_whitespace)
        .any(|word| word.trim_end_matches([':', '.']) == "Pure")
}

/// The effects in a file's production code, as (line, effect).
fn effects(source: &str) -> Vec<(usize, &'static str)> {
    let code = production(&split(source).code);
    let lines = code.lines().enumerate();
    lines
        .flat_map(|(at, line)| {
            let named = EFFECTS.iter().filter(move |effect| line.contains(**effect));
            named.map(move |effect| (at + 1, *effect))
        })
        .collect()
}

#[test]
fn pure_files_have_no_effects() {
    let (mut pure, mut wrong) = (0, Vec::new());
    for directory in ["common", "nerve", "synapse"] {
        for path in files(&root().join(directory).join("src"), ".rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            if claims_purity(&source) {
                pure += 1;
                let found = effects(&source);
                wrong.extend(
                    found
                        .iter()
                        .map(|(line, effect)| format!("{}:{line}: {effect}", shown(&path))),
                );
            }
        }
    }
    assert!(pure > 20, "only {pure} files claim purity: has the marker changed?");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_planted_effect_is_found() {
    let source =
        "//! Pure.\nfn f() -> Instant {\n    Instant::now()\n}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
    assert!(claims_purity(source));
    assert_eq!(effects(source), [(3, "Instant::now")]);
}
