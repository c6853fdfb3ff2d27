use proptest::prelude::*;

use super::*;
use crate::health::Check;

const STATE: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n\
3 web_1 1 web1_127.0.0.1:8000 127.0.0.1 0 0 3 3 1 8 2 0 6 0 0 1 - 8000 - 0 0 - - 0\n\
3 web_1 2 a_2001:db8::1:80 2001:db8::1 2 8 3 3 1 1 0 2 0 0 0 1 - 80 - 0 0 - - 0\n\
3 web_1 3 slot_3 127.0.0.1 2 4 5 1 0 1 0 0 8 0 0 1 - 9 - 0 0 - - 0\n\
3 web_1 4 slot_4 127.0.0.1 0 5 1 1 1 1 0 0 8 0 0 1 - 1 - 0 0 - - 0\n\
5 tcp_2 1 named - 0 32 1 1 1 1 0 0 8 0 0 1 host.example 1 - 0 0 - - 0\n\n";

#[test]
fn the_servers_of_2_6() {
    let table = servers_state(STATE).unwrap();
    assert_eq!(table.keys().map(|name| &**name).collect::<Vec<_>>(), ["tcp_2", "web_1"]);
    let web = &table["web_1"];
    assert_eq!(web.id, 3);
    let server = |name: &str| web.servers[name];
    assert_eq!(
        server("web1_127.0.0.1:8000"),
        LiveServer {
            id: 1,
            address: "127.0.0.1:8000".parse().ok(),
            weight: 3,
            check: Some(Check::Failing),
            ..LiveServer::default()
        }
    );
    assert_eq!(
        server("a_2001:db8::1:80"),
        LiveServer {
            address: "[2001:db8::1]:80".parse().ok(),
            id: 2,
            weight: 3,
            drain: true,
            check: Some(Check::Unchecked),
            ..LiveServer::default()
        }
    );
    assert!(!server("slot_3").maint, "once disabled in the file, ready now");
    assert!(server("slot_4").maint);
    assert_eq!(table["tcp_2"].servers["named"].address, None);
}

#[test]
fn a_check_that_does_not_run_is_paused() {
    let text = "1\n# be_id be_name srv_id srv_name srv_addr srv_admin_state srv_uweight srv_port srv_check_state srv_agent_state\n\
        3 b 9 made 127.0.0.1 1 3 80 2 18\n3 b 1 begun 127.0.0.1 1 3 80 14 22\n3 b 2 unchecked 127.0.0.1 0 3 80 0 0\n";
    let table = servers_state(text).unwrap();
    let off = |name: &str| {
        (
            table["b"].servers[name].paused.check,
            table["b"].servers[name].paused.agent,
        )
    };
    assert_eq!(
        ["made", "begun", "unchecked"].map(off),
        [(true, true), (false, false), (false, false)]
    );
    assert_eq!(table["b"].servers["made"].id, 9);
}

#[test]
fn servers_are_dynamic_from_3_0_on() {
    let known = "Require 'backend/server'.\n";
    for (version, reply, makes) in [
        ("2.6.12-1+deb12u4", known, false),
        ("2.9.9", known, false),
        ("3.0.11-1+deb13u3", known, true),
        ("3.2", known, true),
        ("3.0.11", "Unknown command: 'add server'\n", false),
        ("3.0.11", "Permission denied\n", false),
        ("x", known, false),
    ] {
        assert_eq!(supports_dynamic_servers(version, reply), makes, "{version} {reply}");
    }
}

#[test]
fn columns_are_found_by_their_names() {
    let text = "1\n# srv_port srv_uweight new_column srv_admin_state srv_addr srv_name be_name be_id\n80 7 x 0 10.0.0.1 s b 9\n";
    let table = servers_state(text).unwrap();
    assert_eq!(
        table["b"].servers["s"],
        LiveServer {
            address: "10.0.0.1:80".parse().ok(),
            weight: 7,
            ..LiveServer::default()
        }
    );
}

