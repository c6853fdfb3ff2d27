//! Environment templates: a file is a Go template over the environment before it is YAML.
//!
//! Two passes, as in Go-Nerve: a file that is only `{{ .NERVE_CONF }}` works, with templates inside that variable. The
//! expanded text stays in memory, for it may hold secrets; what is said about the file names variables, not their values.

use std::collections::BTreeMap;

use common::config::Problem;
use common::template::{self, Absent};

/// A shorter value is no secret, and hiding it would garble what is said.
const SHORTEST_HIDDEN: usize = 4;

/// A text with its templates expanded.
#[derive(Default)]
pub(super) struct Expanded {
    pub(super) text: String,
    /// The variables that the text names, and their values; the longest value first, for it may hold others.
    used: Vec<(String, String)>,
}

impl Expanded {
    /// `problem` with the names of variables for their values.
    pub(super) fn hide(&self, mut problem: Problem) -> Problem {
        for text in [&mut problem.key, &mut problem.what, &mut problem.help] {
            for (name, value) in &self.used {
                if text.contains(value) {
                    *text = text.replace(value, &format!("{{{{ .{name} }}}}"));
                }
            }
        }
        problem
    }
}

/// Expands `text` of `file`; when `strict`, a variable that is not set is a problem. Text without `{{` is left alone.
pub(super) fn expand(
    file: &str,
    mut text: String,
    environment: &BTreeMap<String, String>,
    strict: bool,
) -> Result<Expanded, Problem> {
    let absent = if strict { Absent::Fails } else { Absent::PrintsNoValue };
    let mut used = BTreeMap::new();
    for _pass in 0..2 {
        if !text.contains("{{") {
            break;
        }
        let named = environment
            .iter()
            .filter(|(name, value)| value.len() >= SHORTEST_HIDDEN && text.contains(name.as_str()));
        used.extend(named.map(|(name, value)| (name.clone(), value.clone())));
        text = template::render_with(&text, environment, absent).map_err(|error| {
            let help = "the file is a Go template over the environment, e.g. `{{ .POD_NAME }}`; a literal `{{` is written `{{\"{{\"}}`";
            Problem::of_file(file, error.to_string(), help)
        })?;
    }
    let mut used: Vec<_> = used.into_iter().collect();
    used.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
    Ok(Expanded { text, used })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
        variables.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    fn expanded(text: &str, variables: &[(&str, &str)], strict: bool) -> Result<String, Problem> {
        expand("nerve.yaml", text.to_owned(), &environment(variables), strict).map(|expanded| expanded.text)
    }

    #[test]
    fn text_without_a_template_is_left_alone() {
        assert_eq!(expanded("a: $b %c", &[], true).expect("plain"), "a: $b %c");
    }

    #[test]
    fn a_variable_may_hold_templates_itself() {
        for strict in [false, true] {
            let text = expanded("{{ .CONF }}", &[("CONF", "port: {{.PORT}}"), ("PORT", "80")], strict);
            assert_eq!(text.expect("two passes"), "port: 80");
        }
    }

    #[test]
    fn a_broken_template_is_a_problem_of_the_file() {
        let problem = expanded("a: {{ .X", &[], false).expect_err("broken");
        assert_eq!(problem.file, "nerve.yaml");
    }

    #[test]
    fn an_absent_variable_is_named_when_strict() {
        assert_eq!(
            expanded("a: {{ .GONE }}", &[], false).expect("lenient"),
            "a: <no value>"
        );
        for text in ["a: {{ .GONE }}", "a: {{ .CONF }}", "{{ if .GONE }}a{{ end }}"] {
            let problem = expanded(text, &[("CONF", "{{ .GONE }}")], true).expect_err("strict");
            assert!(problem.what.contains("GONE"), "{problem}");
        }
        assert_eq!(
            expanded("a: {{ .SET }}", &[("SET", "")], true).expect("it is set"),
            "a: "
        );
    }

    #[test]
    fn values_are_hidden_by_their_names() {
        let variables = environment(&[
            ("SECRET", "hunter2"),
            ("LONGER", "hunter2hunter3"),
            ("OTHER", "is no"),
            ("P", "80"),
        ]);
        let text = "a: {{ .SECRET }}\nb: {{ .LONGER }}\nc: {{ .P }}".to_owned();
        let expanded = expand("nerve.yaml", text, &variables, true).expect("good");
        let problem = Problem::of_file("nerve.yaml", "`hunter2` is no 80, nor is hunter2hunter3", "not hunter2");
        let hidden = expanded.hide(problem);
        assert_eq!(hidden.what, "`{{ .SECRET }}` is no 80, nor is {{ .LONGER }}");
        assert_eq!(hidden.help, "not {{ .SECRET }}");
    }
}
