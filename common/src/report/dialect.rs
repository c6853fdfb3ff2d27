//! A report in the words of other readers: Airbnb's synapse, Finagle's and Aurora's server sets, Curator's discovery,
//! Spring Cloud's use of it.
//!
//! Each is written as its own writers do, key order and all, with what its readers insist on and nothing that they choke
//! on. What a dialect has no word for is left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Report;
use crate::zk::node::NodeKind;

/// Ownership words a report is written in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dialect {
    /// Go-Nerve's.
    Go,
    /// Airbnb nerve's. It can't say that an instance is not available.
    Airbnb {
        /// `name` in the report.
        instance_id: String,
    },
    /// A member of a server set. It has no weight.
    ServerSet {
        /// Its number, where members are told apart by it.
        shard: Option<u64>,
    },
    /// Curator's `ServiceInstance`. It has neither weight nor labels: `payload` is of a type that only its users know.
    Curator {
        /// `id`, which is the node's name too.
        id: String,
        /// The node's kind, for `serviceType`.
        kind: NodeKind,
    },
    /// Spring Cloud's: Curator's with a payload that holds metadata, where labels, the weight and the availability go.
    Spring {
        /// `id`, as for Curator.
        id: String,
        /// The node's kind, as for Curator.
        kind: NodeKind,
    },
}

impl Dialect {
    /// The bytes of `report` of an instance that is registered `since`, in milliseconds since the Unix epoch.
    pub fn encode(&self, report: &Report, since: u64) -> Vec<u8> {
        match self {
            Self::Go => report.encode(),
            Self::Airbnb { instance_id } => json(&Airbnb::of(report, instance_id)),
            Self::ServerSet { shard } => json(&Member::of(report, *shard)),
            Self::Curator { id, kind } => json(&Instance::of(report, id, *kind, since)),
            Self::Spring { id, kind } => json(&Instance::of_spring(report, id, *kind, since)),
        }
    }
}

/// The host and port in a report of any dialect, if it is one.
pub fn address(bytes: &[u8]) -> Option<(String, u16)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Any {
        #[serde(alias = "address")]
        host: Option<String>,
        port: Option<u16>,
        service_endpoint: Option<Endpoint<String>>,
    }
    let any: Any = serde_json::from_slice(bytes).ok()?;
    match any.service_endpoint {
        Some(endpoint) => Some((endpoint.host, endpoint.port)),
        None => any.host.zip(any.port),
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Text and numbers in structs: there is nothing that JSON has no form for.
    serde_json::to_vec(value).unwrap_or_default()
}

#[derive(Debug, Serialize)]
struct Airbnb<'a> {
    host: &'a str,
    port: u16,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u16>,
    #[serde(skip_serializing_if = "str::is_empty")]
    haproxy_server_options: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
}

impl<'a> Airbnb<'a> {
    fn of(report: &'a Report, instance_id: &'a str) -> Self {
        Self {
            host: &report.host,
            port: report.port,
            name: instance_id,
            weight: report.weight,
            haproxy_server_options: &report.haproxy_server_options,
            labels: &report.labels,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Endpoint<T> {
    host: T,
    port: u16,
}

/// `additionalEndpoints` is there because the first readers (Twitter commons) insist on it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Member<'a> {
    service_endpoint: Endpoint<&'a str>,
    additional_endpoints: BTreeMap<&'a str, Endpoint<&'a str>>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
}

impl<'a> Member<'a> {
    fn of(report: &'a Report, shard: Option<u64>) -> Self {
        Self {
            service_endpoint: Endpoint {
                host: &report.host,
                port: report.port,
            },
            additional_endpoints: BTreeMap::new(),
            status: if report.available { "ALIVE" } else { "DEAD" },
            shard,
            metadata: &report.labels,
        }
    }
}

/// Older readers refuse an instance with a key that they don't know, so `enabled` is there only when it says something.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Instance<'a> {
    name: &'a str,
    id: &'a str,
    address: &'a str,
    port: u16,
    ssl_port: Option<u16>,
    payload: Option<SpringPayload<'a>>,
    #[serde(rename = "registrationTimeUTC")]
    registration_time_utc: u64,
    service_type: &'static str,
    uri_spec: Option<UriSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
}

impl<'a> Instance<'a> {
    fn of(report: &'a Report, id: &'a str, kind: NodeKind, since: u64) -> Self {
        Self {
            name: &report.name,
            id,
            address: &report.host,
            port: report.port,
            ssl_port: None,
            payload: None,
            registration_time_utc: since,
            service_type: match kind {
                NodeKind::Ephemeral => "DYNAMIC",
                NodeKind::EphemeralSequential => "DYNAMIC_SEQUENTIAL",
                NodeKind::Persistent | NodeKind::PersistentSequential => "PERMANENT",
            },
            uri_spec: None,
            enabled: (!report.available).then_some(false),
        }
    }

