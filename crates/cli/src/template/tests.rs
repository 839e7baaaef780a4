use super::schema::typed;
use super::{Mode, Template, Value};

/// Executes as `docker inspect` does: on the struct, then on the untyped JSON.
fn inspect(text: &str, json: &serde_json::Value) -> Result<String, String> {
    let template =
        Template::parse(text).map_err(|error| format!("template parsing error: {error}"))?;
    let mut out = String::new();
    let structure = typed(json, "container.InspectResponse");
    if template.execute(&structure, Mode::Plain, &mut out).is_ok() {
        return Ok(out);
    }
    out.clear();
    template
        .execute(&Value::untyped(json), Mode::Strict, &mut out)
        .map_err(|error| format!("template parsing error: {error}"))?;
    Ok(out)
}

fn without_addresses(text: &str) -> String {
    let mut parts = text.split("0x");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_hexdigit());
        out.push_str(if part.len() - rest.len() >= 6 { "0xADDRESS" } else { "0x" });
        out.push_str(if part.len() - rest.len() >= 6 { rest } else { part });
    }
    out
}

/// Executes as `docker version` does: on the struct, printing what came before an error and a
/// newline.
fn version(text: &str, json: &serde_json::Value) -> (String, Result<(), String>) {
    let mut out = String::new();
    let template = match Template::parse_named("version", text) {
        Ok(template) => template,
        Err(error) => return (out, Err(format!("template parsing error: {error}"))),
    };
    let result = template.execute(&typed(json, "system.versionInfo"), Mode::Plain, &mut out);
    out.push('\n');
    (out, result)
}

/// Compares recorded outputs with those of `execute`.
#[track_caller]
fn compare(cases: &str, least: usize, execute: impl Fn(&str) -> (String, Result<(), String>)) {
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in cases.lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| case[key].as_str().unwrap().to_owned();
        let (stdout, result) = execute(&text("template"));
        let stderr = result.err().map(|error| format!("{error}\n")).unwrap_or_default();
        count += 1;
        let stdout = without_addresses(&stdout);
        if stdout != text("stdout") || stderr != text("stderr") {
            wrong.push(format!(
                "{}\n  expected {:?} {:?}\n  got      {stdout:?} {stderr:?}",
                text("template"),
                text("stdout"),
                text("stderr"),
            ));
        }
    }
    assert!(count > least, "only {count} cases were read");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_recorded_case_of_docker_inspect_is_the_same() {
    let container = serde_json::from_str(include_str!("oracle/container.json")).unwrap();
    compare(include_str!("oracle/cases.jsonl"), 70, |text| match inspect(text, &container) {
        Ok(out) => (format!("{out}\n"), Ok(())),
        Err(error) => ("\n".into(), Err(error)),
    });
}

#[test]
fn every_recorded_case_of_docker_version_is_the_same() {
    let json = serde_json::from_str(include_str!("oracle/version.json")).unwrap();
    compare(include_str!("oracle/version.jsonl"), 60, |text| version(text, &json));
}

/// The data of the checks below.
fn data() -> Value {
    Value::untyped(&serde_json::json!({
        "s": "hello", "l": ["a", "b", "c"], "m": {"k": "v"}, "n": null, "t": true, "e": "",
    }))
}

#[track_caller]
fn check(text: &str, expect: &str) {
    let mut out = String::new();
    let result = Template::parse(text).and_then(|it| it.execute(&data(), Mode::Plain, &mut out));
    match result {
        Ok(()) => assert_eq!(out, expect, "{text}"),
        Err(error) => assert_eq!(error, expect, "{text}"),
    }
}

#[test]
fn control_structures_nest_and_jump() {
    check("{{if .e}}1{{else if .t}}2{{else}}3{{end}}", "2");
    check("{{with .e}}1{{else with .s}}{{.}}{{end}}", "hello");
    check("{{range .l}}{{if eq . \"b\"}}{{continue}}{{end}}{{.}}{{end}}", "ac");
    check("{{range $i, $e := .l}}{{if $i}},{{end}}{{$e}}{{end}}", "a,b,c");
    check("{{range .n}}x{{else}}none{{end}}", "none");
    check("{{range 3}}{{.}}{{end}}", "012");
    check("{{$x := 1}}{{range .l}}{{$x = .}}{{end}}{{$x}}", "c");
    check("{{block \"b\" .s}}<{{.}}>{{end}}", "<hello>");
}

#[test]
fn space_is_trimmed_where_it_is_asked() {
    check("a  {{- .s -}}  b", "ahellob");
    check("a {{- /* c */ -}} b", "ab");
    check("{{ -3 }}", "-3");
    check("{{- .s }} {{ .s -}}\n", "hello hello");
}

