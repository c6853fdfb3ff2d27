//! The only file that names `serde_yaml`: text becomes a tree, and a place in the tree becomes a line and a column.
//!
//! The tree is ours because `serde_yaml`'s own mapping keeps the last of two equal keys in silence; here every entry
//! stays, in the file's order, for the reader to judge. Neither tree carries positions. An error raised while a value is
//! read has that value's position, so [`locate`] reads the text again, walks to the place and fails there.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

/// A parsed value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Entries),
}

impl Node {
    /// The value as JSON; a repeated key is an error.
    pub(super) fn into_json(self) -> Result<Json, String> {
        Ok(match self {
            Self::Null => Json::Null,
            Self::Bool(flag) => Json::from(flag),
            Self::Integer(number) => i64::try_from(number).map_or_else(|_| Json::from(number.to_string()), Json::from),
            Self::Float(number) => Json::from(number),
            Self::Text(text) => Json::from(text),
            Self::List(nodes) => {
                let elements: Result<_, _> = nodes.into_iter().map(Self::into_json).collect();
                Json::Array(elements?)
            }
            Self::Map(entries) => {
                let mut map = serde_json::Map::new();
                for (key, node) in entries {
                    if map.contains_key(&key) {
                        return Err(format!("the key {key:?} is there a second time"));
                    }
                    map.insert(key, node.into_json()?);
                }
                Json::Object(map)
            }
        })
    }
}

/// The entries of a map in the file's order, repeated keys included.
pub(super) type Entries = Vec<(String, Node)>;

/// Line and column, from 1; the column counts characters.
pub(super) type Position = (usize, usize);

/// A text that is no document.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) at: Option<Position>,
    pub(super) what: String,
}

/// Greatest depth of nested brackets. The parser refuses less by itself, but the time it takes grows with the square of the
/// depth: minutes for a file of one megabyte.
const MAX_DEPTH: usize = 1000;

/// Parses the one document of `text`; an empty text is null.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    // The parser reports such a character without its line, so it is looked for first.
    if let Some(error) = first_forbidden_character(text) {
        return Err(error);
    }
    if let Some(at) = too_deep(text) {
        let what = format!("lists and maps lie deeper than {MAX_DEPTH} in each other here");
        return Err(SyntaxError { at: Some(at), what });
    }
    NodeSeed
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(|error| {
            let at = position(&error);
            let mut what = error.to_string();
            if let Some((line, column)) = at {
                // The position is shown once, in front.
                what = what.replacen(&format!(" at line {line} column {column}"), "", 1);
            }
            SyntaxError { at, what }
        })
}

/// The part of the last step that is located.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The last step's key. A list has none: then it is the element.
    Key,
    /// The last step's value.
    Value,
}

/// Returns the beginning in `text` of the node at the end of `path`, or else of the nearest node above it. Each step is the
/// index of a map's entry or of a list's element.
pub(super) fn locate(text: &str, path: &[usize], end: End) -> Option<Position> {
    let here = Failing { path, end };
    here.deserialize(serde_yaml::Deserializer::from_str(text))
        .err()
        .as_ref()
        .and_then(position)
        .or_else(|| {
            let (_, above) = path.split_last()?;
            locate(text, above, End::Value)
        })
}

fn position(error: &serde_yaml::Error) -> Option<Position> {
    error.location().map(|location| (location.line(), location.column()))
}

fn first_forbidden_character(text: &str) -> Option<SyntaxError> {
    for (line, content) in text.split('\n').enumerate() {
        let found = content
            .chars()
            .enumerate()
            .find(|(_, c)| c.is_control() && !matches!(c, '\t' | '\r' | '\u{85}'));
        if let Some((column, character)) = found {
            return Some(SyntaxError {
                at: Some((line + 1, column + 1)),
                what: format!("the control character U+{:04X} is not allowed", u32::from(character)),
            });
        }
    }
    None
}

/// Returns the position at which brackets are nested deeper than [`MAX_DEPTH`]. Quotes and comments are not counted; they are
/// recognised roughly, because the parser is exact.
fn too_deep(text: &str) -> Option<Position> {
    let mut depth: usize = 0;
    let mut quote = None;
    let mut is_comment = false;
    let mut is_escaped = false;
    let mut before = ' ';
    let (mut line, mut column) = (1, 0);
    for character in text.chars() {
        column += 1;
        match (quote, character) {
            (_, '\n') => {
                (line, column, is_comment, is_escaped) = (line + 1, 0, false, false);
            }
            _ if is_comment => {}
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some('"'), '\\') => is_escaped = true,
            (Some(open), end) if open == end => quote = None,
            (None, '"' | '\'') if before.is_whitespace() || "{[,:?-".contains(before) => quote = Some(character),
            (None, '#') if before.is_whitespace() => is_comment = true,
            (None, '{' | '[') => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Some((line, column));
                }
            }
            (None, '}' | ']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        before = character;
    }
    None
}

/// Reads any value as a [`Node`].
struct NodeSeed;

impl<'de> DeserializeSeed<'de> for NodeSeed {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    /// An empty document.
    fn visit_none<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Integer(value.into()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Integer(value))
    }

    /// Out of every range that a key may have.
    fn visit_u128<E: Error>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Integer(i128::try_from(value).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Node, A::Error> {
        Err(A::Error::custom("a tag (`!name`) has no meaning here"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element_seed(NodeSeed)? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Entries::new();
        // Every key is text: `80:` is "80".
        while let Some(key) = map.next_key::<String>()? {
            entries.push((key, map.next_value_seed(NodeSeed)?));
        }
        Ok(Node::Map(entries))
    }
}

/// Walks `path` and fails at its end, so that the error carries the position.
struct Failing<'p> {
    path: &'p [usize],
    end: End,
}

impl<'de> DeserializeSeed<'de> for Failing<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// At the path's end every kind of value gets to a default method, which fails.
impl<'de> Visitor<'de> for Failing<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the place that is looked for")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Some((&index, path)) = self.path.split_first() else {
            return Err(A::Error::custom("found"));
        };
        for _ in 0..index {
            list.next_element::<IgnoredAny>()?;
        }
        list.next_element_seed(Failing { path, end: self.end })?;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((&index, path)) = self.path.split_first() else {
            return Err(A::Error::custom("found"));
        };
        for _ in 0..index {
            map.next_entry::<IgnoredAny, IgnoredAny>()?;
        }
        if path.is_empty() && self.end == End::Key {
            map.next_key_seed(Failing { path, end: End::Value })?;
        } else if map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(Failing { path, end: self.end })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
