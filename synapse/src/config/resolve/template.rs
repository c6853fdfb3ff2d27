//! `type: template`: Go-Synapse's keys.

use std::path::PathBuf;
use std::time::Duration;

use common::config::Section;

use super::ResolveContext;
use crate::config::{TemplateConfig, TemplateSource};
use crate::template::Template;

/// What the original gives the file.
const DEFAULT_MODE: u32 = 0o644;

impl ResolveContext<'_> {
    /// Reads the keys of a router that writes a file from a template.
    pub(super) fn template(&mut self, section: &mut Section<'_>) -> Option<TemplateConfig> {
        let source = self.source(section);
        let mode = section.text_or("destinationFileMode", "0644");
        let mode = mode_of(&mode).unwrap_or_else(|(what, help)| {
            section.problem("destinationFileMode", what, help);
            DEFAULT_MODE
        });
        let command = section.texts("postTemplateCommand");
        let command_timeout = section.milliseconds_or("postTemplateCommandTimeoutInMilli", Duration::from_secs(2));
        let reconcile_interval = section.duration_or("reconcileInterval", Duration::from_secs(10));
        if command.is_empty() {
            for key in ["postTemplateCommandTimeoutInMilli", "reloadJitter"] {
                if section.has(key) {
                    section.problem(
                        key,
                        "this belongs to `postTemplateCommand`, and there is none",
                        "remove it, or add `postTemplateCommand`",
                    );
                }
            }
        } else if command.first().is_some_and(String::is_empty) {
            section.problem(
                "postTemplateCommand",
                "the program has no name",
                "name it first: `[nginx, -s, reload]`",
            );
        }
        let destination = self.destination(section);
        Some(TemplateConfig {
            source: source?,
            destination: destination?,
            mode,
            command,
            command_timeout,
            reconcile_interval,
        })
    }

    fn source(&self, section: &mut Section<'_>) -> Option<TemplateSource> {
        let text = section.text_or("template", "");
        let file = section.text_or("templateFile", "");
        match (text.is_empty(), file.is_empty()) {
            (false, true) => {
                if let Err(error) = Template::parse("template", &text) {
                    section.problem(
                        "template",
                        error.to_string(),
                        "it is a Go template; the reference lists its functions",
                    );
                }
                Some(TemplateSource::Text(text))
            }
            (true, false) => Some(TemplateSource::File(self.base.join(file))),
            (true, true) => {
                section.problem(
                    "template",
                    "there is no template",
                    "write it here, or name its file in `templateFile`",
                );
                None
            }
            (false, false) => {
                section.problem(
                    "template",
                    "the template is either here or in `templateFile`",
                    "keep one of them",
                );
                None
            }
        }
    }

    fn destination(&mut self, section: &mut Section<'_>) -> Option<PathBuf> {
        let written = section.required_text("destinationFile")?;
        let path = self.base.join(&written);
        if written.ends_with('/') || path.file_name().is_none() {
            section.problem(
                "destinationFile",
                format!("{written:?} is a directory"),
                "name the file itself",
            );
            return None;
        }
        self.take(section, "destinationFile", &path);
        Some(path)
    }
}

/// Permission bits: octal with a leading zero (`0644`, `0o644`), else decimal (`420`), as the original reads them. A
/// number that could be meant as either is refused, with what is wrong and what helps.
fn mode_of(text: &str) -> Result<u32, (String, String)> {
    if text == "0" {
        return Ok(DEFAULT_MODE);
    }
    let digits = text.strip_prefix("0o").or_else(|| text.strip_prefix('0'));
    let bits = match digits {
        Some(octal) if !octal.is_empty() => u32::from_str_radix(octal, 8),
        _ => text.parse(),
    };
    let wrong = |help: String| (format!("`{text}` is not a mode"), help);
    let bits = bits.map_err(|_| wrong("write it in octal with a leading zero, e.g. `0644`".to_owned()))?;
    let octal = u32::from_str_radix(text, 8).ok().filter(|bits| is_usual(*bits));
    match octal {
        Some(_) if digits.is_none() => Err((
            format!("`{text}` without a leading zero is a decimal number, which is hardly meant"),
            format!("write `0{text}`"),
        )),
        _ if bits > 0o777 => Err(wrong("it may have the bits of `0777`, and no others".to_owned())),
        _ if bits & 0o400 == 0 => Err((
            format!("`{text}` is {bits:#05o}: not even the owner could read the file"),
            "write it in octal with a leading zero, e.g. `0644`".to_owned(),
        )),
        _ => Ok(bits),
    }
}

/// Whether a mode is a usual one: the owner may read, and each further class has no right that the one before lacks.
fn is_usual(bits: u32) -> bool {
    let (owner, group, others) = (bits >> 6 & 7, bits >> 3 & 7, bits & 7);
    bits <= 0o777 && owner & 4 != 0 && group & !owner == 0 && others & !group == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_with_a_leading_zero_and_decimal_without() {
        for (text, mode) in [
            ("0", DEFAULT_MODE),
            ("0644", 0o644),
            ("0o640", 0o640),
            ("00600", 0o600),
            ("420", 0o644),
            ("384", 0o600),
            ("416", 0o640),
            ("493", 0o755),
        ] {
            assert_eq!(mode_of(text), Ok(mode), "{text}");
        }
    }

    #[test]
    fn a_mode_that_is_hardly_meant_is_refused() {
        for (text, help) in [
            ("644", "write `0644`"),
            ("600", "write `0600`"),
            ("755", "write `0755`"),
            ("444", "write `0444`"),
        ] {
            assert_eq!(mode_of(text).expect_err("ambiguous").1, help);
        }
        for text in [
            "",
            "rw-r--r--",
            "0o",
            "-1",
            "01777",
            "1023",
            "0044",
            "099",
            "u=rw",
            "4294967296",
        ] {
            assert!(mode_of(text).is_err(), "{text}");
        }
    }
}
