use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::desired::Service;

fn server(name: &str, address: &str, weight: Option<u16>) -> Server {
    Server {
        node: format!("{name}_0000000007").into(),
        name: name.to_owned(),
        address: address.parse::<SocketAddr>().expect("an address"),
        weight,
        options: "check\r\ninter 1s".to_owned(),
        labels: BTreeMap::from([("az".to_owned(), "b\n}evil{".to_owned())]),
        created: 1_700_000_000_000,
        backup: false,
    }
}

/// Two services, of which the second has no server.
fn desired() -> Desired {
    let servers = vec![
        server("one", "10.0.0.1:80", Some(5)),
        server("t\u{7}wo\n", "[::1]:81", None),
    ];
    let service = |id: &str, servers: Vec<Server>| Service {
        id: id.to_owned(),
        servers: Some(servers.into()),
        remembered: false,
    };
    Desired {
        services: vec![service("web_1", servers), service("db_2", Vec::new())],
    }
}

fn render(text: &str) -> Result<String, TemplateError> {
    let names = [("web_1", "web"), ("db_2", "services_es_es_site_search")];
    let names = names.map(|(id, name)| (id.to_owned(), name.to_owned())).into();
    Template::parse("t.tmpl", text)?.render(&names, &desired())
}

/// What stands in for one report of the first service.
fn of_one(text: &str) -> String {
    let text = format!("{{{{with index . 0}}}}{{{{with index .Reports 0}}}}{text}{{{{end}}}}{{{{end}}}}");
    let rendered = render(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    rendered.trim_end_matches('\n').to_owned()
}

fn error(text: &str) -> String {
    render(text).expect_err("a fault").to_string()
}

/// Go-Synapse's `examples/template.tmpl`, whose lines are joined by its markers.
#[test]
fn the_originals_example() {
    let text = "default:\n  search:\n      hosts: [{{- range . -}}\n\
        {{- if eq .Service.Name \"web\" -}}{{- range .Reports}}'{{.Host}}:{{.Port}}', {{end}}{{- end -}}\n{{- end -}}]\n";
    assert_eq!(
        render(text).expect("it is right"),
        "default:\n  search:\n      hosts: ['10.0.0.1:80', '::1:81', ]\n"
    );
}

#[test]
fn every_field_of_the_original() {
    let text = "{{range .}}{{.Service.Name}}:{{range .Reports}} {{.Host}} {{.Port}} {{.Name}} {{orDef .Weight 1}} \
                {{.Available}} {{.Labels.az}} {{.CreationTime}} {{.HaProxyServerOptions}}{{.UnavailableReason}} \
                {{.Backup}};{{end}}\n{{end}}";
    insta::assert_snapshot!(render(text).expect("it is right"));
}

#[test]
fn text_from_the_registry_adds_no_line() {
    let text = "{{range .}}{{range .Reports}}{{.Name}}{{.HaProxyServerOptions}}{{.Labels}}{{end}}{{end}}";
    let rendered = render(text).expect("it is right");
    let body = rendered.strip_suffix('\n').expect("a newline at the end");
    assert!(!body.contains(char::is_control), "{body:?}");
}

#[test]
fn a_label_that_is_not_there_is_no_fault() {
    assert_eq!(
        of_one("{{if .Labels.rack}}yes{{else}}no{{end}} {{.Labels.rack}}"),
        "no <no value>"
    );
}

#[test]
fn what_does_not_exist_is_found_when_the_template_is_read() {
    insta::assert_snapshot!(error(
        "{{range .}}\n{{.Name}} {{frobnicate .Service.Name}}\n{{range $n, $r := .Reports}}{{.Hots}}{{$n.X}}{{$r.Port}}\
         {{with .Labels}}{{.any}}{{end}}{{$r.Labels.any.more}}{{end}}\n{{end}}{{.Service}}{{template \"gone\" .}}\
         {{if false}}{{datetime}}{{end}}{{(index . 0).Reports.Host}}"
    ));
    assert_eq!(error("a\n{{range .}}"), "t.tmpl:2: `{{range}}` has no `{{end}}`");
    assert_eq!(error("a\n{{.Host"), "t.tmpl:2:8: unclosed action");
}

#[test]
fn what_can_not_be_known_may_have_any_field() {
    let text = "{{define \"one\"}}{{.Host}}{{.Anything}}{{end}}{{$p := pairs \"a\" 1}}{{$p.a}}{{(orDef nil $p).b}}\
                {{$x := .}}{{$x = $p}}{{$x.a}}";
    assert!(Template::parse("t", text).is_ok());
}

#[test]
fn an_error_while_rendering_is_returned() {
    assert_eq!(
        error("{{range .}}{{index .Reports 5}}{{end}}"),
        "t.tmpl: index out of range: 5"
    );
}

/// Each as gtf's and the templater's own documentation has it.
#[test]
fn the_functions_of_the_originals_templater() {
    for (call, result) in [
        (r#"stringReplace " " "a b c""#, "abc"),
        (r#"stringDefault "none" """#, "none"),
        (r#"stringDefault "none" .Name"#, "one"),
        (r#"stringLength "é""#, "2"),
        (r#"stringLower "AB""#, "ab"),
        (r#""ab" | stringUpper"#, "AB"),
        (r#"stringTruncatechars 8 "The Go Programming""#, "The G..."),
        (r#"stringTruncatechars 2 "abc""#, "ab"),
        (r#"stringTruncatechars -1 "abc""#, "abc"),
        (r#"stringUrlencode "a b&c""#, "a+b%26c"),
        (r#"stringWordcount " a  b ""#, "2"),
        ("21 | intDivisibleby 3", "true"),
        ("21 | intDivisibleby 0", "false"),
        (r#"stringLengthIs 1 "é""#, "true"),
        (r#"stringTrim " a ""#, "a"),
        (r#"stringCapfirst "go""#, "Go"),
        (r#"stringCapfirst """#, ""),
        (r#"1 | intPluralize "y,ies""#, "y"),
        (r#"2 | intPluralize "s""#, "s"),
        (r#"2 | intPluralize "a,b,c""#, ""),
        (r#"true | boolYesno "yes" "no""#, "yes"),
        (r#"printf "[%s]" (stringRjust 3 "a")"#, "[  a]"),
        (r#"printf "[%s]" (stringLjust 3 "a")"#, "[a  ]"),
        (r#"printf "[%s]" (stringCenter 4 "a")"#, "[ a  ]"),
        ("filesizeformat 500", "500 bytes"),
        ("filesizeformat 1536", "1.5 KB"),
        ("filesizeformat 1048576", "1 MB"),
        (r#"base "/a/b/""#, "b"),
        (r#"base """#, "."),
        (r#"base "//""#, "/"),
        (r#"dir "/a/b""#, "/a"),
        (r#"dir "/a""#, "/"),
        (r#"dir "a""#, "."),
        (r#"join (split "a,b" ",") "-""#, "a-b"),
        (r#"len (split "abc" "")"#, "3"),
        (r#"toUpper "a""#, "A"),
        (r#"toLower "A""#, "a"),
        (r#"contains "abc" "bc""#, "true"),
        (r#"hasPrefix "abc" "bc""#, "false"),
        (r#"hasSuffix "abc" "bc""#, "true"),
        (r#"replace "aaa" "a" "b" 2"#, "bba"),
        (r#"replace "aaa" "a" "b" -1"#, "bbb"),
        (r#"repeat "ab" 3"#, "ababab"),
        ("orDef nil 7", "7"),
        (r#"index (orDefs nil "a") 0"#, "a"),
        (r#"ifOrDef nil "yes" "no""#, "no"),
        ("isNil nil", "true"),
        (r#"isString "a""#, "true"),
        ("isMap .Labels", "true"),
        ("isArray .Labels", "false"),
        ("add 1 2", "3"),
        ("sub .Port 1", "79"),
        ("mul 2 3", "6"),
        ("div 7 2", "3"),
        ("mod 7 2", "1"),
        (r#"eq .Name "two" "one""#, "true"),
        (r#"eq .Port "80""#, "false"),
        ("eq .Port 80", "true"),
        (r#"(json "{\"a\": {\"b\": 2.5}}").a.b"#, "2.5"),
        (r#"index (jsonArray "[1, null]") 0"#, "1"),
        (r#"index (jsonArray "[\"a\\u000ab\"]") 0"#, "ab"),
        (
            r#"toJson (pairs "b" 1 "a" "<x>")"#,
            "{\n  \"a\": \"\\u003cx\\u003e\",\n  \"b\": 1\n}",
        ),
        (r#"safeName "a b;{}é""#, "a_b____"),
    ] {
        assert_eq!(of_one(&format!("{{{{{call}}}}}")), result, "{call}");
    }
}

#[test]
fn a_function_refuses_what_it_can_not_do() {
    for call in [
        "div 1 0",
        "mod 1 0",
        "mul 9223372036854775807 2",
        r#"repeat "ab" 1000000000"#,
        r#"repeat "ab" -1"#,
        r#"stringRjust 1000000000 "a""#,
        r#"json "[]""#,
        r#"json "{""#,
        r#"pairs "a""#,
        "toUpper 1",
        "toUpper",
        r#"join "a" "b""#,
    ] {
        let error = error(&format!("{{{{{call}}}}}"));
        assert!(error.starts_with("t.tmpl:"), "{call}: {error}");
    }
}

proptest! {
    #[test]
    fn no_template_panics(text in r#"([a-zA-Z .|$"\n{}():=,-]|\{\{|\}\}|if|end|range|with|define|index|\.Reports|\.Name|\$x)*"#) {
        let _outcome = render(&text);
    }

    #[test]
    fn text_without_actions_is_itself_and_a_newline(lines in prop::collection::vec("[a-z:;#]{1,8}", 1..5)) {
        let text = lines.join("\n");
        prop_assert_eq!(render(&text), Ok(format!("{text}\n")));
    }
}
