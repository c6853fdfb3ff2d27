//! Reads a file of synapse's back: its slots, so that a new synapse takes over where the old one stopped, and the text around
//! them, in which servers are replaced. Pure.
//!
//! Only lines as `render` writes them are read, and nothing of them is trusted further than a name, a number and options: the
//! state of the running servers comes from HAProxy.

use std::net::SocketAddr;

use crate::haproxy::cfg::bind;
use crate::haproxy::cfg::format::{HEADER, parse_server, parse_structure, push_servers};
use crate::haproxy::plan::model::{Assignment, Backend, Layout, NOWHERE};
use crate::haproxy::runtime::interner::Interner;
use crate::haproxy::runtime::parse::Table;
use crate::name::BackendName;

/// The content of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ConfigFile {
    /// The fingerprint in it; `None` for a file that is not synapse's.
    pub(crate) structure: Option<String>,
    /// Its slots and their instances; an extra backend of the operator's has none.
    pub(crate) layout: Layout,
    /// The addresses it listens on.
    pub(crate) binds: Vec<SocketAddr>,
    pub(crate) text: FileText,
}

/// The text of a file around its servers: blocks, each with the backend whose servers follow it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct FileText(Vec<(String, Option<BackendName>)>);

impl ConfigFile {
    /// Reads a file.
    pub(crate) fn parse(text: &str) -> Self {
        let mut file = Self::default();
        if text.lines().next() != Some(HEADER) {
            return file;
        }
        // Thousands of lines share a few options, and the spare slots of all services their names.
        let mut interner = Interner::default();
        let mut block = String::new();
        // Where the servers of a section belong that has none: before the blank lines at its end.
        let mut end = 0;
        let mut section: Option<BackendName> = None;
        // The section's backend, until the place of its servers is known.
        let mut open = None;
        for line in text.lines() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let structure = parse_structure(&words);
            if let Some(structure) = structure {
                file.structure = Some(structure.to_owned());
            } else if !words.is_empty() && !line.starts_with(' ') {
                file.text.close(&mut block, end, open.take());
                section = match words.as_slice() {
                    ["backend", name] => Some((*name).into()),
                    _ => None,
                };
                open.clone_from(&section);
                file.layout
                    .extend(section.clone().map(|name| (name, Backend::default())));
            } else if let Some(backend) = section.as_ref().and_then(|name| file.layout.get_mut(name))
                && let Some(mut slot) = parse_server(&words)
            {
                let here = block.len();
                file.text.close(&mut block, here, open.take());
                slot.options = interner.intern(&slot.options);
                slot.name = interner.intern(&slot.name).into();
                backend.slots.push(slot);
                continue;
            }
            block.extend([line, "\n"]);
            if !words.is_empty() {
                end = block.len();
            }
        }
        file.text.close(&mut block, end, open);
        file.text.0.push((block, None));
        file.binds = bind::addresses(&text.lines().collect::<Vec<_>>());
        file
    }
}

impl FileText {
    /// The whole text with the servers of `layout` and nothing else changed: it stays true to what HAProxy has loaded even if
    /// the configuration would give another file.
    pub(crate) fn with_servers(&self, layout: &Layout) -> String {
        let mut text = String::new();
        for (block, backend) in &self.0 {
            text.push_str(block);
            if let Some(backend) = backend.as_ref().and_then(|name| layout.get(name)) {
                push_servers(&mut text, &backend.slots);
            }
        }
        text
    }

    /// Ends a block at `end` if a backend is given whose servers belong there.
    fn close(&mut self, block: &mut String, end: usize, backend: Option<BackendName>) {
        if backend.is_some() {
            let rest = block.split_off(end);
            self.0.push((std::mem::replace(block, rest), backend));
        }
    }
}

/// Sets the assignments that HAProxy itself reports. A server in maintenance with a real address may still have requests of
/// its last instance. A server that HAProxy does not have keeps the assignment in the file.
pub(crate) fn apply_live_state(layout: &mut Layout, table: &Table) {
    for (name, backend) in layout {
        let Some(live) = table.get(name) else { continue };
        for slot in &mut backend.slots {
            let Some(server) = live.servers.get(&slot.name) else {
                continue;
            };
            slot.assignment = match server.address {
                Some(address) if !server.maint => Assignment::Active {
                    address,
                    weight: u16::try_from(server.weight).unwrap_or(u16::MAX),
                },
                Some(address) if address != NOWHERE => Assignment::Draining { address },
                Some(_) | None => Assignment::Free,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_ends_where_any_section_begins() {
        let server = "  server slot_1 127.0.0.1:1 id 1 weight 1 disabled";
        let text =
            format!("{HEADER}\nbackend first\n{server}\nbackend second from tcp\n{server}\nresolvers r\n{server}\n");
        let file = ConfigFile::parse(&text);
        assert_eq!(file.layout.keys().collect::<Vec<_>>(), [&"first".into()]);
        assert_eq!(
            file.layout.values().map(|backend| backend.slots.len()).sum::<usize>(),
            1
        );
        assert_eq!(file.text.with_servers(&file.layout), text);
    }
}
