//! The spec's part of a container's record: modes as their words, limits as numbers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::host::HostRecord;
use crate::spec::{ContainerSpec, StopTimeout, Streams};

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct SpecRecord {
    #[serde(default)]
    image: String,
    #[serde(default)]
    entrypoint: Option<Vec<String>>,
    #[serde(default)]
    command: Option<Vec<String>>,
    #[serde(default)]
    env: Vec<String>,
    #[serde(default)]
    working_dir: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    domainname: String,
    #[serde(default)]
    streams: StreamsRecord,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    volumes: BTreeSet<String>,
    #[serde(default)]
    exposed_ports: BTreeSet<String>,
    #[serde(default)]
    stop_signal: Option<String>,
    #[serde(default)]
    stop_timeout: Option<i64>,
    #[serde(default)]
    on_build: Vec<String>,
    #[serde(default)]
    host: HostRecord,
}

impl SpecRecord {
    pub(crate) fn from_domain(domain: &ContainerSpec) -> Self {
        let ContainerSpec {
            image,
            entrypoint,
            command,
            env,
            working_dir,
            user,
            hostname,
            domainname,
            streams,
            labels,
            volumes,
            exposed_ports,
            stop_signal,
            stop_timeout,
            on_build,
            host,
        } = domain;
        Self {
            image: image.clone(),
            entrypoint: entrypoint.clone(),
            command: command.clone(),
            env: env.clone(),
            working_dir: working_dir.clone(),
            user: user.clone(),
            hostname: hostname.clone(),
            domainname: domainname.clone(),
            streams: StreamsRecord::from_domain(*streams),
            labels: labels.clone(),
            volumes: volumes.clone(),
            exposed_ports: exposed_ports.clone(),
            stop_signal: stop_signal.clone(),
            stop_timeout: stop_timeout.map(StopTimeout::as_seconds),
            on_build: on_build.clone(),
            host: HostRecord::from_domain(host),
        }
    }

    pub(crate) fn into_domain(self) -> Result<ContainerSpec, String> {
        let Self {
            image,
            entrypoint,
            command,
            env,
            working_dir,
            user,
            hostname,
            domainname,
            streams,
            labels,
            volumes,
            exposed_ports,
            stop_signal,
            stop_timeout,
            on_build,
            host,
        } = self;
        Ok(ContainerSpec {
            image,
            entrypoint,
            command,
            env,
            working_dir,
            user,
            hostname,
            domainname,
            streams: streams.into_domain()?,
            labels,
            volumes,
            exposed_ports,
            stop_signal,
            stop_timeout: stop_timeout.map(StopTimeout::from_seconds),
            on_build,
            host: host.into_domain()?,
        })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as the domain has them")]
struct StreamsRecord {
    #[serde(default)]
    tty: bool,
    #[serde(default)]
    open_stdin: bool,
    #[serde(default)]
    stdin_once: bool,
    #[serde(default)]
    attach_stdin: bool,
    #[serde(default)]
    attach_stdout: bool,
    #[serde(default)]
    attach_stderr: bool,
}

impl StreamsRecord {
    fn from_domain(domain: Streams) -> Self {
        let Streams { tty, open_stdin, stdin_once, attach_stdin, attach_stdout, attach_stderr } =
            domain;
        Self { tty, open_stdin, stdin_once, attach_stdin, attach_stdout, attach_stderr }
    }

    fn into_domain(self) -> Result<Streams, String> {
        let Self { tty, open_stdin, stdin_once, attach_stdin, attach_stdout, attach_stderr } = self;
        Ok(Streams { tty, open_stdin, stdin_once, attach_stdin, attach_stdout, attach_stderr })
    }
}
