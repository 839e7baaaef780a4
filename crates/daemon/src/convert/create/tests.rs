use ferry_engine::{ContainerFiles, ContainerSnapshot, Id, Phase};
use serde_json::{Value, json};

use super::*;
use crate::{convert::shown, facts::tests::facts};

/// What `docker run --rm busybox echo hi` sends, byte for byte.
const RUN: &str = r#"{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":true,"AttachStderr":true,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":["echo","hi"],"Image":"busybox","Volumes":{},"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":{},"HostConfig":{"Binds":null,"ContainerIDFile":"","LogConfig":{"Type":"","Config":{}},"NetworkMode":"default","PortBindings":{},"RestartPolicy":{"Name":"no","MaximumRetryCount":0},"AutoRemove":true,"VolumeDriver":"","VolumesFrom":null,"ConsoleSize":[0,0],"CapAdd":null,"CapDrop":null,"CgroupnsMode":"","Dns":[],"DnsOptions":[],"DnsSearch":[],"ExtraHosts":null,"GroupAdd":null,"IpcMode":"","Cgroup":"","Links":null,"OomScoreAdj":0,"PidMode":"","Privileged":false,"PublishAllPorts":false,"ReadonlyRootfs":false,"SecurityOpt":null,"UTSMode":"","UsernsMode":"","ShmSize":0,"Isolation":"","CpuShares":0,"Memory":0,"NanoCpus":0,"CgroupParent":"","BlkioWeight":0,"BlkioWeightDevice":[],"BlkioDeviceReadBps":[],"BlkioDeviceWriteBps":[],"BlkioDeviceReadIOps":[],"BlkioDeviceWriteIOps":[],"CpuPeriod":0,"CpuQuota":0,"CpuRealtimePeriod":0,"CpuRealtimeRuntime":0,"CpusetCpus":"","CpusetMems":"","Devices":[],"DeviceCgroupRules":null,"DeviceRequests":null,"MemoryReservation":0,"MemorySwap":0,"MemorySwappiness":-1,"OomKillDisable":false,"PidsLimit":0,"Ulimits":[],"CpuCount":0,"CpuPercent":0,"IOMaximumIOps":0,"IOMaximumBandwidth":0,"MaskedPaths":null,"ReadonlyPaths":null},"NetworkingConfig":{"EndpointsConfig":{"default":{"IPAMConfig":null,"Links":null,"Aliases":null,"MacAddress":"","DriverOpts":null,"GwPriority":0,"NetworkID":"","EndpointID":"","Gateway":"","IPAddress":"","IPPrefixLen":0,"IPv6Gateway":"","GlobalIPv6Address":"","GlobalIPv6PrefixLen":0,"DNSNames":null}}}}"#;

/// What dockerd 28.5 shows of it as `HostConfig`, on a host with cgroup version 1.
const SHOWN: &str = r#"{"Binds":null,"ContainerIDFile":"","LogConfig":{"Type":"json-file","Config":{}},"NetworkMode":"bridge","PortBindings":{},"RestartPolicy":{"Name":"no","MaximumRetryCount":0},"AutoRemove":true,"VolumeDriver":"","VolumesFrom":null,"ConsoleSize":[0,0],"CapAdd":null,"CapDrop":null,"CgroupnsMode":"host","Dns":[],"DnsOptions":[],"DnsSearch":[],"ExtraHosts":null,"GroupAdd":null,"IpcMode":"private","Cgroup":"","Links":null,"OomScoreAdj":0,"PidMode":"","Privileged":false,"PublishAllPorts":false,"ReadonlyRootfs":false,"SecurityOpt":null,"UTSMode":"","UsernsMode":"","ShmSize":67108864,"Runtime":"ferry","Isolation":"","CpuShares":0,"Memory":0,"NanoCpus":0,"CgroupParent":"","BlkioWeight":0,"BlkioWeightDevice":[],"BlkioDeviceReadBps":[],"BlkioDeviceWriteBps":[],"BlkioDeviceReadIOps":[],"BlkioDeviceWriteIOps":[],"CpuPeriod":0,"CpuQuota":0,"CpuRealtimePeriod":0,"CpuRealtimeRuntime":0,"CpusetCpus":"","CpusetMems":"","Devices":[],"DeviceCgroupRules":null,"DeviceRequests":null,"MemoryReservation":0,"MemorySwap":0,"MemorySwappiness":null,"OomKillDisable":false,"PidsLimit":null,"Ulimits":[],"CpuCount":0,"CpuPercent":0,"IOMaximumIOps":0,"IOMaximumBandwidth":0,"MaskedPaths":["/proc/asound","/proc/acpi","/proc/interrupts","/proc/kcore","/proc/keys","/proc/latency_stats","/proc/timer_list","/proc/timer_stats","/proc/sched_debug","/proc/scsi","/sys/firmware","/sys/devices/virtual/powercap"],"ReadonlyPaths":["/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger"]}"#;

