//! `synapse render` and `synapse plan`: what the routers would do now; changes nothing.
//!
//! The sources are read once, as the daemon reads them; HAProxy and the files on disk are only observed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::exit::Fatal;
use common::signal::Signals;
use common::supervise::{Spawner, Stopping, Supervisor};
use common::zk::session_pool::SessionPool;
use similar::TextDiff;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::cli::PlanArgs;
use crate::config::{Config, RouterConfig, RouterKind};
use crate::desired::Desired;
use crate::haproxy::preview;
use crate::router::{file_output, template};
use crate::run::{RouterBuilder, Stage};
use crate::snapshot::{self, Content};
use crate::zone;

/// What one router would do.
#[derive(Debug, Default)]
struct RouterPlan {
    /// Its number, type and what it writes.
    router: String,
    /// The actions besides writing files.
    actions: Vec<String>,
    left_out: Vec<String>,
    files: Vec<FilePlan>,
}

/// A file as it is and as it would be.
#[derive(Debug)]
struct FilePlan {
    path: PathBuf,
    before: String,
    after: String,
}

impl FilePlan {
    fn new(path: &Path, after: String) -> Self {
        Self {
            path: path.to_owned(),
            before: std::fs::read_to_string(path).unwrap_or_default(),
            after,
        }
    }

    fn is_changed(&self) -> bool {
        self.before != self.after
    }
}

/// Returns what each router would write, under a line with the file's path if there are several files.
pub async fn render(config: Config, args: &PlanArgs) -> Result<String, Fatal> {
    let plans = plans(config, args).await?;
    let files: Vec<&FilePlan> = plans.iter().flat_map(|plan| &plan.files).collect();
    if let [file] = files.as_slice() {
        return Ok(file.after.clone());
    }
    let text = |file: &&FilePlan| format!("==> {} <==\n{}", file.path.display(), file.after);
    Ok(files.iter().map(text).collect())
}

/// Returns what each router would do, and how its files would change.
pub async fn plan(config: Config, args: &PlanArgs) -> Result<String, Fatal> {
    let mut text = String::new();
    for plan in plans(config, args).await? {
        // Writing to a string can't fail.
        plan.write(&mut text).ok();
    }
    Ok(text)
}

impl RouterPlan {
    fn write(&self, text: &mut String) -> std::fmt::Result {
        let changed: Vec<&FilePlan> = self.files.iter().filter(|file| file.is_changed()).collect();
        let is_empty = self.actions.is_empty() && self.left_out.is_empty() && changed.is_empty();
        writeln!(
            text,
            "router {}:{}",
            self.router,
            if is_empty { " nothing to do" } else { "" }
        )?;
        for action in &self.actions {
            writeln!(text, "  {action}")?;
        }
        for left_out in &self.left_out {
            writeln!(text, "  left out: {left_out}")?;
        }
        for file in changed {
            let path = file.path.display().to_string();
            let diff = TextDiff::from_lines(&file.before, &file.after);
            write!(text, "{}", diff.unified_diff().header(&path, &path))?;
        }
        Ok(())
    }
}

/// Plans every router that writes something.
async fn plans(mut config: Config, args: &PlanArgs) -> Result<Vec<RouterPlan>, Fatal> {
    zone::settle(&mut config);
    let remembered = config.snapshot_path.as_deref().map(snapshot::load).unwrap_or_default();
    let count = config.routers.len();
    let routers: Vec<(usize, RouterConfig)> = (1..)
        .zip(config.routers)
        .filter(|(number, _)| args.router.is_none_or(|selected| selected == *number))
        .collect();
    if routers.is_empty() {
        let selected = args.router.unwrap_or_default();
        return Err(Fatal::config(format!(
            "--router {selected}: the file has {count}, counted from 1"
        )));
    }
    let desired = desired(&routers, remembered, args.wait).await?;
    let mut plans = Vec::new();
    for ((number, router), desired) in routers.iter().zip(&desired) {
        plans.extend(plan_router(*number, router, desired).await?);
    }
    Ok(plans)
}

/// `None` for a console, which prints changes as they come and writes nothing that could be shown.
async fn plan_router(number: usize, router: &RouterConfig, desired: &Desired) -> Result<Option<RouterPlan>, Fatal> {
    Ok(Some(match &router.kind {
        RouterKind::Console => return Ok(None),
        RouterKind::Haproxy(haproxy) => {
            let preview = preview(haproxy, &router.services, desired).await?;
            RouterPlan {
                router: format!("{number} haproxy {}", haproxy.config_path.display()),
                actions: preview.acts,
                left_out: preview.left_out,
                files: vec![FilePlan {
                    path: haproxy.config_path.clone(),
                    before: preview.before,
                    after: preview.after,
                }],
            }
        }
        RouterKind::Template(template) => {
            let text = template::render(template, &router.services, desired).map_err(Fatal::config)?;
            let file = FilePlan::new(&template.destination, text);
            let runs = file.is_changed() && !template.command.is_empty();
            RouterPlan {
                router: format!("{number} template {}", template.destination.display()),
                actions: runs
                    .then(|| format!("run {:?}", template.command))
                    .into_iter()
                    .collect(),
                files: vec![file],
                ..RouterPlan::default()
            }
        }
        RouterKind::FileOutput(output) => RouterPlan {
            router: format!("{number} file_output {}", output.directory.display()),
            files: file_output::render(output, desired)
                .into_iter()
                .map(|(path, text)| FilePlan::new(&path, text))
                .collect(),
            ..RouterPlan::default()
        },
    }))
}

/// Returns the desired state of each router once every source has answered, or after `wait`; a source without an answer is
/// as `remembered`.
async fn desired(
    routers: &[(usize, RouterConfig)],
    remembered: Content,
    wait: Duration,
) -> Result<Vec<Arc<Desired>>, Fatal> {
    let mut supervisor = Supervisor::new();
    let (sessions, task) = SessionPool::new();
    supervisor.start(Stage::Sessions, "sessions", |stop| task.run(stop));
    let mut builder = RouterBuilder::new(remembered, sessions);
    let mut desired = Vec::new();
    for (number, router) in routers {
        let pipeline = builder.pipeline(&router.services, None);
        supervisor.start(Stage::Watchers, format!("pipeline {number}"), |stop| {
            pipeline.task.run(stop)
        });
        desired.push(pipeline.handle.desired);
    }
    let spawner = &mut Spawner::Startup(&mut supervisor);
    let started = builder.sources.start(spawner, Stage::Watchers).await;
    started.map_err(|Stopping| Fatal::runtime("the sources could not be started"))?;
    let answered = async {
        for desired in &mut desired {
            // The sender lives as long as its task.
            desired.wait_for(|desired| desired.all_sources_answered()).await.ok();
        }
    };
    let (_sender, signals) = mpsc::channel(1);
    let mut signals = Signals::fed_by(signals);
    let run = supervisor.run(&mut signals, Duration::default, |_| {}, || {});
    tokio::select! {
        ended = run => return Err(Fatal::runtime(format!("the sources could not be read: {ended:?}"))),
        // After the timeout what is known is used.
        _ = timeout(wait, answered) => {}
    }
    Ok(desired.iter().map(|desired| Arc::clone(&desired.borrow())).collect())
}
