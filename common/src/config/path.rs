//! The place of a value in the tree. Pure.

/// A place, for [`super::yaml::locate`] and for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct NodePath {
    /// Index of the map's entry or of the list's element, for each step from the root.
    pub(super) steps: Vec<usize>,
    /// The same for people, e.g. `services[0].port`; empty for the root.
    pub(super) key: String,
}

impl NodePath {
    /// Returns the path of the map's entry `index`, which is called `name`.
    pub(super) fn entry(&self, index: usize, name: &str) -> Self {
        Self {
            steps: self.child(index),
            ..self.absent(name)
        }
    }

    /// Returns the path of the list's element `index`.
    pub(super) fn element(&self, index: usize) -> Self {
        Self {
            steps: self.child(index),
            key: format!("{}[{index}]", self.key),
        }
    }

    /// Returns the path of an entry `name` that the map does not have: the map's place under the entry's name.
    pub(super) fn absent(&self, name: &str) -> Self {
        let dot = if self.key.is_empty() || name.is_empty() {
            ""
        } else {
            "."
        };
        Self {
            steps: self.steps.clone(),
            key: format!("{}{dot}{name}", self.key),
        }
    }

    fn child(&self, index: usize) -> Vec<usize> {
        [self.steps.as_slice(), &[index]].concat()
    }
}
