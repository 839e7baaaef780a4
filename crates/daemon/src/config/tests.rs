use clap::Parser as _;

use super::*;

fn load(flags: &[&str], file: &str) -> anyhow::Result<Config> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("daemon.json");
    fs::write(&path, file).unwrap();
    let all = ["ferryd", "--config-file", path.to_str().unwrap()];
    let loaded = Config::load(Flags::parse_from(all.iter().chain(flags)));
    loaded.map_err(|error| {
        anyhow::anyhow!(format!("{error:#}").replace(path.to_str().unwrap(), "FILE"))
    })
}

#[track_caller]
fn check_refused(flags: &[&str], file: &str, expect: &str) {
    let got = load(flags, file).unwrap_err().to_string();
    assert_eq!(got, format!("unable to configure the Docker daemon with file FILE: {expect}"));
}

#[test]
fn an_empty_file_is_all_defaults() {
    assert_eq!(load(&[], "").unwrap(), Config::default());
    assert_eq!(load(&[], "{}").unwrap(), Config::default());
}

#[test]
fn a_flag_is_the_same_as_a_key() {
    let flags = load(
        &[
            "-H",
            "unix:///run/x.sock",
            "-D",
            "--data-root=/d",
            "--default-ulimit",
            "nofile=1:2",
            "--log-opt",
            "max-size=5m",
            "--dns",
            "1.1.1.1",
            "--bip",
            "10.9.0.1/24",
            "--label",
            "a=b",
            "--default-shm-size=128m",
            "--shutdown-timeout=5",
            "-s",
            "erofs",
            "--init",
        ],
        "",
    );
    let file = load(
        &[],
        r#"{"hosts":["unix:///run/x.sock"],"debug":true,"data-root":"/d",
            "default-ulimits":{"nofile":{"Name":"nofile","Soft":1,"Hard":2}},
            "log-opts":{"max-size":"5m"},"dns":["1.1.1.1"],"bip":"10.9.0.1/24","labels":["a=b"],
            "default-shm-size":"128M","shutdown-timeout":5,"storage-driver":"erofs","init":true}"#,
    );
    let flags = flags.unwrap();
    assert_eq!(flags, file.unwrap());
    assert_eq!(flags.defaults.shm_size, Some(128 << 20));
    assert_eq!(flags.shutdown_timeout, Duration::from_secs(5));
}

#[test]
fn what_is_not_known_is_refused_in_the_words_of_dockerd() {
    check_refused(
        &[],
        r#"{"debug":true,"nope":1,"bogus":2}"#,
        "the following directives don't match any configuration option: nope, bogus",
    );
    check_refused(
        &["-D"],
        r#"{"debug":false}"#,
        "the following directives are specified both as a flag and in the configuration file: \
         debug: (from flag: true, from file: false)",
    );
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    check_refused(
        &[],
        r#"{"userns-remap":"default"}"#,
        "ferry does not support the option userns-remap with the value \"default\" yet",
    );
    check_refused(&["--tls"], "", "ferry does not support the option tls with the value true yet");
    check_refused(
        &["--default-runtime=kata"],
        "",
        "ferry does not support the runtime \"kata\" yet; there is only \"ferry\"",
    );
    load(&[], r#"{"iptables":true,"features":{},"live-restore":true}"#).unwrap();
}

#[test]
fn everyone_is_not_let_in_by_accident() {
    check_refused(
        &["-H", "tcp://0.0.0.0:2375"],
        "",
        "refusing to listen on tcp://0.0.0.0:2375 without TLS, which lets everyone who can reach \
         it become root; to do so nevertheless, say --tls=false",
    );
    load(&["-H", "tcp://0.0.0.0:2375", "--tls=false"], "").unwrap();
    load(&["-H", "tcp://127.0.0.1:2375"], "").unwrap();
}

#[test]
fn a_file_that_was_asked_for_must_be_there() {
    let flags = Flags::parse_from(["ferryd", "--config-file", "/nonexistent/daemon.json"]);
    let error = format!("{:#}", Config::load(flags).unwrap_err());
    assert!(error.contains("/nonexistent/daemon.json"), "{error}");
}

#[test]
fn registries_are_configured_as_dockerd_has_it() {
    let flags = [
        "--registry-mirror=https://m.example",
        "--insecure-registry=10.0.0.0/8",
        "--insecure-registry=r.example:5000",
        "--max-concurrent-downloads=7",
        "--max-download-attempts=2",
        "--https-proxy=http://p:1",
        "--no-proxy=localhost",
    ];
    let file = r#"{"registry-mirrors":["https://m.example/"],"max-concurrent-downloads":7,
        "insecure-registries":["10.0.0.0/8","http://r.example:5000"],"max-download-attempts":2,
        "proxies":{"https-proxy":"http://p:1","no-proxy":"localhost"}}"#;
    let config = load(&flags, "").unwrap();
    assert_eq!(config, load(&[], file).unwrap());
    assert_eq!(config.registries.mirrors, ["https://m.example/"]);
    assert!(config.registries.insecure.iter().any(|one| one.covers_host("10.1.2.3:5000")));
    assert_eq!((config.transfers.downloads, config.registries.attempts), (7, 2));
    let environment = [("HTTPS_PROXY", "http://e:2"), ("HTTP_PROXY", "http://e:1")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let proxy = config.with_proxies_of(environment).registries.proxy;
    assert_eq!(proxy.https.as_deref(), Some("http://p:1"));
    assert_eq!(proxy.http.as_deref(), Some("http://e:1"));
    check_refused(&["--max-concurrent-uploads=-1"], "", "invalid max concurrent uploads: -1");
    check_refused(
        &["--registry-mirror=m.example"],
        "",
        "invalid mirror: no scheme specified for \"m.example\": must use either 'https://' or \
         'http://'",
    );
    check_refused(
        &[],
        r#"{"proxies":{"ftp-proxy":"x"}}"#,
        "the following directives don't match any configuration option: ftp-proxy",
    );
}
