//! Environment templates: a file is a Go template over the environment before it is YAML.
//!
//! Two passes, as in Go-Nerve: a file that is only `{{ .NERVE_CONF }}` works, with templates inside that variable. The
//! expanded text stays in memory: it may hold secrets.

use std::collections::BTreeMap;

use common::config::Problem;
use common::template;

/// Expands `text` of `file`. Text without `{{` is left alone.
pub(super) fn expand(file: &str, text: String, environment: &BTreeMap<String, String>) -> Result<String, Problem> {
    (0..2).try_fold(text, |text, _pass| {
        if !text.contains("{{") {
            return Ok(text);
        }
        template::render(&text, environment).map_err(|error| {
            let help = "the file is a Go template over the environment, e.g. `{{ .POD_NAME }}`; a literal `{{` is written `{{\"{{\"}}`";
            Problem::of_file(file, error.to_string(), help)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str, variables: &[(&str, &str)]) -> Result<String, Problem> {
        let environment = variables.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        expand("nerve.yaml", text.to_owned(), &environment)
    }

    #[test]
    fn text_without_a_template_is_left_alone() {
        assert_eq!(expanded("a: $b %c", &[]).expect("plain"), "a: $b %c");
    }

    #[test]
    fn a_variable_may_hold_templates_itself() {
        let text = expanded("{{ .CONF }}", &[("CONF", "port: {{.PORT}}"), ("PORT", "80")]);
        assert_eq!(text.expect("two passes"), "port: 80");
    }

    #[test]
    fn a_broken_template_is_a_problem_of_the_file() {
        let problem = expanded("a: {{ .X", &[]).expect_err("broken");
        assert_eq!(problem.file, "nerve.yaml");
    }
}
