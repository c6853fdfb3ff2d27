//! Plays the kubelet on real processes, from the manifests in `deploy/kubernetes`.
//!
//! As Kubernetes documents it. Start: sidecars in their order, each when the one before has started; then the
//! application. Stop: the hooks of all containers at once; each container gets its stop signal after its own hook, a sidecar
//! moreover only after the application and the sidecars behind it have ended; all within the grace period.
//!
//! A pod's address is one of loopback, so that its ports are those of the manifest. What listens on the pod's own loopback
//! listens there too, and paths lead to a directory of the pod's: nothing else of the configurations is replaced.

mod manifest;
mod pod;

pub use manifest::{Container, HttpGet, Manifest, PodSpec};
pub use pod::{Cluster, Pod};
