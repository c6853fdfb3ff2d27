//! HAProxy's replies and alerts.

use std::fmt::Write as _;

use super::{FRAME, SERVICE, statistics};
use crate::haproxy::plan::dynamic::Provisioning;
use crate::haproxy::plan::model::{Backend, Layout, NOWHERE};
use crate::haproxy::process::alerts::attribute_alerts;
use crate::haproxy::runtime::command::{Action, Command, NewServer, Refusal, Target};
use crate::haproxy::runtime::parse::{self, Info, Processes, Statistics, Table};
use crate::health::Check;

/// Checks a text as each of HAProxy's replies: the content read is read again from a reply with just that content.
pub fn replies(text: &str) {
    if let Some(table) = parse::servers_state(text) {
        assert_eq!(parse::servers_state(&servers_reply(&table)), Some(table));
    }
    if let Some(info) = parse::info(text) {
        let Info {
            pid,
            version,
            uptime_secs,
            started_secs,
            stopping,
        } = &info;
        let stopping = u8::from(*stopping);
        let reply = format!(
            "Stopping: {stopping}\nPid: {pid}\nVersion: {version}\nUptime_sec: {uptime_secs}\n\
             Start_time_sec: {started_secs}\n"
        );
        assert_eq!(parse::info(&reply), Some(info));
    }
    if let Some(value) = parse::env(text, "X") {
        assert_eq!(parse::env(&format!("X={value}\n"), "X"), Some(value));
    }
    if let Some(processes) = parse::processes(text) {
        assert_eq!(parse::processes(&processes_reply(&processes)), Some(processes));
    }
    if let Some(version) = parse::version(text) {
        assert_eq!(
            parse::version(&format!("HAProxy version {version} 2023")),
            Some(version)
        );
    }
    let idle = parse::idle_servers(text);
    let mut reply = "# svname,idle_conn_cur,used_conn_cur,qcur,scur\n".to_owned();
    assert!(idle.reusable.is_subset(&idle.deletable));
    for name in &idle.deletable {
        let kept = u8::from(!idle.reusable.contains(name));
        writeln!(reply, "{name},{kept},0,0,0").expect("room");
    }
    assert_eq!(parse::idle_servers(&reply), idle);
    let counted = statistics(text);
    assert_eq!(statistics(&statistics_reply(&counted)), counted);

    let target = Target {
        backend: SERVICE.into(),
        server: "slot_1".into(),
    };
    let new = Action::Add(NewServer {
        address: NOWHERE,
        id: 1,
        weight: 1,
        inherited: "".into(),
        options: "".into(),
    });
    for action in [
        Action::Maint,
        Action::Ready,
        Action::Addr(NOWHERE),
        Action::Weight(1),
        new,
        Action::EnableHealth,
        Action::Del,
    ] {
        if let Err(Refusal::Other(refusal)) = (Command {
            target: target.clone(),
            action,
        })
        .check_reply(text)
        {
            assert!(refusal.chars().count() <= 200);
        }
    }
    let file = FRAME.render(
        &Layout::from([(SERVICE.into(), Backend::default())]),
        Provisioning::Slots,
    );
    let alerts = attribute_alerts(text, &file);
    assert!(alerts.services.keys().all(|service| service == SERVICE));
    assert!(alerts.rest.iter().map(String::len).sum::<usize>() <= text.len());
}

fn servers_reply(table: &Table) -> String {
    let mut reply = "1\n# be_id srv_id srv_name be_name srv_addr srv_admin_state srv_uweight srv_port srv_agent_state \
        srv_op_state srv_check_state srv_check_result\n"
        .to_owned();
    for (backend, live) in table {
        for (name, server) in live.servers.iter() {
            let (ip, port) = match server.address {
                Some(address) => (address.ip().to_string(), address.port()),
                None => ("-".to_owned(), 0),
            };
            let admin = u32::from(server.maint) | u32::from(server.drain) << 3;
            let state = if server.paused.check { 2 } else { 6 };
            let health = match server.check {
                None => format!("2 {state} 0"),
                Some(Check::Failing) => format!("0 {state} 2"),
                Some(Check::Passing) => format!("2 {state} 3"),
                Some(Check::Unchecked) => "2 0 0".to_owned(),
            };
            let agent = if server.paused.agent { 18 } else { 0 };
            let (place, id, weight) = (live.id, server.id, server.weight);
            writeln!(
                reply,
                "{place} {id} {name} {backend} {ip} {admin} {weight} {port} {agent} {health}"
            )
            .expect("room");
        }
    }
    reply
}

fn statistics_reply(counted: &Statistics) -> String {
    let mut reply = "# check_status,status,svname,pxname,lastchg,scur,qcur,stot,econ,eresp\n".to_owned();
    for (backend, servers) in counted {
        for (name, server) in servers {
            let words = format!("{},{},{name},{backend}", server.check, server.status);
            let (changed, now, queued) = (server.last_change_secs, server.sessions, server.queued);
            let (total, errors, broken) = (server.total_sessions, server.connection_errors, server.response_errors);
            writeln!(reply, "{words},{changed},{now},{queued},{total},{errors},{broken}").expect("room");
        }
    }
    reply
}

fn processes_reply(processes: &Processes) -> String {
    let Processes {
        master,
        reloads,
        failed,
        workers,
        old_workers,
    } = processes;
    let mut reply = format!("#<PID> <type> <reloads>\n{master} master {reloads} [failed: {failed}] 0d00h00m01s 2.6\n");
    reply.push_str("# workers\n");
    for worker in workers {
        writeln!(reply, "{worker} worker 0 0d00h00m01s 2.6").expect("room");
    }
    reply.push_str("# old workers\n");
    reply.push_str(&"1 worker 1 0d00h00m01s 2.6\n".repeat(*old_workers));
    reply
}
