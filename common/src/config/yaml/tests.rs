use proptest::prelude::*;

use super::*;

fn tree(text: &str) -> Node {
    parse(text).expect("the text is YAML")
}

fn map(entries: &[(&str, Node)]) -> Node {
    Node::Map(
        entries
            .iter()
            .map(|(key, node)| ((*key).to_owned(), node.clone()))
            .collect(),
    )
}

fn text(text: &str) -> Node {
    Node::Text(text.to_owned())
}

#[test]
fn every_kind_of_value() {
    assert_eq!(
        tree("a: ~\nb: true\nc: 80\nd: -1\ne: 1.5\nf: '80'\ng: [x, {y: z}]\n80: port\nh:\n"),
        map(&[
            ("a", Node::Null),
            ("b", Node::Bool(true)),
            ("c", Node::Integer(80)),
            ("d", Node::Integer(-1)),
            ("e", Node::Float(1.5)),
            ("f", text("80")),
            ("g", Node::List(vec![text("x"), map(&[("y", text("z"))])])),
            ("80", text("port")),
            ("h", Node::Null),
        ])
    );
    assert_eq!(
        tree("340282366920938463463374607431768211455"),
        Node::Integer(i128::MAX)
    );
    assert_eq!(tree(""), Node::Null);
    assert_eq!(tree("# nothing\n"), Node::Null);
}

#[test]
fn json_is_yaml() {
    assert_eq!(
        tree("{\n\t\"a\": [1, \"\\u00e9\"],\n\t\"b\": null\n}\n"),
        map(&[("a", Node::List(vec![Node::Integer(1), text("é")])), ("b", Node::Null),])
    );
}

#[test]
fn repeated_keys_and_the_order_stay() {
    assert_eq!(
        tree("{b: 1, a: 2, b: 3}"),
        map(&[
            ("b", Node::Integer(1)),
            ("a", Node::Integer(2)),
            ("b", Node::Integer(3)),
        ])
    );
}

#[test]
fn anchors_and_aliases() {
    assert_eq!(
        tree("a: &x [1]\nb: *x"),
        map(&[
            ("a", Node::List(vec![Node::Integer(1)])),
            ("b", Node::List(vec![Node::Integer(1)])),
        ])
    );
}

#[test]
fn syntax_errors_have_positions() {
    for (text, at, what) in [
        (
            "a: 1\nb: [1, 2\nc: 3\n",
            Some((3, 2)),
            "did not find expected ',' or ']'",
        ),
        ("a: \"open\n", Some((2, 1)), "found unexpected end of stream"),
        (
            "a: 1\n\tb: 2\n",
            Some((2, 1)),
            "found a tab character that violates indentation",
        ),
        ("a: *nowhere\n", Some((1, 4)), "unknown anchor"),
        (
            "a: 1\nb: !secret x\n",
            Some((2, 4)),
            "b: a tag (`!name`) has no meaning here",
        ),
        (
            "a: 1\nb: x\u{7}y\n",
            Some((2, 5)),
            "the control character U+0007 is not allowed",
        ),
        ("[a, b]: 1\n", Some((1, 1)), "invalid type: sequence, expected a string"),
        (
            "a: 1\n---\nb: 2\n",
            None,
            "deserializing from YAML containing more than one document is not supported",
        ),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.what.starts_with(what), "{text:?}: {}", error.what);
        assert_eq!(error.at, at, "{text:?}: {}", error.what);
    }
}

#[test]
fn bombs_are_refused() {
    let levels: Vec<String> = (1..30)
        .map(|n| format!("l{n}: &l{n} [{}]", vec![format!("*l{}", n - 1); 9].join(", ")))
        .collect();
    parse(&format!("l0: &l0 x\n{}\n", levels.join("\n"))).expect_err("9 to the 29th texts");
    parse(&"[".repeat(500)).expect_err("too deep");
    parse("a: &a [*a]").expect_err("endless");
}

fn assert_located(text: &str, path: &[usize], end: End, place: (usize, usize)) {
    assert_eq!(locate(text, path, end), Some(place), "{text:?} {path:?} {end:?}");
}

#[test]
fn block_style_is_located() {
    let text = "port: 1\nservices:\n  - name: a\n    checks:\n      - type: tcp\n        port: x\n  -\n    name: b\n";
    assert_located(text, &[0], End::Key, (1, 1));
    assert_located(text, &[0], End::Value, (1, 7));
    assert_located(text, &[1], End::Key, (2, 1));
    assert_located(text, &[1], End::Value, (3, 3));
    assert_located(text, &[1, 0], End::Value, (3, 5));
    assert_located(text, &[1, 0, 1], End::Key, (4, 5));
    assert_located(text, &[1, 0, 1, 0], End::Value, (5, 9));
    assert_located(text, &[1, 0, 1, 0, 1], End::Key, (6, 9));
    assert_located(text, &[1, 0, 1, 0, 1], End::Value, (6, 15));
    assert_located(text, &[1, 1, 0], End::Value, (8, 11));
}

