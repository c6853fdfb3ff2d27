//! One value of the file with its place, and its conversion to a typed value. Pure.

use super::excerpt::is_secret;
use super::path::NodePath;
use super::problem::Message;
use super::yaml::Node;

/// A value that is present and not null.
#[derive(Debug)]
pub(super) struct Value<'a> {
    pub(super) node: &'a Node,
    pub(super) at: NodePath,
}

impl Value<'_> {
    /// Returns the value as text. A number or a boolean is taken as it is written, as the original's YAML library does for a text field: an
    /// environment variable that happens to be all digits is still a name.
    pub(super) fn text(&self) -> Result<String, Message> {
        match self.node {
            Node::Text(text) => Ok(text.clone()),
            Node::Integer(number) => Ok(number.to_string()),
            Node::Float(number) => Ok(number.to_string()),
            Node::Bool(flag) => Ok(flag.to_string()),
            Node::Null | Node::List(_) | Node::Map(_) => Err(self.mismatch("text", "")),
        }
    }

    /// Returns a whole number; a fraction of zero is accepted.
    pub(super) fn integer(&self, expected: &str) -> Result<i128, Message> {
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

    /// Returns a boolean; the words of YAML 1.1 are accepted, as by the originals.
    pub(super) fn flag(&self) -> Result<bool, Message> {
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

    /// `must be EXPECTED, not …`. The value itself may give a better `help`.
    pub(super) fn mismatch(&self, expected: &str, help: &str) -> Message {
        let found = match self.node {
            Node::Null => "null".to_owned(),
            Node::List(_) => "a list".to_owned(),
            Node::Map(_) => "a map".to_owned(),
            _ if is_secret(&self.at.key) => "the value it has".to_owned(),
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
        Message::new(format!("must be {expected}, not {found}"), help)
    }
}

/// The output of a template for a variable that is not set.
pub(super) const NO_VALUE: &str = "<no value>";

/// Greatest length of a text that a message repeats.
const MAX_QUOTED: usize = 40;
