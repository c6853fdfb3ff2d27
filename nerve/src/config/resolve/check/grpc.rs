//! The keys of `grpc`.

use common::config::Section;
use common::tls::TlsOptions;
use http::Uri;

use crate::config::{self, CheckKind};

/// The standard health protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcConfig {
    /// The service in the request; empty is the server as a whole.
    pub service: String,
    /// The method's URL. Its authority is what the server is called.
    pub uri: Uri,
    /// Whether and how TLS is spoken.
    pub tls: Option<TlsOptions>,
}

pub(super) fn read(section: &mut Section<'_>, host: Option<&str>, port: u16) -> Option<CheckKind> {
    let service = section.text_or("service", "");
    let authority = section.text("authority").filter(|text| !text.is_empty());
    let tls = TlsOptions::of(section, "tls");
    let scheme = if tls.is_some() { "https" } else { "http" };
    let authority = authority.or_else(|| Some(config::authority(host?, port)))?;
    let uri = Uri::try_from(format!("{scheme}://{authority}/grpc.health.v1.Health/Check"));
    if uri.is_err() || authority.contains(['/', '?', '#']) {
        let what = format!("`{}` is neither a host nor a host and a port", authority.escape_debug());
        section.problem("authority", what, "e.g. `shop.example.org`");
    }
    Some(CheckKind::Grpc(GrpcConfig {
        service,
        uri: uri.ok()?,
        tls,
    }))
}