    /// `uriSpec` is there because Spring Cloud makes a URL of it without asking whether it is.
    fn of_spring(report: &'a Report, id: &'a str, kind: NodeKind, since: u64) -> Self {
        Self {
            payload: Some(SpringPayload::of(report, id)),
            uri_spec: Some(UriSpec::SPRING),
            // Said in the payload.
            enabled: None,
            ..Self::of(report, id, kind, since)
        }
    }
}

/// The class is Curator's way to know what to make of a payload.
#[derive(Debug, Serialize)]
struct SpringPayload<'a> {
    #[serde(rename = "@class")]
    class: &'static str,
    id: &'a str,
    name: &'a str,
    metadata: BTreeMap<&'a str, String>,
}

impl<'a> SpringPayload<'a> {
    fn of(report: &'a Report, id: &'a str) -> Self {
        let status = if report.available { "UP" } else { "OUT_OF_SERVICE" };
        let labels = report.labels.iter().map(|(key, value)| (key.as_str(), value.clone()));
        let ours = [("instance_status", status.to_owned())];
        let weight = report.weight.map(|weight| ("weight", weight.to_string()));
        Self {
            class: "org.springframework.cloud.zookeeper.discovery.ZookeeperInstance",
            id,
            name: &report.name,
            // A label can't say otherwise.
            metadata: labels.chain(ours).chain(weight).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
struct UriSpec {
    parts: [UriPart; 5],
}

#[derive(Debug, Serialize)]
struct UriPart {
    value: &'static str,
    variable: bool,
}

impl UriSpec {
    /// `{scheme}://{address}:{port}`, Spring Cloud's default.
    const SPRING: Self = {
        const fn part(value: &'static str, variable: bool) -> UriPart {
            UriPart { value, variable }
        }
        Self {
            parts: [
                part("scheme", true),
                part("://", false),
                part("address", true),
                part(":", false),
                part("port", true),
            ],
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(available: bool) -> Report {
        Report {
            available,
            unavailable_reason: String::new(),
            host: "10.0.0.4".to_owned(),
            port: 3100,
            name: "pay".to_owned(),
            haproxy_server_options: "check inter 2s".to_owned(),
            weight: Some(if available { 15 } else { 0 }),
            labels: BTreeMap::from([
                ("az".to_owned(), "a<b>".to_owned()),
                ("region:eu".to_owned(), String::new()),
            ]),
        }
    }

    fn plain() -> Report {
        Report {
            haproxy_server_options: String::new(),
            labels: BTreeMap::new(),
            ..report(true)
        }
    }

    fn assert_written(dialect: &Dialect, report: &Report, expected: &str) {
        let bytes = dialect.encode(report, 1_790_000_000_000);
        assert_eq!(String::from_utf8(bytes).expect("JSON is UTF-8"), expected);
        assert_eq!(address(expected.as_bytes()), Some(("10.0.0.4".to_owned(), 3100)));
    }

    #[test]
    fn the_bytes_of_airbnbs_nerve() {
        let airbnb = Dialect::Airbnb {
            instance_id: "host7".to_owned(),
        };
        assert_written(
            &airbnb,
            &report(true),
            r#"{"host":"10.0.0.4","port":3100,"name":"host7","weight":15,"haproxy_server_options":"check inter 2s","labels":{"az":"a<b>","region:eu":""}}"#,
        );
        assert_written(
            &airbnb,
            &plain(),
            r#"{"host":"10.0.0.4","port":3100,"name":"host7","weight":15}"#,
        );
        let read = Report::decode(&airbnb.encode(&report(true), 0)).expect("our own reader takes it");
        assert_eq!((read.name.as_str(), read.weight), ("host7", Some(15)));
    }

    #[test]
    fn the_bytes_of_a_server_set() {
        assert_written(
            &Dialect::ServerSet { shard: Some(4) },
            &report(true),
            r#"{"serviceEndpoint":{"host":"10.0.0.4","port":3100},"additionalEndpoints":{},"status":"ALIVE","shard":4,"metadata":{"az":"a<b>","region:eu":""}}"#,
        );
        let down = Report {
            available: false,
            ..plain()
        };
        assert_written(
            &Dialect::ServerSet { shard: None },
            &down,
            r#"{"serviceEndpoint":{"host":"10.0.0.4","port":3100},"additionalEndpoints":{},"status":"DEAD"}"#,
        );
    }

    #[test]
    fn the_bytes_of_curator() {
        let curator = |kind| Dialect::Curator {
            id: "pay_10.0.0.4:3100".to_owned(),
            kind,
        };
        assert_written(
            &curator(NodeKind::Ephemeral),
            &report(true),
            r#"{"name":"pay","id":"pay_10.0.0.4:3100","address":"10.0.0.4","port":3100,"sslPort":null,"payload":null,"registrationTimeUTC":1790000000000,"serviceType":"DYNAMIC","uriSpec":null}"#,
        );
        assert_written(
            &curator(NodeKind::Persistent),
            &report(false),
            r#"{"name":"pay","id":"pay_10.0.0.4:3100","address":"10.0.0.4","port":3100,"sslPort":null,"payload":null,"registrationTimeUTC":1790000000000,"serviceType":"PERMANENT","uriSpec":null,"enabled":false}"#,
        );
    }

    #[test]
    fn the_bytes_of_spring_cloud() {
        let spring = Dialect::Spring {
            id: "pay_10.0.0.4:3100".to_owned(),
            kind: NodeKind::Ephemeral,
        };
        let expected = |metadata: &str| {
            format!(
                r#"{{"name":"pay","id":"pay_10.0.0.4:3100","address":"10.0.0.4","port":3100,"sslPort":null,"payload":{{"@class":"org.springframework.cloud.zookeeper.discovery.ZookeeperInstance","id":"pay_10.0.0.4:3100","name":"pay","metadata":{metadata}}},"registrationTimeUTC":1790000000000,"serviceType":"DYNAMIC","uriSpec":{{"parts":[{{"value":"scheme","variable":true}},{{"value":"://","variable":false}},{{"value":"address","variable":true}},{{"value":":","variable":false}},{{"value":"port","variable":true}}]}}}}"#
            )
        };
        let up = r#"{"az":"a<b>","instance_status":"UP","region:eu":"","weight":"15"}"#;
        assert_written(&spring, &report(true), &expected(up));
        let lying = Report {
            labels: BTreeMap::from([("instance_status".to_owned(), "UP".to_owned())]),
            ..report(false)
        };
        let down = r#"{"instance_status":"OUT_OF_SERVICE","weight":"0"}"#;
        assert_written(&spring, &lying, &expected(down));
    }

    #[test]
    fn what_is_no_report_has_no_address() {
        for bytes in [
            "",
            "[]",
            "7",
            r#"{"host":"a"}"#,
            r#"{"host":"a","port":70000}"#,
            r#"{"host":1,"port":1}"#,
            "\u{0}",
        ] {
            assert_eq!(address(bytes.as_bytes()), None, "{bytes}");
        }
    }
}
