use std::num::NonZeroU64;

use super::*;
use crate::spec::{MountRequest, NetworkMode, StopTimeout};

/// What version 1 looks like on disk. It must be readable for ever; it is not to be edited.
const GOLDEN: &str = include_str!("tests/container-v1.json");

fn state() -> ContainerState {
    let mut spec = ContainerSpec {
        image: "busybox".to_owned(),
        command: Some(vec!["sleep".to_owned(), "60".to_owned()]),
        stop_timeout: Some(StopTimeout::Never),
        ..ContainerSpec::default()
    };
    spec.host.network = NetworkMode::Container("db".to_owned());
    spec.host.resources.memory = NonZeroU64::new(64 << 20);
    spec.host.mounts = vec![
        MountRequest::parse_bind("/a:/b:ro,rslave").unwrap(),
        MountRequest::parse_bind("vol:/c").unwrap(),
        MountRequest::parse_tmpfs("/t", "size=1m").unwrap(),
    ];
    let exit = Exit {
        code: 137,
        oom_killed: true,
        error: String::new(),
        started_at: Some(Timestamp::from_second(1000).unwrap()),
        finished_at: Some(Timestamp::new(1001, 5).unwrap()),
    };
    ContainerState {
        id: ContainerId::parse(&"ab".repeat(32)).unwrap(),
        name: "web".to_owned(),
        created: Timestamp::from_second(999).unwrap(),
        spec,
        image_id: "sha256:00".to_owned(),
        platform_os: "linux".to_owned(),
        phase: Phase::Removing { before: Resting::Exited(exit) },
        mounts: vec![MountPoint {
            kind: MountKind::Volume,
            name: "vol".to_owned(),
            source: "/data/volumes/vol/_data".to_owned(),
            destination: "/c".to_owned(),
            driver: "local".to_owned(),
            mode: "z".to_owned(),
            writable: true,
            propagation: String::new(),
        }],
        anonymous_volumes: vec!["cd".repeat(32)],
        endpoint: Some(EndpointView {
            endpoint_id: "ef".repeat(32),
            address: "172.18.0.2".parse().unwrap(),
            prefix_len: 16,
            gateway: "172.18.0.1".parse().unwrap(),
            mac: [2, 0, 0, 0, 0, 1],
        }),
        restart_count: 0,
        removes_volumes: true,
    }
}

#[test]
fn a_record_of_version_one_can_be_read() {
    assert_eq!(container(&"ab".repeat(32), 1, GOLDEN.as_bytes()).unwrap(), state());
}

#[test]
fn a_record_is_written_as_version_one_was() {
    let written: serde_json::Value = serde_json::from_slice(&container_body(&state())).unwrap();
    let golden: serde_json::Value = serde_json::from_str(GOLDEN).unwrap();
    assert_eq!(written, golden, "{}", serde_json::to_string_pretty(&written).unwrap());
}

#[test]
fn every_phase_survives_being_written() {
    let run = Run { pid: 42, started_at: Timestamp::from_second(5).unwrap() };
    let failure = Failure { exit_code: 127, message: "no".to_owned() };
    let before = Resting::Created { failure: Some(failure.clone()) };
    let phases = [
        Phase::NEW,
        Phase::Created { failure: Some(failure) },
        Phase::Running(run.clone()),
        Phase::Paused(run),
        Phase::Removing { before: before.clone() },
        Phase::Dead { reason: "busy".to_owned(), before },
    ];
    for phase in phases {
        let state = ContainerState { phase, ..state() };
        let read = container("x", VERSION, &container_body(&state)).unwrap();
        assert_eq!(read, state);
    }
}

#[test]
fn a_start_under_way_is_recorded_as_what_was_before() {
    let starting = Phase::Starting { before: Resting::Created { failure: None } };
    let state = ContainerState { phase: starting, ..state() };
    let read = container("x", VERSION, &container_body(&state)).unwrap();
    assert_eq!(read.phase, Phase::NEW);
}

#[test]
fn newer_and_broken_records_are_refused() {
    assert!(matches!(container("x", 2, GOLDEN.as_bytes()), Err(RecordError::Newer { .. })));
    assert!(matches!(container("x", 1, b"{"), Err(RecordError::Malformed { .. })));
    let senseless = GOLDEN.replace(&"ab".repeat(32), "../../etc");
    assert!(matches!(container("x", 1, senseless.as_bytes()), Err(RecordError::Senseless { .. })));
}

#[test]
fn an_endpoint_is_read_as_it_was_written() {
    let written = EndpointView {
        endpoint_id: "e".to_owned(),
        address: std::net::Ipv4Addr::new(172, 17, 0, 2),
        prefix_len: 16,
        gateway: std::net::Ipv4Addr::new(172, 17, 0, 1),
        mac: [2, 0, 0, 0, 0, 1],
    };
    assert_eq!(endpoint(&endpoint_body(&written)).unwrap(), written);
    assert!(endpoint(b"{}").is_err());
}
