use corten_api::endpoint::EndpointSettings;
use corten_types::ErrorKind;

use super::attach::{add_device, device, upstream};
use super::endpoint::{self, Planned, gateways, parse_mac};
use super::record::{Driver, EndpointRecord};
use super::request::{ContainerNetworkRequest, NetworkMode};
use super::state::Running;
use super::{NetworkError, Networks, files};

fn invalid(text: &str) -> NetworkError {
    NetworkError::refused(ErrorKind::InvalidArgument, text)
}

impl Networks {
    /// Checks a connect of `container` (its `endpoints` as they are now) to `network` and gives the network's name and
    /// the settings its record shall hold; when the container runs, the device is made first.
    pub async fn connect(
        &self,
        network: &str,
        container: &ContainerNetworkRequest,
        settings: EndpointSettings,
    ) -> Result<(String, EndpointSettings), NetworkError> {
        let record = self.state.lock().find(network)?.record.clone();
        match container.mode {
            NetworkMode::Host | NetworkMode::Container(_) => {
                return Err(invalid(
                    "container sharing network namespace with another container or host cannot be connected to any other network",
                ));
            }
            _ if record.driver == Driver::Host => {
                return Err(invalid(
                    "cannot connect container to host network - container must be created in host network mode",
                ));
            }
            NetworkMode::None => return Err(invalid(PRIVATE)),
            _ if record.driver == Driver::Null && !record.config_only => return Err(invalid(PRIVATE)),
            _ => {}
        }
        if record.config_only {
            let text = "cannot create endpoint on configuration-only network";
            return Err(NetworkError::refused(ErrorKind::Forbidden, text));
        }
        endpoint::check_settings(&record, &settings)?;
        let running = self.state.lock().sandboxes.get(&container.id).cloned();
        let Some(running) = running else {
            // A container that does not run may be connected again, with other settings.
            let mut settings = settings;
            settings.network_id.clone_from(&record.id);
            settings.dns_names = record.has_names().then(|| endpoint::names(container, &settings));
            return Ok((record.name.clone(), settings));
        };
        let planned = {
            let mut state = self.state.lock();
            endpoint::plan(&mut state, container, &record.id, settings, self.host.ipv6)?
        };
        match self.join(&running, planned.clone()).await {
            Ok(made) => {
                self.announce_endpoint(&container.id, &made, "connect");
                Ok((record.name.clone(), made.settings))
            }
            Err(error) => {
                endpoint::release(&mut self.state.lock(), &planned.record);
                Err(error)
            }
        }
    }

    /// Makes a running container's device on one more network.
    async fn join(
        &self,
        running: &std::sync::Arc<Running>,
        mut planned: Planned,
    ) -> Result<EndpointRecord, NetworkError> {
        let prefix =
            planned.device.as_ref().map_or("eth", |device| device.options.prefix.as_str()).to_owned();
        let Some(stack) = &running.stack else { return Err(invalid(PRIVATE)) };
        planned.record.device = stack.free_name(&prefix)?;
        let mut record = running.record.lock().clone();
        record.endpoints.push(planned.record.clone());
        self.remember(&record).await?;
        let (host, work, one) = (self.host.clone(), running.clone(), planned.clone());
        let gateways = gateways(&record.endpoints);
        let id = record.id.clone();
        let made = tokio::task::spawn_blocking(move || -> Result<(), NetworkError> {
            let Some(stack) = &work.stack else { return Err(NetworkError::BrokenOff) };
            add_device(&host, stack, &one, &id)?;
            stack.set_default_routes(&gateways)?;
            Ok(())
        });
        if let Err(error) = made.await.map_err(|_| NetworkError::BrokenOff)? {
            record.endpoints.pop();
            self.remember(&record).await?;
            return Err(error);
        }
        *running.record.lock() = record;
        self.add_names(&planned.record);
        self.refresh(running)?;
        Ok(planned.record)
    }

    /// Brings resolver and files in line with the attachments a running container has now.
    fn refresh(&self, running: &Running) -> Result<(), NetworkError> {
        let record = running.record.lock().clone();
        let request = running.request.lock().clone();
        let (with_resolver, ipv6) = {
            let state = self.state.lock();
            let networks = || record.endpoints.iter().filter_map(|one| state.networks.get(&one.network));
            (networks().any(|n| n.record.has_names()), networks().any(|n| n.record.ipv6))
        };
        files::write_hosts(&request, &record.endpoints, self.extra_hosts(&request)?, self.host.ipv6)?;
        let mut served = running.served.lock();
        // Once there, the resolver stays: programs have read the file that names it.
        let with_resolver = with_resolver || served.resolver.is_some();
        let conf = files::resolv_conf(&request, with_resolver, ipv6)?;
        let path = request.folder.join("resolv.conf");
        let text = conf.render();
        if text != served.resolv_conf
            && std::fs::read_to_string(&path).is_ok_and(|now| now == served.resolv_conf)
        {
            files::write(&path, &text)?;
            served.resolv_conf = text;
        }
        let Some(stack) = running.stack.as_ref().filter(|_| with_resolver) else { return Ok(()) };
        let view = self.view(&record.endpoints, conf.sets_ndots());
        if let Some(server) = &served.resolver {
            server.set_view(view);
            return Ok(());
        }
        let sockets = stack.open_resolver().map_err(device)?;
        let upstream = upstream(&conf, Some(stack.path()));
        let directory = self.host.directory.clone();
        let server = corten_net::dns::Server::start(sockets, directory, view, upstream).map_err(device)?;
        served.resolver = Some(server);
        Ok(())
    }

