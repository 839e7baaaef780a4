//! Which redirections are followed. Pure.

use http::{Method, StatusCode, Uri};

/// An answer that may be a redirection.
pub(super) struct Question<'a> {
    pub(super) status: StatusCode,
    /// Its `Location`.
    pub(super) location: Option<&'a [u8]>,
    /// What was asked.
    pub(super) method: &'a Method,
    /// Of whom.
    pub(super) url: &'a Uri,
    /// Whether anything is sent, which would have to be sent again.
    pub(super) has_body: bool,
    /// Whether the way may lead from TLS to none: it proves nothing in any case.
    pub(super) may_drop_tls: bool,
}

/// Where the same request goes next; nothing when the answer is no redirection.
///
/// # Errors
/// The reason, when it is one that is not followed.
pub(super) fn plan(question: &Question<'_>) -> Result<Option<Uri>, String> {
    let Question { status, method, url, .. } = question;
    let keeps_method = match status.as_u16() {
        // The method of these becomes GET, so that nothing else can be meant by them.
        301..=303 => matches!(**method, Method::GET | Method::HEAD),
        307 | 308 => true,
        _ => return Ok(None),
    };
    if !keeps_method {
        return Err(format!("a redirection by status {} is not followed", status.as_u16()));
    }
    let location = question.location.ok_or("a redirection without a location")?;
    let location = str::from_utf8(location)
        .map_err(|error| format!("a redirection to what is no text: {error}"))?;
    let next = resolve_location(url, location)?;
    let scheme = |url: &Uri| url.scheme_str().unwrap_or_default().to_ascii_lowercase();
    if scheme(url) == "https" && scheme(&next) == "http" && !question.may_drop_tls {
        return Err("a redirection from HTTPS to HTTP is not followed".to_owned());
    }
    // What is posted may be a password: it goes to nobody but to whom it was said.
    let may_be_secret = question.has_body && **method == Method::POST;
    if may_be_secret && !crate::endpoint::is_same_origin(url, &next) {
        return Err("a redirection of what is posted to another host is not followed".to_owned());
    }
    Ok(Some(next))
}

/// Where a `Location` or a `Link` of an answer leads that is no redirection: not from HTTPS to HTTP.
/// A registry behind a proxy may believe that it speaks HTTP; its own address is made right.
///
/// # Errors
/// The reason, when it leads nowhere, or to another host without TLS.
pub(crate) fn resolve_securely(base: &Uri, location: &str) -> Result<Uri, String> {
    let url = resolve_location(base, location)?;
    let is_weaker = url.scheme_str() == Some("http") && base.scheme_str() == Some("https");
    if !is_weaker {
        return Ok(url);
    }
    if url.authority() != base.authority() {
        return Err("it is another host without TLS".to_owned());
    }
    let mut parts = url.into_parts();
    parts.scheme = Some(http::uri::Scheme::HTTPS);
    Uri::from_parts(parts).map_err(|error| error.to_string())
}

/// Where a `Location` or a `Link` leads from a URL. [RFC 3986, section 5.2]
///
/// # Errors
/// The reason, when it leads nowhere, to neither HTTP nor HTTPS, or has a user or a password.
pub(crate) fn resolve_location(base: &Uri, location: &str) -> Result<Uri, String> {
    let location = location.trim();
    let location = location.split('#').next().unwrap_or_default();
    let scheme = base.scheme_str().unwrap_or("https");
    let authority = base.authority().map_or("", |authority| authority.as_str());
    let (path, query) = location.split_once('?').map_or((location, None), |(p, q)| (p, Some(q)));
    let full = if let Some(scheme) = scheme_of(location) {
        if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
            return Err("the location is neither HTTP nor HTTPS".to_owned());
        }
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else {
        let path = match path {
            "" => base.path().to_owned(),
            absolute if absolute.starts_with('/') => without_dots(absolute),
            relative => {
                let directory = base.path().rsplit_once('/').map_or("", |(directory, _)| directory);
                without_dots(&format!("{directory}/{relative}"))
            }
        };
        // An empty reference means the very same, with its query.
        let query = query.or_else(|| base.query().filter(|_| location.is_empty()));
        let query = query.map_or_else(String::new, |query| format!("?{query}"));
        format!("{scheme}://{authority}{path}{query}")
    };
    // Not told: what stands in it may be signed.
    let url: Uri = full.parse().map_err(|error| format!("the location is no URL: {error}"))?;
    if url.host().is_none_or(str::is_empty) {
        return Err("the location has no host".to_owned());
    }
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("the location has a user in it".to_owned());
    }
    Ok(url)
}

