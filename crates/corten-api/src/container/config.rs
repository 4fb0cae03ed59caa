use super::{HostConfig, Resources, RestartPolicy};
use crate::endpoint::NetworkingConfig;
use crate::wire::{Empty, List, Map, is_default, is_none_or_empty};

wire! {
    /// `POST /containers/create`.
    pub struct CreateRequest {
        /// What does not depend on the host; its members stand at the top level.
        pub config: Config as flat,
        /// What depends on the host.
        pub host_config: HostConfig,
        /// Attachments to networks.
        pub networking_config: NetworkingConfig,
    }

    /// What does not depend on the host (also of a commit).
    pub struct Config {
        /// Host name; empty on input means the short id.
        pub hostname: String,
        /// NIS domain name.
        pub domainname: String,
        /// `user[:group]` by name or number.
        pub user: String,
        /// The creating client wants to attach standard input.
        pub attach_stdin: bool,
        /// … standard output.
        pub attach_stdout: bool,
        /// … standard error.
        pub attach_stderr: bool,
        /// Ports the container listens on, `80/tcp`.
        #[serde(skip_serializing_if = "is_none_or_empty")]
        pub exposed_ports: Map<Empty>,
        /// Run on a terminal.
        pub tty: bool,
        /// Keep standard input open without a client.
        pub open_stdin: bool,
        /// Close standard input when the first client goes.
        pub stdin_once: bool,
        /// `NAME=value`.
        pub env: List<String>,
        /// Arguments, or program and arguments when there is no entrypoint.
        pub cmd: List<String> as list,
        /// Health check; `None` inherits the image's.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub healthcheck: Option<HealthConfig>,
        /// Windows: the command is escaped already.
        #[serde(skip_serializing_if = "is_default")]
        pub args_escaped: bool,
        /// Image as the user named it.
        pub image: String,
        /// Paths that get an anonymous volume.
        pub volumes: Map<Empty>,
        /// Working directory.
        pub working_dir: String,
        /// Program and first arguments.
        pub entrypoint: List<String> as list,
        /// No network at all.
        #[serde(skip_serializing_if = "is_default")]
        pub network_disabled: bool,
        /// Hardware address on the first network (before API 1.44).
        #[serde(skip_serializing_if = "String::is_empty")]
        pub mac_address: String,
        /// `ONBUILD` instructions of an image.
        pub on_build: List<String>,
        /// Labels.
        pub labels: Map<String>,
        /// Signal that asks the container to stop.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub stop_signal: String,
        /// Seconds until a stop becomes a kill.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub stop_timeout: Option<i64>,
        /// Shell of the shell form.
        #[serde(skip_serializing_if = "is_none_or_empty")]
        pub shell: List<String> as list,
    }

    /// How the health of a container is probed. Durations are nanoseconds, 0 inherits.
    pub struct HealthConfig {
        /// `["NONE"]`, `["CMD", …]`, `["CMD-SHELL", text]`; empty inherits.
        #[serde(skip_serializing_if = "is_none_or_empty")]
        pub test: List<String>,
        /// Between two probes.
        #[serde(skip_serializing_if = "is_default")]
        pub interval: i64,
        /// Until a probe is killed and counts as failed.
        #[serde(skip_serializing_if = "is_default")]
        pub timeout: i64,
        /// Failures in this time after start do not count.
        #[serde(skip_serializing_if = "is_default")]
        pub start_period: i64,
        /// Between two probes of the start period.
        #[serde(skip_serializing_if = "is_default")]
        pub start_interval: i64,
        /// Consecutive failures that make a container unhealthy.
        #[serde(skip_serializing_if = "is_default")]
        pub retries: i64,
    }

    /// `POST /containers/{id}/update`.
    pub struct UpdateConfig {
        /// New limits; zero leaves one alone.
        pub resources: Resources as flat,
        /// New policy; an empty name leaves it alone.
        pub restart_policy: RestartPolicy,
    }

    /// Answer to an update.
    pub struct UpdateResponse {
        /// Limits that could not be taken over.
        pub warnings: List<String>,
    }

    /// Answer to a create.
    pub struct CreateResponse {
        /// Id of the new container.
        pub id: String,
        /// What was ignored or changed.
        pub warnings: Vec<String>,
    }
}
