//! A file that says it is pure decides and does nothing else: no runtime, no I/O, no clock, no chance, no log. So it can
//! be tried a thousand times in a moment, and what it decided can be replayed.

use std::path::{Path, PathBuf};

/// What a pure file may not name, outside its tests.
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

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Whether the module's documentation says so.
fn says_it_is_pure(source: &str) -> bool {
    let words = source
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .flat_map(str::split_whitespace);
    words
        .into_iter()
        .any(|word| word.trim_end_matches([':', '.']) == "Pure")
}

#[test]
fn what_says_it_is_pure_has_no_effects() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for daemon in ["common", "nerve", "synapse"] {
        sources(&root.join(daemon).join("src"), &mut files);
    }
    let (mut pure, mut effects) = (0, Vec::new());
    for path in files {
        let source = std::fs::read_to_string(&path).unwrap();
        if !says_it_is_pure(&source) {
            continue;
        }
        pure += 1;
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            if let Some(effect) = EFFECTS.iter().find(|effect| line.contains(**effect)) {
                effects.push(format!("{}: {effect} in `{}`", path.display(), line.trim()));
            }
        }
    }
    assert!(
        pure > 20,
        "only {pure} files say that they are pure: has the word changed?"
    );
    assert!(effects.is_empty(), "{}", effects.join("\n"));
}
