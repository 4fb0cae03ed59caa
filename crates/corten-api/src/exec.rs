//! Exec: processes in running containers.

use crate::wire::List;

wire! {
    /// Body of `POST /containers/{id}/exec`.
    pub struct ExecOptions {
        /// Who runs it, `user[:group]`; empty for the container's own.
        pub user: String,
        /// With all capabilities.
        pub privileged: bool,
        /// With a terminal.
        pub tty: bool,
        /// The terminal's first height and width.
        pub console_size: Option<[u32; 2]>,
        /// The client's input becomes its input.
        pub attach_stdin: bool,
        /// Its errors go to the client.
        pub attach_stderr: bool,
        /// Its output goes to the client.
        pub attach_stdout: bool,
        /// Keys that detach the client.
        pub detach_keys: String,
        /// More environment.
        pub env: List<String>,
        /// Its working directory; empty for the container's own.
        pub working_dir: String,
        /// Program and arguments.
        pub cmd: List<String> as list,
    }

    /// Answer to it.
    pub struct ExecCreated {
        /// Id of the exec.
        pub id: String,
    }

    /// Body of `POST /exec/{id}/start`.
    pub struct ExecStartOptions {
        /// Without a client.
        pub detach: bool,
        /// The client has a terminal.
        pub tty: bool,
        /// The terminal's first height and width.
        pub console_size: Option<[u32; 2]>,
    }

    /// Answer to `GET /exec/{id}/json`.
    pub struct ExecInspect {
        /// Id of the exec.
        #[serde(rename = "ID")]
        pub id: String,
        /// It runs.
        pub running: bool,
        /// How it ended; `null` before that.
        pub exit_code: Option<i32>,
        /// What it runs.
        pub process_config: ProcessConfig,
        /// Whether it has input.
        pub open_stdin: bool,
        /// Whether its errors were asked for.
        pub open_stderr: bool,
        /// Whether its output was asked for.
        pub open_stdout: bool,
        /// The daemon will forget it.
        pub can_remove: bool,
        /// Its container.
        #[serde(rename = "ContainerID")]
        pub container_id: String,
        /// The bytes that detach, in base64.
        pub detach_keys: String,
        /// Its pid on the host, 0 before it runs.
        pub pid: i32,
    }
}

/// What an exec runs.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct ProcessConfig {
    /// With a terminal.
    pub tty: bool,
    /// Program.
    pub entrypoint: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// With all capabilities.
    pub privileged: bool,
    /// Who runs it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
}
