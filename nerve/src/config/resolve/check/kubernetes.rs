//! The keys of `kubernetes`.

use std::path::PathBuf;

use common::config::{Secret, Section};
use common::tls::TlsOptions;
use http::Uri;

use crate::config::CheckKind;

/// Where Kubernetes puts what a pod needs to speak with it.
const TOKEN: &str = "file:/var/run/secrets/kubernetes.io/serviceaccount/token";
const CA: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

/// The readiness of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod_name: String,
    /// The one container that counts; `None` is the pod's condition `Ready`.
    pub container: Option<String>,
    /// The API server; `None` is the one that a pod's environment names.
    pub api_server: Option<Uri>,
    /// The service account's token.
    pub token: Secret,
    /// How to speak with the API server.
    pub tls: TlsOptions,
}

pub(super) fn read(section: &mut Section<'_>, _host: Option<&str>, _port: u16) -> Option<CheckKind> {
    let namespace = section.text_or("namespace", "default");
    let pod_name = section.required_text("podName");
    let container = section.text("container").filter(|name| !name.is_empty());
    for (key, name) in [("namespace", Some(&namespace)), ("podName", pod_name.as_ref())] {
        if name.is_some_and(|name| !is_name(name)) {
            section.problem(key, "is not a name of Kubernetes", "small letters, digits, `-` and `.`");
        }
    }
    let api_server = api_server(section);
    let token = Secret::parse(&section.text_or("token", TOKEN));
    let mut tls = TlsOptions::of(section, "tls").unwrap_or_default();
    let host = api_server.as_ref().and_then(|server| server.host());
    super::http::server_name(section, &tls, host.map(|host| host.trim_matches(['[', ']'])));
    if !tls.insecure_skip_verify {
        tls.ca.get_or_insert_with(|| PathBuf::from(CA));
    }
    Some(CheckKind::Kubernetes(KubernetesConfig {
        namespace,
        pod_name: pod_name?,
        container,
        api_server,
        token,
        tls,
    }))
}

fn is_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    name.len() <= 253 && name.chars().all(known)
}

fn api_server(section: &mut Section<'_>) -> Option<Uri> {
    let text = section.text("apiServer").filter(|text| !text.is_empty())?;
    let url = Uri::try_from(&text).ok().filter(|url| {
        let known = matches!(url.scheme_str(), Some("http" | "https"));
        known
            && url.path() == "/"
            && url
                .authority()
                .is_some_and(|authority| !authority.as_str().contains('@'))
    });
    if url.is_none() {
        section.problem("apiServer", "is no URL of a server", "e.g. `https://10.96.0.1:443`");
    }
    url
}
