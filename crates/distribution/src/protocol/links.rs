//! The next page of a list. [RFC 8288; OCI distribution, listing tags]

/// The target of the link with the relation `next` in the value of a `Link` header, as it stands
/// there: mostly a path with a query.
pub fn next_link(value: &str) -> Option<String> {
    let mut rest = value;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, parameters) = after.split_once('>')?;
        let end = end_of_link(parameters);
        let (parameters, others) = parameters.split_at(end);
        if parameters.split(';').any(is_next) {
            return Some(target.trim().to_owned()).filter(|target| !target.is_empty());
        }
        rest = others;
    }
}

/// Where the comma after a link is; commas in quotes are none.
fn end_of_link(parameters: &str) -> usize {
    let mut quoted = false;
    let end = parameters.find(|letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    });
    end.unwrap_or(parameters.len())
}

fn is_next(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
    name.trim().eq_ignore_ascii_case("rel")
        && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expect: Option<&str>) {
        assert_eq!(next_link(value).as_deref(), expect, "{value}");
    }

    #[test]
    fn the_next_page_is_found() {
        check(r#"</v2/a/tags/list?last=b&n=2>; rel="next""#, Some("/v2/a/tags/list?last=b&n=2"));
        check("<https://h/x>;rel=next", Some("https://h/x"));
        check(r#"<a>; rel="prev"; title="x, <y>", <b>; REL="last Next""#, Some("b"));
    }

    #[test]
    fn other_links_are_no_next_page() {
        check(r#"<a>; rel="prev""#, None);
        check(r#"<a>; rev="next""#, None);
        check(r#"<>; rel="next""#, None);
        check("next", None);
        check("<a", None);
        check("", None);
    }
}
