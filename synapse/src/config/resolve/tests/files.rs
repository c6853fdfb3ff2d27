//! Routers that write files.

use super::super::*;
use super::{config, problems, with_services};
use crate::config::{ApplyBudget, FileOutputConfig, PaceConfig, TemplateConfig, TemplateSource};

/// A router that writes a file from a template, with these keys (comma-terminated) beside a template and a destination.
fn template_router(keys: &str) -> String {
    format!("routers: [{{type: template, template: '{{{{len .}}}}', {keys} destinationFile: out/f}}]")
}

fn template(text: &str) -> (TemplateConfig, PaceConfig) {
    let router = config(text).routers.remove(0);
    match router.kind {
        RouterKind::Template(template) => (template, router.pace),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_template_router_has_go_synapses_defaults() {
    let (template, pace) = template(&template_router(""));
    assert_eq!(
        template,
        TemplateConfig {
            source: TemplateSource::Text("{{len .}}".to_owned()),
            destination: "/base/out/f".into(),
            mode: 0o644,
            command: Vec::new(),
            command_timeout: Duration::from_secs(2),
            reconcile_interval: Duration::from_secs(10),
        }
    );
    assert_eq!((pace.budget, pace.jitter), (None, Duration::ZERO));
}

/// Go-Synapse's `examples/template.yml`, and every other key.
#[test]
fn a_template_router_of_go_synapse_is_read_whole() {
    let (template, pace) = template(
        "
routers:
  - type: template
    destinationFile: /tmp/notexists/templated
    destinationFileMode: 0600
    templateFile: ./examples/template.tmpl
    postTemplateCommand: [/bin/bash, -c, \"echo 'ZZ' > /tmp/DDDD\"]
    postTemplateCommandTimeoutInMilli: 50
    eventsBufferDurationInMilli: 100
    eventsBufferMaxDuration: 3s
    applyBudget: {applies: 3, per: 10s}
    reloadJitter: 1m
    services: [{watcher: {type: zookeeper, hosts: [zk], path: /services/es/es_site_search}}]
",
    );
    assert_eq!(
        template.source,
        TemplateSource::File("/base/./examples/template.tmpl".into())
    );
    assert_eq!(template.mode, 0o600);
    assert_eq!(template.command.len(), 3);
    assert_eq!(template.command_timeout, Duration::from_millis(50));
    let budget = ApplyBudget {
        applies: 3,
        per: Duration::from_secs(10),
    };
    assert_eq!(
        pace,
        PaceConfig {
            buffer: Duration::from_millis(100),
            max_buffer: Duration::from_secs(3),
            budget: Some(budget),
            jitter: Duration::from_mins(1),
        }
    );
}

/// As YAML reads them: a leading zero makes it a text, `0o` a number in octal.
#[test]
fn the_mode_of_a_destination_is_read_however_it_is_written() {
    for written in ["0644", "'0644'", "420", "0o644", "'420'", "0", "''"] {
        let text = template_router(&format!("destinationFileMode: {written},"));
        assert_eq!(template(&text).0.mode, 0o644, "{written}");
    }
    for written in ["644", "'644'", "rw", "0o1777", "1.5", "-1"] {
        let found = problems(&template_router(&format!("destinationFileMode: {written},")));
        assert!(
            found[0].starts_with("routers[0].destinationFileMode: "),
            "{written}: {found:?}"
        );
    }
}

#[test]
fn what_a_template_router_can_not_do_is_a_problem() {
    let problem = |keys: &str| problems(&format!("routers: [{{type: template, {keys}}}]"));
    assert_eq!(
        problem("destinationFile: /f"),
        ["routers[0].template: there is no template"]
    );
    assert_eq!(
        problem("destinationFile: /f, template: a, templateFile: /t"),
        ["routers[0].template: the template is either here or in `templateFile`"]
    );
    assert_eq!(
        problem("destinationFile: /f/, template: a"),
        ["routers[0].destinationFile: \"/f/\" is a directory"]
    );
    assert_eq!(
        problem("destinationFile: /f, template: '{{range .}}{{.Hots}}{{end}}'"),
        [
            "routers[0].template: template:1: there is no field `Hots` in an item of the list, which has `Service` and `Reports`"
        ]
    );
    assert_eq!(
        problem("destinationFile: /f, template: a, reloadJitter: 1s"),
        ["routers[0].reloadJitter: this belongs to `postTemplateCommand`, and there is none"]
    );
    assert_eq!(
        problem("destinationFile: /f, template: a, eventsBufferMaxDuration: 499ms"),
        ["routers[0].eventsBufferMaxDuration: changes are gathered for 500ms at least, which is longer"]
    );
}

#[test]
fn a_router_writes_a_file_for_each_service_but_those_that_want_none() {
    let text = "
routers:
  - type: file_output
    outputDirectory: run/services
    purgeUnknown: true
    services:
      - {name: web, watcher: {type: zookeeper, hosts: [zk], path: /web}}
      - {name: db, fileOutput: {disabled: true}, watcher: {type: zookeeper, hosts: [zk], path: /db}}
      - {name: db, fileOutput: {}, watcher: {type: zookeeper, hosts: [zk], path: /db2}}
";
    let RouterKind::FileOutput(output) = config(text).routers.remove(0).kind else {
        panic!("file_output");
    };
    let files = [("web_1", "web"), ("db_3", "db")];
    assert_eq!(
        output,
        FileOutputConfig {
            directory: "/base/run/services".into(),
            files: files.map(|(id, name)| (id.to_owned(), name.to_owned())).into(),
            purge_unknown: true,
            reconcile_interval: Duration::from_secs(10),
        }
    );
    assert_eq!(
        problems(&text.replace("disabled: true", "disabled: false")),
        ["routers[0].services: two services are named `db`, and one file can't hold both"]
    );
    assert_eq!(
        problems(&text.replace("    outputDirectory: run/services\n", "")),
        ["routers[0].outputDirectory: is required"]
    );
    let elsewhere = with_services(&["fileOutput: {disabled: true}, "]);
    assert_eq!(
        problems(&elsewhere),
        ["routers[0].services[0].fileOutput: the router of this service writes no file for each service"]
    );
}

#[test]
fn no_two_routers_write_the_same() {
    let template = "{type: template, template: a, destinationFile: /f}";
    assert_eq!(
        problems(&format!("routers: [{template}, {template}]")),
        ["routers[1].destinationFile: another router writes /f already"]
    );
    let files = "{type: file_output, outputDirectory: /d}";
    assert_eq!(
        problems(&format!("routers: [{files}, {files}]")),
        ["routers[1].outputDirectory: another router writes /d already"]
    );
}
