//! `synapse render` and `synapse plan`: what the routers would do now, and nothing done.
//!
//! The sources are read as the daemon reads them, once; HAProxy and the files on disk are looked at and left alone.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use common::exit::Fatal;
use common::signal::Signals;
use common::supervise::{Starter, Supervisor};
use similar::TextDiff;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::cli::LookArgs;
use crate::config::{Config, RouterConfig, RouterKind};
use crate::desired::Desired;
use crate::gather::gather;
use crate::router::haproxy::{Preview, preview};
use crate::run::host_seed;
use crate::watcher::sources::Sources;

/// What each router would write, under a line that names it where there are several.
pub async fn render(config: Config, args: &LookArgs) -> Result<String, Fatal> {
    let mut text = String::new();
    for (name, preview) in look(config, args).await? {
        if args.router.is_none() {
            let _infallible = writeln!(text, "# router {name}");
        }
        text.push_str(&preview.after);
    }
    Ok(text)
}

/// What each router would do, and how its file would change.
pub async fn plan(config: Config, args: &LookArgs) -> Result<String, Fatal> {
    let mut text = String::new();
    for (name, preview) in look(config, args).await? {
        let _infallible = if preview.acts.is_empty() {
            writeln!(text, "router {name}: nothing to do")
        } else {
            writeln!(text, "router {name}:")
        };
        for act in &preview.acts {
            let _infallible = writeln!(text, "  {act}");
        }
        for left_out in &preview.left_out {
            let _infallible = writeln!(text, "  left out: {left_out}");
        }
        let diff = TextDiff::from_lines(&preview.before, &preview.after);
        let _infallible = write!(text, "{}", diff.unified_diff().header("on disk", "desired"));
    }
    Ok(text)
}

/// Looks at every router that writes something, by number and name.
async fn look(config: Config, args: &LookArgs) -> Result<Vec<(String, Preview)>, Fatal> {
    let count = config.routers.len();
    let routers: Vec<(usize, RouterConfig)> = (1..)
        .zip(config.routers)
        .filter(|(number, _)| args.router.is_none_or(|wanted| wanted == *number))
        .collect();
    if routers.is_empty() {
        let wanted = args.router.unwrap_or_default();
        return Err(Fatal::config(format!(
            "--router {wanted}: the file has {count}, counted from 1"
        )));
    }
    let desired = desired(&routers, args.wait).await?;
    let mut looked = Vec::new();
    for ((number, router), desired) in routers.iter().zip(&desired) {
        let (name, preview) = match &router.kind {
            RouterKind::Haproxy(haproxy) => (
                format!("{number} haproxy {}", haproxy.config_path.display()),
                preview(haproxy, &router.services, desired).await?,
            ),
            // It prints changes as they come and writes nothing that could be shown.
            RouterKind::Console => continue,
        };
        looked.push((name, preview));
    }
    Ok(looked)
}

/// Stages of the stop, which is all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Watchers,
    Sessions,
}

/// What each router should have, once every source has answered or `wait` is over.
async fn desired(routers: &[(usize, RouterConfig)], wait: Duration) -> Result<Vec<Arc<Desired>>, Fatal> {
    let bell = watch::Sender::new(());
    let mut sources = Sources::new(bell.clone());
    let mut supervisor = Supervisor::new();
    let mut gathered = Vec::new();
    for (number, router) in routers {
        let states = router
            .services
            .iter()
            .map(|service| sources.source(&service.watcher).state);
        let (states, gather) = gather(router.services.clone(), states.collect(), host_seed(), bell.subscribe());
        supervisor.start(Stage::Watchers, format!("gather {number}"), |stop| gather.run(stop));
        gathered.push(states.desired);
    }
    let mut starter = Starter::Before(&mut supervisor);
    sources.start(&mut starter, Stage::Watchers, Stage::Sessions).await;
    let answered = async {
        for desired in &mut gathered {
            // The sender lives as long as its task.
            desired.wait_for(|desired| desired.is_complete()).await.ok();
        }
    };
    let (_nobody, signals) = mpsc::channel(1);
    let mut signals = Signals::fed_by(signals);
    let run = supervisor.run(&mut signals, Duration::default, || {}, || {});
    tokio::select! {
        ended = run => return Err(Fatal::runtime(format!("the sources could not be read: {ended:?}"))),
        // Late or not, what is known is what there is.
        _ = timeout(wait, answered) => {}
    }
    Ok(gathered.iter().map(|desired| Arc::clone(&desired.borrow())).collect())
}
