//! Which node a ZooKeeper reporter keeps: its kind, its name, its bytes and its pace.

use common::config::Section;
use common::report::Dialect;
use common::zk::node::{NodeConfig, NodeKind, NodeName, WriteBudget, token};

/// The registered instance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instance<'a> {
    pub(super) name: &'a str,
    pub(super) report_name: &'a str,
    pub(super) host: &'a str,
    pub(super) port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    Go,
    Airbnb,
    ServerSet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payload {
    Go,
    Airbnb,
    ServerSet,
    Curator,
    Spring,
}

/// The node, its directory left open, and what its bytes look like.
pub(super) fn node(
    section: &mut Section<'_>,
    instance: Instance<'_>,
    expose_on_unavailable: bool,
) -> Option<(NodeConfig, Dialect)> {
    let kinds = [
        ("ephemeral", NodeKind::Ephemeral),
        ("ephemeral_sequential", NodeKind::EphemeralSequential),
        ("persistent", NodeKind::Persistent),
        ("persistent_sequential", NodeKind::PersistentSequential),
    ];
    let kind = section.choice_or("nodeType", "ephemeral", &kinds);
    let namings = [
        ("go", Naming::Go),
        ("airbnb", Naming::Airbnb),
        ("serverset", Naming::ServerSet),
    ];
    let naming = section.choice_or("naming", "go", &namings);
    let payloads = [
        ("go", Payload::Go),
        ("airbnb", Payload::Airbnb),
        ("serverset", Payload::ServerSet),
        ("curator", Payload::Curator),
        ("spring", Payload::Spring),
    ];
    let payload = section.choice_or("payload", "go", &payloads);
    let instance_id = section.text("instanceId").filter(|id| !id.is_empty());
    let instance_id = instance_id.unwrap_or_else(|| instance.report_name.to_owned());
    let encoded = section.flag_or("pathEncoding", false);
    let shard = section.integer("shard", 0..=u64::from(u32::MAX));
    let touch = section.duration("ttl");
    let budget = write_budget(section);
    let (kind, naming, payload) = (kind?, naming?, payload?);
    if touch.is_some() && !kind.is_persistent() {
        let what = "is for the persistent kinds of `nodeType`";
        section.problem("ttl", what, "remove it: an ephemeral node goes with its session");
    }
    if expose_on_unavailable && payload == Payload::Airbnb {
        let what = "has no form in `payload: airbnb`, whose readers would take the instance for a good one";
        section.problem("exposeOnUnavailable", what, "remove it, or choose another `payload`");
    }
    if encoded && (naming != Naming::Airbnb || !matches!(payload, Payload::Go | Payload::Airbnb)) {
        let what = "is a form of Airbnb's names, of reports that Airbnb's synapse reads";
        section.problem("pathEncoding", what, "add `naming: airbnb` and `payload: airbnb`");
    }
    if shard.is_some() && payload != Payload::ServerSet {
        let what = "is a number within a server set, which other payloads have no word for";
        section.problem("shard", what, "add `payload: serverset`, or remove it");
    }
    if naming == Naming::ServerSet && !kind.is_sequential() {
        let what = "`serverset` needs numbered nodes: all members of a server set are named `member_`";
        section.problem("naming", what, "add `nodeType: ephemeral_sequential`");
    }
    if naming == Naming::Airbnb && instance_id.contains('/') {
        section.problem(
            "instanceId",
            "has a `/`",
            "it is the beginning of the node's name: leave that out",
        );
    }
    if payload == Payload::ServerSet && naming != Naming::ServerSet {
        let what = "`serverset` is read only from nodes named `member_…` by most readers";
        section.warning(
            "payload",
            what,
            "add `naming: serverset` and `nodeType: ephemeral_sequential`",
        );
    }
    let name = name(instance, kind, naming, &instance_id, encoded);
    let node = NodeConfig {
        name,
        kind,
        touch,
        budget,
        ..NodeConfig::ephemeral("")
    };
    let id = node.path().trim_start_matches('/').to_owned();
    let service_type = kind.curator_type();
    let payload = match payload {
        Payload::Go => Dialect::Go,
        Payload::Airbnb => Dialect::Airbnb { instance_id },
        Payload::ServerSet => Dialect::ServerSet { shard },
        Payload::Curator => Dialect::Curator { id, service_type },
        Payload::Spring => Dialect::Spring { id, service_type },
    };
    Some((node, payload))
}

fn name(instance: Instance<'_>, kind: NodeKind, naming: Naming, instance_id: &str, encoded: bool) -> NodeName {
    let Instance { name, host, port, .. } = instance;
    let prefix = match naming {
        Naming::Go if kind.is_sequential() => {
            let token = token(&[name, host, &port.to_string()]);
            return NodeName::Own(format!("{name}_{host}_c_{token}"));
        }
        Naming::Go => return NodeName::Own(format!("{name}_{host}:{port}")),
        Naming::Airbnb => format!("{instance_id}_"),
        Naming::ServerSet => "member_".to_owned(),
    };
    NodeName::Shared {
        prefix,
        encoded,
        host: host.to_owned(),
        port,
    }
}

fn write_budget(section: &mut Section<'_>) -> WriteBudget {
    let default = WriteBudget::DEFAULT;
    let Some(mut section) = section.section("writeBudget", "writeBudget") else {
        return default;
    };
    let writes = section.integer_or("writes", u64::try_from(default.writes).unwrap_or(u64::MAX), 2..=100_000);
    WriteBudget {
        writes: usize::try_from(writes).unwrap_or(usize::MAX),
        per: section.duration_or("per", default.per),
    }
}
