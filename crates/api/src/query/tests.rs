use proptest::prelude::*;

use super::*;

#[test]
fn docker_reads_nearly_everything_as_true() {
    let query = Query::parse("a=1&b=0&c=no&d=False&e=none&f=&g=yes&h&i=%20TRUE");
    let is_true: Vec<_> =
        ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"].map(|name| query.is_true(name)).into();
    assert_eq!(is_true, [true, false, false, false, false, false, true, false, true, false]);
}

#[test]
fn a_query_is_decoded_as_a_form() {
    let query = Query::parse("name=a+b%2Fc%C3%A9&x=1&x=2&&y");
    assert_eq!(query.get("name"), Some("a b/c\u{e9}"));
    assert_eq!(query.get_all("x").collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(query.get("y"), Some(""));
    assert_eq!(query.get("z"), None);
}

#[track_caller]
fn check_size(text: &str, expect: Result<u32, &str>) {
    let got = ResizeQuery::from_query(&Query::parse(text)).map(|size| size.height);
    assert_eq!(got.map_err(|error| error.message), expect.map_err(str::to_owned));
}

#[test]
fn a_size_that_is_no_number_is_refused_in_the_words_of_go() {
    check_size("h=24&w=80", Ok(24));
    check_size("h=x&w=80", Err("strconv.ParseUint: parsing \"x\": invalid syntax"));
    check_size("w=80", Err("strconv.ParseUint: parsing \"\": invalid syntax"));
    check_size("h=-1&w=80", Err("strconv.ParseUint: parsing \"-1\": invalid syntax"));
    check_size(
        "h=4294967296&w=80",
        Err("strconv.ParseUint: parsing \"4294967296\": value out of range"),
    );
}

#[test]
fn defaults_are_left_out_of_a_query() {
    assert_eq!(ContainerListQuery::default().to_query().encode(), "");
    let query = ContainerStopQuery { signal: Some("SIG HUP".into()), timeout: Some(-1) };
    assert_eq!(query.to_query().encode(), "?signal=SIG%20HUP&t=-1");
}

#[test]
fn a_commit_pauses_unless_told_otherwise() {
    let pause = |text| ImageCommitQuery::from_query(&Query::parse(text)).unwrap().pause;
    assert_eq!([pause(""), pause("pause=1"), pause("pause=0")], [None, Some(true), Some(false)]);
    let query = ImageSaveQuery { names: vec!["a".into(), "b:1".into()], platform: Vec::new() };
    assert_eq!(query.to_query().encode(), "?names=a&names=b%3A1");
}

proptest! {
    #[test]
    fn what_is_encoded_is_read_again(pairs in prop::collection::vec((".{1,8}", ".{0,8}"), 0..8)) {
        let query = Query(pairs);
        let text = query.encode();
        prop_assert_eq!(Query::parse(text.strip_prefix('?').unwrap_or(&text)), query);
    }
}