fn convert(body: Value) -> Result<CreateRequest, Failure> {
    let request = serde_json::from_value(body).unwrap();
    create_request(None, None, request, &Defaults::default(), &facts())
}

#[track_caller]
fn check_refused(body: Value, status: u16, message: &str) {
    let failure = convert(body).unwrap_err();
    assert_eq!((failure.status.as_u16(), failure.message.as_str()), (status, message));
}

#[track_caller]
fn check_host(host: Value, status: u16, message: &str) {
    check_refused(json!({ "Image": "a", "HostConfig": host }), status, message);
}

#[test]
fn a_plain_run_is_taken_and_shown_as_docker_shows_it() {
    let request = convert(serde_json::from_str(RUN).unwrap()).unwrap();
    assert_eq!(request.spec.image, "busybox");
    assert!(request.spec.host.auto_remove);
    let shown = shown::host_config(&request.spec.host, &facts());
    assert_eq!(serde_json::to_string(&shown).unwrap(), SHOWN);
}

#[test]
fn what_was_asked_is_shown_again() {
    let asked = json!({
        "Binds": ["/a:/b:ro", "vol:/c"], "CapAdd": ["CAP_NET_ADMIN"], "Memory": 104857600,
        "MemorySwap": -1, "NanoCpus": 500000000, "Privileged": false, "Tmpfs": {"/t": "size=5m"},
        "Ulimits": [{"Name": "nofile", "Hard": 20, "Soft": 10}], "Init": true,
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
        "Mounts": [
            {"Type": "bind", "Source": "/x", "Target": "/m", "ReadOnly": true,
             "BindOptions": {"Propagation": "rslave", "NonRecursive": true}},
            {"Type": "volume", "Source": "v", "Target": "/v", "VolumeOptions": {"NoCopy": true}},
            {"Type": "tmpfs", "Target": "/w", "TmpfsOptions": {"SizeBytes": 4096, "Mode": 511}},
        ],
        "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/n",
                     "CgroupPermissions": "rw"}],
        "PidMode": "host", "IpcMode": "shareable", "UTSMode": "host", "NetworkMode": "none",
        "Sysctls": {"a": "b"}, "ShmSize": 1048576, "GroupAdd": ["5"], "Dns": ["1.1.1.1"],
        "SecurityOpt": ["no-new-privileges"], "PidsLimit": 7, "CpusetCpus": "0",
        "BlkioDeviceReadBps": [{"Path": "/dev/x", "Rate": 5}], "OomScoreAdj": -5,
        "MaskedPaths": [], "ReadonlyPaths": ["/x"], "ConsoleSize": [24, 80],
    });
    let request = convert(json!({ "Image": "a", "HostConfig": asked })).unwrap();
    let shown = serde_json::to_value(shown::host_config(&request.spec.host, &facts())).unwrap();
    for (field, value) in asked.as_object().unwrap() {
        assert_eq!(&shown[field], value, "{field}");
    }
}