fn scheme_of(location: &str) -> Option<&str> {
    let (scheme, _) = location.split_once(':')?;
    let is_one = scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_one.then_some(scheme)
}

/// Removes `.` and `..`. [RFC 3986, section 5.2.4]
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in path.strip_prefix('/').unwrap_or(path).split('/') {
        ends_open = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    if ends_open {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn resolve(location: &str, expect: Result<&str, &str>) {
        let base = "https://h:5000/v2/a/b?c=d".parse().unwrap();
        let found = resolve_location(&base, location).map(|url| url.to_string());
        match (found, expect) {
            (Ok(found), Ok(expect)) => assert_eq!(found, expect, "{location}"),
            (Err(found), Err(expect)) => assert!(found.contains(expect), "{location}: {found}"),
            (found, expect) => panic!("{location}: {found:?}, not {expect:?}"),
        }
    }

    #[test]
    fn locations_are_resolved() {
        resolve("http://x/y?z#f", Ok("http://x/y?z"));
        resolve("//x/y", Ok("https://x/y"));
        resolve("/y/../z/./?q=/../", Ok("https://h:5000/z/?q=/../"));
        resolve("y:z/../w?q", Err("neither"));
        resolve("y/sha256:ab", Ok("https://h:5000/v2/a/y/sha256:ab"));
        resolve("../../../../y", Ok("https://h:5000/y"));
        resolve("?_state=1", Ok("https://h:5000/v2/a/b?_state=1"));
        resolve("", Ok("https://h:5000/v2/a/b?c=d"));
        resolve("..", Ok("https://h:5000/v2/"));
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        resolve("file:///etc/passwd", Err("neither"));
        resolve("https://me:s3cret@x/", Err("user"));
        resolve("https://", Err(""));
        resolve("//", Err(""));
        resolve("/a b", Err("no URL"));
        resolve("https://ä/", Err("no URL"));
    }

    /// Where a request of this method at `https://h/v2/` goes, or why it does not.
    #[track_caller]
    fn check(
        method: Method,
        has_body: bool,
        status: u16,
        to: &str,
        expect: Result<Option<&str>, &str>,
    ) {
        let url = "https://h/v2/".parse().unwrap();
        let question = Question {
            status: StatusCode::from_u16(status).unwrap(),
            location: Some(to.as_bytes()),
            method: &method,
            url: &url,
            has_body,
            may_drop_tls: false,
        };
        let found = plan(&question).map(|url| url.map(|url| url.to_string()));
        match (&found, expect) {
            (Ok(found), Ok(expect)) => assert_eq!(found.as_deref(), expect),
            (Err(why), Err(expect)) => assert!(why.contains(expect), "{why}"),
            _ => panic!("{found:?}, not {expect:?}"),
        }
    }

    #[test]
    fn each_redirection_has_its_rule() {
        for status in [301, 302, 303, 307, 308] {
            for method in [Method::GET, Method::HEAD] {
                check(method, false, status, "https://x/y", Ok(Some("https://x/y")));
            }
        }
        for status in [200, 202, 300, 304, 404] {
            check(Method::GET, false, status, "https://x/y", Ok(None));
        }
        for status in [307, 308] {
            check(Method::PUT, true, status, "https://x/y", Ok(Some("https://x/y")));
            check(Method::PATCH, true, status, "/y", Ok(Some("https://h/y")));
            check(Method::POST, true, status, "/y", Ok(Some("https://h/y")));
            check(Method::POST, false, status, "https://x/y", Ok(Some("https://x/y")));
            check(Method::POST, true, status, "https://x/y", Err("posted"));
        }
        for status in [301, 302, 303] {
            check(Method::PUT, true, status, "/y", Err("by status"));
            check(Method::POST, false, status, "/y", Err("by status"));
        }
        check(Method::GET, false, 302, "http://h/y", Err("HTTPS to HTTP"));
    }

    #[test]
    fn who_proves_nothing_may_lead_anywhere() {
        let url = "https://h/".parse().unwrap();
        let question = |location, may_drop_tls| Question {
            status: StatusCode::FOUND,
            location,
            method: &Method::GET,
            url: &url,
            has_body: false,
            may_drop_tls,
        };
        assert!(plan(&question(Some(b"http://x/"), true)).unwrap().is_some());
        assert!(plan(&question(None, true)).is_err());
        assert!(plan(&question(Some(b"/\xff"), true)).is_err());
    }
}
