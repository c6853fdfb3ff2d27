//! One value of the file, its place, and what it is as a typed value.

use super::diagnostics::NodePath;
use super::excerpt::is_secret;
use super::yaml::Node;

/// A value that is there and not null.
#[derive(Debug)]
pub(super) struct Value<'a> {
    pub(super) node: &'a Node,
    pub(super) place: NodePath,
    /// Its path as people write it, e.g. `services[0].port`.
    pub(super) key: String,
}

/// Why a value is not what was asked for.
#[derive(Debug)]
pub(super) struct Mismatch {
    pub(super) what: String,
    pub(super) help: String,
}

impl<'a> Value<'a> {
    /// The element `index` of this list.
    pub(super) fn element(&self, index: usize, node: &'a Node) -> Self {
        Self {
            node,
            place: self.place.child(index),
            key: format!("{}[{index}]", self.key),
        }
    }

    /// Text. A number or a boolean is taken as it reads, as the original's YAML library does for a text field: an
    /// environment variable that happens to be all digits is still a name.
    pub(super) fn text(&self) -> Result<String, Mismatch> {
        match self.node {
            Node::Text(text) => Ok(text.clone()),
            Node::Integer(number) => Ok(number.to_string()),
            Node::Float(number) => Ok(number.to_string()),
            Node::Bool(flag) => Ok(flag.to_string()),
            Node::Null | Node::List(_) | Node::Map(_) => Err(self.mismatch("text", "")),
        }
    }

    /// A whole number; one that is written with a fraction of zero counts.
    pub(super) fn integer(&self, expected: &str) -> Result<i128, Mismatch> {
        match self.node {
            Node::Integer(number) => Some(*number),
            Node::Float(number) if number.fract() == 0.0 => format!("{number:.0}").parse().ok(),
            _ => None,
        }
        .ok_or_else(|| self.mismatch(expected, self.why_no_integer()))
    }

    fn why_no_integer(&self) -> &'static str {
        match self.node {
            Node::Text(text) if text == "0" || text.parse::<u64>().is_ok() && !text.starts_with('0') => {
                "remove the quotes"
            }
            Node::Text(text) if text.parse::<u64>().is_ok() => "write it without quotes and without leading zeros",
            _ => "",
        }
    }

    /// A boolean, in the words of YAML 1.1 as well, which the originals read.
    pub(super) fn flag(&self) -> Result<bool, Mismatch> {
        let word = match self.node {
            Node::Bool(flag) => return Ok(*flag),
            Node::Text(text) => text.to_ascii_lowercase(),
            _ => String::new(),
        };
        match word.as_str() {
            "yes" | "on" | "y" => Ok(true),
            "no" | "off" | "n" => Ok(false),
            "true" | "false" => Err(self.mismatch("true or false", "remove the quotes")),
            _ => Err(self.mismatch("true or false", "")),
        }
    }

    /// `must be EXPECTED, not …`. An empty `help` is filled in where the value itself tells what happened.
    pub(super) fn mismatch(&self, expected: &str, help: &str) -> Mismatch {
        let found = match self.node {
            Node::Null => "null".to_owned(),
            Node::List(_) => "a list".to_owned(),
            Node::Map(_) => "a map".to_owned(),
            _ if is_secret(&self.key) => "the value it has".to_owned(),
            Node::Bool(flag) => flag.to_string(),
            Node::Integer(number) => number.to_string(),
            Node::Float(number) => number.to_string(),
            Node::Text(text) if text.chars().count() <= MAX_QUOTED => format!("the text {text:?}"),
            Node::Text(_) => "a text".to_owned(),
        };
        let help = match self.node {
            Node::Text(text) if text.contains(NO_VALUE) => "a template printed it: set the variable that it names",
            _ => help,
        };
        Mismatch {
            what: format!("must be {expected}, not {found}"),
            help: help.to_owned(),
        }
    }
}

/// What a template prints for a variable that is not set.
pub(super) const NO_VALUE: &str = "<no value>";

/// The longest text that a message repeats.
const MAX_QUOTED: usize = 40;
