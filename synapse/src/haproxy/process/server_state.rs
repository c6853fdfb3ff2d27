//! The server-state file: carries the failed servers over to a new worker. Pure.
//!
//! A new worker takes every server for healthy until its checks fail: for up to `inter` it sends requests to dead ones.
//! HAProxy's cure is a file with the reply to `show servers state`; but a port in it overrides the configuration, so that a
//! server with a new instance comes back as half of each. Hence synapse writes the file: only servers that a check has
//! marked down, only at the address and with the options that the new file has for them, under the name and id there, and
//! with the weight and the admin state of there. All other servers start as they would without the file.

use std::net::{IpAddr, SocketAddr};

use crate::haproxy::plan::model::{Assignment, Layout, Slot};
use crate::haproxy::runtime::parse::MAINT_BITS;

/// A file without servers.
pub(crate) const EMPTY: &str = "1\n";

/// `srv_op_state`: no traffic, because the checks failed.
const DOWN: &str = "0";
/// In `srv_check_state`: the checks run, so the server comes back by itself.
const CHECKED: u32 = 0x04;

/// Returns the file for a worker with the slots of `new`, from the reply of the worker with those of `old`.
pub(crate) fn server_state(reply: &str, old: &Layout, new: &Layout) -> String {
    down_servers(reply, old, new).unwrap_or_else(|| EMPTY.to_owned())
}

fn down_servers(reply: &str, old: &Layout, new: &Layout) -> Option<String> {
    let mut lines = reply.lines().map(str::trim).filter(|line| !line.is_empty());
    let (version, head) = (lines.next()?, lines.next()?);
    let columns: Vec<&str> = head.strip_prefix('#')?.split_ascii_whitespace().collect();
    if version != "1" {
        return None;
    }
    let mut file = format!("{version}\n{head}\n");
    for line in lines {
        let row = Row {
            columns: &columns,
            fields: line.split_ascii_whitespace().collect(),
        };
        if let Some(slot) = row.successor(old, new) {
            file.push_str(&row.renamed(slot));
            file.push('\n');
        }
    }
    Some(file)
}

/// The line of one server.
struct Row<'l> {
    columns: &'l [&'l str],
    fields: Vec<&'l str>,
}

