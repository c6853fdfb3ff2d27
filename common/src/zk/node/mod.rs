//! Which node a registration keeps: where, of what name and kind, who may do what with it, and how often it is written.
//!
//! A node is recognised, not remembered: after a lost reply or a restart the instance's nodes are those whose name says
//! so, or, where instances share a name (Airbnb's nerve, server sets), those whose content says so. Pure.

use std::time::Duration;

use zookeeper_client::{Acl, AuthId, CreateMode, Permission};

use crate::hash::sha1_hex;
use crate::report::{self, encoded};

/// The fewest digits of a sequence number; `ZooKeeper` writes ten, and more beyond 32 bits.
const SEQUENCE_DIGITS: usize = 10;

/// One node and how it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// Its parent: absolute, below the chroot, without a `/` at the end; made when missing.
    pub directory: String,
    /// Its name.
    pub name: NodeName,
    /// What becomes of it without its session, and whether a number is added to its name.
    pub kind: NodeKind,
    /// Who may do what with it and the parents made for it.
    pub access: Access,
    /// A persistent node is written again this often, so that others can tell it from a forgotten one.
    pub touch: Option<Duration>,
    /// How often it may be written.
    pub budget: WriteBudget,
}

impl NodeConfig {
    /// An ephemeral node at `path`, open to everybody, written at the default pace.
    pub fn ephemeral(path: &str) -> Self {
        let (directory, name) = path.rsplit_once('/').unwrap_or_default();
        Self {
            directory: directory.to_owned(),
            name: NodeName::Own(name.to_owned()),
            kind: NodeKind::Ephemeral,
            access: Access::world(),
            touch: None,
            budget: WriteBudget::DEFAULT,
        }
    }

    /// Its path for people: without the parts that ZooKeeper or the content add.
    pub fn path(&self) -> String {
        match &self.name {
            NodeName::Own(name) | NodeName::Shared { prefix: name, .. } => format!("{}/{name}", self.directory),
        }
    }

    /// The one name it can have, when there is but one.
    pub(super) fn only_name(&self) -> Option<&str> {
        match &self.name {
            _ if self.kind.is_sequential() => None,
            NodeName::Own(name) => Some(name),
            NodeName::Shared { prefix, encoded, .. } => (!encoded).then_some(prefix),
        }
    }

    /// The name of a node of this content, up to its sequence number.
    pub(super) fn base(&self, content: &[u8]) -> String {
        match &self.name {
            NodeName::Own(name) => name.clone(),
            NodeName::Shared { prefix, encoded, .. } => {
                let name = encoded.then(|| encoded::encode(content)).flatten();
                name.unwrap_or_else(|| prefix.clone())
            }
        }
    }

    /// Ownership the child `name` of the directory is, as far as its name tells.
    pub(super) fn ownership(&self, name: &str) -> Ownership {
        let named = |base: &str| self.kind.has_base(name, base);
        match &self.name {
            NodeName::Own(own) if named(own) => Ownership::Ours,
            NodeName::Shared { prefix, .. } if named(prefix) => Ownership::AskContent,
            NodeName::Shared { encoded: true, .. }
                if encoded::decode(name).is_some_and(|content| self.content_is_ours(&content)) =>
            {
                Ownership::Ours
            }
            NodeName::Own(_) | NodeName::Shared { .. } => Ownership::Others,
        }
    }

    /// Whether two nodes of one directory can't both be kept: each would be taken for the other.
    pub fn clashes(&self, other: &Self) -> bool {
        let numbered = self.kind.is_sequential();
        if numbered != other.kind.is_sequential() {
            return false;
        }
        match (&self.name, &other.name) {
            (NodeName::Own(one), NodeName::Own(two)) => one == two,
            (
                NodeName::Shared {
                    prefix,
                    encoded,
                    host,
                    port,
                },
                NodeName::Shared {
                    prefix: their_prefix,
                    encoded: theirs_encoded,
                    host: their_host,
                    port: their_port,
                },
            ) => {
                let (same_prefix, same_address) = (prefix == their_prefix, (host, port) == (their_host, their_port));
                match (encoded, theirs_encoded) {
                    (true, true) => same_address,
                    (false, false) if !numbered => same_prefix,
                    // The content tells them apart.
                    _ => same_prefix && same_address,
                }
            }
            (NodeName::Own(_), NodeName::Shared { .. }) | (NodeName::Shared { .. }, NodeName::Own(_)) => false,
        }
    }

    /// Whether the content of a node of a shared name is this instance's.
    pub(super) fn content_is_ours(&self, content: &[u8]) -> bool {
        match &self.name {
            NodeName::Own(_) => true,
            NodeName::Shared { host, port, .. } => {
                report::address(content).is_some_and(|(theirs, number)| theirs == *host && number == *port)
            }
        }
    }
}

