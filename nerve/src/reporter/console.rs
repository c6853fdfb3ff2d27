//! Reports on standard output, a line each.

use std::io::{self, Write};

pub(super) fn write(line: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(line)?;
    stdout.flush()
}
