//! Links between the documents lead somewhere: the file is there, and so is the heading.

use std::collections::BTreeSet;
use std::path::Path;

use regex_lite::Regex;

use crate::source::{files, root, shown};

/// The anchors that a document's headings get where it is shown.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let title = line.trim_start_matches('#');
        if fenced || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let anchor: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter(|character| character.is_alphanumeric() || matches!(character, ' ' | '-' | '_'))
            .map(|character| if character == ' ' { '-' } else { character })
            .collect();
        let mut numbered = anchor.clone();
        let mut count = 0;
        while !found.insert(numbered.clone()) {
            count += 1;
            numbered = format!("{anchor}-{count}");
        }
    }
    found
}

/// The targets of the links in a document, those to other sites left out.
fn links(text: &str) -> Vec<String> {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        if !fenced {
            let targets = link.captures_iter(line).map(|captures| captures[1].to_owned());
            found.extend(targets.filter(|target| !target.contains("://")));
        }
    }
    found
}

/// What is wrong with a link of the document at `path`.
fn broken(path: &Path, text: &str, link: &str) -> Option<String> {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() {
        path.to_owned()
    } else {
        path.parent()?.join(file)
    };
    if !target.exists() {
        return Some(format!("{file} does not exist"));
    }
    if anchor.is_empty() {
        return None;
    }
    let other = if file.is_empty() {
        text.to_owned()
    } else {
        std::fs::read_to_string(&target).ok()?
    };
    (!anchors(&other).contains(anchor)).then(|| format!("{file} has no heading #{anchor}"))
}

#[test]
fn every_link_between_documents_leads_to_a_heading() {
    let mut checked = 0;
    let mut wrong = Vec::new();
    for path in files(root(), ".md") {
        let text = std::fs::read_to_string(&path).unwrap();
        for link in links(&text) {
            checked += 1;
            if let Some(problem) = broken(&path, &text, &link) {
                wrong.push(format!("{}: {link}: {problem}", shown(&path)));
            }
        }
    }
    assert!(checked > 20, "only {checked} links were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_link_to_a_missing_heading_is_found() {
    let text = "# The `zone` key\n[here](#the-zone-key) and [there](#no-such-key) and [gone](NOTHING.md)\n";
    let path = root().join("README.md");
    let problems: Vec<bool> = links(text)
        .iter()
        .map(|link| broken(&path, text, link).is_some())
        .collect();
    assert_eq!(problems, [false, true, true]);
}
