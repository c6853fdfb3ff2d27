//! The routes that both daemons have.

use super::*;

pub(super) fn common() -> CommonRoutes {
    let build = Build {
        name: "nerve",
        version: "1.2.3",
    };
    CommonRoutes {
        build,
        started: Readiness::default(),
        readiness: Readiness::default(),
        registry: Arc::new(metrics::registry(build)),
        level: log::captured("info").1,
    }
}

fn reply_to(common: &CommonRoutes, method: Method, path: &str, body: &'static str) -> Option<(u16, String)> {
    let request = Request {
        method,
        path: path.split('/').map(str::to_owned).collect(),
        query: BTreeMap::new(),
        body: body.into(),
        refusal: None,
    };
    let reply = common_routes(&request, common)?;
    Some((reply.status, String::from_utf8(reply.body).unwrap()))
}

#[test]
fn readiness_names_what_it_waits_for() {
    let common = common();
    let get = |path| reply_to(&common, Method::Get, path, "").unwrap();
    assert_eq!(get("live"), (200, "ok".to_owned()));
    let (web, haproxy) = (common.readiness.latch("service web"), common.readiness.latch("haproxy"));
    assert_eq!(get("ready"), (503, "false\nhaproxy\nservice web\n".to_owned()));
    drop(web);
    assert_eq!(get("ready"), (503, "false\nhaproxy\n".to_owned()));
    drop(haproxy);
    assert_eq!(get("ready"), (200, "true".to_owned()));
}

#[test]
fn version_and_metrics_identify_the_daemon() {
    let common = common();
    let get = |path| reply_to(&common, Method::Get, path, "").unwrap();
    assert_eq!(get("version"), (200, "nerve 1.2.3\n".to_owned()));
    assert!(get("metrics").1.contains("nerve_build_info{version=\"1.2.3\"} 1\n"));
    let empty = CommonRoutes {
        registry: Arc::new(Registry::default()),
        ..common
    };
    assert_eq!(
        reply_to(&empty, Method::Get, "metrics", ""),
        Some((200, "# EOF\n".to_owned()))
    );
}

#[test]
fn other_paths_are_left_to_the_daemon_and_other_methods_are_405() {
    let common = common();
    for path in ["", "status", "live/x"] {
        assert_eq!(reply_to(&common, Method::Get, path, ""), None, "{path}");
    }
    for path in ["live", "ready", "metrics", "version"] {
        assert_eq!(reply_to(&common, Method::Put, path, "").unwrap().0, 405, "{path}");
    }
    assert_eq!(reply_to(&common, Method::Delete, "log-level", "").unwrap().0, 405);
}

#[test]
fn the_log_level_is_returned_and_set() {
    let (_subscriber, level, _) = log::captured("info");
    let common = CommonRoutes { level, ..common() };
    let send = |method, body| reply_to(&common, method, "log-level", body).unwrap();
    assert_eq!(send(Method::Get, ""), (200, "info\n".to_owned()));
    assert_eq!(
        send(Method::Put, "info,hyper=warn\n"),
        (200, "info,hyper=warn\n".to_owned())
    );
    let (status, answer) = send(Method::Put, "loud");
    assert_eq!(status, 400);
    assert!(answer.contains("`loud` is no log level"), "{answer}");
    assert_eq!(send(Method::Get, ""), (200, "info,hyper=warn\n".to_owned()));
}