#[test]
fn flow_style_and_json_are_located() {
    let text = "é: {a: [1, {b: 2}],\n  c: \"d\"}\n";
    assert_located(text, &[0], End::Value, (1, 4));
    assert_located(text, &[0, 0], End::Value, (1, 8));
    assert_located(text, &[0, 0, 1], End::Value, (1, 12));
    assert_located(text, &[0, 0, 1, 0], End::Value, (1, 16));
    assert_located(text, &[0, 1], End::Key, (2, 3));
    assert_located(text, &[0, 1], End::Value, (2, 6));
    let json = "{\n\t\"a\": 1,\n\t\"b\": [true,\n\t\tnull]\n}";
    assert_located(json, &[1], End::Key, (3, 2));
    assert_located(json, &[1, 0], End::Value, (3, 8));
    assert_located(json, &[1, 1], End::Value, (4, 3));
}

#[test]
fn the_second_of_two_equal_keys_is_located() {
    assert_located("a: 1\nb: 2\na: 3\n", &[2], End::Key, (3, 1));
    assert_located("{a: 1, a: 2}", &[1], End::Key, (1, 8));
}

#[test]
fn an_empty_value_and_an_alias_are_located() {
    assert_located("a:\nb: 1\n", &[0], End::Value, (1, 3));
    // What an alias brings in stands where its anchor is.
    assert_located("a: &x {y: 1}\nb: *x\n", &[1, 0], End::Value, (1, 11));
}

#[test]
fn what_is_not_there_is_at_the_nearest_place_above() {
    assert_located("a: [1]\n", &[0, 7], End::Value, (1, 4));
    assert_located("a: 1\n", &[0, 7, 7], End::Key, (1, 4));
}

/// Every place of the tree: its path and its node.
fn places(node: &Node, path: &[usize], found: &mut Vec<(Vec<usize>, Node)>) {
    found.push((path.to_vec(), node.clone()));
    let children: Vec<&Node> = match node {
        Node::List(nodes) => nodes.iter().collect(),
        Node::Map(entries) => entries.iter().map(|(_, node)| node).collect(),
        _ => Vec::new(),
    };
    for (index, child) in children.into_iter().enumerate() {
        places(child, &[path, &[index]].concat(), found);
    }
}

/// Any tree whose leaves are different words, as JSON over several lines.
fn json() -> impl Strategy<Value = String> {
    let leaf = "[a-z]{1,6}".prop_map(|word| format!("\"{word}\"")).boxed();
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|list| format!("[\n {}]", list.join(",\n  "))),
            prop::collection::vec(("[a-z]{1,6}", inner), 0..4).prop_map(|map| {
                let entries: Vec<String> = map
                    .into_iter()
                    .map(|(key, value)| format!("\"{key}\": {value}"))
                    .collect();
                format!("{{ {}}}", entries.join(", "))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn each_place_of_any_document_is_located(text in json()) {
        let mut found = Vec::new();
        places(&tree(&text), &[], &mut found);
        for (path, node) in found {
            let (line, column) = locate(&text, &path, End::Value).expect("a place that is there");
            let there: String = text.lines().nth(line - 1).expect("the line").chars().skip(column - 1).collect();
            let begins = match node {
                Node::List(_) => "[".to_owned(),
                Node::Map(_) => "{".to_owned(),
                Node::Text(word) => format!("\"{word}\""),
                other => format!("{other:?}"),
            };
            prop_assert!(there.starts_with(&begins), "{begins} at {line}:{column} in {text}");
        }
    }

    #[test]
    fn no_text_panics(text in "(\\PC|[\n\t:&*!{}\\[\\]\"'|>-]|a: |- |<<: )*", path in prop::collection::vec(0_usize..3, 0..4)) {
        let _tree = parse(&text);
        let _place = locate(&text, &path, End::Key);
    }
}

#[test]
fn what_lies_too_deep_is_refused_at_once() {
    let many = 200_000;
    let mapped = "{a: ".repeat(many);
    let quoted = "{\"}\": ".repeat(many);
    let json = "{\"a\":".repeat(many);
    for text in [
        mapped,
        quoted,
        json,
        "[".repeat(many),
        "{a: [\n".repeat(many),
        "{'}': ".repeat(many),
        "{a: # }\n".repeat(many),
    ] {
        let error = parse(&text).expect_err("too deep");
        assert!(error.what.contains("deeper than 1000"), "{}", error.what);
        assert!(error.at.is_some());
    }
    // The parser is quick about these by itself.
    for text in ["- ".repeat(many), "? ".repeat(many)] {
        parse(&text).expect_err("too deep");
    }
    let hundred = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    parse(&hundred).expect("that is not too deep");
    let wide = format!("[{}]", "{a: [1]}, ".repeat(20_000));
    parse(&wide).expect("that is not deep at all");
    let text = format!(
        "a: '{brackets}'\nb: \"\\\"{brackets}\" # {brackets}\n",
        brackets = "[{".repeat(2000)
    );
    parse(&text).expect("that is text");
}
