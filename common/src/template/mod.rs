//! Go's `text/template`, as the originals' configuration uses it.
//!
//! Two users: nerve expands its file with the environment, synapse expands `serverOptions` for each server. Both have a
//! flat map of texts as the dot. The language itself is `gotmpl`'s; this file fixes what the originals fix: what an
//! absent field prints, and the functions beyond Go's own.

pub mod blocks;

use std::collections::BTreeMap;

use gotmpl::{MissingKey, Template, Value};

use crate::hash::sha1_hex;

/// Why a template did not render.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template: {0}")]
pub struct TemplateError(pub String);

/// The value of an absent field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// It prints `<no value>` and is false, as in Go.
    PrintsNoValue,
    /// It is an error (Go's `missingkey=error`).
    Fails,
}

/// Renders `text` with `fields` as the dot (`{{ .NAME }}`); an absent field prints `<no value>` as Go does.
pub fn render(text: &str, fields: &BTreeMap<String, String>) -> Result<String, TemplateError> {
    render_with(text, fields, Absent::PrintsNoValue)
}

/// Renders `text` with `fields` as the dot (`{{ .NAME }}`).
///
/// Functions beyond Go's own: `sha1String TEXT` (hex digest), `randString N` (N letters, at most 1024).
pub fn render_with(text: &str, fields: &BTreeMap<String, String>, absent: Absent) -> Result<String, TemplateError> {
    blocks::check(text).map_err(|error| TemplateError(error.to_string()))?;
    let missing = match absent {
        Absent::PrintsNoValue => MissingKey::Invalid,
        Absent::Fails => MissingKey::Error,
    };
    let dot: BTreeMap<String, Value> = fields
        .iter()
        .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
        .collect();
    Template::new(NAME)
        .missing_key(missing)
        .max_range_iters(MAX_ROUNDS)
        .func("sha1String", sha1_string)
        .func("randString", rand_string)
        .parse(text)
        .and_then(|template| template.execute_to_string(&Value::from(dot)))
        .map_err(|error| TemplateError(without_name(&error.to_string())))
}

/// A template must have a name; ours has one text only, so errors are shown without it.
const NAME: &str = "text";

fn without_name(error: &str) -> String {
    error.strip_prefix("template: text:").unwrap_or(error).to_owned()
}

/// Greatest number of iterations of all `range` of a text, because nested loops may take hours.
const MAX_ROUNDS: u64 = 100_000;

/// Greatest length of `randString`: a typo must not exhaust the memory.
const MAX_RANDOM: i64 = 1024;

fn sha1_string(arguments: &[Value]) -> gotmpl::Result<Value> {
    let [Value::String(text)] = arguments else {
        return Err(gotmpl::TemplateError::Exec("sha1String takes one text".to_owned()));
    };
    Ok(Value::from(sha1_hex(text.as_bytes())))
}