/// Ownership a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ownership {
    Ours,
    /// Instances share this name.
    AskContent,
    Others,
}

/// A node's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeName {
    /// No other instance's node has this name (followed by a number, for a sequential node).
    Own(String),
    /// Other instances' nodes may have this name; the content's address tells them apart.
    Shared {
        /// The name, up to the number.
        prefix: String,
        /// Whether the name holds the content instead: `base64_<length>_<content>_`, as in Airbnb's nerve.
        encoded: bool,
        /// The host in our content.
        host: String,
        /// The port in our content.
        port: u16,
    },
}

/// A node's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// Gone with its session.
    Ephemeral,
    /// Gone with its session; ZooKeeper numbers the name.
    EphemeralSequential,
    /// Stays until it is deleted.
    Persistent,
    /// Stays until it is deleted; ZooKeeper numbers the name.
    PersistentSequential,
}

impl NodeKind {
    /// Whether it stays without a session.
    pub fn is_persistent(self) -> bool {
        matches!(self, Self::Persistent | Self::PersistentSequential)
    }

    /// Whether ZooKeeper adds a number to its name.
    pub fn is_sequential(self) -> bool {
        matches!(self, Self::EphemeralSequential | Self::PersistentSequential)
    }

    /// Whether `name` is `base`, with a number when it should have one.
    pub(super) fn has_base(self, name: &str, base: &str) -> bool {
        name.strip_prefix(base).is_some_and(|rest| {
            if self.is_sequential() {
                is_sequence(rest)
            } else {
                rest.is_empty()
            }
        })
    }

    pub(super) fn mode(self) -> CreateMode {
        match self {
            Self::Ephemeral => CreateMode::Ephemeral,
            Self::EphemeralSequential => CreateMode::EphemeralSequential,
            Self::Persistent => CreateMode::Persistent,
            Self::PersistentSequential => CreateMode::PersistentSequential,
        }
    }
}

/// `%010d` of a counter that may have overflown.
fn is_sequence(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    text.len() >= SEQUENCE_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// 32 hexadecimal digits that are the same for the same words, and only for them: what makes the names of an instance's
/// nodes its own. No secret.
pub fn token(words: &[&str]) -> String {
    sha1_hex(words.join("\0").as_bytes()).chars().take(32).collect()
}

/// The most writes of one registration in any span of `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteBudget {
    /// At least 2: an announcement never takes the write that its withdrawal needs.
    pub writes: usize,
    /// The span.
    pub per: Duration,
}

impl WriteBudget {
    /// Two whole warm-ups a minute.
    pub const DEFAULT: Self = Self {
        writes: 30,
        per: Duration::from_mins(1),
    };
}

/// An access control list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access(Vec<Acl>);

impl Access {
    /// Everybody may do everything.
    pub fn world() -> Self {
        Self(vec![Acl::new(Permission::ALL, AuthId::anyone())])
    }

    /// Who made it may do everything, everybody may read.
    pub fn creator_all_world_read() -> Self {
        Self(vec![
            Acl::new(Permission::ALL, AuthId::authed()),
            Acl::new(Permission::READ, AuthId::anyone()),
        ])
    }

    /// A list as `zkCli setAcl` takes it: `world:anyone:r,digest:USER:HASH:cdrwa`.
    pub fn parse(list: &str) -> Option<Self> {
        list.split(',')
            .map(|entry| parse_entry(entry.trim()))
            .collect::<Option<_>>()
            .map(Self)
    }

    /// Whether it names whoever is authenticated, and so needs somebody who is.
    pub fn needs_authentication(&self) -> bool {
        self.0.iter().any(|acl| acl.scheme() == "auth")
    }

    pub(super) fn entries(&self) -> &[Acl] {
        &self.0
    }
}

fn parse_entry(entry: &str) -> Option<Acl> {
    let (scheme, rest) = entry.split_once(':')?;
    // The id may have colons in it.
    let (id, letters) = rest.rsplit_once(':')?;
    let permission = letters.chars().try_fold(Permission::NONE, |sum, letter| {
        Some(
            sum | match letter {
                'c' => Permission::CREATE,
                'd' => Permission::DELETE,
                'r' => Permission::READ,
                'w' => Permission::WRITE,
                'a' => Permission::ADMIN,
                _ => return None,
            },
        )
    })?;
    let plausible = !scheme.is_empty() && !letters.is_empty() && (scheme == "auth" || !id.is_empty());
    plausible.then(|| Acl::new(permission, AuthId::new(scheme, id)))
}

#[cfg(test)]
mod tests;
