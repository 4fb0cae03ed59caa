//! What every command works with: the program's name, global options, configuration, the daemon.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use corten_client::{Client, Endpoint, Options, Product, TlsFiles};

use crate::config::Config;
use crate::context::{self, Contexts};
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, Kind, flag, switch};
use crate::parse::Matches;

/// The options before the command.
pub static GLOBAL: &[&[Flag]] = &[&[
    flag("config", Kind::Text, "Folder of the client's configuration (default \"$HOME/.docker\")"),
    flag("context", Kind::Text, "Context whose daemon to use (beats DOCKER_HOST and \"context use\")")
        .short('c'),
    switch("debug", "Say more").short('D'),
    flag("host", Kind::List, "Address of the daemon").short('H'),
    flag("log-level", Kind::Text, "How much to log (\"debug\", \"info\", \"warn\", \"error\", \"fatal\")")
        .short('l')
        .default("info"),
    switch("tls", "Use TLS; --tlsverify includes it"),
    flag(
        "tlscacert",
        Kind::Text,
        "Trust only certificates of this authority (default \"$HOME/.docker/ca.pem\")",
    ),
    flag("tlscert", Kind::Text, "Certificate of this client (default \"$HOME/.docker/cert.pem\")"),
    flag("tlskey", Kind::Text, "Key of this client (default \"$HOME/.docker/key.pem\")"),
    switch("tlsverify", "Use TLS and check who answers"),
    switch("version", "Show the version and leave").short('v'),
]];

/// The name the program was called by: it decides the default socket and the wording of build output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persona {
    /// `corten`
    Corten,
    /// `docker`: byte for byte what docker's own client prints.
    Docker,
}

impl Persona {
    /// The name in usage lines and errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Corten => "corten",
            Self::Docker => "docker",
        }
    }

    /// The daemon's address where nothing says another.
    pub fn default_host(self) -> &'static str {
        match self {
            Self::Corten => "unix:///run/corten.sock",
            Self::Docker => "unix:///var/run/docker.sock",
        }
    }
}

/// One run of the program.
pub struct Session {
    /// The name the program was called by.
    pub persona: Persona,
    /// The command's path as typed: `corten container rm`.
    pub path: String,
    /// The user's configuration.
    pub config: Config,
    globals: Matches,
    client: OnceCell<Client>,
}

impl Session {
    /// A session; the daemon is not asked for before a command needs it.
    pub fn new(persona: Persona, globals: Matches) -> Result<Self, Failure> {
        let directory = match (globals.given("config"), std::env::var_os("DOCKER_CONFIG")) {
            (Some(directory), _) => PathBuf::from(directory),
            (None, Some(directory)) if !directory.is_empty() => directory.into(),
            (None, _) => home().join(".docker"),
        };
        let config = Config::load(&directory).or_else(|warning| {
            eprintln!("WARNING: {warning}");
            Ok::<_, Failure>(Config::default())
        })?;
        Ok(Self { persona, path: String::new(), config, globals, client: OnceCell::new() })
    }

    /// The contexts of the configuration.
    pub fn contexts(&self) -> Contexts {
        Contexts::new(self.config.directory())
    }

    /// The name of the context in use.
    pub fn current_context(&self) -> String {
        if let Some(name) = self.globals.given("context") {
            return name.to_owned();
        }
        if self.globals.changed("host") || environment("DOCKER_HOST").is_some() {
            return context::DEFAULT.to_owned();
        }
        if let Some(name) = environment("DOCKER_CONTEXT") {
            return name;
        }
        match self.config.text("currentContext") {
            "" => context::DEFAULT.to_owned(),
            name => name.to_owned(),
        }
    }

    /// The address of the default context.
    pub fn default_host(&self) -> String {
        match self.globals.given("host") {
            // Without a scheme it is a machine's name.
            Some(host) if !host.contains("://") => format!("tcp://{host}"),
            Some(host) => host.to_owned(),
            None => environment("DOCKER_HOST").unwrap_or_else(|| self.persona.default_host().to_owned()),
        }
    }