fn rand_string(arguments: &[Value]) -> gotmpl::Result<Value> {
    match arguments {
        [Value::Int(length @ 0..=MAX_RANDOM)] => {
            let letters: String = (0..*length).map(|_| fastrand::alphabetic()).collect();
            Ok(Value::from(letters))
        }
        _ => Err(gotmpl::TemplateError::Exec(format!(
            "randString takes one number from 0 to {MAX_RANDOM}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// Renders with the environment most tests share.
    fn expand(text: &str) -> String {
        let environment = fields(&[("NAME", "web"), ("PORT", "80"), ("EMPTY", ""), ("HTML", "<a&b>")]);
        render(text, &environment).expect("the template is right")
    }

    #[test]
    fn fields_and_text() {
        assert_eq!(expand("{name: {{ .NAME }}, port: {{.PORT}}}"), "{name: web, port: 80}");
        assert_eq!(
            expand("{{.HTML}}"),
            "<a&b>",
            "nothing is escaped: this is not html/template"
        );
        assert_eq!(expand("no action at all"), "no action at all");
    }

    #[test]
    fn an_absent_field_prints_no_value() {
        assert_eq!(expand("a: {{ .ABSENT }}"), "a: <no value>");
        assert_eq!(expand("a: {{ .EMPTY }}"), "a: ");
    }

    #[test]
    fn an_absent_field_is_false() {
        assert_eq!(
            expand(r#"{{ or .ABSENT "127.0.0.1" }} {{ or .EMPTY "x" }} {{ or .NAME "x" }}"#),
            "127.0.0.1 x web"
        );
        assert_eq!(expand("{{ if .ABSENT }}yes{{ else }}no{{ end }}"), "no");
        assert_eq!(
            expand("{{ with .NAME }}[{{ . }}]{{ end }}{{ with .ABSENT }}[{{ . }}]{{ end }}"),
            "[web]"
        );
    }

    #[test]
    fn go_s_own_functions() {
        assert_eq!(expand(r#"{{ printf "%s:%s" .NAME .PORT }}"#), "web:80");
        assert_eq!(expand(r#"{{ .NAME | printf "%q" }}"#), r#""web""#);
        assert_eq!(
            expand(r#"{{ if eq .NAME "web" }}same{{ end }} {{ len .NAME }}"#),
            "same 3"
        );
        assert_eq!(
            expand(r#"{{ index . "PORT" }} {{ html .HTML }} {{ urlquery "a b" }}"#),
            "80 &lt;a&amp;b&gt; a+b"
        );
        assert_eq!(expand(r#"{{ js "it's <b>" }}"#), r"it\'s \u003Cb\u003E");
        assert_eq!(
            expand("{{ range $name, $value := . }}{{ $name }}={{ $value }};{{ end }}"),
            { "EMPTY=;HTML=<a&b>;NAME=web;PORT=80;" }
        );
    }

    #[test]
    fn trims_and_comments() {
        assert_eq!(expand("a \n {{- /* not shown */ -}} \n b"), "ab");
        assert_eq!(expand("a {{- .NAME -}} b"), "awebb");
    }

    #[test]
    fn braces_can_be_written() {
        assert_eq!(expand(r#"{{"{{"}}.Username}}"#), "{{.Username}}");
    }

    #[test]
    fn a_whole_file_can_come_from_one_variable() {
        let environment = fields(&[("NERVE_CONF", "services: [{port: {{.P}}}]"), ("P", "8080")]);
        let first = render("{{ .NERVE_CONF }}", &environment).expect("the first pass");
        assert_eq!(first, "services: [{port: {{.P}}}]");
        assert_eq!(
            render(&first, &environment).expect("the second pass"),
            "services: [{port: 8080}]"
        );
    }

    #[test]
    fn server_options_of_the_original() {
        let server = fields(&[("Name", "web1")]);
        assert_eq!(
            render("cookie {{sha1String .Name}} check inter 1s", &server).expect("the template is right"),
            // printf web1 | sha1sum
            "cookie 977588a87e10582032716712ccf5d85d18a5fccf check inter 1s"
        );
    }

    #[test]
    fn random_letters() {
        let text = expand("{{ randString 12 }}");
        assert!(
            text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_alphabetic()),
            "{text}"
        );
        assert_ne!(expand("{{ randString 40 }}"), expand("{{ randString 40 }}"));
        assert_eq!(expand("{{ randString 0 }}"), "");
    }

    #[test]
    fn loops_end() {
        assert_eq!(expand("{{ range 1000 }}a{{ end }}"), "a".repeat(1000));
        let nested = ["{{ range 1000 }}".repeat(3), "{{ end }}".repeat(3)].concat();
        let error = render(&nested, &BTreeMap::new()).expect_err("too much");
        assert_eq!(error.to_string(), "template: range iteration budget exhausted");
    }

    #[test]
    fn errors_have_a_position_and_a_cause() {
        let error = |text: &str| render(text, &fields(&[])).expect_err("must not render").to_string();
        assert_eq!(error("a\nb {{ .NAME"), "template: 2:11: unclosed action");
        assert_eq!(error("a\n{{ if .NAME }}b"), "template: 2: `{{if}}` has no `{{end}}`");
        assert_eq!(error("{{ frobnicate }}"), "template: undefined function: frobnicate");
        assert_eq!(
            error("{{ randString 5000 }}"),
            "template: execution error: randString takes one number from 0 to 1024"
        );
        assert_eq!(
            error("{{ sha1String 5 }}"),
            "template: execution error: sha1String takes one text"
        );
    }

    proptest! {
        #[test]
        fn text_without_braces_is_itself(text in "[^{}]*") {
            prop_assert_eq!(render(&text, &BTreeMap::new()), Ok(text));
        }

        #[test]
        fn no_text_panics(text in r#"([a-z .|$"\n{}()-]|\{\{|\}\}|if|end|range|\.NAME)*"#) {
            let _outcome = render(&text, &fields(&[("NAME", "web")]));
        }
    }
}
