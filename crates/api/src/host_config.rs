//! How a container meets its host: `HostConfig` of create and inspect.

use std::collections::BTreeMap;

use crate::{StrSlice, go::wire, mount::Mount, network::PortMap};

wire! {
    /// How a container meets its host. Go embeds `Resources` in it; so its fields stand here.
    HostConfig {
        /// `source:target[:options]` each; the source is a path or the name of a volume.
        binds: Option<Vec<String>> = "Binds",
        container_id_file: String = "ContainerIDFile",
        log_config: LogConfig = "LogConfig",
        /// `default`, `bridge`, `host`, `none`, `container:<id>` or the name of a network.
        network_mode: String = "NetworkMode",
        port_bindings: Option<PortMap> = "PortBindings",
        restart_policy: RestartPolicy = "RestartPolicy",
        auto_remove: bool = "AutoRemove",
        volume_driver: String = "VolumeDriver",
        volumes_from: Option<Vec<String>> = "VolumesFrom",
        /// Rows and columns of the client's terminal.
        console_size: [u32; 2] = "ConsoleSize",
        annotations: BTreeMap<String, String> = "Annotations" omitempty,
        cap_add: Option<StrSlice> = "CapAdd",
        cap_drop: Option<StrSlice> = "CapDrop",
        /// Empty is the daemon's default, else `private` or `host`.
        cgroupns_mode: String = "CgroupnsMode",
        dns: Option<Vec<String>> = "Dns",
        dns_options: Option<Vec<String>> = "DnsOptions",
        dns_search: Option<Vec<String>> = "DnsSearch",
        extra_hosts: Option<Vec<String>> = "ExtraHosts",
        group_add: Option<Vec<String>> = "GroupAdd",
        /// Empty is the daemon's default, else `none`, `private`, `shareable`, `host` or
        /// `container:<id>`.
        ipc_mode: String = "IpcMode",
        cgroup: String = "Cgroup",
        links: Option<Vec<String>> = "Links",
        oom_score_adj: i64 = "OomScoreAdj",
        /// Empty, `host` or `container:<id>`.
        pid_mode: String = "PidMode",
        privileged: bool = "Privileged",
        publish_all_ports: bool = "PublishAllPorts",
        readonly_rootfs: bool = "ReadonlyRootfs",
        security_opt: Option<Vec<String>> = "SecurityOpt",
        storage_opt: BTreeMap<String, String> = "StorageOpt" omitempty,
        /// Target directories with the mount options of each.
        tmpfs: BTreeMap<String, String> = "Tmpfs" omitempty,
        /// Empty or `host`.
        uts_mode: String = "UTSMode",
        userns_mode: String = "UsernsMode",
        /// Bytes; zero is the default of 64 MiB.
        shm_size: i64 = "ShmSize",
        sysctls: BTreeMap<String, String> = "Sysctls" omitempty,
        runtime: String = "Runtime" omitempty,
        isolation: String = "Isolation",
        /// Relative weight; zero is the kernel's default of 1024.
        cpu_shares: i64 = "CpuShares",
        /// Bytes; zero is no limit.
        memory: i64 = "Memory",
        /// Billionths of a CPU; zero is no limit.
        nano_cpus: i64 = "NanoCpus",
        cgroup_parent: String = "CgroupParent",
        /// 10 to 1000; zero is the kernel's default.
        blkio_weight: u16 = "BlkioWeight",
        blkio_weight_device: Option<Vec<WeightDevice>> = "BlkioWeightDevice",
        blkio_device_read_bps: Option<Vec<ThrottleDevice>> = "BlkioDeviceReadBps",
        blkio_device_write_bps: Option<Vec<ThrottleDevice>> = "BlkioDeviceWriteBps",
        blkio_device_read_iops: Option<Vec<ThrottleDevice>> = "BlkioDeviceReadIOps",
        blkio_device_write_iops: Option<Vec<ThrottleDevice>> = "BlkioDeviceWriteIOps",
        /// Microseconds; zero is the kernel's default of 100,000.
        cpu_period: i64 = "CpuPeriod",
        /// Microseconds of each period; zero is no limit.
        cpu_quota: i64 = "CpuQuota",
        cpu_realtime_period: i64 = "CpuRealtimePeriod",
        cpu_realtime_runtime: i64 = "CpuRealtimeRuntime",
        cpuset_cpus: String = "CpusetCpus",
        cpuset_mems: String = "CpusetMems",
        devices: Option<Vec<DeviceMapping>> = "Devices",
        device_cgroup_rules: Option<Vec<String>> = "DeviceCgroupRules",
        device_requests: Option<Vec<DeviceRequest>> = "DeviceRequests",
        kernel_memory: i64 = "KernelMemory" omitempty,
        kernel_memory_tcp: i64 = "KernelMemoryTCP" omitempty,
        memory_reservation: i64 = "MemoryReservation",
        /// Bytes of memory and swap together; zero is twice the memory, -1 is no limit.
        memory_swap: i64 = "MemorySwap",
        /// 0 to 100; absent and -1 are the kernel's default.
        memory_swappiness: Option<i64> = "MemorySwappiness",
        oom_kill_disable: Option<bool> = "OomKillDisable",
        /// Absent, zero and -1 are no limit.
        pids_limit: Option<i64> = "PidsLimit",
        ulimits: Option<Vec<Ulimit>> = "Ulimits",
        cpu_count: i64 = "CpuCount",
        cpu_percent: i64 = "CpuPercent",
        io_maximum_iops: u64 = "IOMaximumIOps",
        io_maximum_bandwidth: u64 = "IOMaximumBandwidth",
        mounts: Vec<Mount> = "Mounts" omitempty,
        /// Absent is the daemon's default list, an empty one masks nothing.
        masked_paths: Option<Vec<String>> = "MaskedPaths",
        /// As [`HostConfig::masked_paths`].
        readonly_paths: Option<Vec<String>> = "ReadonlyPaths",
        /// Absent is the daemon's default.
        init: Option<bool> = "Init" omitempty,
    }

    /// Which driver keeps a container's output, and how.
    LogConfig {
        /// Empty is the daemon's default.
        driver: String = "Type",
        config: Option<BTreeMap<String, String>> = "Config",
    }

    /// When the engine starts a container again by itself.
    RestartPolicy {
        /// Empty, `no`, `always`, `unless-stopped` or `on-failure`.
        name: String = "Name",
        maximum_retry_count: i64 = "MaximumRetryCount",
    }

    /// A device of the host made visible in the container.
    DeviceMapping {
        path_on_host: String = "PathOnHost",
        path_in_container: String = "PathInContainer",
        /// Some of `r`, `w` and `m`.
        cgroup_permissions: String = "CgroupPermissions",
    }

    /// A request for devices by their driver (`--gpus`).
    DeviceRequest {
        driver: String = "Driver",
        count: i64 = "Count",
        device_ids: Option<Vec<String>> = "DeviceIDs",
        capabilities: Option<Vec<Vec<String>>> = "Capabilities",
        options: Option<BTreeMap<String, String>> = "Options",
    }

    /// A block I/O weight of one device.
    WeightDevice {
        path: String = "Path",
        weight: u16 = "Weight",
    }

    /// A block I/O limit of one device, per second.
    ThrottleDevice {
        path: String = "Path",
        rate: u64 = "Rate",
    }

    /// A resource limit of the container's processes; -1 is none.
    Ulimit {
        name: String = "Name",
        hard: i64 = "Hard",
        soft: i64 = "Soft",
    }
}
