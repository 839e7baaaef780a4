//! Containers: what is asked for, how they are, what they answered.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::{
    Empty, StrSlice,
    go::{value_or_default, wire},
    host_config::HostConfig,
    mount::MountPoint,
    network::{EndpointSettings, NetworkSettings, NetworkingConfig},
};

wire! {
    /// What a container runs, wherever it runs.
    ContainerConfig {
        hostname: String = "Hostname",
        domainname: String = "Domainname",
        user: String = "User",
        attach_stdin: bool = "AttachStdin",
        attach_stdout: bool = "AttachStdout",
        attach_stderr: bool = "AttachStderr",
        exposed_ports: BTreeMap<String, Empty> = "ExposedPorts" omitempty,
        tty: bool = "Tty",
        open_stdin: bool = "OpenStdin",
        /// Standard input ends when the first attached client leaves.
        stdin_once: bool = "StdinOnce",
        /// `NAME=value` sets, `NAME` alone removes.
        env: Option<Vec<String>> = "Env",
        cmd: Option<StrSlice> = "Cmd",
        healthcheck: Option<HealthConfig> = "Healthcheck" omitempty,
        args_escaped: bool = "ArgsEscaped" omitempty,
        image: String = "Image",
        volumes: Option<BTreeMap<String, Empty>> = "Volumes",
        working_dir: String = "WorkingDir",
        /// Absent is the image's; an empty list, or a list of one empty string, is none.
        entrypoint: Option<StrSlice> = "Entrypoint",
        network_disabled: bool = "NetworkDisabled" omitempty,
        /// Until API 1.44, which has it in each endpoint.
        mac_address: String = "MacAddress" omitempty,
        on_build: Option<Vec<String>> = "OnBuild",
        labels: Option<BTreeMap<String, String>> = "Labels",
        stop_signal: String = "StopSignal" omitempty,
        /// Seconds.
        stop_timeout: Option<i64> = "StopTimeout" omitempty,
        shell: StrSlice = "Shell" omitempty,
    }

    /// How the health of a container is found out. Times are in nanoseconds; zero is inherited.
    HealthConfig {
        /// Empty is the image's, `["NONE"]` is none.
        test: Vec<String> = "Test" omitempty,
        interval: i64 = "Interval" omitempty,
        timeout: i64 = "Timeout" omitempty,
        start_period: i64 = "StartPeriod" omitempty,
        /// Since API 1.44.
        start_interval: i64 = "StartInterval" omitempty,
        retries: i64 = "Retries" omitempty,
    }

    /// The answer to create.
    ContainerCreateResponse {
        id: String = "Id",
        warnings: Vec<String> = "Warnings",
    }

    /// Everything about one container.
    ContainerInspect {
        id: String = "Id",
        created: String = "Created",
        path: String = "Path",
        args: Vec<String> = "Args",
        state: ContainerState = "State",
        /// The image's id.
        image: String = "Image",
        resolv_conf_path: String = "ResolvConfPath",
        hostname_path: String = "HostnamePath",
        hosts_path: String = "HostsPath",
        log_path: String = "LogPath",
        /// With a leading slash.
        name: String = "Name",
        restart_count: i64 = "RestartCount",
        driver: String = "Driver",
        platform: String = "Platform",
        mount_label: String = "MountLabel",
        process_label: String = "ProcessLabel",
        app_armor_profile: String = "AppArmorProfile",
        /// `null` when there are none.
        exec_ids: Option<Vec<String>> = "ExecIDs",
        host_config: HostConfig = "HostConfig",
        graph_driver: DriverData = "GraphDriver",
        /// Bytes, when `size` was asked for.
        size_rw: Option<i64> = "SizeRw" omitempty,
        /// Bytes, when `size` was asked for.
        size_root_fs: Option<i64> = "SizeRootFs" omitempty,
        mounts: Vec<MountPoint> = "Mounts",
        config: ContainerConfig = "Config",
        network_settings: NetworkSettings = "NetworkSettings",
    }

    /// Where a container is in its life.
    ContainerState {
        /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
        status: String = "Status",
        /// Also true when paused.
        running: bool = "Running",
        paused: bool = "Paused",
        restarting: bool = "Restarting",
        oom_killed: bool = "OOMKilled",
        dead: bool = "Dead",
        /// Zero when it does not run.
        pid: i64 = "Pid",
        exit_code: i64 = "ExitCode",
        error: String = "Error",
        /// `0001-01-01T00:00:00Z` is never.
        started_at: String = "StartedAt",
        /// As [`ContainerState::started_at`].
        finished_at: String = "FinishedAt",
        health: Option<Health> = "Health" omitempty,
    }

    /// What the health check found.
    Health {
        status: String = "Status",
        failing_streak: i64 = "FailingStreak",
        log: Option<Vec<HealthcheckResult>> = "Log",
    }

    /// One run of the health check.
    HealthcheckResult {
        start: String = "Start",
        end: String = "End",
        exit_code: i64 = "ExitCode",
        output: String = "Output",
    }

    /// Where the layers of a container or image are.
    DriverData {
        data: Option<BTreeMap<String, String>> = "Data",
        name: String = "Name",
    }

    /// A container in a list.
    ContainerSummary {
        id: String = "Id",
        /// With a leading slash each.
        names: Vec<String> = "Names",
        image: String = "Image",
        image_id: String = "ImageID",
        command: String = "Command",
        /// Seconds since 1970.
        created: i64 = "Created",
        ports: Vec<Port> = "Ports",
        size_rw: i64 = "SizeRw" omitempty,
        size_root_fs: i64 = "SizeRootFs" omitempty,
        labels: BTreeMap<String, String> = "Labels",
        state: String = "State",
        /// For people: `Up 3 minutes`.
        status: String = "Status",
        host_config: SummaryHostConfig = "HostConfig",
        network_settings: SummaryNetworkSettings = "NetworkSettings",
        mounts: Vec<MountPoint> = "Mounts",
    }

    /// The little of the host configuration that a list shows.
    SummaryHostConfig {
        network_mode: String = "NetworkMode" omitempty,
        annotations: BTreeMap<String, String> = "Annotations" omitempty,
    }

    /// The networks that a list shows.
    SummaryNetworkSettings {
        networks: BTreeMap<String, EndpointSettings> = "Networks",
    }

    /// A port in a list.
    Port {
        ip: String = "IP" omitempty,
        private_port: u16 = "PrivatePort",
        public_port: u16 = "PublicPort" omitempty,
        kind: String = "Type",
    }

    /// How a container ended.
    WaitResponse {
        error: Option<WaitExitError> = "Error" omitempty,
        status_code: i64 = "StatusCode",
    }

    /// Why waiting failed.
    WaitExitError {
        message: String = "Message" omitempty,
    }

    /// The processes of a container.
    TopResponse {
        processes: Vec<Vec<String>> = "Processes",
        titles: Vec<String> = "Titles",
    }
}