    /// The address of the daemon in use.
    pub fn host(&self) -> Outcome<String> {
        let name = self.current_context();
        if name == context::DEFAULT {
            return Ok(self.default_host());
        }
        let host = self.contexts().get(&name).map_err(|failure| {
            Failure::new(format!("Failed to initialize: unable to resolve docker endpoint: {failure}"))
        })?;
        Ok(host.host().to_owned())
    }

    /// The daemon.
    pub fn client(&self) -> Outcome<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        if self.globals.changed("context") && self.globals.changed("host") {
            return Err(Failure::new("conflicting options: cannot specify both --host and --context"));
        }
        let host = self.host()?;
        let endpoint: Endpoint = host.parse().map_err(|error| Failure::new(format!("{error}")))?;
        let tls = match &endpoint {
            Endpoint::Tcp { .. } => self.tls()?,
            Endpoint::Unix(_) | Endpoint::Ssh { .. } => None,
        };
        let client = Client::new(endpoint, self.options(tls))?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Another daemon, by its address or by the name of a context. An address is spoken to without TLS: a context
    /// says with which certificates.
    pub fn client_of(&self, host: &str) -> Outcome<Client> {
        let (host, tls) = if host.contains("://") {
            (host.to_owned(), None)
        } else {
            (self.contexts().get(host)?.host().to_owned(), self.context_tls(host)?)
        };
        let endpoint: Endpoint = host.parse().map_err(|error| Failure::new(format!("{error}")))?;
        let tls = tls.filter(|_| matches!(endpoint, Endpoint::Tcp { .. }));
        Ok(Client::new(endpoint, self.options(tls))?)
    }

    fn options(&self, tls: Option<TlsFiles>) -> Options {
        let product = match self.persona {
            Persona::Docker => Product::Docker,
            Persona::Corten => Product::Corten,
        };
        Options {
            product,
            tls,
            headers: self.config.headers(),
            fixed_version: environment("DOCKER_API_VERSION"),
            user_agent: format!("Docker-Client/{} ({})", env!("CARGO_PKG_VERSION"), std::env::consts::OS),
        }
    }

    fn context_tls(&self, name: &str) -> Outcome<Option<TlsFiles>> {
        let contexts = self.contexts();
        let folder = contexts.tls(name);
        let there = |file: &str| Some(folder.join(file)).filter(|path| path.exists());
        let identity = there("cert.pem").zip(there("key.pem"));
        let ca = there("ca.pem");
        let verify = !contexts.get(name)?.skip_verify();
        Ok((ca.is_some() || identity.is_some()).then_some(TlsFiles { ca, identity, verify }))
    }

    fn tls(&self) -> Outcome<Option<TlsFiles>> {
        let name = self.current_context();
        if name != context::DEFAULT {
            return self.context_tls(&name);
        }
        let verify = match self.globals.given("tlsverify") {
            Some(_) => self.globals.on("tlsverify"),
            None => environment("DOCKER_TLS_VERIFY").is_some(),
        };
        if !verify && !self.globals.on("tls") {
            return Ok(None);
        }
        let folder =
            environment("DOCKER_CERT_PATH").map_or_else(|| self.config.directory().to_owned(), PathBuf::from);
        let file = |option: &str, name: &str| {
            let given = self.globals.given(option).map(PathBuf::from);
            given.or_else(|| Some(folder.join(name)).filter(|path| Path::exists(path)))
        };
        let identity = file("tlscert", "cert.pem").zip(file("tlskey", "key.pem"));
        Ok(Some(TlsFiles { ca: file("tlscacert", "ca.pem"), identity, verify }))
    }

    /// Whether `--debug` was given.
    pub fn debug(&self) -> bool {
        self.globals.on("debug")
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| "/".into(), PathBuf::from)
}
