//! Environment templates: a file is a Go template over the environment before it is YAML.
//!
//! Two passes, as in Go-Nerve: a file that is only `{{ .NERVE_CONF }}` works, with templates inside that variable. Unlike
//! there the second pass needs such a variable: otherwise braces that the file has escaped would not survive it. The
//! expanded text stays in memory, because it may hold secrets; messages about the file name variables, not their values.

use std::collections::BTreeMap;

use common::config::Problem;
use common::template::{self, Absent};

/// A shorter value is no secret, and hiding it would garble messages.
const MIN_HIDDEN_LEN: usize = 4;

/// A text with its templates expanded.
#[derive(Default)]
pub(super) struct Expanded {
    pub(super) text: String,
    /// What the file's author should know.
    pub(super) warnings: Vec<Problem>,
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
    let is_whole = is_one_action(&text);
    let mut pass = |text: &str| {
        let named = environment
            .iter()
            .filter(|(name, value)| value.len() >= MIN_HIDDEN_LEN && text.contains(name.as_str()));
        used.extend(named.map(|(name, value)| (name.clone(), value.clone())));
        template::render_with(text, environment, absent).map_err(|error| {
            let help = "the file is a Go template over the environment, e.g. `{{ .POD_NAME }}`; a literal `{{` is written `{{\"{{\"}}`";
            Problem::of_file(file, error.to_string(), help)
        })
    };
    let mut warnings = Vec::new();
    if text.contains("{{") {
        text = pass(&text)?;
        let nested = nested(&text, environment);
        if !nested.is_empty() {
            text = pass(&text)?;
        }
        if !is_whole {
            warnings.extend(nested.into_iter().map(|name| {
                let what = format!("the variable `{name}` holds a template, which is expanded as well");
                Problem::of_file(file, what, "as in Go-Nerve; set the variable to its plain value")
            }));
        }
    }
    let mut used: Vec<_> = used.into_iter().collect();
    used.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
    Ok(Expanded { text, warnings, used })
}

/// Whether a file is nothing but one variable, or the like: then its templates are meant.
fn is_one_action(text: &str) -> bool {
    let action = text.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    action.is_some_and(|action| !action.contains("{{"))
}

/// The variables that brought templates into `text`. A writer of one can have every other variable shown.
fn nested<'a>(text: &str, environment: &'a BTreeMap<String, String>) -> Vec<&'a str> {
    let nested = environment
        .iter()
        .filter(|(_, value)| value.contains("{{") && text.contains(value.as_str()));
    nested.map(|(name, _)| name.as_str()).collect()
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
    fn braces_that_are_escaped_once_survive() {
        let escaped = r#"a: {{"{{"}}.Host}}{{ .P }}"#;
        assert_eq!(expanded(escaped, &[("P", "80")], true).expect("good"), "a: {{.Host}}80");
        let inside = expanded("{{ .CONF }}", &[("CONF", escaped), ("P", "80")], true);
        assert_eq!(inside.expect("good"), "a: {{.Host}}80");
    }

    #[test]
    fn a_template_in_a_variable_is_warned_of_unless_the_file_is_nothing_else() {
        let variables = environment(&[("CONF", "{{ .P }}"), ("P", "80"), ("CONFIG", "{{ .P}}")]);
        let warned = |text: &str| {
            let expanded = expand("nerve.yaml", text.to_owned(), &variables, false).expect("good");
            let warnings = expanded.warnings.iter().map(ToString::to_string);
            warnings.collect::<Vec<_>>().concat()
        };
        assert_eq!(warned("{{ .CONF }}\n"), "");
        assert_eq!(warned("port: {{ .P }}"), "");
        let warning = warned("port: {{ .CONF }}\nname: {{ .P }}");
        assert!(warning.contains("`CONF`") && !warning.contains("`CONFIG`"), "{warning}");
        assert!(warned("{{ .CONF }}{{ .P }}").contains("`CONF`"));
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
