//! Whether Kubernetes calls a pod, or one container of it, ready.
//!
//! One `GET` of the pod with the service account's token, which is read again each time, because it rotates. The answer may
//! come from the API server's cache (`resourceVersion=0`): a probe each second must not reach its database.

use std::env;

use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Method, StatusCode, Uri};
use serde::Deserialize;

use super::BuildError;
use super::connect::{Connector, HTTP1, Tls};
use super::http::sensitive;
use super::web::{Answer, BodyLimit, HttpTarget};
use crate::config::{CheckConfig, KubernetesConfig, authority};
use crate::health::verdict::{Failure, FailureKind};

/// The most bytes of a pod that are read; they are some ten thousand.
const POD_CAP: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct KubernetesProbe {
    pod: HttpTarget,
    config: KubernetesConfig,
}

impl KubernetesProbe {
    pub(super) fn new(check: &CheckConfig, config: &KubernetesConfig) -> Result<Self, BuildError> {
        let base = match &config.api_server {
            Some(base) => base.clone(),
            None => in_cluster()?,
        };
        let secure = base.scheme_str() != Some("http");
        let host = base.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = base.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let (scheme, authority) = (if secure { "https" } else { "http" }, authority(host, port));
        let (namespace, name) = (&config.namespace, &config.pod_name);
        let pod = format!("{scheme}://{authority}/api/v1/namespaces/{namespace}/pods/{name}?resourceVersion=0");
        let pod = Uri::try_from(pod).map_err(|error| BuildError(format!("the pod's URL: {error}")))?;
        let tls = secure.then(|| Tls::new(&config.tls, HTTP1)).transpose()?;
        Ok(Self {
            pod: HttpTarget::new(Connector::to(host, port, check.prefer_ipv4), tls, &pod)?,
            config: config.clone(),
        })
    }

    pub(super) async fn probe(&self) -> Result<String, Failure> {
        let bearer = sensitive(&format!("Bearer {}", self.config.token.read()?))?;
        let headers = HeaderMap::from_iter([
            (ACCEPT, HeaderValue::from_static("application/json")),
            (AUTHORIZATION, bearer),
        ]);
        let answer = self.pod.send(Method::GET, headers, BodyLimit::All(POD_CAP)).await?;
        judge(&answer, self.config.container.as_deref())
    }
}

/// Where a pod finds the API server.
fn in_cluster() -> Result<Uri, BuildError> {
    let (host, port) = (env::var("KUBERNETES_SERVICE_HOST"), env::var("KUBERNETES_SERVICE_PORT"));
    let outside =
        "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, so this is no pod: name an `apiServer`";
    let (Ok(host), Ok(Ok(port))) = (host, port.map(|port| port.parse())) else {
        return Err(BuildError(outside.to_owned()));
    };
    Uri::try_from(format!("https://{}", authority(&host, port))).map_err(|_| BuildError(outside.to_owned()))
}

/// What is read of a pod.
#[derive(Debug, Deserialize)]
struct Pod {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    deletion_timestamp: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    conditions: Vec<Condition>,
    container_statuses: Vec<Container>,
    /// Sidecars that are init containers.
    init_container_statuses: Vec<Container>,
}

#[derive(Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: Option<String>,
    message: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Container {
    name: String,
    #[serde(default)]
    ready: bool,
}

fn judge(answer: &Answer, container: Option<&str>) -> Result<String, Failure> {
    let failure = |what: &str| Err(Failure::new(FailureKind::Answer, what));
    match answer.status {
        StatusCode::OK => match serde_json::from_slice(answer.body.bytes()) {
            Ok(pod) => ready(&pod, container),
            Err(error) => failure(&format!("the API server's answer is no pod: {error}")),
        },
        StatusCode::UNAUTHORIZED => failure("the API server does not take the token (401)"),
        StatusCode::FORBIDDEN => failure("the service account may not `get` pods (403): give it a role that allows it"),
        StatusCode::NOT_FOUND => failure("there is no such pod (404)"),
        status => failure(&format!("the API server answers with status {status}")),
    }
}

fn ready(pod: &Pod, container: Option<&str>) -> Result<String, Failure> {
    let failure = |what: String| Err(Failure::new(FailureKind::Answer, what));
    let status = &pod.status;
    if pod.metadata.deletion_timestamp.is_some() {
        return failure("the pod is being deleted".to_owned());
    }
    if let Some(name) = container {
        let mut containers = status.container_statuses.iter().chain(&status.init_container_statuses);
        return match containers.find(|container| container.name == name) {
            Some(Container { ready: true, .. }) => Ok(format!("container {name} is ready")),
            Some(_) => failure(format!("container {name} is not ready")),
            None => failure(format!("the pod has no container {name} (yet)")),
        };
    }
    match status.conditions.iter().find(|condition| condition.kind == "Ready") {
        Some(condition) if condition.status == "True" => Ok("the pod is ready".to_owned()),
        Some(Condition { reason, message, .. }) => {
            let why = [reason, message].into_iter().flatten().cloned().collect::<Vec<_>>();
            failure(format!("the pod is not ready: {}", why.join(": ")))
        }
        None => failure("the pod has no condition `Ready` (yet)".to_owned()),
    }
}
