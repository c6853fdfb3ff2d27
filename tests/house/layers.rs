//! Which room of a crate may import which, and that no two files import each other, directly or round a circle.
//!
//! A room is a module of the tables in `layers_table`, with what is below it. The tables are ground-up: a room imports
//! only rooms that stand above it in the table, which are the layers below it. A `mod.rs` that uses or re-exports its
//! own children makes no arrow, because parent and children are one unit; a child that imports its parent does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex_lite::Regex;

use crate::layers_table::{COMMON, NERVE, SYNAPSE};
use crate::source::{files, production, root, split};

/// A module's path below the crate's root.
type Module = Vec<String>;
/// Which modules each module imports.
type Imports = BTreeMap<Module, BTreeSet<Module>>;

/// The module that a file below `src` is.
fn module(path: &Path) -> Module {
    let mut module: Module = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let file = module.pop().unwrap_or_default();
    match file.as_str() {
        "mod.rs" | "lib.rs" => {}
        other => module.push(other.trim_end_matches(".rs").to_owned()),
    }
    module
}

/// The paths that a piece of code names: `use` trees are spread, other paths are taken as they stand.
fn paths(code: &str, crate_name: &str) -> Vec<Vec<String>> {
    let start = Regex::new(&format!(r"(?:^|[^\w:])(crate|super|self|{crate_name})::")).unwrap();
    let mut found = Vec::new();
    for captures in start.captures_iter(code) {
        let first = captures.get(1).unwrap();
        if code[..first.start()].ends_with("(in ") {
            continue; // a visibility
        }
        let mut rest = &code[first.start()..];
        spread(&mut rest, &mut Vec::new(), &mut found);
    }
    found
}

/// Reads one tree of a `use` from the start of `rest`.
fn spread(rest: &mut &str, prefix: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let depth = prefix.len();
    loop {
        *rest = rest.trim_start();
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        if end > 0 {
            prefix.push(rest[..end].to_owned());
            *rest = &rest[end..];
            if let Some(after) = rest.strip_prefix("::") {
                *rest = after;
                continue;
            }
        } else if let Some(after) = rest.strip_prefix('{') {
            *rest = after;
            while !rest.trim_start().starts_with('}') && !rest.trim().is_empty() {
                let before = rest.len();
                spread(rest, prefix, found);
                let next = rest.find([',', '}']).unwrap_or(rest.len());
                *rest = rest[next..].strip_prefix(',').unwrap_or(&rest[next..]);
                if rest.len() == before {
                    break;
                }
            }
            *rest = rest.trim_start().strip_prefix('}').unwrap_or(rest);
            prefix.truncate(depth);
            return;
        }
        break;
    }
    found.push(prefix.clone());
    prefix.truncate(depth);
}

/// The module that a path leads to: its longest beginning that is one.
fn target(path: &[String], from: &Module, modules: &BTreeSet<Module>) -> Option<Module> {
    let mut at = from.clone();
    let mut names = path.iter().peekable();
    match names.next()?.as_str() {
        "self" => {}
        "super" => {
            at.pop();
            while names.next_if(|name| *name == "super").is_some() {
                at.pop();
            }
        }
        _ => at.clear(),
    }
    for name in names {
        at.push(name.clone());
        if !modules.contains(&at) {
            at.pop();
            break;
        }
    }
    Some(at)
}

/// The imports of a crate's files, given as (path below `src`, source).
fn imports(crate_name: &str, sources: &[(String, String)]) -> Imports {
    let modules: BTreeSet<Module> = sources.iter().map(|(path, _)| module(Path::new(path))).collect();
    let mut found = Imports::new();
    for (path, source) in sources {
        let from = module(Path::new(path));
        let is_parent = path.ends_with("mod.rs") || path == "lib.rs";
        let code = production(&split(source).code);
        let targets = paths(&code, crate_name)
            .into_iter()
            .filter_map(|path| target(&path, &from, &modules))
            .filter(|to| !to.is_empty() && *to != from && !(is_parent && to.starts_with(&from)))
            .collect();
        found.insert(from, targets);
    }
    found
}

/// The production sources of a crate.
fn crate_sources(crate_name: &str) -> Vec<(String, String)> {
    let directory = root().join(crate_name).join("src");
    let is_test = |path: &str| {
        let mut parts = path.split('/').rev();
        let file = parts.next().unwrap_or_default();
        file == "tests.rs" || file.ends_with("_tests.rs") || parts.any(|part| part == "tests")
    };
    files(&directory, ".rs")
        .into_iter()
        .map(|path| (path.strip_prefix(&directory).unwrap().display().to_string(), path))
        .filter(|(name, _)| !is_test(name))
        .map(|(name, path)| (name, std::fs::read_to_string(path).unwrap()))
        .collect()
}

/// The room of a module: the longest name in the table that it begins with.
fn room<'a>(table: &[(&'a str, &[&str])], module: &Module) -> Option<&'a str> {
    let name = module.join("::");
    let rooms = table.iter().map(|(room, _)| *room);
    rooms
        .filter(|room| name == *room || name.starts_with(&format!("{room}::")))
        .max_by_key(|room| room.len())
}