#[test]
fn an_empty_configuration_is_refused() {
    check_refused(json!({}), 400, "config cannot be empty in order to create a container");
}

#[test]
fn all_faults_are_told_at_once() {
    check_host(
        json!({
            "Binds": ["/a:b"], "PidMode": "x", "OomScoreAdj": 5000,
            "PortBindings": {"80/tcp": [{"HostPort": "80"}]},
        }),
        400,
        "invalid volume specification: '/a:b': invalid mount path: 'b' mount path must be absolute; \
         invalid PID mode: x; \
         Invalid value 5000, range for oom score adj is [-1000, 1000]; \
         ferry does not support HostConfig.PortBindings (published ports) yet",
    );
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let published = json!({ "PortBindings": { "80/tcp": [] } });
    for (host, name) in [
        (published, "HostConfig.PortBindings (published ports)"),
        (json!({ "PublishAllPorts": true }), "HostConfig.PublishAllPorts (published ports)"),
        (json!({ "Links": ["a:b"] }), "HostConfig.Links"),
        (json!({ "UsernsMode": "private" }), "HostConfig.UsernsMode"),
        (json!({ "StorageOpt": { "size": "1G" } }), "HostConfig.StorageOpt"),
        (json!({ "DeviceRequests": [{ "Count": -1 }] }), "HostConfig.DeviceRequests"),
        (json!({ "LogConfig": { "Type": "syslog" } }), "the log driver \"syslog\""),
    ] {
        check_host(host, 501, &format!("ferry does not support {name} yet"));
    }
    check_refused(
        json!({ "Image": "a", "Healthcheck": { "Test": ["CMD", "true"] } }),
        501,
        "ferry does not support Healthcheck yet",
    );
    convert(json!({ "Image": "a", "Healthcheck": { "Test": ["NONE"] } })).unwrap();
}

#[test]
fn docker_s_sentences_are_kept() {
    check_host(json!({ "Memory": -1 }), 400, "Minimum memory limit allowed is 6MB");
    check_host(
        json!({ "MemorySwappiness": 101 }),
        400,
        "Invalid value: 101, valid memory swappiness range is 0-100",
    );
    check_host(
        json!({ "RestartPolicy": { "Name": "x" } }),
        400,
        "invalid restart policy: unknown policy 'x'; use one of 'no', 'always', 'on-failure', or \
         'unless-stopped'",
    );
    check_host(
        json!({ "LogConfig": { "Type": "nope" } }),
        400,
        "error looking up logging plugin nope: plugin \"nope\" not found",
    );
    check_refused(json!({ "Image": "a", "MacAddress": "zz" }), 400, "invalid MAC address: zz");
}

#[test]
fn a_configuration_is_shown_as_it_was_asked() {
    let body = json!({
        "Image": "a", "Cmd": ["x"], "Env": ["A=b"], "Labels": {"l": "m"}, "User": "u",
        "WorkingDir": "/w", "Entrypoint": ["e"], "StopSignal": "HUP", "StopTimeout": 5,
        "ExposedPorts": {"80/tcp": {}}, "Tty": true, "OpenStdin": true, "Domainname": "d",
        "Hostname": "h",
    });
    let request = convert(body.clone()).unwrap();
    let snapshot = ContainerSnapshot {
        id: Id::random(),
        name: "n".into(),
        created: jiff::Timestamp::UNIX_EPOCH,
        spec: std::sync::Arc::new(request.spec),
        image_id: "sha256:0".into(),
        platform_os: "linux".into(),
        path: "e".into(),
        args: vec!["x".into()],
        phase: Phase::NEW,
        restart_count: 0,
        mounts: std::sync::Arc::new([]),
        network: None,
        execs: Vec::new(),
        files: ContainerFiles::default(),
    };
    let shown = serde_json::to_value(shown::config(&snapshot, &facts())).unwrap();
    for (field, value) in body.as_object().unwrap() {
        assert_eq!(&shown[field], value, "{field}");
    }
}
