//! The methods that Docker's own string types and Go's times have in templates.

use super::time;
use super::value::Value;

/// Calls the method `name` of a value; `None` if it has none of that name.
pub(super) fn call(receiver: &Value, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
    match receiver {
        Value::Time(text) => time::call(text, name, args),
        Value::Duration(nanoseconds) => duration(*nanoseconds, name, args),
        Value::Str(text, type_name) if args.is_empty() => mode(text, type_name, name),
        _ => None,
    }
}

fn duration(nanoseconds: i64, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
    if !args.is_empty() {
        return None;
    }
    let value = match name {
        "String" => Value::str(time::duration(nanoseconds)),
        "Nanoseconds" => Value::Int(nanoseconds, "int64"),
        "Microseconds" => Value::Int(nanoseconds / 1_000, "int64"),
        "Milliseconds" => Value::Int(nanoseconds / 1_000_000, "int64"),
        "Seconds" => {
            Value::Float(std::time::Duration::from_nanos(nanoseconds.unsigned_abs()).as_secs_f64())
        }
        _ => return None,
    };
    Some(Ok(value))
}

/// `container.NetworkMode` and its kin: strings that answer questions.
fn mode(text: &str, type_name: &str, name: &str) -> Option<Result<Value, String>> {
    let kind = type_name.strip_prefix("container.")?;
    let connected = text.strip_prefix("container:");
    let value = match (kind, name) {
        ("NetworkMode" | "IpcMode" | "PidMode", "IsContainer") => Value::Bool(connected.is_some()),
        ("NetworkMode", "ConnectedContainer") | ("IpcMode" | "PidMode", "Container") => {
            Value::str(connected.unwrap_or_default())
        }
        (
            "NetworkMode" | "IpcMode" | "PidMode" | "UTSMode" | "UsernsMode" | "CgroupnsMode",
            "IsHost",
        ) => Value::Bool(text == "host"),
        ("NetworkMode" | "IpcMode", "IsNone") => Value::Bool(text == "none"),
        ("NetworkMode", "IsDefault") => Value::Bool(text == "default"),
        ("NetworkMode", "IsBridge") => Value::Bool(text == "bridge"),
        ("NetworkMode", "IsUserDefined") => Value::Bool(is_user_defined(text)),
        ("NetworkMode", "NetworkName") => Value::str(connected.map_or(text, |_| "container")),
        ("NetworkMode", "UserDefined") => Value::str(if is_user_defined(text) { text } else { "" }),
        ("NetworkMode", "IsPrivate") => Value::Bool(text != "host" && connected.is_none()),
        ("IpcMode" | "CgroupnsMode", "IsPrivate") => Value::Bool(text == "private"),
        ("PidMode" | "UTSMode" | "UsernsMode", "IsPrivate") => {
            Value::Bool(text != "host" && connected.is_none())
        }
        ("IpcMode", "IsShareable") => Value::Bool(text == "shareable"),
        ("IpcMode" | "CgroupnsMode", "IsEmpty") => Value::Bool(text.is_empty()),
        ("Isolation", "IsDefault") => Value::Bool(text.is_empty() || text == "default"),
        _ => return None,
    };
    Some(Ok(value))
}

fn is_user_defined(mode: &str) -> bool {
    !matches!(mode, "" | "default" | "bridge" | "host" | "none") && !mode.starts_with("container:")
}
