//! What holds for the sources and documents themselves: the language, the layers, purity, links.
//! Reads files only; no server is started.
#![expect(clippy::unwrap_used, reason = "a check that can't read its files must stop")]
#![expect(
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "offsets that the same function found"
)]

mod documents;
mod language;
mod layers;
mod layers_table;
mod purity;
mod source;