/// What is wrong with a crate's imports by its table.
fn violations(table: &[(&str, &[&str])], imports: &Imports) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut used: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (from, targets) in imports {
        if from.is_empty() {
            continue;
        }
        let Some(here) = room(table, from) else {
            wrong.push(format!("{} is in no room of the table", from.join("::")));
            continue;
        };
        for to in targets {
            match room(table, to) {
                Some(there) if there == here => {}
                Some(there) if table.iter().any(|(name, may)| *name == here && may.contains(&there)) => {
                    used.insert((here, there));
                }
                _ => wrong.push(format!("{} imports {}", from.join("::"), to.join("::"))),
            }
        }
    }
    for (at, (here, may)) in table.iter().enumerate() {
        for there in *may {
            if !table[..at].iter().any(|(name, _)| name == there) {
                wrong.push(format!("the table lets {here} import {there}, which is not below it"));
            } else if !used.contains(&(*here, *there)) {
                wrong.push(format!("the table lets {here} import {there}, but it does not"));
            }
        }
    }
    wrong
}

/// The circles among files: sets of modules that reach each other.
fn circles(imports: &Imports) -> Vec<Vec<String>> {
    let reach = |start: &Module| {
        let mut seen: BTreeSet<&Module> = BTreeSet::new();
        let mut pending = vec![start];
        while let Some(from) = pending.pop() {
            for to in imports.get(from).into_iter().flatten() {
                let key = imports.get_key_value(to).map_or(to, |(key, _)| key);
                if seen.insert(key) {
                    pending.push(key);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&Module, BTreeSet<&Module>> = imports.keys().map(|module| (module, reach(module))).collect();
    let mut found: BTreeSet<Vec<String>> = BTreeSet::new();
    for (module, targets) in &reached {
        if targets.contains(module) {
            let members = targets
                .iter()
                .filter(|other| reached.get(**other).is_some_and(|back| back.contains(module)));
            found.insert(members.map(|member| member.join("::")).collect());
        }
    }
    found.into_iter().collect()
}

#[test]
fn every_room_imports_only_the_layers_below_it() {
    let mut wrong = Vec::new();
    for (name, table) in [("common", COMMON), ("nerve", NERVE), ("synapse", SYNAPSE)] {
        let found = violations(table, &imports(name, &crate_sources(name)));
        wrong.extend(found.into_iter().map(|problem| format!("{name}: {problem}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut wrong = Vec::new();
    for name in ["common", "nerve", "synapse"] {
        let imports = imports(name, &crate_sources(name));
        assert!(
            imports.values().map(BTreeSet::len).sum::<usize>() > 50,
            "{name}: hardly an import was found"
        );
        wrong.extend(
            circles(&imports)
                .iter()
                .map(|circle| format!("{name}: {}", circle.join(" - "))),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

mod planted {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files
            .iter()
            .map(|(path, source)| ((*path).to_owned(), (*source).to_owned()))
            .collect()
    }

    const TABLE: &[(&str, &[&str])] = &[("ground", &[]), ("upper", &["ground"])];

    #[test]
    fn an_arrow_upward_is_found() {
        let right = sources(&[("ground.rs", ""), ("upper/mod.rs", "use crate::ground::A;")]);
        assert_eq!(violations(TABLE, &imports("x", &right)), Vec::<String>::new());
        let wrong = sources(&[
            ("ground.rs", "fn f() { crate::upper::deep::g() }"),
            ("upper/mod.rs", "mod deep; use crate::ground::A;"),
            ("upper/deep.rs", ""),
        ]);
        assert_eq!(violations(TABLE, &imports("x", &wrong)), ["ground imports upper::deep"]);
    }

    #[test]
    fn a_room_without_a_row_is_found() {
        let wrong = sources(&[
            ("ground.rs", ""),
            ("upper.rs", "use crate::ground::A;"),
            ("attic.rs", ""),
        ]);
        assert_eq!(
            violations(TABLE, &imports("x", &wrong)),
            ["attic is in no room of the table"]
        );
    }

    #[test]
    fn a_row_that_allows_too_much_is_found() {
        let wrong = sources(&[
            ("ground.rs", ""),
            ("upper.rs", "#[cfg(test)]\nmod t { use crate::ground::A; }"),
        ]);
        let found = violations(TABLE, &imports("x", &wrong));
        assert_eq!(found, ["the table lets upper import ground, but it does not"]);
    }

    #[test]
    fn a_circle_of_three_files_is_found_through_every_form_of_import() {
        let files = sources(&[
            ("a.rs", "use crate::{b::{self, B}, Other};"),
            ("b.rs", "fn f(c: super::c::inner::C) {}"),
            ("c/mod.rs", ""),
            ("c/inner.rs", "use crate::a::A;"),
        ]);
        assert_eq!(circles(&imports("x", &files)), [["a", "b", "c::inner"]]);
    }
}
