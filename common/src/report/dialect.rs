//! A report in the formats of other readers: Airbnb's synapse, Finagle's and Aurora's server sets, Curator's discovery,
//! Spring Cloud's use of it.
//!
//! Each has the key order of its own writers, all keys that its readers require and none that they refuse. What a dialect
//! can not express is left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Report;

/// The format of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dialect {
    /// Go-Nerve's.
    Go,
    /// Airbnb nerve's. It has no availability.
    Airbnb {
        /// `name` in the report.
        instance_id: String,
    },
    /// A member of a server set. It has no weight.
    ServerSet {
        /// Its number, where it identifies the member.
        shard: Option<u64>,
    },
    /// Curator's `ServiceInstance`. It has neither weight nor labels: `payload` is of a type that only its users know.
    Curator {
        /// `id`, which is the node's name too.
        id: String,
        /// `serviceType`: the node's kind in Curator's terms.
        service_type: &'static str,
    },
    /// Spring Cloud's: Curator's with a payload that holds metadata, where labels, the weight and the availability go.
    Spring {
        /// `id`, as for Curator.
        id: String,
        /// `serviceType`, as for Curator.
        service_type: &'static str,
    },
}

impl Dialect {
    /// Encodes `report` of an instance that is registered `since`, in milliseconds since the Unix epoch.
    pub fn encode(&self, report: &Report, since: u64) -> Vec<u8> {
        match self {
            Self::Go => report.encode(),
            Self::Airbnb { instance_id } => to_bytes(&Airbnb {
                host: &report.host,
                port: report.port,
                name: instance_id,
                weight: report.weight,
                haproxy_server_options: &report.haproxy_server_options,
                labels: &report.labels,
            }),
            Self::ServerSet { shard } => to_bytes(&Member {
                service_endpoint: Endpoint {
                    host: &report.host,
                    port: report.port,
                },
                additional_endpoints: BTreeMap::new(),
                status: if report.available { "ALIVE" } else { "DEAD" },
                shard: *shard,
                metadata: &report.labels,
            }),
            Self::Curator { id, service_type } => to_bytes(&Instance::of(report, id, service_type, since)),
            Self::Spring { id, service_type } => to_bytes(&Instance::of_spring(report, id, service_type, since)),
        }
    }
}

/// Returns the host and port in a report of any dialect.
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

fn to_bytes(value: &impl Serialize) -> Vec<u8> {
    // Cannot fail: texts and numbers in structs.
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

#[derive(Debug, Serialize, Deserialize)]
struct Endpoint<T> {
    host: T,
    port: u16,
}

/// `additionalEndpoints` is present because the first readers (Twitter commons) require it.
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

/// Older readers refuse an instance with an unknown key, so `enabled` is present only when it is false.
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
    uri_spec: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
}

impl<'a> Instance<'a> {
    fn of(report: &'a Report, id: &'a str, service_type: &'static str, since: u64) -> Self {
        Self {
            name: &report.name,
            id,
            address: &report.host,
            port: report.port,
            ssl_port: None,
            payload: None,
            registration_time_utc: since,
            service_type,
            uri_spec: None,
            enabled: (!report.available).then_some(false),
        }
    }

    /// `uriSpec` is present because Spring Cloud makes a URL of it without a check.
    fn of_spring(report: &'a Report, id: &'a str, service_type: &'static str, since: u64) -> Self {
        Self {
            payload: Some(SpringPayload::of(report, id)),
            uri_spec: Some(spring_uri()),
            // The payload has it.
            enabled: None,
            ..Self::of(report, id, service_type, since)
        }
    }
}

/// Curator selects the type of a payload by its class.
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
            // The status and the weight win over labels of these names.
            metadata: labels.chain(ours).chain(weight).collect(),
        }
    }
}

/// Returns the `uriSpec` `{scheme}://{address}:{port}`, Spring Cloud's default.
fn spring_uri() -> Value {
    let part = |(value, variable): (&str, bool)| json!({ "value": value, "variable": variable });
    let parts = [
        ("scheme", true),
        ("://", false),
        ("address", true),
        (":", false),
        ("port", true),
    ];
    json!({ "parts": parts.map(part) })
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
        let curator = |service_type| Dialect::Curator {
            id: "pay_10.0.0.4:3100".to_owned(),
            service_type,
        };
        assert_written(
            &curator("DYNAMIC"),
            &report(true),
            r#"{"name":"pay","id":"pay_10.0.0.4:3100","address":"10.0.0.4","port":3100,"sslPort":null,"payload":null,"registrationTimeUTC":1790000000000,"serviceType":"DYNAMIC","uriSpec":null}"#,
        );
        assert_written(
            &curator("PERMANENT"),
            &report(false),
            r#"{"name":"pay","id":"pay_10.0.0.4:3100","address":"10.0.0.4","port":3100,"sslPort":null,"payload":null,"registrationTimeUTC":1790000000000,"serviceType":"PERMANENT","uriSpec":null,"enabled":false}"#,
        );
    }

    #[test]
    fn the_bytes_of_spring_cloud() {
        let spring = Dialect::Spring {
            id: "pay_10.0.0.4:3100".to_owned(),
            service_type: "DYNAMIC",
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
