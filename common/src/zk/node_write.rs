//! The writes of a registration: each one request, conditional on the version seen.

use bytes::Bytes;
use zookeeper_client::{Acls, CreateMode, CreateOptions, Error as ClientError, MultiWriteResult, Stat};

use super::error::CallError;
use super::node::NodeConfig;
use super::register_plan::{Node, Step, Target};
use super::session_state::Session;

/// The observation after a write.
#[derive(Debug)]
pub(super) enum After {
    /// The reply describes the current node, like a read.
    Written(Node),
    /// The node is gone.
    Gone,
    /// The node differed from the observation, or the reply does not describe it.
    LookAgain,
}

/// Carries out a step that writes; `wanted` is the base of the node's name and its content.
pub(super) async fn write(
    session: &Session,
    config: &NodeConfig,
    directory: &str,
    step: &Step,
    wanted: Option<(&str, &Bytes)>,
) -> Result<After, CallError> {
    let writer = Writer {
        session,
        config,
        directory,
    };
    let written = match (step, wanted) {
        (Step::Create, Some((base, content))) => writer.create(base, content).await,
        (Step::Set(target), Some((_, content))) => writer.set(target, content).await,
        (Step::TakeOver(target), Some((base, content))) => writer.take_over(target, base, content).await,
        (Step::Delete(target), _) => writer.delete(target).await,
        _ => return Ok(After::LookAgain),
    };
    match written {
        Err(CallError::Answer(ClientError::NoNode | ClientError::NodeExists | ClientError::BadVersion)) => {
            Ok(After::LookAgain)
        }
        written => written,
    }
}

#[derive(Debug, Clone, Copy)]
struct Writer<'a> {
    session: &'a Session,
    config: &'a NodeConfig,
    directory: &'a str,
}

impl Writer<'_> {
    fn options(&self, mode: CreateMode) -> CreateOptions<'_> {
        mode.with_acls(Acls::new(self.config.access.entries()))
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.directory)
    }

    /// Creates the node; or its parents, when they are missing.
    async fn create(&self, base: &str, content: &Bytes) -> Result<After, CallError> {
        let (path, options) = (self.path(base), self.options(self.config.kind.mode()));
        match self
            .session
            .call(|client| client.create(&path, content, &options))
            .await
        {
            Ok((stat, number)) => {
                let sequential = self.config.kind.is_sequential();
                let name = if sequential {
                    format!("{base}{number}")
                } else {
                    base.to_owned()
                };
                Ok(self.written(name, content, &stat))
            }
            Err(CallError::Answer(ClientError::NoNode)) => {
                let options = self.options(CreateMode::Persistent);
                self.session
                    .call(|client| client.mkdir(self.directory, &options))
                    .await?;
                Ok(After::LookAgain)
            }
            Err(error) => Err(error),
        }
    }

    async fn set(&self, target: &Target, content: &Bytes) -> Result<After, CallError> {
        let path = self.path(&target.name);
        let stat = self
            .session
            .call(|client| client.set_data(&path, content, Some(target.version)))
            .await?;
        Ok(self.written(target.name.clone(), content, &stat))
    }

    /// Replaces a node by ours in one transaction, so that readers see no gap. Under another name the new one comes first,
    /// for readers that process events one by one.
    async fn take_over(&self, target: &Target, base: &str, content: &Bytes) -> Result<After, CallError> {
        let (old, new) = (self.path(&target.name), self.path(base));
        let options = self.options(self.config.kind.mode());
        let results = self
            .session
            .call(|client| {
                let mut writer = client.new_multi_writer();
                let added = if old == new {
                    writer
                        .add_delete(&old, Some(target.version))
                        .and_then(|()| writer.add_create(&new, content, &options))
                } else {
                    writer
                        .add_create(&new, content, &options)
                        .and_then(|()| writer.add_delete(&old, Some(target.version)))
                };
                async move {
                    added?;
                    writer.commit().await.map_err(ClientError::from)
                }
            })
            .await?;
        if target.owner != self.session.id() {
            tracing::info!(path = %old, "Took over the node of another session.");
        }
        let created = results.into_iter().find_map(|result| match result {
            MultiWriteResult::Create { stat, path } => Some((stat, path)),
            _ => None,
        });
        Ok(created.map_or(After::LookAgain, |(stat, path)| {
            let name = path.rsplit('/').next().unwrap_or_default();
            self.written(name.to_owned(), content, &stat)
        }))
    }

    async fn delete(&self, target: &Target) -> Result<After, CallError> {
        let path = self.path(&target.name);
        match self
            .session
            .call(|client| client.delete(&path, Some(target.version)))
            .await
        {
            Ok(()) | Err(CallError::Answer(ClientError::NoNode)) => Ok(After::Gone),
            Err(error) => Err(error),
        }
    }

    fn written(&self, name: String, content: &Bytes, stat: &Stat) -> After {
        let owner = if self.config.kind.is_persistent() {
            0
        } else {
            self.session.id()
        };
        if stat.is_invalid() || stat.ephemeral_owner != owner {
            return After::LookAgain;
        }
        After::Written(Node::new(name, content.clone(), stat))
    }
}
