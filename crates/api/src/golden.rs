//! Answers of Docker 28.5, byte for byte: what is read is written again the same.

use serde::{Serialize, de::DeserializeOwned};

use crate::*;

#[track_caller]
fn check<T: DeserializeOwned + Serialize>(text: &str) {
    let value: T = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&value).unwrap(), text.trim_end());
}

#[test]
fn containers_are_those_of_docker() {
    check::<ContainerInspect>(include_str!("golden/container_inspect.json"));
    check::<Vec<ContainerSummary>>(include_str!("golden/container_list.json"));
    check::<ExecInspect>(include_str!("golden/exec_inspect.json"));
    check::<ContainerCreateRequest>(include_str!("golden/container_create.json"));
}

#[test]
fn images_are_those_of_docker() {
    check::<Vec<ImageSummary>>(include_str!("golden/image_list.json"));
    check::<ImageInspect>(include_str!("golden/image_inspect.json"));
    check::<Vec<HistoryItem>>(include_str!("golden/image_history.json"));
}

#[test]
fn networks_and_volumes_are_those_of_docker() {
    check::<Vec<NetworkInspect>>(include_str!("golden/network_list.json"));
    check::<NetworkInspect>(include_str!("golden/network_inspect.json"));
    check::<VolumeListResponse>(include_str!("golden/volume_list.json"));
    check::<Volume>(include_str!("golden/volume_inspect.json"));
}

#[test]
fn the_engine_is_that_of_docker() {
    check::<SystemInfo>(include_str!("golden/info.json"));
    check::<SystemVersion>(include_str!("golden/version.json"));
    check::<DiskUsage>(include_str!("golden/disk_usage.json"));
    check::<EventMessage>(include_str!("golden/event.json"));
}
