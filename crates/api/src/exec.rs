//! Processes started in running containers.

use crate::go::wire;

wire! {
    /// What an exec is to run.
    ExecCreateRequest {
        user: String = "User",
        privileged: bool = "Privileged",
        tty: bool = "Tty",
        /// Rows and columns.
        console_size: Option<[u32; 2]> = "ConsoleSize" omitempty,
        attach_stdin: bool = "AttachStdin",
        attach_stderr: bool = "AttachStderr",
        attach_stdout: bool = "AttachStdout",
        detach: bool = "Detach",
        detach_keys: String = "DetachKeys",
        env: Option<Vec<String>> = "Env",
        working_dir: String = "WorkingDir",
        cmd: Option<Vec<String>> = "Cmd",
    }

    /// The answer to an exec's create.
    ExecCreateResponse {
        id: String = "Id",
    }

    /// How an exec is to be started.
    ExecStartRequest {
        detach: bool = "Detach",
        tty: bool = "Tty",
        /// Rows and columns; since API 1.42.
        console_size: Option<[u32; 2]> = "ConsoleSize" omitempty,
    }

    /// Everything about an exec.
    ExecInspect {
        id: String = "ID",
        running: bool = "Running",
        /// `null` until it ended.
        exit_code: Option<i64> = "ExitCode",
        process_config: ProcessConfig = "ProcessConfig",
        open_stdin: bool = "OpenStdin",
        open_stderr: bool = "OpenStderr",
        open_stdout: bool = "OpenStdout",
        can_remove: bool = "CanRemove",
        container_id: String = "ContainerID",
        detach_keys: String = "DetachKeys",
        pid: i64 = "Pid",
    }

    /// The process of an exec.
    ProcessConfig {
        tty: bool = "tty",
        entrypoint: String = "entrypoint",
        arguments: Option<Vec<String>> = "arguments",
        privileged: Option<bool> = "privileged" omitempty,
        user: String = "user" omitempty,
    }
}
