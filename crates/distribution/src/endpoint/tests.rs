use std::path::Path;

use super::*;
use crate::config::parse_hosts_toml;

#[track_caller]
fn check_id(base: &str, expect: &str) {
    assert_eq!(EndpointId::new(&base.parse().unwrap()).as_str(), expect);
}

#[test]
fn an_endpoint_is_named_without_secrets() {
    check_id("https://registry-1.docker.io", "https://registry-1.docker.io");
    check_id("https://user:pass@mirror:5000/v2/?ns=docker.io", "https://mirror:5000/v2");
    check_id("http://[::1]:5000/", "http://[::1]:5000");
}

fn config() -> RegistryConfig {
    RegistryConfig {
        mirrors: vec!["https://mirror.example".into(), "http://10.0.0.9:5000/".into()],
        insecure: vec!["10.0.0.0/8".parse().unwrap(), "lax.example:5000".parse().unwrap()],
        ..RegistryConfig::default()
    }
}

#[test]
fn a_range_means_the_addresses_of_names_too() {
    let is = |host: &str, addresses: &str| {
        let found = |_: &str| addresses.split(' ').filter_map(|one| one.parse().ok()).collect();
        is_insecure_at(&config(), host, |_| Vec::new(), found)
    };
    assert!(is("registry.lan:5000", "10.1.2.3"));
    assert!(!is("registry.lan:5000", "192.168.0.1"));
    assert!(!is("registry.lan:5000", "10.1.2.3 192.168.0.1"));
    assert!(!is("registry.lan:5000", "nowhere"));
    assert!(is("lax.example:5000", "nowhere"));
    // A word of the name service does not lay Docker's own registry open.
    assert!(!is("docker.io", "10.1.2.3"));
    // Addresses need no lookup.
    assert!(is("10.1.2.3:5000", "nowhere") && is("[::1]:5000", "nowhere"));
    assert!(!is("192.168.0.1", "10.1.2.3"));
    // Without a range of its own nothing is asked.
    let plain = RegistryConfig::default();
    let never = |name: &str| panic!("{name} was looked up");
    assert!(!is_insecure_at(&plain, "ghcr.io", |_| Vec::new(), never));
}

#[test]
fn only_this_machine_says_that_a_name_is_this_machine() {
    let hosts = "127.0.0.1 localhost\n127.0.1.1\tregistry Registry.test # one\n\
                 ::1 both\n192.168.0.1 both\n#127.0.0.1 off\n10.0.0.1 far";
    let is = |host: &str| {
        let local = |name: &str| hosts_entries(hosts, name);
        let found = |_: &str| vec!["127.0.0.1".parse().unwrap()];
        is_insecure_at(&config(), host, local, found)
    };
    assert!(is("registry:5000") && is("registry.TEST") && is("localhost:5000"));
    assert!(is("registry.localhost"));
    for name in ["ghcr.io", "both", "off", "far:5000"] {
        assert!(!is(name), "{name}");
    }
}

fn all(name: &str, hosts: &str) -> Vec<Endpoint> {
    let name = Reference::parse(name).unwrap();
    let domain = name.domain().to_owned();
    let files = move |host: &str| {
        let own = !hosts.is_empty() && host == domain;
        let hosts = own.then(|| parse_hosts_toml(hosts, Path::new("/c")).unwrap());
        let ca = vec![Path::new("/c").join(host).join("ca.crt")];
        Ok(RegistryFiles { hosts, certs: CertsDir { ca, client: Vec::new() } })
    };
    endpoints(&config(), &name, &files).unwrap()
}

/// URL of `/v2/`, then `!` when unproved, `m` for a mirror, `p` for one that is pushed to.
#[track_caller]
fn check(name: &str, hosts: &str, expect: &[&str]) {
    let shown = all(name, hosts).into_iter().map(|endpoint| {
        let url = endpoint.url("/v2/", &[]).unwrap();
        let mark = |is: bool, mark: &'static str| if is { mark } else { "" };
        format!(
            "{url} {}{}{}",
            mark(endpoint.is_insecure(), "!"),
            mark(endpoint.is_mirror, "m"),
            mark(endpoint.role.push, "p")
        )
    });
    assert_eq!(shown.collect::<Vec<_>>(), expect, "{name}");
}

#[test]
fn mirrors_are_those_of_docker_only() {
    check(
        "busybox",
        "",
        &[
            "https://mirror.example/v2/ m",
            "http://10.0.0.9:5000/v2/ !m",
            "https://registry-1.docker.io/v2/ p",
        ],
    );
    check("quay.io/a/b", "", &["https://quay.io/v2/ p"]);
}

