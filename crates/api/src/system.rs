//! The engine itself.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{container::ContainerSummary, go::wire, image::ImageSummary, volume::Volume};

/// What the headers of `/_ping` say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ping {
    /// `Api-Version`: the newest that the engine serves.
    pub api_version: String,
    /// `Ostype`.
    pub os_type: String,
    /// `Docker-Experimental`.
    pub is_experimental: bool,
    /// `Builder-Version`.
    pub builder_version: String,
    /// `Swarm`.
    pub swarm: String,
}

wire! {
    /// The answer to `/version`.
    SystemVersion {
        platform: Platform = "Platform",
        components: Vec<Component> = "Components" omitempty,
        version: String = "Version",
        api_version: String = "ApiVersion",
        min_api_version: String = "MinAPIVersion" omitempty,
        git_commit: String = "GitCommit",
        /// The compiler, here Rust's.
        go_version: String = "GoVersion",
        os: String = "Os",
        arch: String = "Arch",
        kernel_version: String = "KernelVersion" omitempty,
        experimental: bool = "Experimental" omitempty,
        build_time: String = "BuildTime" omitempty,
    }

    /// The product's name.
    Platform {
        name: String = "Name",
    }

    /// A part of the engine.
    Component {
        name: String = "Name",
        version: String = "Version",
        details: BTreeMap<String, String> = "Details" omitempty,
    }

    /// The answer to `/info`.
    SystemInfo {
        id: String = "ID",
        containers: i64 = "Containers",
        containers_running: i64 = "ContainersRunning",
        containers_paused: i64 = "ContainersPaused",
        containers_stopped: i64 = "ContainersStopped",
        images: i64 = "Images",
        driver: String = "Driver",
        driver_status: Vec<[String; 2]> = "DriverStatus",
        plugins: Plugins = "Plugins",
        memory_limit: bool = "MemoryLimit",
        swap_limit: bool = "SwapLimit",
        kernel_memory: bool = "KernelMemory" omitempty,
        kernel_memory_tcp: bool = "KernelMemoryTCP" omitempty,
        cpu_cfs_period: bool = "CpuCfsPeriod",
        cpu_cfs_quota: bool = "CpuCfsQuota",
        cpu_shares: bool = "CPUShares",
        cpu_set: bool = "CPUSet",
        pids_limit: bool = "PidsLimit",
        ipv4_forwarding: bool = "IPv4Forwarding",
        debug: bool = "Debug",
        /// Open descriptors.
        n_fd: i64 = "NFd",
        oom_kill_disable: bool = "OomKillDisable",
        /// Tasks, here.
        n_goroutines: i64 = "NGoroutines",
        system_time: String = "SystemTime",
        logging_driver: String = "LoggingDriver",
        cgroup_driver: String = "CgroupDriver",
        cgroup_version: String = "CgroupVersion" omitempty,
        n_events_listener: i64 = "NEventsListener",
        kernel_version: String = "KernelVersion",
        operating_system: String = "OperatingSystem",
        os_version: String = "OSVersion",
        os_type: String = "OSType",
        architecture: String = "Architecture",
        index_server_address: String = "IndexServerAddress",
        registry_config: Option<RegistryConfig> = "RegistryConfig",
        n_cpu: i64 = "NCPU",
        /// Bytes.
        mem_total: i64 = "MemTotal",
        generic_resources: Option<Vec<Value>> = "GenericResources",
        docker_root_dir: String = "DockerRootDir",
        http_proxy: String = "HttpProxy",
        https_proxy: String = "HttpsProxy",
        no_proxy: String = "NoProxy",
        name: String = "Name",
        labels: Vec<String> = "Labels",
        experimental_build: bool = "ExperimentalBuild",
        server_version: String = "ServerVersion",
        runtimes: BTreeMap<String, Runtime> = "Runtimes",
        default_runtime: String = "DefaultRuntime",
        swarm: SwarmInfo = "Swarm",
        live_restore_enabled: bool = "LiveRestoreEnabled",
        isolation: String = "Isolation",
        init_binary: String = "InitBinary",
        containerd_commit: Commit = "ContainerdCommit",
        runc_commit: Commit = "RuncCommit",
        init_commit: Commit = "InitCommit",
        security_options: Vec<String> = "SecurityOptions",
        product_license: String = "ProductLicense" omitempty,
        firewall_backend: Option<FirewallBackend> = "FirewallBackend" omitempty,
        cdi_spec_dirs: Option<Vec<String>> = "CDISpecDirs",
        containerd: Option<Containerd> = "Containerd" omitempty,
        warnings: Option<Vec<String>> = "Warnings",
    }

    /// The drivers and plugins that there are.
    Plugins {
        volume: Vec<String> = "Volume",
        network: Vec<String> = "Network",
        authorization: Option<Vec<String>> = "Authorization",
        log: Vec<String> = "Log",
    }

    /// How registries are reached.
    RegistryConfig {
        index_configs: BTreeMap<String, IndexInfo> = "IndexConfigs",
        insecure_registry_cidrs: Vec<String> = "InsecureRegistryCIDRs",
        mirrors: Option<Vec<String>> = "Mirrors",
    }

    /// How one registry is reached.
    IndexInfo {
        mirrors: Vec<String> = "Mirrors",
        name: String = "Name",
        official: bool = "Official",
        secure: bool = "Secure",
    }

    /// An OCI runtime.
    Runtime {
        path: String = "path" omitempty,
        runtime_args: Vec<String> = "runtimeArgs" omitempty,
        runtime_type: String = "runtimeType" omitempty,
        options: BTreeMap<String, Value> = "options" omitempty,
        status: BTreeMap<String, String> = "status" omitempty,
    }

    /// The node's part in a swarm.
    SwarmInfo {
        node_id: String = "NodeID",
        node_addr: String = "NodeAddr",
        local_node_state: String = "LocalNodeState",
        control_available: bool = "ControlAvailable",
        error: String = "Error",
        remote_managers: Option<Vec<Value>> = "RemoteManagers",
    }

    /// The revision of a helper program.
    Commit {
        id: String = "ID",
        expected: String = "Expected" omitempty,
    }

    /// What filters packets. Since API 1.49.
    FirewallBackend {
        driver: String = "Driver",
        info: Vec<[String; 2]> = "Info" omitempty,
    }

    /// Where containerd is, of an engine that has one.
    Containerd {
        address: String = "Address" omitempty,
        namespaces: ContainerdNamespaces = "Namespaces",
    }

    /// Its namespaces.
    ContainerdNamespaces {
        containers: String = "Containers",
        plugins: String = "Plugins",
    }

    /// The answer to `/system/df`.
    DiskUsage {
        /// Bytes of all layers, each counted once.
        layers_size: i64 = "LayersSize",
        images: Vec<ImageSummary> = "Images",
        containers: Vec<ContainerSummary> = "Containers",
        volumes: Vec<Volume> = "Volumes",
        build_cache: Vec<Value> = "BuildCache",
    }
}
