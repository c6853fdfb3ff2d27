//! A connection that is accepted, then closed.

use tokio::net::TcpStream;

use crate::config::CheckConfig;
use crate::health::verdict::{Failure, FailureKind};

/// Connects to the first address that accepts.
pub(super) async fn probe(config: &CheckConfig) -> Result<String, Failure> {
    let addresses = super::resolve(&config.host, config.port, config.prefer_ipv4)
        .await
        .map_err(|error| {
            Failure::new(
                FailureKind::Unresolved,
                format!("cannot resolve {}: {error}", config.host),
            )
        })?;
    match TcpStream::connect(addresses.as_slice()).await {
        Ok(_) => Ok("accepts connections".to_owned()),
        Err(error) => Err(Failure::new(FailureKind::Connection, error.to_string())),
    }
}
