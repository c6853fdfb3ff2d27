use common::process::{Outcome, Program};

use super::*;

fn line(text: &str) -> Replacement {
    Replacement::Line(Some(text.to_owned()))
}

#[test]
fn what_does_the_same_today() {
    let proxy = |old| instead(old, Place::Proxy).expect("an old line");
    assert_eq!(proxy("option forceclose"), line("option httpclose"));
    assert_eq!(proxy("  no  option\tforceclose "), line("no option httpclose"));
    assert_eq!(proxy("option http-tunnel"), Replacement::Line(None));
    assert_eq!(proxy("clitimeout 30s # long"), line("timeout client 30s # long"));
    assert_eq!(proxy("timeout srvtimeout 5"), line("timeout server 5"));
    assert_eq!(
        proxy(r"reqadd X-Proto:\ https\ 100% if { ssl_fc }"),
        line(r"http-request add-header X-Proto https\ 100%% if { ssl_fc }")
    );
    assert_eq!(proxy(r"rspidel ^Server:.*"), line("http-response del-header Server"));
    assert_eq!(
        proxy("reqidel ^X-A: if TRUE"),
        line("http-request del-header X-A if TRUE")
    );
    assert_eq!(instead("nbproc 4", Place::Global).expect("one"), line("nbthread 4"));
}

#[test]
fn an_ambiguous_line_gets_advice_only() {
    for (old, place) in [
        (r"reqidel ^X-(A|B):.*", Place::Proxy),
        (r"reqidel X-A", Place::Proxy),
        (r"reqadd X-A:\ \x41", Place::Proxy),
        ("reqadd \"X-A: b\"", Place::Proxy),
        (r"reqadd X-A:", Place::Proxy),
        (r"reqadd", Place::Proxy),
        (r"reqadd X-A:\ b", Place::Defaults),
        ("reqrep ^GET a", Place::Proxy),
        // It went before all rules, wherever it stood.
        ("block if { src 10.0.0.1 }", Place::Proxy),
        ("appsession A len 5 timeout 1s", Place::Proxy),
        ("tune.chksize 1", Place::Global),
    ] {
        assert!(matches!(instead(old, place), Some(Replacement::Advice(_))), "{old}");
    }
    for kept in [
        "option httpclose",
        "timeout client 1s",
        "redispatched",
        "option",
        "",
        "# block",
        "acl block src 1.2.3.4",
    ] {
        assert_eq!(instead(kept, Place::Proxy), None, "{kept}");
    }
    assert_eq!(
        instead("option forceclose", Place::Global),
        None,
        "the line does not occur there"
    );
}

/// HAProxy's output for a file with `line` in it: alerts, and warnings that a line has no effect.
async fn haproxy(line: &str, place: Place) -> Vec<String> {
    let at = |here| if place == here { line } else { "" };
    let (directory, timeouts) = (
        tempfile::tempdir().unwrap(),
        "timeout connect 1s\ntimeout client 1s\ntimeout server 1s",
    );
    let file = directory.path().join("haproxy.cfg");
    let text = format!(
        "global\n{}\ndefaults\nmode http\n{timeouts}\n{}\nlisten l\nbind 127.0.0.1:1\n{}\nserver s 127.0.0.1:2\n",
        at(Place::Global),
        at(Place::Defaults),
        at(Place::Proxy)
    );
    std::fs::write(&file, text).unwrap();
    let check = Program {
        argv: ["haproxy", "-c", "-f", &file.to_string_lossy()]
            .map(str::to_owned)
            .to_vec(),
        env: Vec::new(),
        timeout: std::time::Duration::from_secs(30),
    };
    let (Outcome::Success { output } | Outcome::Failure { output, .. }) = check.run().await.unwrap();
    let said = output
        .lines()
        .filter(|line| line.contains("[ALERT]") || line.contains("has no effect"));
    said.map(str::to_owned).collect()
}

#[tokio::test]
async fn haproxy_refuses_every_old_line_and_takes_the_new_one() {
    let rows = [(GLOBAL, Place::Global), (PROXY, Place::Proxy)];
    for (table, place) in rows {
        for (words, rule) in table {
            let rest = match (rule, *words) {
                (Rule::AddHeader(_), _) => r"X-A:\ b\ 5% if TRUE",
                (Rule::DelHeader(_), _) => "^X-A:.*",
                (_, "block") => "if TRUE",
                (_, "nbproc" | "bind-process") => "1",
                (_, "tune.chksize") => "16384",
                (_, "monitor-net") => "10.0.0.0/8",
                (_, words) if words.starts_with("option") || words.starts_with("mode") => "",
                (_, words) if words.contains("redisp") => "",
                _ => "10s x",
            };
            // One argument where two would be refused for their number.
            let rest = if words.contains("timeout") || *words == "grace" {
                "10s"
            } else {
                rest
            };
            let old = format!("{words} {rest}");
            assert_ne!(haproxy(&old, place).await, Vec::<String>::new(), "{old}");
            match instead(&old, place).expect("a row of the table") {
                Replacement::Line(new) => {
                    let new = new.unwrap_or_default();
                    assert_eq!(haproxy(&new, place).await, Vec::<String>::new(), "{old} => {new}");
                }
                Replacement::Advice(advice) => assert!(advice.len() > 10, "{advice}"),
                Replacement::NoEffect => {}
            }
        }
    }
}
