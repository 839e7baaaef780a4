//! Execs.

use ferry_api::{ExecCreateRequest, ExecInspect, exec::ProcessConfig};
use ferry_engine::{
    ExecSnapshot, ExecState,
    spec::{ExecSpec, ExecStreams},
};

use crate::http::error::Failure;

/// Converts a create request.
pub(crate) fn exec_spec(request: ExecCreateRequest) -> Result<ExecSpec, Failure> {
    let ExecCreateRequest {
        user,
        privileged,
        tty,
        console_size,
        attach_stdin,
        attach_stderr,
        attach_stdout,
        // Says what start will say.
        detach: _,
        detach_keys,
        env,
        working_dir,
        cmd,
    } = request;
    let command = cmd.unwrap_or_default();
    if command.is_empty() {
        return Err(Failure::invalid("No exec command specified"));
    }
    Ok(ExecSpec {
        command,
        env: env.unwrap_or_default(),
        user,
        working_dir,
        privileged,
        streams: ExecStreams {
            tty,
            stdin: attach_stdin,
            stdout: attach_stdout,
            stderr: attach_stderr,
        },
        detach_keys: Some(detach_keys).filter(|keys| !keys.is_empty()),
        console_size: console_size.map(cells),
    })
}

/// Rows and columns; more than a terminal can have are as many as it can.
pub(crate) fn cells([rows, columns]: [u32; 2]) -> (u16, u16) {
    let clamp = |cells| u16::try_from(cells).unwrap_or(u16::MAX);
    (clamp(rows), clamp(columns))
}

/// Shows an exec.
pub(crate) fn inspect(snapshot: &ExecSnapshot) -> ExecInspect {
    let ExecSnapshot { id, container, spec, state } = snapshot;
    let (running, exit_code, pid) = match state {
        ExecState::Created => (false, None, None),
        ExecState::Running { pid } => (true, None, *pid),
        ExecState::Exited { code, pid } => (false, Some((*code).into()), *pid),
    };
    let (entrypoint, arguments) = spec.command.split_first().map_or_else(
        || (String::new(), Vec::new()),
        |(first, rest)| (first.clone(), rest.to_vec()),
    );
    ExecInspect {
        id: id.to_string(),
        running,
        exit_code,
        process_config: ProcessConfig {
            tty: spec.streams.tty,
            entrypoint,
            arguments: Some(arguments),
            privileged: Some(spec.privileged),
            user: spec.user.clone(),
        },
        open_stdin: spec.streams.stdin,
        open_stderr: spec.streams.stderr,
        open_stdout: spec.streams.stdout,
        can_remove: false,
        container_id: container.to_string(),
        detach_keys: spec.detach_keys.clone().unwrap_or_default(),
        pid: pid.unwrap_or_default().into(),
    }
}
