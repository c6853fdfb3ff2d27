//! The README's first configurations are ones that the daemons take.

use std::path::Path;
use std::time::Duration;

use common::process::{Outcome, Program};
use e2e::program::binary;

/// The fenced `yaml` blocks of the top-level README, in order.
fn examples() -> Vec<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let fenced = readme.split("```yaml\n").skip(1);
    fenced
        .map(|rest| rest.split("```").next().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test]
async fn the_first_configurations_pass_the_daemons_own_check() {
    let examples = examples();
    assert_eq!(examples.len(), 2, "one for nerve and one for synapse");
    let directory = tempfile::tempdir().unwrap();
    for (daemon, example) in ["nerve", "synapse"].into_iter().zip(examples) {
        // The directory that a package would have made.
        let example = example.replace("/run/synapse", directory.path().to_str().unwrap());
        let file = directory.path().join(format!("{daemon}.yaml"));
        std::fs::write(&file, example).unwrap();
        let argv = [&binary(daemon), "--check-config", "--config", file.to_str().unwrap()].map(str::to_owned);
        let check = Program {
            argv: argv.to_vec(),
            env: Vec::new(),
            timeout: Duration::from_secs(30),
        };
        let outcome = check.run().await.unwrap();
        assert!(matches!(outcome, Outcome::Success { .. }), "{daemon}: {outcome:?}");
    }
}
