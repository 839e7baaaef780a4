use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(text: &str, expect: &str) {
    let got = match Filters::parse(text) {
        Ok(filters) => filters.encode(),
        Err(error) => error.to_string(),
    };
    assert_eq!(got, expect);
}

#[test]
fn both_forms_are_read() {
    check("", "{}");
    check("null", "{}");
    check(r#"{"label":["b","a"]}"#, r#"{"label":{"a":true,"b":true}}"#);
    check(r#"{"label":{"b":true,"a":false}}"#, r#"{"label":{"a":true,"b":true}}"#);
    check(r#"{"label":null}"#, r#"{"label":{}}"#);
}

#[test]
fn anything_else_is_an_invalid_filter() {
    for text in ["{", "[]", "3", r#"{"a":"b"}"#, r#"{"a":[1]}"#, r#"{"a":{"b":1}}"#] {
        check(text, "invalid filter");
    }
}

#[test]
fn an_unknown_filter_is_named() {
    let filters = Filters::parse(r#"{"bogus":["x"],"label":["y"]}"#).unwrap();
    assert_eq!(filters.check(&["label"]).unwrap_err().to_string(), "invalid filter 'bogus'");
    filters.check(&["label", "bogus"]).unwrap();
}

#[test]
fn a_boolean_filter_has_one_truth() {
    let boolean = |text: &str| Filters::parse(text).unwrap().boolean("dangling");
    assert_eq!(boolean("{}"), Ok(None));
    assert_eq!(boolean(r#"{"dangling":["1"]}"#), Ok(Some(true)));
    assert_eq!(boolean(r#"{"dangling":["false"]}"#), Ok(Some(false)));
    assert_eq!(
        boolean(r#"{"dangling":["x"]}"#).unwrap_err().to_string(),
        "invalid filter 'dangling=[x]'"
    );
    assert!(boolean(r#"{"dangling":["1","0"]}"#).is_err());
}

proptest! {
    #[test]
    fn what_is_encoded_is_read_again(pairs in prop::collection::vec((".{0,8}", ".{0,8}"), 0..8)) {
        let mut filters = Filters::default();
        for (name, value) in pairs {
            filters.add(name, value);
        }
        prop_assert_eq!(Filters::parse(&filters.encode()).unwrap(), filters);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,64}") {
        if let Ok(filters) = Filters::parse(&text) {
            prop_assert!(filters.iter().count() <= text.len());
        }
    }
}
