//! The node of a registration: directory, name, kind, access control, and write budget.
//!
//! A node is recognised, not remembered: after a lost reply or a restart the instance's nodes are identified by their name
//! or, where instances share a name (Airbnb's nerve, server sets), by their content. Pure.

use std::time::Duration;

use zookeeper_client::{Acl, AuthId, CreateMode, Permission};

use crate::hash::sha1_hex;
use crate::report::{self, encoded};

/// Least number of digits of a sequence number; `ZooKeeper` writes ten, and more beyond 32 bits.
const SEQUENCE_DIGITS: usize = 10;

/// The configuration of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// Its parent: absolute, below the chroot, without a `/` at the end; made when missing.
    pub directory: String,
    /// Its name.
    pub name: NodeName,
    /// Whether it outlives its session, and whether a number is added to its name.
    pub kind: NodeKind,
    /// Access control list of the node and of the parents created for it.
    pub access: Access,
    /// Interval at which a persistent node is written again, to distinguish it from an abandoned one.
    pub touch: Option<Duration>,
    /// How often it may be written.
    pub budget: WriteBudget,
}

impl NodeConfig {
    /// Returns an ephemeral node at `path` with open access and the default write budget.
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

    /// Returns its path for people: without the parts that ZooKeeper or the content add.
    pub fn path(&self) -> String {
        match &self.name {
            NodeName::Own(name) | NodeName::Shared { prefix: name, .. } => format!("{}/{name}", self.directory),
        }
    }

    /// Returns its name when only one is possible.
    pub(super) fn only_name(&self) -> Option<&str> {
        match &self.name {
            _ if self.kind.is_sequential() => None,
            NodeName::Own(name) => Some(name),
            NodeName::Shared { prefix, encoded, .. } => (!encoded).then_some(prefix),
        }
    }

    /// Returns the name of a node of this content, up to its sequence number.
    pub(super) fn base(&self, content: &[u8]) -> String {
        match &self.name {
            NodeName::Own(name) => name.clone(),
            NodeName::Shared { prefix, encoded, .. } => {
                let name = encoded.then(|| encoded::encode(content)).flatten();
                name.unwrap_or_else(|| prefix.clone())
            }
        }
    }

    /// Returns the ownership of the directory's child `name`, as far as its name determines it.
    pub(super) fn ownership(&self, name: &str) -> Ownership {
        let named = |base: &str| self.kind.has_base(name, base);
        match &self.name {
            NodeName::Own(own) if named(own) => Ownership::Ours,
            NodeName::Shared { prefix, .. } if named(prefix) => Ownership::CheckContent,
            NodeName::Shared { encoded: true, .. }
                if encoded::decode(name).is_some_and(|content| self.content_is_ours(&content)) =>
            {
                Ownership::Ours
            }
            NodeName::Own(_) | NodeName::Shared { .. } => Ownership::Others,
        }
    }

    /// Returns whether two nodes of one directory can not both be kept because each would be taken for the other.
    pub fn clashes(&self, other: &Self) -> bool {
        let numbered = self.kind.is_sequential();
        if numbered != other.kind.is_sequential() {
            return false;
        }
        let (Some((prefix, encoded, address)), Some((other_prefix, other_encoded, other_address))) =
            (self.name.shared(), other.name.shared())
        else {
            return self.name == other.name;
        };
        let (same_prefix, same_address) = (prefix == other_prefix, address == other_address);
        match (encoded, other_encoded) {
            (true, true) => same_address,
            (false, false) if !numbered => same_prefix,
            // The content distinguishes them.
            _ => same_prefix && same_address,
        }
    }

    /// Returns whether the content of a node of a shared name is this instance's.
    pub(super) fn content_is_ours(&self, content: &[u8]) -> bool {
        match &self.name {
            NodeName::Own(_) => true,
            NodeName::Shared { host, port, .. } => {
                report::address(content).is_some_and(|(theirs, number)| theirs == *host && number == *port)
            }
        }
    }
}

/// The ownership of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ownership {
    Ours,
    /// Instances share this name.
    CheckContent,
    Others,
}

/// A node's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeName {
    /// No other instance's node has this name (followed by a number, for a sequential node).
    Own(String),
    /// Other instances' nodes may have this name; the content's address distinguishes them.
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

impl NodeName {
    /// Returns prefix, encoding and address of a shared name.
    fn shared(&self) -> Option<(&str, bool, (&str, u16))> {
        match self {
            Self::Own(_) => None,
            Self::Shared {
                prefix,
                encoded,
                host,
                port,
            } => Some((prefix, *encoded, (host, *port))),
        }
    }
}

/// A node\'s kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// Removed with its session.
    Ephemeral,
    /// Removed with its session; ZooKeeper numbers the name.
    EphemeralSequential,
    /// Stays until it is deleted.
    Persistent,
    /// Stays until it is deleted; ZooKeeper numbers the name.
    PersistentSequential,
}

impl NodeKind {
    /// Returns whether it outlives its session.
    pub fn is_persistent(self) -> bool {
        matches!(self, Self::Persistent | Self::PersistentSequential)
    }

    /// Returns whether ZooKeeper adds a number to its name.
    pub fn is_sequential(self) -> bool {
        matches!(self, Self::EphemeralSequential | Self::PersistentSequential)
    }

    /// Returns whether `name` is `base`, followed by a number if the kind is sequential.
    pub(super) fn has_base(self, name: &str, base: &str) -> bool {
        name.strip_prefix(base).is_some_and(|rest| {
            if self.is_sequential() {
                is_sequence(rest)
            } else {
                rest.is_empty()
            }
        })
    }

    /// Returns Curator's `serviceType` of the kind.
    pub fn curator_type(self) -> &'static str {
        match self {
            Self::Ephemeral => "DYNAMIC",
            Self::EphemeralSequential => "DYNAMIC_SEQUENTIAL",
            Self::Persistent | Self::PersistentSequential => "PERMANENT",
        }
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

/// Returns 32 hexadecimal digits that identify these words: they make the names of an instance's nodes unique. Not a
/// secret.
pub fn token(words: &[&str]) -> String {
    sha1_hex(words.join("\0").as_bytes()).chars().take(32).collect()
}

/// Greatest number of writes of one registration in any span of `per`.
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
    /// Grants everything to all clients.
    pub fn world() -> Self {
        Self(vec![Acl::new(Permission::ALL, AuthId::anyone())])
    }

    /// Grants everything to the creator and reading to all clients.
    pub fn creator_all_world_read() -> Self {
        Self(vec![
            Acl::new(Permission::ALL, AuthId::authed()),
            Acl::new(Permission::READ, AuthId::anyone()),
        ])
    }

    /// Parses a list in the format of `zkCli setAcl`: `digest:USER:HASH:cdrwa,ip:10.0.0.0/8:r`.
    pub fn parse(list: &str) -> Option<Self> {
        list.split(',')
            .map(|entry| parse_entry(entry.trim()))
            .collect::<Option<_>>()
            .map(Self)
    }

    /// Returns whether the list uses the `auth` scheme and therefore needs an authenticated session.
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
