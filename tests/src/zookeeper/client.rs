//! What a test sees in ZooKeeper and puts there, through a session of its own.

use std::time::Duration;

use tokio::time::timeout;
use zookeeper_client::{Acls, CreateMode, Error};

/// Every call must end: the bench's own session is never put under faults.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A session; its ephemeral nodes go when it is dropped.
#[derive(Debug, Clone)]
pub struct Client(zookeeper_client::Client);

/// One node as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The last part of its path.
    pub name: String,
    /// Its bytes, as text.
    pub data: String,
    /// The session that owns an ephemeral node, 0 for a persistent one.
    pub owner: i64,
    /// The transaction that created it: differs for two nodes of one name.
    pub created_by: i64,
    /// When it was created, in milliseconds of the Unix era.
    pub created_at: i64,
    /// How often its data were written.
    pub version: i32,
}

impl Client {
    /// Connects to `address`.
    pub async fn connect(address: &str) -> Self {
        let connecting = zookeeper_client::Client::connector()
            .with_session_timeout(TIMEOUT)
            .connect(address);
        Self(timeout(TIMEOUT, connecting).await.expect("ZooKeeper answers").unwrap())
    }

    /// The children of `path` with their data, by name; none when `path` is absent.
    pub async fn nodes(&self, path: &str) -> Vec<Node> {
        let names = match bounded(self.0.list_children(path)).await {
            Err(Error::NoNode) => return Vec::new(),
            names => names.unwrap(),
        };
        let mut nodes = Vec::new();
        for name in names {
            nodes.extend(self.node(&format!("{path}/{name}")).await);
        }
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes
    }

    /// The node at `path`, if there is one.
    pub async fn node(&self, path: &str) -> Option<Node> {
        let (data, stat) = match bounded(self.0.get_data(path)).await {
            Err(Error::NoNode) => return None,
            read => read.unwrap(),
        };
        Some(Node {
            name: path.rsplit('/').next().unwrap_or_default().to_owned(),
            data: String::from_utf8_lossy(&data).into_owned(),
            owner: stat.ephemeral_owner,
            created_by: stat.czxid,
            created_at: stat.ctime,
            version: stat.version,
        })
    }

    /// The access rights of a node: `scheme:id:permissions`.
    pub async fn access(&self, path: &str) -> Vec<String> {
        let (acls, _) = bounded(self.0.get_acl(path)).await.unwrap();
        let shown = acls
            .iter()
            .map(|acl| format!("{}:{}:{}", acl.scheme(), acl.id(), acl.permission()));
        shown.collect()
    }

    /// Creates a persistent node and its parents, or replaces its data.
    pub async fn put(&self, path: &str, data: impl AsRef<[u8]>) {
        self.make_parents(path).await;
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        match bounded(self.0.create(path, data.as_ref(), &options)).await {
            Err(Error::NodeExists) => {
                bounded(self.0.set_data(path, data.as_ref(), None)).await.unwrap();
            }
            created => {
                created.unwrap();
            }
        }
    }

    /// Creates a node that goes with this session.
    pub async fn put_ephemeral(&self, path: &str, data: impl AsRef<[u8]>) {
        self.make_parents(path).await;
        let options = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
        bounded(self.0.create(path, data.as_ref(), &options)).await.unwrap();
    }

    /// Tries to delete a node without children; why not.
    pub async fn try_delete(&self, path: &str) -> Result<(), String> {
        bounded(self.0.delete(path, None))
            .await
            .map_err(|error| error.to_string())
    }

    /// Deletes a node without children.
    pub async fn delete(&self, path: &str) {
        bounded(self.0.delete(path, None)).await.unwrap();
    }

    /// Deletes several nodes in one transaction.
    pub async fn delete_together(&self, paths: &[String]) {
        let mut transaction = self.0.new_multi_writer();
        for path in paths {
            transaction.add_delete(path, None).unwrap();
        }
        timeout(TIMEOUT, transaction.commit())
            .await
            .expect("ZooKeeper answers")
            .unwrap();
    }

    /// Returns when `path` is gone.
    pub async fn gone(&self, path: &str) {
        while let Ok((_stat, watcher)) = bounded(self.0.get_and_watch_data(path))
            .await
            .map(|(_, stat, w)| (stat, w))
        {
            timeout(TIMEOUT, watcher.changed()).await.expect("the node changes");
        }
    }

    async fn make_parents(&self, path: &str) {
        let parents = path.rsplit_once('/').map_or("", |(parents, _)| parents);
        if !parents.is_empty() {
            let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
            bounded(self.0.mkdir(parents, &options)).await.unwrap();
        }
    }
}

async fn bounded<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(TIMEOUT, call).await.expect("ZooKeeper answers")
}
