//! `RabbitMQ`, with an Erlang port mapper of its own: nothing outlives it, and no other node is seen.

use tempfile::TempDir;

use super::{Server, run, text};
use crate::authority::Authority;
use crate::ports::free_port;
use crate::program::Running;

/// A broker with its port mapper.
#[derive(Debug)]
pub struct RabbitMq {
    /// The broker; its user is `guest` with the password `guest`.
    pub server: Server,
    _mapper: Running,
    environment: Vec<String>,
}

/// A new broker; with an `authority`, for clients that speak TLS and have a certificate of it.
pub fn rabbitmq(authority: Option<&Authority>) -> RabbitMq {
    let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
    let environment = environment(&directory, port);
    let plugins = directory.path().join("plugins");
    std::fs::write(plugins, "[].\n").unwrap();
    let listeners = match authority {
        None => format!("listeners.tcp.1 = 127.0.0.1:{port}\n"),
        Some(authority) => over_tls(authority, port),
    };
    let settings = format!("log.console.level = warning\n{listeners}");
    std::fs::write(directory.path().join("rabbitmq.conf"), settings).unwrap();
    let with_environment = |argv: &[&str]| {
        let words = ["env".to_owned()].into_iter().chain(environment.clone());
        words
            .chain(argv.iter().map(|&word| word.to_owned()))
            .collect::<Vec<_>>()
    };
    let mapper = Running::start(&with_environment(&["epmd"]), &directory.path().join("epmd.log"));
    let argv = with_environment(&["/usr/lib/rabbitmq/bin/rabbitmq-server"]);
    let argv: Vec<_> = argv.iter().map(String::as_str).collect();
    RabbitMq {
        server: Server::start(&argv, directory, port),
        _mapper: mapper,
        environment,
    }
}

impl RabbitMq {
    /// Makes it assume that its memory is used up, so that it takes no messages; or no longer.
    pub fn starve(&self, starving: bool) {
        let limit = if starving { "0.000001" } else { "0.6" };
        let mut argv = vec!["env"];
        argv.extend(self.environment.iter().map(String::as_str));
        argv.extend([
            "/usr/lib/rabbitmq/bin/rabbitmqctl",
            "set_vm_memory_high_watermark",
            limit,
        ]);
        run(&argv);
    }
}

fn over_tls(authority: &Authority, port: u16) -> String {
    let (us, ca) = (authority.sign("rabbitmq"), authority.ca());
    format!(
        "listeners.tcp = none
listeners.ssl.1 = 127.0.0.1:{port}
ssl_options.cacertfile = {}
ssl_options.certfile = {}
ssl_options.keyfile = {}
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
",
        text(&ca),
        text(&us.cert),
        text(&us.key)
    )
}

fn environment(directory: &TempDir, port: u16) -> Vec<String> {
    let at = |name: &str| text(&directory.path().join(name)).to_owned();
    let pairs = [
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ("ERL_EPMD_PORT", free_port().to_string()),
        ("HOME", at("")),
        ("RABBITMQ_CONFIG_FILE", at("rabbitmq")),
        ("RABBITMQ_CONF_ENV_FILE", at("none")),
        ("RABBITMQ_DIST_PORT", free_port().to_string()),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins")),
        ("RABBITMQ_FEATURE_FLAGS_FILE", at("flags")),
        ("RABBITMQ_GENERATED_CONFIG_DIR", at("generated")),
        ("RABBITMQ_LOGS", "-".to_owned()),
        ("RABBITMQ_LOG_BASE", at("logs")),
        ("RABBITMQ_MNESIA_BASE", at("mnesia")),
        ("RABBITMQ_NODENAME", format!("probe-{port}@localhost")),
        ("RABBITMQ_PID_FILE", at("pid")),
        (
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1".to_owned(),
        ),
        // Has the script become the broker, so that signals reach it.
        ("RUNNING_UNDER_SYSTEMD", "true".to_owned()),
    ];
    pairs.map(|(name, value)| format!("{name}={value}")).into()
}