#[test]
fn functions_follow_go() {
    check("{{and .t .s}} {{or .e .s}} {{not .e}}", "hello hello true");
    check("{{.s | printf \"%-8s|\" | upper}}", "HELLO   |");
    check("{{len .s}} {{index .l 1}} {{index .m \"k\"}} {{slice .s 1 3}}", "5 b v el");
    check("{{eq 1 1}} {{lt 1 2}} {{ge \"b\" \"a\"}} {{ne .s \"x\"}}", "true true true true");
    check("{{eq .s \"x\" \"hello\"}}", "true");
    check("{{print 1 2 \"a\" \"b\"}} {{println 1 \"a\"}}", "1 2ab 1 a\n");
    check("{{title \"a b-c\"}} {{pad \"x\" 1 2}}| {{truncate \"abc\" 2}}", "A B-C  x  | ab");
    check("{{html \"<'&\\\">\"}} {{urlquery \"a b&c\"}}", "&lt;&#39;&amp;&#34;&gt; a+b%26c");
    check("{{json .l}} {{json \"<a>\"}}", "[\"a\",\"b\",\"c\"] \"<a>\"");
    check("{{.nope}} {{.n}}", "<no value> <no value>");
    check("{{'a'}} {{0x10}} {{1.5}} {{1e3}}", "97 16 1.5 1000");
}

#[test]
fn printf_has_the_verbs_of_go() {
    check(
        "{{printf \"%5d|%-5d|%05d|%+d|%x|%#x|%o|%b|%c|%U\" 42 42 42 42 42 42 42 5 65 65}}",
        "   42|42   |00042|+42|2a|0x2a|52|101|A|U+0041",
    );
    check(
        "{{printf \"%.2f|%6.1f|%e|%g\" 3.14159 2.55 1234.5 0.5}}",
        "3.14|   2.5|1.234500e+03|0.5",
    );
    check(
        "{{printf \"%q|%x|%8s|%-8s|%.3s\" \"a\\\"b\" \"hi\" \"r\" \"l\" \"cutoff\"}}",
        "\"a\\\"b\"|6869|       r|l       |cut",
    );
    check("{{printf \"%v %T %t\" .l .s true}}", "[a b c] string true");
    check(
        "{{printf \"%d\" \"x\"}} {{printf \"%s\"}} {{printf \"%s\" 1 2}}",
        "%!d(string=x) %!s(MISSING) %!s(int=1)%!(EXTRA int=2)",
    );
    check("{{printf \"%[2]s %[1]s %%\" \"a\" \"b\"}} {{printf \"%*d\" 4 7}}", "b a %    7");
}

#[test]
fn mistakes_are_told_in_the_words_of_go() {
    let at = "template: :1";
    check("{{", &format!("{at}: unclosed action"));
    check("{{.s", &format!("{at}: unclosed action"));
    check("{{}}", &format!("{at}: missing value for command"));
    check("{{nope}}", &format!("{at}: function \"nope\" not defined"));
    check("{{if .s}}", &format!("{at}: unexpected EOF"));
    check("{{end}}", &format!("{at}: unexpected {{{{end}}}}"));
    check("{{.s}", &format!("{at}: bad character U+007D '}}'"));
    check("{{\"abc}}", &format!("{at}: unterminated quoted string"));
    check("{{$x}}", &format!("{at}: undefined variable \"$x\""));
    check("{{(.s}}", &format!("{at}: unclosed left paren"));
    check("{{break}}", &format!("{at}: {{{{break}}}} outside {{{{range}}}}"));
    check("{{.s | 3}}", &format!("{at}: non executable command in pipeline stage 2"));
    check(
        "{{template \"x\"}}",
        &format!("{at}:11: executing \"\" at <{{{{template \"x\"}}}}>: template \"x\" not defined"),
    );
    check("{{upper 3}}", &format!("{at}:8: executing \"\" at <3>: expected string; found 3"));
    check(
        "{{upper}}",
        &format!("{at}:2: executing \"\" at <upper>: wrong number of args for upper: want 1 got 0"),
    );
    check(
        "{{lt 1 \"a\"}}",
        &format!(
            "{at}:2: executing \"\" at <lt 1 \"a\">: error calling lt: incompatible types for comparison"
        ),
    );
    check(
        "{{.s.x}}",
        &format!("{at}:4: executing \"\" at <.s.x>: can't evaluate field x in type interface {{}}"),
    );
    check(
        "{{len 3}}",
        &format!("{at}:2: executing \"\" at <len 3>: error calling len: len of type int"),
    );
}
