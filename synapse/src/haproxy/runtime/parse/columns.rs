//! Columns of a reply, found by the names in its header. Pure.

use std::collections::HashMap;
use std::str::FromStr;

/// Index of each column by its name.
#[derive(Debug, Default)]
pub(super) struct Columns(HashMap<Box<str>, usize>);

/// The fields of one line.
pub(super) struct Row<'a> {
    columns: &'a Columns,
    fields: Vec<&'a str>,
}

impl Columns {
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let columns = names.enumerate().map(|(index, name)| (name.into(), index));
        Self(columns.collect())
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn row<'a>(&'a self, fields: impl Iterator<Item = &'a str>) -> Row<'a> {
        Row {
            columns: self,
            fields: fields.collect(),
        }
    }
}

impl<'a> Row<'a> {
    /// The field in a column.
    pub(super) fn get(&self, column: &str) -> Option<&'a str> {
        self.fields.get(*self.columns.0.get(column)?).copied()
    }

    /// The field in a column as a number or an address.
    pub(super) fn parse<T: FromStr>(&self, column: &str) -> Option<T> {
        self.get(column)?.parse().ok()
    }
}
