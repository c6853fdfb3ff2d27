//! The writes of a registration: each one request, conditional on the version seen.

use bytes::Bytes;
use zookeeper_client::{Acls, CreateMode, CreateOptions, Error as ClientError, MultiWriteResult, Stat};

use super::error::CallError;
use super::link::Session;
use super::register_plan::{Node, Step};

const NODE: CreateOptions<'static> = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
const PARENT: CreateOptions<'static> = CreateMode::Persistent.with_acls(Acls::anyone_all());

/// What is known of the node after a write.
#[derive(Debug)]
pub(super) enum After {
    /// The server's reply speaks of the node as it is now: as good as a read.
    Known(Option<Node>),
    /// The node was not as seen before, or the reply does not tell.
    LookAgain,
}

/// Carries out a step that writes.
pub(super) async fn write(
    session: &Session,
    path: &str,
    step: Step,
    wanted: Option<&Bytes>,
) -> Result<After, CallError> {
    let content = wanted.cloned().unwrap_or_default();
    let written = match step {
        Step::Nothing | Step::Refuse(_) => return Ok(After::LookAgain),
        Step::Create => create(session, path, &content).await,
        Step::Set { version } => session
            .call(|client| client.set_data(path, &content, Some(version)))
            .await
            .map(Some),
        Step::TakeOver { version } => take_over(session, path, &content, version).await,
        Step::Delete { version } => return delete(session, path, version).await,
    };
    match written {
        Ok(Some(stat)) if !stat.is_invalid() && stat.ephemeral_owner == session.id() => {
            Ok(After::Known(Some(Node::new(content, &stat))))
        }
        Ok(_) | Err(CallError::Answer(ClientError::NoNode | ClientError::NodeExists | ClientError::BadVersion)) => {
            Ok(After::LookAgain)
        }
        Err(error) => Err(error),
    }
}

/// Creates the node; or its parents, when they are missing.
async fn create(session: &Session, path: &str, content: &Bytes) -> Result<Option<Stat>, CallError> {
    match session.call(|client| client.create(path, content, &NODE)).await {
        Ok((stat, _)) => Ok(Some(stat)),
        Err(CallError::Answer(ClientError::NoNode)) => {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            session.call(|client| client.mkdir(parent, &PARENT)).await?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Replaces another session's node by ours in one transaction, so that readers see no gap.
async fn take_over(session: &Session, path: &str, content: &Bytes, version: i32) -> Result<Option<Stat>, CallError> {
    let results = session
        .call(|client| {
            let mut writer = client.new_multi_writer();
            let added = writer
                .add_delete(path, Some(version))
                .and_then(|()| writer.add_create(path, content, &NODE));
            async move {
                added?;
                writer.commit().await.map_err(ClientError::from)
            }
        })
        .await?;
    tracing::info!(path, "Took over the node of another session.");
    Ok(results.into_iter().find_map(|result| match result {
        MultiWriteResult::Create { stat, .. } => Some(stat),
        _ => None,
    }))
}

async fn delete(session: &Session, path: &str, version: i32) -> Result<After, CallError> {
    match session.call(|client| client.delete(path, Some(version))).await {
        Ok(()) | Err(CallError::Answer(ClientError::NoNode)) => Ok(After::Known(None)),
        Err(CallError::Answer(ClientError::BadVersion)) => Ok(After::LookAgain),
        Err(error) => Err(error),
    }
}
