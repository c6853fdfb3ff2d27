//! Go's `text/template`, as the originals' configuration uses it.

use std::collections::BTreeMap;

/// Why a template did not render.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template: {0}")]
pub struct TemplateError(pub String);

/// Renders `text` with `fields` as the dot (`{{ .NAME }}`); an absent field prints `<no value>` as Go does.
///
/// Functions beyond Go's own: `sha1String TEXT` (hex digest), `randString N` (N letters).
pub fn render(text: &str, fields: &BTreeMap<String, String>) -> Result<String, TemplateError> {
    let _ = (text, fields);
    todo!()
}
