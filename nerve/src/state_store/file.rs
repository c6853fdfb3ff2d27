//! The format of the state file: JSON with a checksum of its services. Pure.

use common::hash::Fnv1a;
use serde::{Deserialize, Serialize};

use super::Services;

const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct File {
    format: u32,
    checksum: String,
    services: Services,
}

/// The reason a state file is unusable.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadFile {
    #[error("it can't be read: {0}")]
    Read(#[from] std::io::Error),
    #[error("it is not JSON of nerve: {0}")]
    Json(#[from] serde_json::Error),
    #[error("its format is {0}, not {FORMAT}")]
    Format(u32),
    #[error("its checksum does not fit")]
    Checksum,
}

pub(super) fn encode(services: &Services) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = serde_json::to_vec_pretty(&File {
        format: FORMAT,
        checksum: checksum(services)?,
        services: services.clone(),
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Services, BadFile> {
    let file: File = serde_json::from_slice(bytes)?;
    if file.format != FORMAT {
        return Err(BadFile::Format(file.format));
    }
    if file.checksum != checksum(&file.services)? {
        return Err(BadFile::Checksum);
    }
    Ok(file.services)
}

/// Returns the FNV-1a of the services' compact JSON: it detects a bad disk or a careless edit, not an adversary.
fn checksum(services: &Services) -> Result<String, serde_json::Error> {
    Ok(Fnv1a::default().with(&serde_json::to_vec(services)?).to_string())
}