impl Row<'_> {
    fn field(&self, name: &str) -> Option<&str> {
        let index = self.columns.iter().position(|column| *column == name)?;
        self.fields.get(index).copied()
    }

    fn is_down(&self) -> Option<bool> {
        let bits = |name| self.field(name)?.parse::<u32>().ok();
        let (admin, check) = (bits("srv_admin_state")?, bits("srv_check_state")?);
        Some(self.field("srv_op_state")? == DOWN && admin & MAINT_BITS == 0 && check & CHECKED != 0)
    }

    /// The slot in which the same instance continues with the same checks.
    fn successor<'s>(&self, old: &Layout, new: &'s Layout) -> Option<&'s Slot> {
        if !self.is_down()? {
            return None;
        }
        let ip: IpAddr = self.field("srv_addr")?.parse().ok()?;
        let address = SocketAddr::new(ip, self.field("srv_port")?.parse().ok()?);
        let (backend, name) = (self.field("be_name")?, self.field("srv_name")?);
        let is_at = |slot: &Slot| matches!(slot.assignment, Assignment::Active { address: at, .. } if at == address);
        let before = old.get(backend)?.slots.iter().find(|slot| *slot.name == *name)?;
        let mut slots = new.get(backend)?.slots.iter();
        slots.find(|slot| is_at(before) && is_at(slot) && slot.options == before.options)
    }

    /// The line with the name, id and weight of `slot`.
    fn renamed(&self, slot: &Slot) -> String {
        let weight = match slot.assignment {
            Assignment::Active { weight, .. } => weight,
            Assignment::Free | Assignment::Draining { .. } | Assignment::Gone => 1,
        };
        let (id, weight) = (slot.id.to_string(), weight.to_string());
        let fields = self
            .columns
            .iter()
            .zip(&self.fields)
            .map(|(column, field)| match *column {
                "srv_id" => id.as_str(),
                "srv_name" => &slot.name,
                "srv_admin_state" => "0",
                "srv_uweight" | "srv_iweight" => weight.as_str(),
                _ => field,
            });
        fields.collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::haproxy::plan::model::Backend;

    const HEAD: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
                        srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state \
                        srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl \
                        srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n";

    fn row(name: &str, address: &str, op: u8, admin: u8, check: u8) -> String {
        let (ip, port) = address.rsplit_once(':').unwrap();
        format!("3 web_1 7 {name} {ip} {op} {admin} 9 9 12 8 2 0 {check} 0 0 0 - {port} - 0 0 - - 0\n")
    }

    fn slot(id: u32, name: &str, options: &str, address: &str) -> Slot {
        let address = address.parse().unwrap();
        Slot {
            id,
            name: name.into(),
            options: options.into(),
            assignment: Assignment::Active { address, weight: 5 },
            dynamic: false,
        }
    }

    fn layout(slots: Vec<Slot>) -> Layout {
        Layout::from([("web_1".into(), Backend { slots })])
    }

    #[test]
    fn a_down_server_stays_down_under_its_new_name() {
        let old = layout(vec![slot(7, "slot_7", "check", "10.0.0.1:80")]);
        let new = layout(vec![slot(2, "web_10.0.0.1:80", "check", "10.0.0.1:80")]);
        let state = format!("{HEAD}{}", row("slot_7", "10.0.0.1:80", 0, 4, 6));
        let file = server_state(&state, &old, &new);
        assert_eq!(
            file.lines().last().unwrap(),
            "3 web_1 2 web_10.0.0.1:80 10.0.0.1 0 0 5 5 12 8 2 0 6 0 0 0 - 80 - 0 0 - - 0"
        );
        assert!(file.starts_with("1\n# be_id ") && file.ends_with('\n'));
    }

    #[test]
    fn only_the_same_instance_inherits_its_state() {
        let old = layout(vec![slot(7, "a", "check", "10.0.0.1:80")]);
        let down = |name, address| format!("{HEAD}{}", row(name, address, 0, 0, 6));
        let same = down("a", "10.0.0.1:80");
        let new = |options, address| layout(vec![slot(7, "a", options, address)]);
        let successors = |state: &str, new: &Layout| server_state(state, &old, new).lines().count() - 2;
        assert_eq!(successors(&same, &new("check", "10.0.0.1:80")), 1);
        assert_eq!(successors(&same, &new("check", "10.0.0.1:81")), 0, "another port");
        assert_eq!(successors(&same, &new("check ssl", "10.0.0.1:80")), 0, "other checks");
        assert_eq!(successors(&same, &Layout::new()), 0, "gone");
        let same_new = new("check", "10.0.0.1:80");
        assert_eq!(successors(&down("b", "10.0.0.1:80"), &same_new), 0, "not ours");
        assert_eq!(successors(&down("a", "10.0.0.2:80"), &same_new), 0, "moved by hand");
        for (op, admin, check) in [(2, 0, 6), (1, 0, 6), (0, 1, 6), (0, 0, 2), (0, 32, 6)] {
            let state = format!("{HEAD}{}", row("a", "10.0.0.1:80", op, admin, check));
            assert_eq!(successors(&state, &same_new), 0, "{op} {admin} {check}");
        }
    }

    proptest! {
        #[test]
        fn any_reply_gives_a_valid_file(text in "(1\n# be_name srv_name.{0,80}\n)?.{0,200}") {
            let new = layout(vec![slot(7, "a", "check", "10.0.0.1:80")]);
            let file = server_state(&text, &new, &new);
            prop_assert!(file.starts_with("1\n") && file.ends_with('\n'));
        }
    }
}
