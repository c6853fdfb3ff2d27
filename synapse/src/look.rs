//! `synapse render` and `synapse plan`: what the routers would do now, and nothing done.
//!
//! The sources are read as the daemon reads them, once; HAProxy and the files on disk are looked at and left alone.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::exit::Fatal;
use common::signal::Signals;
use common::supervise::{Starter, Supervisor};
use common::zk::session_pool::SessionPool;
use similar::TextDiff;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use crate::cli::LookArgs;
use crate::config::{Config, RouterConfig, RouterKind};
use crate::desired::Desired;
use crate::haproxy::preview;
use crate::pipeline::{self, Inputs, ServicePipeline};
use crate::router::{file_output, template};
use crate::run::host_seed;
use crate::snapshot::{self, Content};
use crate::watcher::sources::Sources;
use crate::zone;

/// One router, looked at.
#[derive(Debug, Default)]
struct Looked {
    /// Its number, type and what it writes.
    router: String,
    /// What it would do with_suffix writing files.
    acts: Vec<String>,
    left_out: Vec<String>,
    files: Vec<FileView>,
}

/// A file as it is and as it would be.
#[derive(Debug)]
struct FileView {
    path: PathBuf,
    before: String,
    after: String,
}

impl FileView {
    fn of(path: &Path, after: String) -> Self {
        Self {
            path: path.to_owned(),
            before: std::fs::read_to_string(path).unwrap_or_default(),
            after,
        }
    }
}

/// What each router would write, each file under a line that names it where there are several.
pub async fn render(config: Config, args: &LookArgs) -> Result<String, Fatal> {
    let looked = look(config, args).await?;
    let alone = looked.iter().map(|looked| looked.files.len()).sum::<usize>() == 1;
    let mut text = String::new();
    for file in looked.iter().flat_map(|looked| &looked.files) {
        if !alone {
            let _infallible = writeln!(text, "==> {} <==", file.path.display());
        }
        text.push_str(&file.after);
    }
    Ok(text)
}

/// What each router would do, and how its files would change.
pub async fn plan(config: Config, args: &LookArgs) -> Result<String, Fatal> {
    let mut text = String::new();
    for looked in look(config, args).await? {
        let changed: Vec<&FileView> = looked.files.iter().filter(|file| file.before != file.after).collect();
        let nothing = looked.acts.is_empty() && looked.left_out.is_empty() && changed.is_empty();
        let _infallible = writeln!(
            text,
            "router {}:{}",
            looked.router,
            if nothing { " nothing to do" } else { "" }
        );
        for act in &looked.acts {
            let _infallible = writeln!(text, "  {act}");
        }
        for left_out in &looked.left_out {
            let _infallible = writeln!(text, "  left out: {left_out}");
        }
        for file in changed {
            let path = file.path.display().to_string();
            let diff = TextDiff::from_lines(&file.before, &file.after);
            let _infallible = write!(text, "{}", diff.unified_diff().header(&path, &path));
        }
    }
    Ok(text)
}

/// Looks at every router that writes something.
async fn look(mut config: Config, args: &LookArgs) -> Result<Vec<Looked>, Fatal> {
    zone::settle(&mut config);
    let remembered = config.snapshot_path.as_deref().map(snapshot::load).unwrap_or_default();
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
    let desired = desired(&routers, &remembered, args.wait).await?;
    let mut looked = Vec::new();
    for ((number, router), desired) in routers.iter().zip(&desired) {
        looked.extend(look_at(*number, router, desired).await?);
    }
    Ok(looked)
}

/// Nothing of a console, which prints changes as they come and writes nothing that could be shown.
async fn look_at(number: usize, router: &RouterConfig, desired: &Desired) -> Result<Option<Looked>, Fatal> {
    Ok(Some(match &router.kind {
        RouterKind::Console => return Ok(None),
        RouterKind::Haproxy(haproxy) => {
            let preview = preview(haproxy, &router.services, desired).await?;
            Looked {
                router: format!("{number} haproxy {}", haproxy.config_path.display()),
                acts: preview.acts,
                left_out: preview.left_out,
                files: vec![FileView {
                    path: haproxy.config_path.clone(),
                    before: preview.before,
                    after: preview.after,
                }],
            }
        }
        RouterKind::Template(template) => {
            let text = template::render(template, &router.services, desired).map_err(Fatal::config)?;
            let file = FileView::of(&template.destination, text);
            let runs = file.before != file.after && !template.command.is_empty();
            Looked {
                router: format!("{number} template {}", template.destination.display()),
                acts: runs
                    .then(|| format!("run {:?}", template.command))
                    .into_iter()
                    .collect(),
                files: vec![file],
                ..Looked::default()
            }
        }
        RouterKind::FileOutput(output) => Looked {
            router: format!("{number} file_output {}", output.directory.display()),
            files: file_output::render(output, desired)
                .into_iter()
                .map(|(path, text)| FileView::of(&path, text))
                .collect(),
            ..Looked::default()
        },
    }))
}

/// Stages of the stop, which is all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Watchers,
    Sessions,
}

/// What each router should have, once every source has answered or `wait` is over; who has not answered then is as it was
/// `remembered`.
async fn desired(
    routers: &[(usize, RouterConfig)],
    remembered: &Content,
    wait: Duration,
) -> Result<Vec<Arc<Desired>>, Fatal> {
    let changes = watch::Sender::new(());
    let mut supervisor = Supervisor::new();
    let (sessions, task) = SessionPool::new();
    supervisor.start(Stage::Sessions, "sessions", |stop| task.run(stop));
    let mut sources = Sources::new(changes.clone(), sessions);
    let mut gathered = Vec::new();
    let (now, unix_millis) = (Instant::now(), common::clock::unix_millis());
    for (number, router) in routers {
        let sources = router.services.iter().map(|service| {
            let source = sources.source(&service.watcher);
            let name = source.description.remembered_as();
            let known = name.and_then(|name| remembered.sources.get(&name));
            pipeline::Source {
                state: source.state,
                remembered: known.map(|known| Arc::new(known.state(now, unix_millis))),
            }
        });
        let (states, gather) = ServicePipeline::new(Inputs {
            sources: sources.collect(),
            services: router.services.clone(),
            seed: host_seed(),
            changes: changes.subscribe(),
            // Nobody tells how the servers are.
            health: watch::Sender::new(Arc::default()).subscribe(),
            news: watch::Sender::new(()),
        });
        supervisor.start(Stage::Watchers, format!("gather {number}"), |stop| gather.run(stop));
        gathered.push(states.desired);
    }
    let mut starter = Starter::Before(&mut supervisor);
    // It starts what it is given, for it does not run yet.
    sources.start(&mut starter, Stage::Watchers).await;
    let answered = async {
        for desired in &mut gathered {
            // The sender lives as long as its task.
            desired.wait_for(|desired| desired.all_sources_answered()).await.ok();
        }
    };
    let (_nobody, signals) = mpsc::channel(1);
    let mut signals = Signals::fed_by(signals);
    let run = supervisor.run(&mut signals, Duration::default, |_| {}, || {});
    tokio::select! {
        ended = run => return Err(Fatal::runtime(format!("the sources could not be read: {ended:?}"))),
        // Late or not, what is known is what there is.
        _ = timeout(wait, answered) => {}
    }
    Ok(gathered.iter().map(|desired| Arc::clone(&desired.borrow())).collect())
}
