//! The manifests as `kubectl kustomize` renders them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

/// All resources of an overlay.
#[derive(Debug)]
pub struct Manifest(Vec<Value>);

/// The pod of a Deployment.
#[derive(Debug, Clone)]
pub struct PodSpec {
    /// `terminationGracePeriodSeconds`.
    pub grace: Duration,
    /// Init containers that always restart, in their order.
    pub sidecars: Vec<Container>,
    /// The others.
    pub containers: Vec<Container>,
}

/// A container, as far as the player needs it.
#[derive(Debug, Clone)]
pub struct Container {
    /// `name`.
    pub name: String,
    /// Its image's name without registry and tag.
    pub image: String,
    /// `args`.
    pub args: Vec<String>,
    /// `env`: the value, or the path of a field of the pod.
    pub env: Vec<(String, Result<String, String>)>,
    /// `startupProbe`.
    pub startup: Option<HttpGet>,
    /// `readinessProbe`.
    pub readiness: Option<HttpGet>,
    /// `livenessProbe`.
    pub liveness: Option<HttpGet>,
    /// `lifecycle.preStop`.
    pub pre_stop: Option<HttpGet>,
    /// The files of the configuration it mounts: paths in the container and texts.
    pub files: Vec<(String, String)>,
}

/// A probe or a hook.
#[derive(Debug, Clone)]
pub struct HttpGet {
    /// `path`.
    pub path: String,
    /// `port`, of the pod's address.
    pub port: u16,
    /// How long a probe may fail: `periodSeconds` as often as `failureThreshold`.
    pub patience: Duration,
}

impl Manifest {
    /// Renders a directory below `deploy/kubernetes`.
    pub fn render(overlay: &str) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../deploy/kubernetes")
            .join(overlay);
        #[expect(clippy::disallowed_methods, reason = "reads a few files and ends")]
        let output = Command::new("kubectl").arg("kustomize").arg(&directory).output();
        let output = output.expect("kubectl, of Debian's kubernetes-client, renders the manifests");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{overlay}: {complaint}");
        let text = String::from_utf8(output.stdout).unwrap();
        let documents = text
            .split("\n---\n")
            .map(|document| serde_yaml::from_str(document).unwrap());
        Self(documents.collect())
    }

    /// The pods' specifications of all workloads, with the workloads' names.
    pub fn pods(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().filter_map(|resource| {
            let spec = resource.pointer("/spec/template/spec")?;
            Some((text(resource, "/metadata/name"), spec))
        })
    }

    /// The resources of a kind.
    pub fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |resource| text(resource, "/kind") == kind)
    }

    /// The pod of the Deployment of this name.
    pub fn pod(&self, deployment: &str) -> PodSpec {
        let deployment = self
            .of_kind("Deployment")
            .find(|resource| text(resource, "/metadata/name") == deployment);
        let spec = deployment.and_then(|resource| resource.pointer("/spec/template/spec"));
        let spec = spec.expect("it is there");
        let (sidecars, others): (Vec<_>, Vec<_>) = list(spec, "/initContainers")
            .iter()
            .partition(|container| text(container, "/restartPolicy") == "Always");
        assert!(others.is_empty(), "plain init containers are not played: {others:?}");
        PodSpec {
            grace: Duration::from_secs(number(spec, "/terminationGracePeriodSeconds", 30)),
            sidecars: sidecars.into_iter().map(|it| self.container(spec, it)).collect(),
            containers: list(spec, "/containers")
                .iter()
                .map(|it| self.container(spec, it))
                .collect(),
        }
    }

    fn container(&self, spec: &Value, container: &Value) -> Container {
        let image = text(container, "/image").rsplit('/').next().unwrap_or_default();
        let get = |path: &str| container.pointer(path).map(|probe| http_get(container, probe));
        let variable = |variable: &Value| {
            let value = variable.get("value").and_then(Value::as_str).map(str::to_owned);
            let field = text(variable, "/valueFrom/fieldRef/fieldPath").to_owned();
            (text(variable, "/name").to_owned(), value.ok_or(field))
        };
        Container {
            name: text(container, "/name").to_owned(),
            image: image.split(':').next().unwrap_or_default().to_owned(),
            args: list(container, "/args")
                .iter()
                .map(|arg| arg.as_str().unwrap().to_owned())
                .collect(),
            env: list(container, "/env").iter().map(variable).collect(),
            startup: get("/startupProbe"),
            readiness: get("/readinessProbe"),
            liveness: get("/livenessProbe"),
            pre_stop: get("/lifecycle/preStop"),
            files: self.files(spec, container),
        }
    }

    /// What the container mounts of configurations.
    fn files(&self, spec: &Value, container: &Value) -> Vec<(String, String)> {
        let mut files = Vec::new();
        for mount in list(container, "/volumeMounts") {
            let volume = list(spec, "/volumes")
                .iter()
                .find(|volume| volume["name"] == mount["name"])
                .unwrap_or_else(|| panic!("no volume for {mount}"));
            let name = text(volume, "/configMap/name");
            let map = self
                .of_kind("ConfigMap")
                .find(|map| text(map, "/metadata/name") == name);
            let Some(data) = map.and_then(|map| map["data"].as_object()) else {
                assert!(name.is_empty(), "no ConfigMap is named {name}");
                continue;
            };
            for (file, content) in data {
                let path = format!("{}/{file}", text(mount, "/mountPath"));
                files.push((path, content.as_str().unwrap().to_owned()));
            }
        }
        files
    }
}

/// A probe or hook; a port that is named is looked up in the container's.
fn http_get(container: &Value, probe: &Value) -> HttpGet {
    let port = probe.pointer("/httpGet/port").expect("every probe and hook is httpGet");
    let named = || {
        let port = list(container, "/ports").iter().find(|named| named["name"] == *port);
        port.map(|port| number(port, "/containerPort", 0))
    };
    let port = port.as_u64().or_else(named).expect("the port is there");
    let seconds = number(probe, "/periodSeconds", 10) * number(probe, "/failureThreshold", 3);
    HttpGet {
        path: text(probe, "/httpGet/path").to_owned(),
        port: u16::try_from(port).unwrap(),
        patience: Duration::from_secs(seconds),
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, pointer: &str, default: u64) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or(default)
}

fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}
