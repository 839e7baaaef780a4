use super::{DeviceType, NamespaceType, Spec, State, Status};

/// A configuration as Docker 28.5.2 gives it to its runtime, without its long list of system calls.
const DOCKER: &str = include_str!("docker-config.json");

#[test]
fn dockers_configuration_is_read_and_written_without_loss() {
    let spec: Spec = serde_json::from_str(DOCKER).unwrap();
    let before: serde_json::Value = serde_json::from_str(DOCKER).unwrap();
    assert_eq!(serde_json::to_value(&spec).unwrap(), before);
    let linux = spec.linux.unwrap();
    assert_eq!(linux.namespaces[0].kind, NamespaceType::Mount);
    assert_eq!(linux.resources.unwrap().devices[1].major, Some(1));
}

#[test]
fn nulls_are_as_absent_and_unknown_fields_are_passed_over() {
    let spec: Spec = serde_json::from_str(
        r#"{"ociVersion":"1.9.0","future":{"x":[1]},"mounts":null,"annotations":null,
            "process":{"user":{"uid":7,"gid":8,"username":"x"},"args":null,"cwd":"/","capabilities":null,
                       "commandLine":"x"},
            "linux":{"namespaces":null,"devices":[{"path":"/dev/x","type":"u","major":1,"minor":2}],
                     "maskedPaths":null,"sysctl":null,"resources":{"devices":null,"memory":null}}}"#,
    )
    .unwrap();
    assert!(spec.mounts.is_empty());
    assert_eq!(spec.process.unwrap().user.uid, 7);
    assert_eq!(spec.linux.unwrap().devices[0].kind, DeviceType::Character);
}

#[test]
fn names_with_capitals_are_the_specifications() {
    let text = r#"{"ociVersion":"1.2.1","linux":{"uidMappings":[{"containerID":0,"hostID":100000,"size":65536}],
        "resources":{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}],
        "throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":2}]},"memory":{"kernelTCP":1,"disableOOMKiller":true},
        "hugepageLimits":[{"pageSize":"2MB","limit":3}],"network":{"classID":4}}}}"#;
    let spec: Spec = serde_json::from_str(text).unwrap();
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_value(spec).unwrap(), value);
}

#[test]
fn wrong_types_are_refused() {
    for text in [
        r#"{"process":{"terminal":"yes"}}"#,
        r#"{"linux":{"namespaces":[{"type":"nope"}]}}"#,
        r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_NOPE"}}}"#,
        r#"{"mounts":{}}"#,
    ] {
        serde_json::from_str::<Spec>(text).unwrap_err();
    }
}

#[test]
fn a_state_is_the_specifications() {
    let state = State {
        oci_version: "1.2.1".into(),
        id: "x".into(),
        status: Status::Running,
        pid: Some(7),
        bundle: "/b".into(),
        annotations: [("k".to_owned(), "v".to_owned())].into(),
    };
    assert_eq!(
        serde_json::to_string(&state).unwrap(),
        r#"{"ociVersion":"1.2.1","id":"x","status":"running","pid":7,"bundle":"/b","annotations":{"k":"v"}}"#
    );
}
