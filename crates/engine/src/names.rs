//! Names of containers and volumes: what they may be, and names that are made up.

/// What is wrong with a container's name, in Docker's words.
#[must_use]
pub(crate) fn container_fault(name: &str) -> Option<String> {
    let fits = name.len() >= 2 && follows_grammar(name);
    (!fits).then(|| {
        format!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    })
}

/// What is wrong with a volume's name, in Docker's words.
#[must_use]
pub(crate) fn volume_fault(name: &str) -> Option<String> {
    if name.len() == 1 {
        return Some(
            "volume name is too short, names should be at least two alphanumeric characters"
                .to_owned(),
        );
    }
    (!follows_grammar(name)).then(|| {
        format!(
            "\"{name}\" includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, \
             use absolute path"
        )
    })
}

/// The longest name that is a file name on all file systems.
const LONGEST: usize = 255;

fn follows_grammar(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= LONGEST
        && bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

const ADJECTIVES: [&str; 64] = [
    "able", "agile", "amber", "apt", "bold", "brave", "bright", "brisk", "calm", "candid",
    "cheerful", "clever", "cosy", "crisp", "curious", "daring", "deft", "dreamy", "eager",
    "earnest", "fair", "fervent", "fond", "frank", "gentle", "gifted", "glad", "hardy", "hopeful",
    "humble", "jolly", "keen", "kind", "lively", "loyal", "lucid", "mellow", "merry", "mild",
    "modest", "neat", "nimble", "noble", "patient", "placid", "polite", "proud", "quick", "quiet",
    "ready", "robust", "serene", "sharp", "silent", "smart", "spry", "steady", "sturdy", "sunny",
    "tidy", "vivid", "warm", "wise", "witty",
];

const NAMES: [&str; 64] = [
    "abel",
    "ampere",
    "archimedes",
    "babbage",
    "banach",
    "bell",
    "bohr",
    "boole",
    "born",
    "brahe",
    "cantor",
    "carson",
    "cauchy",
    "curie",
    "darwin",
    "dijkstra",
    "dirac",
    "euclid",
    "euler",
    "faraday",
    "fermat",
    "fermi",
    "feynman",
    "franklin",
    "galileo",
    "galois",
    "gauss",
    "germain",
    "goedel",
    "goodall",
    "hamilton",
    "herschel",
    "hertz",
    "hilbert",
    "hodgkin",
    "hopper",
    "huygens",
    "hypatia",
    "johnson",
    "joule",
    "kepler",
    "klein",
    "knuth",
    "kovalevskaya",
    "lamarr",
    "laplace",
    "leibniz",
    "lovelace",
    "maxwell",
    "meitner",
    "mendel",
    "newton",
    "noether",
    "pascal",
    "pasteur",
    "pauling",
    "planck",
    "ptolemy",
    "riemann",
    "shannon",
    "tesla",
    "turing",
    "volta",
    "wing",
];

/// A name made up; after some attempts with a number, since names run out.
#[must_use]
pub(crate) fn make_up(random: [u8; 3], attempt: usize) -> String {
    let adjective = ADJECTIVES[usize::from(random[0]) % ADJECTIVES.len()];
    let name = NAMES[usize::from(random[1]) % NAMES.len()];
    match attempt {
        0 => format!("{adjective}_{name}"),
        _ => format!("{adjective}_{name}{}", usize::from(random[2]) + attempt * 256),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dockers_grammar() {
        for good in ["ab", "A.b-c_d", "0x"] {
            assert_eq!(container_fault(good), None, "{good}");
        }
        for bad in ["", "a", "$$", "-ab", "a/b", "a b", "é2", &"a".repeat(256)] {
            assert!(container_fault(bad).is_some(), "{bad}");
        }
        assert_eq!(
            container_fault("$$").unwrap(),
            "Invalid container name ($$), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        );
        assert!(volume_fault("a").unwrap().contains("too short"));
        assert!(volume_fault("..").is_some());
    }

    #[test]
    fn made_up_names_are_valid_and_differ_by_attempt() {
        for byte in 0..=255 {
            for attempt in 0..3 {
                assert_eq!(container_fault(&make_up([byte; 3], attempt)), None);
            }
        }
        assert_ne!(make_up([1; 3], 1), make_up([1; 3], 2));
    }
}
