use serde_json::json;

use super::*;

#[test]
fn a_create_request_keeps_the_configuration_outermost() {
    let text = r#"{"Cmd":"ls","Image":"busybox","Env":null,"HostConfig":{"Memory":5},"Unknown":1}"#;
    let request: ContainerCreateRequest = serde_json::from_str(text).unwrap();
    assert_eq!(request.config.cmd, Some(StrSlice(vec!["ls".into()])));
    assert_eq!(request.host_config.as_ref().unwrap().memory, 5);
    assert_eq!(request.networking_config, None);
    let value = serde_json::to_value(&request).unwrap();
    assert_eq!(value["Image"], "busybox");
    assert_eq!(value["HostConfig"]["Memory"], 5);
    assert_eq!(value.get("NetworkingConfig"), None);
    assert_eq!(serde_json::from_value::<ContainerCreateRequest>(value).unwrap(), request);
}

#[test]
fn a_field_of_the_wrong_type_is_refused() {
    for text in [r#"{"Image":5}"#, r#"{"HostConfig":{"Memory":"5"}}"#, r#"{"HostConfig":[]}"#, "[]"]
    {
        serde_json::from_str::<ContainerCreateRequest>(text).unwrap_err();
    }
    let error = serde_json::from_str::<HostConfig>(r#"{"LogConfig":{"Type":1}}"#).unwrap_err();
    assert!(error.to_string().starts_with("LogConfig: Type: invalid type: integer"), "{error}");
}

#[test]
fn the_case_of_names_does_not_matter() {
    let text = r#"{"image":"a","hostconfig":{"CPUSHARES":7}}"#;
    let request: ContainerCreateRequest = serde_json::from_str(text).unwrap();
    assert_eq!(request.config.image, "a");
    assert_eq!(request.host_config.unwrap().cpu_shares, 7);
}

#[test]
fn null_is_the_default_of_every_field() {
    let text = r#"{"Image":null,"Tty":null,"HostConfig":{"Memory":null,"LogConfig":null}}"#;
    let request: ContainerCreateRequest = serde_json::from_str(text).unwrap();
    assert_eq!(request.config, ContainerConfig::default());
    assert_eq!(request.host_config, Some(HostConfig::default()));
}

#[test]
fn a_wait_response_leaves_out_the_error_that_is_not_there() {
    assert_eq!(serde_json::to_string(&WaitResponse::default()).unwrap(), r#"{"StatusCode":0}"#);
    let response =
        WaitResponse { error: Some(WaitExitError { message: "gone".into() }), status_code: 125 };
    assert_eq!(
        serde_json::to_value(response).unwrap(),
        json!({"Error": {"Message": "gone"}, "StatusCode": 125})
    );
}
