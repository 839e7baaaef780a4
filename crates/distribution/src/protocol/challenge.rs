//! What a server wants to know before it answers. [RFC 9110, section 11.6.1]

/// How one proves who one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// By a user's name and password. [RFC 7617]
    Basic,
    /// By a token, which another server gives. [RFC 6750, Docker token authentication]
    Bearer,
    /// In a way that is not known here; the word is in lower case.
    Other(String),
}

/// One way of proving who one is. What was not said is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// How.
    pub scheme: Scheme,
    /// Where the proof counts; with [`Scheme::Bearer`] the URL that gives tokens.
    pub realm: String,
    /// For whom a token is to be.
    pub service: String,
    /// What a token is to allow.
    pub scope: String,
    /// Why the token that was sent did not do.
    pub error: String,
}

/// Reads the value of a `WWW-Authenticate` header, which may have several challenges. What makes
/// no sense is left out.
pub fn parse_challenges(value: &str) -> Vec<Challenge> {
    let mut words = Words { rest: value };
    let mut found: Vec<Challenge> = Vec::new();
    loop {
        words.skip(", \t");
        let Some(word) = words.token() else {
            // Neither the end nor the beginning of a word: nothing after it can be trusted.
            break;
        };
        words.skip(" \t");
        if words.eat('=') {
            words.skip(" \t");
            // A padded token68 ends with more of these; it names nothing we know.
            words.skip("=");
            let value = words.value();
            if let (Some(challenge), Some(value)) = (found.last_mut(), value) {
                challenge.set(word, value);
            }
        } else {
            found.push(Challenge::new(word));
        }
    }
    found
}

impl Challenge {
    fn new(scheme: &str) -> Self {
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "basic" => Scheme::Basic,
            "bearer" => Scheme::Bearer,
            other => Scheme::Other(other.to_owned()),
        };
        let [realm, service, scope, error] = Default::default();
        Self { scheme, realm, service, scope, error }
    }

    fn set(&mut self, name: &str, value: String) {
        let field = match name.to_ascii_lowercase().as_str() {
            "realm" => &mut self.realm,
            "service" => &mut self.service,
            "scope" => &mut self.scope,
            "error" => &mut self.error,
            _ => return,
        };
        // The first counts: a server says each parameter once.
        if field.is_empty() {
            *field = value;
        }
    }
}

struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn skip(&mut self, these: &str) {
        self.rest = self.rest.trim_start_matches(|letter| these.contains(letter));
    }

    fn eat(&mut self, letter: char) -> bool {
        let rest = self.rest.strip_prefix(letter);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// A token of RFC 9110, and what stands in a token68 besides (`/`).
    fn token(&mut self) -> Option<&'a str> {
        let is_part =
            |letter: char| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(letter);
        let end = self.rest.find(|letter| !is_part(letter)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    /// A token, or a text in quotes; one whose end is missing is none.
    fn value(&mut self) -> Option<String> {
        if !self.eat('"') {
            // Some servers send URLs without quotes.
            let end = self.rest.find([',', ' ', '\t']).unwrap_or(self.rest.len());
            let (value, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Some(value.to_owned());
        }
        let mut text = String::new();
        let mut letters = self.rest.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.rest = self.rest.get(at + 1..).unwrap_or_default();
                    return Some(text);
                }
                '\\' => text.extend(letters.next().map(|(_, escaped)| escaped)),
                other => text.push(other),
            }
        }
        self.rest = "";
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(value: &str, expect: &[(Scheme, &str, &str, &str, &str)]) {
        let challenges = parse_challenges(value);
        let challenges: Vec<_> = challenges
            .iter()
            .map(|c| (c.scheme.clone(), &*c.realm, &*c.service, &*c.scope, &*c.error))
            .collect();
        assert_eq!(challenges, expect, "{value}");
    }

    #[test]
    fn challenges_of_registries_are_read() {
        check(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:samalba/my-app:pull,push",error="invalid_token""#,
            &[(
                Scheme::Bearer,
                "https://auth.docker.io/token",
                "registry.docker.io",
                "repository:samalba/my-app:pull,push",
                "invalid_token",
            )],
        );
        check(r#"Basic realm="Registry Realm""#, &[(Scheme::Basic, "Registry Realm", "", "", "")]);
        check("basic", &[(Scheme::Basic, "", "", "", "")]);
        check("", &[]);
    }

    #[test]
    fn several_in_one_header_are_told_apart() {
        // The example of RFC 9110, section 11.6.1.
        check(
            r#"Basic realm="simple", Newauth realm="apps", type=1, title="Login to \"apps\"""#,
            &[
                (Scheme::Basic, "simple", "", "", ""),
                (Scheme::Other("newauth".into()), "apps", "", "", ""),
            ],
        );
        check(
            r#"Negotiate dG9rZW4=, BEARER realm = "x" , service=y"#,
            &[
                (Scheme::Other("negotiate".into()), "", "", "", ""),
                (Scheme::Bearer, "x", "y", "", ""),
            ],
        );
    }

    #[test]
    fn what_is_odd_is_read_as_far_as_it_goes() {
        check(
            "Bearer realm=https://a/token,service=s",
            &[(Scheme::Bearer, "https://a/token", "s", "", "")],
        );
        check(r#"Bearer realm="a\"b\\c""#, &[(Scheme::Bearer, r#"a"b\c"#, "", "", "")]);
        check(r#"Bearer realm="open"#, &[(Scheme::Bearer, "", "", "", "")]);
        check(r#"Bearer realm="a",realm="b""#, &[(Scheme::Bearer, "a", "", "", "")]);
        check("realm=lost", &[]);
        check("Bearer (", &[(Scheme::Bearer, "", "", "", "")]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_an_end(value in r#"(Bearer|Basic|[a-z]{1,3}|=|"|\\|,| |é|\(){0,24}"#) {
            prop_assert!(parse_challenges(&value).len() <= value.len());
        }
    }
}
