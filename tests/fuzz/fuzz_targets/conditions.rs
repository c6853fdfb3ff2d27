//! Any text as a condition and, after a line feed, the value it is about: a condition and its opposite never agree, and
//! a bound holds of numbers alone.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use nerve::config::conditions::Conditions;

/// Whether the condition holds of the value; `None` when it is no condition.
fn judge(condition: &str, value: &str) -> Option<bool> {
    let of_x = |text: &str| BTreeMap::from([("x".to_owned(), text.to_owned())]);
    let conditions = match Conditions::parse(of_x(condition)) {
        Ok(conditions) => conditions,
        Err(name) => {
            assert_eq!(name, "x");
            return None;
        }
    };
    assert!(conditions.judge(&BTreeMap::new()).is_err());
    Some(conditions.judge(&of_x(value)).is_ok())
}

/// The opposite of `condition` for a number or a text; `None` when it can't be written.
fn opposite(condition: &str) -> Option<String> {
    for (sign, opposite) in [("<=", ">"), (">=", "<"), ("<", ">="), (">", "<=")] {
        if let Some(bound) = condition.strip_prefix(sign) {
            return Some(format!("{opposite}{bound}"));
        }
    }
    match condition.strip_prefix('!').map(str::trim) {
        Some(words) if words.starts_with(['!', '<', '>']) => None,
        Some(words) => Some(words.to_owned()),
        None => Some(format!("!{condition}")),
    }
}

fuzz_target!(|text: &str| {
    let (condition, value) = text.split_once('\n').unwrap_or((text, ""));
    let Some(holds) = judge(condition, value) else { return };
    let condition = condition.trim();
    let Some(opposite) = opposite(condition) else { return };
    let is_bound = condition.starts_with(['<', '>']);
    let is_number = value.parse().is_ok_and(|number: f64| !number.is_nan());
    let opposite = judge(&opposite, value).expect("the opposite of a condition is one");
    if is_bound && !is_number {
        assert!(!holds && !opposite);
    } else {
        assert_ne!(holds, opposite);
    }
});