    /// Takes `container` off `network`, running or not, and gives the network's name, whose entry leaves its record.
    pub async fn disconnect(
        &self,
        network: &str,
        container: &ContainerNetworkRequest,
    ) -> Result<String, NetworkError> {
        let record = self.state.lock().find(network)?.record.clone();
        if record.driver == Driver::Host {
            return Err(invalid(
                "cannot disconnect container from host network - container was created in host network mode",
            ));
        }
        let running = self.state.lock().sandboxes.get(&container.id).cloned();
        let attached = running.as_ref().and_then(|running| {
            running.record.lock().endpoints.iter().find(|one| one.network == record.id).cloned()
        });
        let wanted = container.endpoints.keys().any(|name| {
            *name == record.name
                || *name == record.id
                || (name.len() >= 12 && record.id.starts_with(name.as_str()))
        });
        match (running, attached) {
            (Some(running), Some(one)) => {
                self.leave(&running, &one).await?;
                self.announce_endpoint(&container.id, &one, "disconnect");
            }
            _ if wanted => {}
            _ => {
                let text = format!("container {} is not connected to network {}", container.id, record.name);
                return Err(NetworkError::refused(ErrorKind::NotFound, text));
            }
        }
        Ok(record.name.clone())
    }

    /// Removes a running container's device on one network, with the ports published through it.
    async fn leave(
        &self,
        running: &std::sync::Arc<Running>,
        one: &EndpointRecord,
    ) -> Result<(), NetworkError> {
        let mut record = running.record.lock().clone();
        record.endpoints.retain(|other| other.id != one.id);
        let through = |target| one.addresses.iter().any(|net| net.addr() == target);
        let gone: Vec<_> = record.published.iter().filter(|port| through(port.target)).copied().collect();
        record.published.retain(|port| !gone.contains(port));
        let (host, work) = (self.host.clone(), running.clone());
        let gateways = gateways(&record.endpoints);
        let mac = parse_mac(&one.settings.mac_address);
        let rules: Vec<_> = gone.iter().filter_map(super::record::PortRecord::rule).collect();
        let left = tokio::task::spawn_blocking(move || -> Result<(), NetworkError> {
            host.unpublish(&rules)?;
            if let (Some(stack), Some(mac)) = (&work.stack, mac) {
                stack.remove_device(mac)?;
                stack.set_default_routes(&gateways)?;
            }
            Ok(())
        });
        left.await.map_err(|_| NetworkError::BrokenOff)??;
        self.host.directory.remove_endpoint(&one.network, &one.id);
        self.remember(&record).await?;
        *running.record.lock() = record;
        {
            let mut served = running.served.lock();
            let is_gone =
                |host, port| gone.iter().any(|record| record.host == host && record.host_port == port);
            served.held.retain(|held| !is_gone(held.host, held.host_port));
        }
        endpoint::release(&mut self.state.lock(), one);
        self.refresh(running)
    }

    /// The container has these legacy links now; its hosts file follows.
    pub fn set_links(&self, container: &str, links: Vec<String>) {
        let Some(running) = self.state.lock().sandboxes.get(container).cloned() else { return };
        running.request.lock().links = links;
        if let Err(error) = self.refresh(&running) {
            tracing::warn!(container, %error, "links not renewed");
        }
    }

    /// The container has another name now.
    pub async fn rename(&self, container: &str, name: &str) {
        let Some(running) = self.state.lock().sandboxes.get(container).cloned() else { return };
        running.request.lock().name = name.to_owned();
        let record = {
            let request = running.request.lock().clone();
            let mut record = running.record.lock();
            record.name = name.to_owned();
            for one in &mut record.endpoints {
                if one.settings.dns_names.is_some() {
                    one.settings.dns_names = Some(endpoint::names(&request, &one.settings));
                    self.add_names(one);
                }
            }
            record.clone()
        };
        {
            let mut state = self.state.lock();
            for one in &record.endpoints {
                if let Some(attached) = state
                    .networks
                    .get_mut(&one.network)
                    .and_then(|network| network.endpoints.get_mut(&one.id))
                {
                    name.clone_into(&mut attached.name);
                }
            }
        }
        if let Err(error) = self.remember(&record).await {
            tracing::warn!(container, %error, "new name not remembered");
        }
    }
}

const PRIVATE: &str =
    "container cannot be connected to multiple networks with one of the networks in private (none) mode";
