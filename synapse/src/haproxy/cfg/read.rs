//! Reads our own file back: which slots it has, so that a new synapse takes over where the old one stopped. Pure.
//!
//! It reads only lines as `render` writes them and nothing of them is trusted further than a name, a number and a options:
//! what HAProxy really runs is asked of HAProxy.

use std::net::SocketAddr;

use crate::haproxy::cfg::bind;
use crate::haproxy::cfg::format::{HEADER, is_structure};
use crate::haproxy::plan::model::{Assignment, Backend, Layout, Slot};
use crate::haproxy::runtime::interner::Interner;
use crate::haproxy::runtime::parse::Table;

/// What a file on disk says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ConfigFile {
    /// The fingerprint in it; `None` for a file that is not ours.
    pub(crate) structure: Option<String>,
    /// Its slots and who sat in them; an extra backend of the operator's has none.
    pub(crate) layout: Layout,
    /// All it listens on.
    pub(crate) binds: Vec<SocketAddr>,
    /// The whole of it.
    pub(crate) text: String,
}

/// Reads a file.
pub(crate) fn read(text: &str) -> ConfigFile {
    let mut disk = ConfigFile::default();
    if text.lines().next() != Some(HEADER) {
        return disk;
    }
    text.clone_into(&mut disk.text);
    let mut backend: Option<&str> = None;
    // Thousands of lines share a few classes, and the spare slots of all services their names.
    let mut shared = Interner::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.as_slice() {
            ["setenv", _, structure] if is_structure(&words) => disk.structure = Some((*structure).to_owned()),
            ["backend", name] if !line.starts_with(' ') => {
                backend = Some(name);
                disk.layout.insert((*name).into(), Backend::default());
            }
            // Whatever other section begins here.
            [_, ..] if !line.starts_with(' ') => backend = None,
            words => {
                if let Some((backend, mut slot)) = backend.and_then(|name| disk.layout.get_mut(name)).zip(slot(words)) {
                    slot.options = shared.intern(&slot.options);
                    slot.name = shared.intern(&slot.name).into();
                    backend.slots.push(slot);
                }
            }
        }
    }
    disk.binds = bind::addresses(&text.lines().collect::<Vec<_>>());
    disk
}

/// The slot in the words of a line, if it is one of ours.
pub(crate) fn slot(words: &[&str]) -> Option<Slot> {
    let [
        "server",
        name,
        address,
        "id",
        id,
        "weight",
        weight,
        state @ ("enabled" | "disabled"),
        options @ ..,
    ] = words
    else {
        return None;
    };
    let (address, weight) = (address.parse().ok()?, weight.parse().ok()?);
    Some(Slot {
        id: id.parse().ok()?,
        name: (*name).into(),
        options: options.join(" ").into(),
        assignment: if *state == "enabled" {
            Assignment::Active { address, weight }
        } else {
            Assignment::Free
        },
        dynamic: false,
    })
}

/// Who sits in the slots according to HAProxy itself. A server in maintenance with a real address may still have
/// requests of its last instance. Of one that HAProxy does not have, the file's word stands.
pub(crate) fn apply_live_state(layout: &mut Layout, table: &Table) {
    for (service, backend) in layout {
        for slot in &mut backend.slots {
            let Some(live) = table.get(service).and_then(|live| live.servers.get(&slot.name)) else {
                continue;
            };
            slot.assignment = match live.address.map(|address| (live, address)) {
                Some((server, address)) if !server.maint => Assignment::Active {
                    address,
                    weight: u16::try_from(server.weight).unwrap_or(u16::MAX),
                },
                Some((_, address)) if address != crate::haproxy::plan::model::NOWHERE => {
                    Assignment::Draining { address }
                }
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
        let layout = read(&text).layout;
        assert_eq!(
            layout.keys().collect::<Vec<_>>(),
            ["first".into()].iter().collect::<Vec<_>>()
        );
        assert_eq!(layout.values().map(|backend| backend.slots.len()).sum::<usize>(), 1);
    }
}