/// What create is asked for: Go embeds the [`ContainerConfig`] in it, so its fields stand beside
/// `HostConfig` and `NetworkingConfig`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerCreateRequest {
    /// What is run; its fields are the outermost ones on the wire.
    pub config: ContainerConfig,
    /// `HostConfig` on the wire; absent is all defaults.
    pub host_config: Option<HostConfig>,
    /// `NetworkingConfig` on the wire.
    pub networking_config: Option<NetworkingConfig>,
}

impl Serialize for ContainerCreateRequest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error as _;

        let Self { config, host_config, networking_config } = self;
        let Value::Object(mut fields) = serde_json::to_value(config).map_err(S::Error::custom)?
        else {
            return Err(S::Error::custom("the configuration is not an object"));
        };
        if let Some(host_config) = host_config {
            let value = serde_json::to_value(host_config).map_err(S::Error::custom)?;
            fields.insert("HostConfig".to_owned(), value);
        }
        if let Some(networking_config) = networking_config {
            let value = serde_json::to_value(networking_config).map_err(S::Error::custom)?;
            fields.insert("NetworkingConfig".to_owned(), value);
        }
        fields.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ContainerCreateRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RequestVisitor;

        impl<'de> Visitor<'de> for RequestVisitor {
            type Value = ContainerCreateRequest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a container's configuration")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut host_config = None;
                let mut networking_config = None;
                let mut fields = Map::new();
                while let Some(key) = map.next_key::<String>()? {
                    if key.eq_ignore_ascii_case("HostConfig") {
                        host_config = value_or_default(&mut map, "HostConfig")?;
                    } else if key.eq_ignore_ascii_case("NetworkingConfig") {
                        networking_config = value_or_default(&mut map, "NetworkingConfig")?;
                    } else {
                        fields.insert(key, map.next_value()?);
                    }
                }
                let config =
                    serde_json::from_value(Value::Object(fields)).map_err(de::Error::custom)?;
                Ok(ContainerCreateRequest { config, host_config, networking_config })
            }
        }

        deserializer.deserialize_map(RequestVisitor)
    }
}

#[cfg(test)]
mod tests;