#[test]
fn whom_we_trust_may_speak_plainly() {
    let both = |host: &str| [format!("https://{host}/v2/ !p"), format!("http://{host}/v2/ !p")];
    for host in ["localhost:5000", "127.0.0.1:5000", "10.1.2.3", "lax.example:5000", "[::1]:5000"] {
        let both = both(host);
        check(&format!("{host}/a"), "", &both.each_ref().map(String::as_str));
    }
    check("lax.example/a", "", &["https://lax.example/v2/ p"]);
    check("11.1.2.3/a", "", &["https://11.1.2.3/v2/ p"]);
    check("localhost.example/a", "", &["https://localhost.example/v2/ p"]);
}

#[test]
fn the_file_of_a_registry_says_who_is_asked() {
    check(
        "r.example/a",
        "[host.'https://z.example']\ncapabilities=['pull']\n[host.'http://b.example/x/v2']\n\
         override_path=false\n[host.'https://c.example/root']\noverride_path=true",
        &[
            "https://z.example/v2/?ns=r.example m",
            "http://b.example/x/v2/?ns=r.example !mp",
            "https://c.example/root/?ns=r.example mp",
            "https://r.example/v2/ p",
        ],
    );
    check(
        "r.example/a",
        "server='https://other.example'\nskip_verify=true",
        &["https://other.example/v2/?ns=r.example !p"],
    );
    check(
        "busybox",
        "server='https://docker.io'\n[host.'https://z.example']",
        &[
            "https://z.example/v2/?ns=docker.io mp",
            "https://mirror.example/v2/ m",
            "http://10.0.0.9:5000/v2/ !m",
            "https://registry-1.docker.io/v2/ p",
        ],
    );
}

#[test]
fn certificates_are_those_of_each_host() {
    let tls: Vec<_> = all("busybox", "[host.'https://z']\nca='z.crt'")
        .into_iter()
        .map(|endpoint| endpoint.tls.ca)
        .collect();
    let paths = |path: &str| vec![PathBuf::from(path)];
    assert_eq!(
        tls,
        [
            paths("/c/z.crt"),
            paths("/c/mirror.example/ca.crt"),
            paths("/c/10.0.0.9:5000/ca.crt"),
            paths("/c/docker.io/ca.crt")
        ]
    );
    let tls: Vec<_> = all("localhost:5000/a", "").into_iter().map(|e| e.tls.ca.len()).collect();
    assert_eq!(tls, [1, 0]);
}

#[test]
fn one_logs_in_at_the_registry_itself() {
    let files = |_: &str| Ok(RegistryFiles::default());
    for server in ["docker.io", "index.docker.io"] {
        let found = server_endpoints(&config(), server, &files).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].id.as_str(), "https://registry-1.docker.io");
    }
    assert_eq!(server_endpoints(&config(), "localhost:5000", &files).unwrap().len(), 2);
    assert!(server_endpoints(&config(), "no host", &files).is_err());
}

#[test]
fn a_mirror_that_is_no_url_is_told_without_its_password() {
    let mirrors = vec!["https://me:s3cret@mirror.example".into()];
    let config = RegistryConfig { mirrors, ..RegistryConfig::default() };
    let name = Reference::parse("busybox").unwrap();
    let error = endpoints(&config, &name, &|_| Ok(RegistryFiles::default())).unwrap_err();
    assert!(error.to_string().starts_with("mirror mirror.example is not valid"), "{error}");
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

#[test]
fn queries_are_escaped() {
    let endpoint = &all("quay.io/a", "")[0];
    let query = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let url = endpoint
        .url("/v2/a/blobs/uploads/", &[query("mount", "sha256:ab"), query("from", "a b&c/d")])
        .unwrap();
    assert_eq!(url, "https://quay.io/v2/a/blobs/uploads/?mount=sha256:ab&from=a%20b%26c/d");
    let more = [("digest", "x")].into_iter();
    assert_eq!(with_query("https://h/u?_state=1", more).unwrap(), "https://h/u?_state=1&digest=x");
    assert!(endpoint.url("/v2/ä b", &[]).is_err());
}

#[test]
fn an_origin_is_scheme_host_and_port() {
    let same = |a: &str, b: &str| is_same_origin(&a.parse().unwrap(), &b.parse().unwrap());
    assert!(same("https://H.example/a", "https://h.EXAMPLE:443/b?c"));
    assert!(!same("https://h", "http://h"));
    assert!(!same("http://h", "http://h:81"));
    assert!(!same("http://h", "http://h.evil"));
    assert!(!same("http://h@evil/", "http://h/"));
    assert!(!same("/v2/", "/v2/"));
}

#[test]
fn headers_of_an_endpoint_are_not_shown() {
    let endpoint =
        &all("r.example/a", "[host.'https://z']\n[host.'https://z'.header]\nx='s3cret'")[0];
    assert_eq!(endpoint.headers, [("x".to_owned(), "s3cret".to_owned())]);
    assert!(!format!("{endpoint:?}").contains("s3cret"));
}
