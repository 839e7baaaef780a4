use super::listing::{Listing, Row};
use super::units::{binary_size, human_duration, human_size, parse_bytes};
use super::{command, ellipsis, indent_json, short_id, tabs};
use crate::template::Value;

#[test]
fn durations_are_in_one_unit() {
    let check = |seconds, expect: &str| assert_eq!(human_duration(seconds), expect, "{seconds}");
    check(0, "Less than a second");
    check(1, "1 second");
    check(59, "59 seconds");
    check(60, "About a minute");
    check(119, "About a minute");
    check(120, "2 minutes");
    check(3599, "59 minutes");
    check(3600, "About an hour");
    check(5399, "About an hour");
    check(5400, "2 hours");
    check(47 * 3600, "47 hours");
    check(48 * 3600, "2 days");
    check(14 * 86400, "2 weeks");
    check(61 * 86400, "2 months");
    check(730 * 86400, "2 years");
}

#[test]
fn sizes_have_the_digits_of_docker() {
    let check = |bytes, expect: &str| assert_eq!(human_size(bytes, 3), expect, "{bytes}");
    check(0, "0B");
    check(999, "999B");
    check(1000, "1kB");
    check(4_261_502, "4.26MB");
    check(999_999, "1e+03kB");
    check(117_000_000, "117MB");
    assert_eq!(human_size(1_234_567, 4), "1.235MB");
    assert_eq!(binary_size(25_276_502_016), "23.54GiB");
    assert_eq!(binary_size(64 * 1024 * 1024), "64MiB");
}

#[test]
fn binary_sizes_are_read() {
    let check = |text: &str, expect: Result<i64, &str>| {
        assert_eq!(parse_bytes(text), expect.map_err(String::from), "{text}");
    };
    check("64m", Ok(64 << 20));
    check("1.5GiB", Ok(3 << 29));
    check("10 kB", Ok(10240));
    check("32b", Ok(32));
    check("7", Ok(7));
    check("x", Err("invalid size: 'x'"));
    check("-1", Err("invalid size: '-1'"));
    check("3q", Err("invalid suffix: 'q'"));
    check("3kbb", Err("invalid suffix: 'kbb'"));
    check("1.2.3", Err("strconv.ParseFloat: parsing \"1.2.3\": invalid syntax"));
}

#[test]
fn long_texts_end_in_an_ellipsis() {
    assert_eq!(ellipsis("short", 20), "short");
    assert_eq!(ellipsis("exactly twenty chars", 20), "exactly twenty chars");
    assert_eq!(ellipsis("more than twenty chars", 20), "more than twenty ch…");
    assert_eq!(command("sh -c 'echo hello; sleep 5'", true), "\"sh -c 'echo hello; …\"");
    assert_eq!(command("a \"b\"", false), r#""a \"b\"""#);
    assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
    assert_eq!(short_id("0123456789abcdef"), "0123456789ab");
}

#[test]
fn columns_are_as_wide_as_their_run_of_lines() {
    assert_eq!(
        tabs::align("A\tB\tC\nlonger than ten\tx\ty\n", 3),
        "A                 B         C\nlonger than ten   x         y\n"
    );
    assert_eq!(
        tabs::align("a\tb\nplain\nlong long long\tc\n", 3),
        "a         b\nplain\nlong long long   c\n"
    );
    assert_eq!(tabs::align("é\tb\n", 3), "é         b\n");
}

#[test]
fn json_is_spread_without_other_change() {
    assert_eq!(
        indent_json(r#"[{"a":[],"b":{},"c":[1,"x, \"{y}\u0026"],"d":null}]"#),
        "[\n    {\n        \"a\": [],\n        \"b\": {},\n        \"c\": [\n            1,\n            \"x, \\\"{y}\\u0026\"\n        ],\n        \"d\": null\n    }\n]"
    );
}

fn rows() -> Vec<Row> {
    let row = |id: &str, name: &str| Row {
        type_name: "*formatter.ContainerContext",
        cells: vec![
            ("ID", Value::str(id)),
            ("Names", Value::str(name)),
            ("Labels", Value::str("a=b&c")),
        ],
        labels: vec![("a".into(), "b&c".into())],
    };
    vec![row("0123456789ab", "one"), row("ba9876543210", "another name")]
}

#[track_caller]
fn check(format: &str, expect: Result<&str, &str>) {
    let headings = [("ID", "CONTAINER ID"), ("Names", "NAMES"), ("Labels", "LABELS")];
    let listing = Listing { format, headings: &headings };
    let got = listing.render(rows());
    assert_eq!(got, expect.map(str::to_owned).map_err(str::to_owned), "{format}");
}

#[test]
fn listings_are_tables_json_or_templates() {
    check(
        "table {{.ID}}\\t{{.Names}}\\t{{.Label \"a\"}}",
        Ok(
            "CONTAINER ID   NAMES          a\n0123456789ab   one            b&c\nba9876543210   another name   b&c\n",
        ),
    );
    check("{{upper .Names}}", Ok("ONE\nANOTHER NAME\n"));
    check(
        "json",
        Ok(
            "{\"ID\":\"0123456789ab\",\"Labels\":\"a=b\\u0026c\",\"Names\":\"one\"}\n{\"ID\":\"ba9876543210\",\"Labels\":\"a=b\\u0026c\",\"Names\":\"another name\"}\n",
        ),
    );
    check(
        "{{.Nope}}",
        Err(
            "template parsing error: template: :1:2: executing \"\" at <.Nope>: can't evaluate field Nope in type *formatter.ContainerContext",
        ),
    );
    check("{{", Err("template parsing error: template: :1: unclosed action"));
}