#[test]
fn a_check_has_a_result_once_it_has_run() {
    let of = |state: u32, admin: u32, result: u32, check: u32| {
        let header = STATE.lines().nth(1).unwrap();
        let line = format!("3 b 1 s 10.0.0.1 {state} {admin} 1 1 8 6 {result} 0 {check} 0 0 1 - 80 - 0 0 - - 0");
        servers_state(&format!("1\n{header}\n{line}\n")).unwrap()["b"].servers["s"].check
    };
    assert_eq!(of(2, 0, 3, 6), Some(Check::Passing));
    assert_eq!(of(2, 0, 2, 6), Some(Check::Passing), "below `fall`");
    assert_eq!(of(0, 0, 2, 6), Some(Check::Failing));
    assert_eq!(of(2, 0, 0, 6), None, "up until checked");
    assert_eq!(of(2, 0, 0, 0), Some(Check::Unchecked));
    assert_eq!(of(0, 0, 0, 0), Some(Check::Failing), "`set server health down`");
    assert_eq!(of(0, 1, 2, 14), None, "in maintenance");
}

#[test]
fn a_reply_in_another_format_is_rejected() {
    for text in [
        "",
        "1\n",
        "2\n# be_id\n",
        "Can't find backend.\n",
        &STATE.replace("srv_port", "srv_prt"),
        &STATE.replace(" 8000 ", " "),
    ] {
        let read = servers_state(text);
        assert!(
            read.as_ref().is_none_or(|table| table.is_empty()
                || !table["web_1"].servers.contains_key("web1_127.0.0.1:8000")
                || text.contains("srv_port")),
            "{text}"
        );
    }
    assert_eq!(servers_state("Can't find backend.\n"), None);
}

#[test]
fn the_process_and_its_structure() {
    let text = "Name: HAProxy\nVersion: 2.6.12-1+deb12u4\nPid: 18023\nUptime: 0d 0h00m01s\nUptime_sec: 1\n\
                Start_time_sec: 1795000000\nStopping: 0\n";
    assert_eq!(
        info(text),
        Some(Info {
            pid: 18023,
            version: "2.6.12-1+deb12u4".into(),
            uptime_secs: 1,
            started_secs: 1_795_000_000,
            stopping: false
        })
    );
    assert_eq!(info("Pid: x\n"), None);
    assert_eq!(
        env("SYNAPSE_STRUCTURE=abc\n\n", "SYNAPSE_STRUCTURE").as_deref(),
        Some("abc")
    );
    assert_eq!(env("Variable not found\n", "SYNAPSE_STRUCTURE"), None);
    assert_eq!(
        version("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\n").as_deref(),
        Some("2.6.12-1+deb12u4")
    );
    assert_eq!(version("GNU bash, version 5"), None);
}

#[test]
fn the_master_and_its_workers() {
    let text = "#<PID>  <type>  <reloads>  <uptime>  <version>\n18020  master  2 [failed: 1]  0d00h00m03s  2.6.12\n# workers\n18314  worker  1  0d00h00m01s  2.6.12\n\
                # old workers\n17000  worker  2  0d01h00m01s  2.6.12\n# programs\n\n";
    assert_eq!(
        processes(text),
        Some(Processes {
            master: 18020,
            reloads: 2,
            failed: 1,
            workers: vec![18314],
            old_workers: 1
        })
    );
    assert_eq!(processes("Unknown command"), None);
}

#[test]
fn idle_means_no_request_no_queue_no_connection() {
    let text = "# pxname,svname,qcur,qmax,scur,idle_conn_cur,used_conn_cur\nb,busy,0,0,1,0,0\nb,pooled,0,0,0,1,0\nb,idle,0,9,0,0,0\nb,short\n";
    let idle = idle_servers(text);
    assert_eq!(idle.reusable, BTreeSet::from(["idle".into()]));
    assert_eq!(idle.deletable, BTreeSet::from(["idle".into(), "pooled".into()]));
    assert_eq!(
        idle_servers("# pxname,svname,qcur,scur\nb,idle,0,0\n"),
        IdleServers::default()
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 0..STATE.len()) {
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        for _ in 0..2 {
            let _ = (servers_state(&text), info(&text), env(&text, "X"), processes(&text), idle_servers(&text), version(&text));
            let start: String = STATE.chars().take(cut).collect();
            text.insert_str(0, &start);
        }
    }
}
