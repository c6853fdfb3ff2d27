//! ZooKeeper's four-letter words (<https://zookeeper.apache.org/doc/r3.8.4/zookeeperAdmin.html#sc_zkCommands>).

use std::collections::BTreeMap;

/// The answer to `mntr`: a name, a tab and a value on each line; `None` when it is something else.
pub fn statistics(text: &str) -> Option<BTreeMap<String, String>> {
    let map: BTreeMap<_, _> = text
        .lines()
        .map(|line| line.split_once('\t'))
        .map(|entry| entry.map(|(name, value)| (name.to_owned(), value.trim().to_owned())))
        .collect::<Option<_>>()?;
    (!map.is_empty()).then_some(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_lines_of_two() {
        let map = statistics("zk_version\t3.8.0-1, built\nzk_server_state\tleader\n").expect("statistics");
        assert_eq!(map["zk_server_state"], "leader");
        assert_eq!(map["zk_version"], "3.8.0-1, built");
        assert_eq!(
            statistics("This ZooKeeper instance is not currently serving requests\n"),
            None
        );
        assert_eq!(statistics(""), None);
    }
}
