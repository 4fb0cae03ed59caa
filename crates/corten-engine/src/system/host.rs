//! What this machine is and can do. Read once: none of it changes while the daemon runs.

use std::path::Path;

/// Facts about the host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// `uname -r`.
    pub kernel_version: String,
    /// `uname -m`.
    pub architecture: String,
    /// `uname -n`.
    pub name: String,
    /// The distribution, for people.
    pub operating_system: String,
    /// The distribution's version.
    pub os_version: String,
    /// Processors this process may use.
    pub processors: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// What can be limited.
    pub cgroups: Cgroups,
}

/// Which limits the host's cgroups offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cgroups {
    /// 1 (also hybrid) or 2.
    pub version: u8,
    /// `--memory`.
    pub memory: bool,
    /// `--memory-swap`.
    pub swap: bool,
    /// Kernel TCP memory.
    pub kernel_tcp: bool,
    /// `--oom-kill-disable`.
    pub oom_kill_disable: bool,
    /// `--cpu-shares`.
    pub cpu_shares: bool,
    /// `--cpu-period` and `--cpu-quota`.
    pub cpu_quota: bool,
    /// `--cpuset-cpus`.
    pub cpuset: bool,
    /// `--pids-limit`.
    pub pids: bool,
}

impl Host {
    /// Looks.
    pub fn read() -> Self {
        let uname = rustix::system::uname();
        let text = |t: &std::ffi::CStr| t.to_string_lossy().into_owned();
        let release =
            ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|p| std::fs::read_to_string(p).ok());
        let (operating_system, os_version) = distribution(&release.unwrap_or_default());
        let info = rustix::system::sysinfo();
        Self {
            kernel_version: text(uname.release()),
            architecture: text(uname.machine()),
            name: text(uname.nodename()),
            operating_system,
            os_version,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory: info.totalram * u64::from(info.mem_unit.max(1)),
            cgroups: Cgroups::read(Path::new("/sys/fs/cgroup")),
        }
    }

    /// Go's name of the architecture.
    pub fn go_architecture(&self) -> &str {
        match self.architecture.as_str() {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
    }
}

impl Cgroups {
    fn read(root: &Path) -> Self {
        match std::fs::read_to_string(root.join("cgroup.controllers")) {
            Ok(controllers) => Self::unified(&controllers),
            Err(_) => Self::legacy(|file| root.join(file).exists()),
        }
    }

    fn unified(controllers: &str) -> Self {
        let has = |name: &str| controllers.split_whitespace().any(|c| c == name);
        Self {
            version: 2,
            memory: has("memory"),
            swap: has("memory"),
            kernel_tcp: false,
            oom_kill_disable: false,
            cpu_shares: has("cpu"),
            cpu_quota: has("cpu"),
            cpuset: has("cpuset"),
            pids: has("pids"),
        }
    }

    fn legacy(exists: impl Fn(&str) -> bool) -> Self {
        Self {
            version: 1,
            memory: exists("memory/memory.limit_in_bytes"),
            swap: exists("memory/memory.memsw.limit_in_bytes"),
            kernel_tcp: exists("memory/memory.kmem.tcp.limit_in_bytes"),
            oom_kill_disable: exists("memory/memory.oom_control"),
            cpu_shares: exists("cpu/cpu.shares"),
            cpu_quota: exists("cpu/cpu.cfs_quota_us"),
            cpuset: exists("cpuset/cpuset.cpus"),
            pids: exists("pids/cgroup.procs"),
        }
    }

    /// Docker's words for each limit that does not work here.
    pub fn warnings(&self) -> Vec<String> {
        let lacks = [
            (self.memory, "No memory limit support"),
            (self.swap, "No swap limit support"),
            (self.version == 2 || self.oom_kill_disable, "No oom kill disable support"),
            (self.cpu_quota, "No cpu cfs quota support"),
            (self.cpu_quota, "No cpu cfs period support"),
            (self.cpu_shares, "No cpu shares support"),
            (self.cpuset, "No cpuset support"),
            (self.pids, "No pids limit support"),
        ];
        lacks.iter().filter(|(has, _)| !has).map(|(_, text)| format!("WARNING: {text}")).collect()
    }
}

/// Name and version from the text of `os-release`.
fn distribution(text: &str) -> (String, String) {
    let field = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(|value| value.trim().trim_matches(['"', '\'']).to_owned())
    };
    (field("PRETTY_NAME").unwrap_or_else(|| "Linux".into()), field("VERSION_ID").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_name_themselves() {
        let text =
            "NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(distribution(text), ("Debian GNU/Linux 12 (bookworm)".into(), "12".into()));
        assert_eq!(distribution(""), ("Linux".into(), String::new()));
    }

    #[test]
    fn missing_limits_are_warned_about() {
        let full = Cgroups::unified("cpuset cpu io memory hugetlb pids");
        assert!(full.warnings().is_empty());
        assert_eq!(
            Cgroups::unified("cpu memory").warnings(),
            ["WARNING: No cpuset support", "WARNING: No pids limit support"]
        );
        let legacy = Cgroups::legacy(|file| !file.contains("memsw"));
        assert_eq!(legacy.warnings(), ["WARNING: No swap limit support"]);
    }
}
