//! From a commit's body to the configuration of an image.

use std::collections::BTreeMap;

use ferry_api::{ContainerConfig, HealthConfig, StrSlice};
use ferry_oci::image::{Empty, Healthcheck, RunConfig};

/// Converts what of a container's configuration an image has.
pub(crate) fn run_config(config: ContainerConfig) -> RunConfig {
    let ContainerConfig {
        hostname,
        domainname,
        user,
        // How a client sits at a container is nothing that images have.
        attach_stdin: _,
        attach_stdout: _,
        attach_stderr: _,
        exposed_ports,
        tty: _,
        open_stdin: _,
        stdin_once: _,
        env,
        cmd,
        healthcheck,
        args_escaped,
        // It is the container's.
        image: _,
        volumes,
        working_dir,
        entrypoint,
        network_disabled: _,
        mac_address: _,
        on_build,
        labels,
        stop_signal,
        stop_timeout,
        shell,
    } = config;
    let list = |StrSlice(list): StrSlice| list;
    RunConfig {
        hostname,
        domainname,
        user,
        exposed_ports: Some(set(exposed_ports)).filter(|ports| !ports.is_empty()),
        env,
        entrypoint: entrypoint.map(list),
        cmd: cmd.map(list),
        volumes: volumes.map(set),
        working_dir,
        labels,
        stop_signal,
        stop_timeout,
        args_escaped,
        healthcheck: healthcheck.map(health),
        on_build,
        shell: Some(list(shell)).filter(|shell| !shell.is_empty()),
    }
}

fn set(names: BTreeMap<String, ferry_api::Empty>) -> BTreeMap<String, Empty> {
    names.into_keys().map(|name| (name, Empty {})).collect()
}

fn health(check: HealthConfig) -> Healthcheck {
    let HealthConfig { test, interval, timeout, start_period, start_interval, retries } = check;
    Healthcheck {
        test: Some(test).filter(|test| !test.is_empty()),
        interval,
        timeout,
        start_period,
        start_interval,
        retries,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_image_has_is_taken() {
        let text = r#"{"Cmd":"ls","Env":["Q=1"],"ExposedPorts":{"80/tcp":{}},"Tty":true,
            "Healthcheck":{"Test":["CMD","x"],"Retries":2},"Shell":["bash"]}"#;
        let config = run_config(serde_json::from_str(text).unwrap());
        assert_eq!(config.cmd, Some(vec!["ls".to_owned()]));
        assert_eq!(config.env, Some(vec!["Q=1".to_owned()]));
        assert!(config.exposed_ports.unwrap().contains_key("80/tcp"));
        assert_eq!(config.healthcheck.unwrap().retries, 2);
        assert_eq!(config.shell, Some(vec!["bash".to_owned()]));
        assert_eq!((config.entrypoint, config.volumes, config.labels), (None, None, None));
    }
}
