//! Containers: created, connected, started, stopped, removed and renamed.

use std::time::Duration;

use bollard::models::{ContainerCreateBody, ContainerInspectResponse, ContainerUpdateBody, NetworkConnectRequest};
use bollard::query_parameters::{
    CreateContainerOptions, RemoveContainerOptions, RenameContainerOptions, RestartContainerOptions, StartContainerOptions,
    StopContainerOptions,
};
use bollard::{BollardRequest, Docker, body_full};

use crate::linux::engine::body::{body, later, restart};
use crate::linux::engine::errors::{found, has, is_conflict, is_so_already, not_started, sort};
use crate::linux::engine::labels::{self, Labels};
use crate::linux::engine::link::Link;
use crate::linux::engine::{CALL, Engine};
use crate::plan::{Spec, Which};
use crate::port::EngineError;
use crate::state::ContainerConfig;
use crate::state::service::Restart;

/// What a stop may take beyond the container's own grace: SIGKILL, and the engine's cleaning up.
const AFTER_GRACE: Duration = Duration::from_secs(30);

impl Engine {
    pub(super) async fn create(&self, spec: &Spec) -> Result<(), EngineError> {
        let link = self.link().await?;
        let what = format!("create container {} of {} from {}", spec.name, spec.key, spec.image);
        if let Some(device) = self.missing_device(spec) {
            return Err(EngineError::Refused(format!(
                "cannot {what}: this board has no device {device}; plug it in, or take it out of the document"
            )));
        }
        let options = CreateContainerOptions { name: Some(spec.name.clone()), ..CreateContainerOptions::default() };
        let body = body(spec);
        let docker = with_mac_address(&link, &spec.config, &body);
        let id = match docker.create_container(Some(options), body).await {
            Ok(made) => match self.foreign(&made.warnings) {
                None => made.id,
                Some(said) => {
                    // It would exit at once and be started again for ever.
                    let _ = link.docker.remove_container(&made.id, Some(removal())).await; // The next try finds it otherwise.
                    let arch = &self.settings.arch;
                    let advice = format!("the image is for another architecture ({said}); publish it for {arch} too");
                    return Err(EngineError::Refused(format!("cannot {what}: {advice}")));
                }
            },
            Err(error) if is_conflict(&error) => return self.accept(&link, spec, &what).await,
            Err(error) => return Err(sort(&what, &error)),
        };
        let seen = self.inspect(&link, &id, &what).await?;
        let connected = self.connect_missing(&link, &seen, &what).await;
        if let Err(EngineError::Refused(_)) = &connected {
            // It would only be in the way of the next try.
            let _ = link.docker.remove_container(&id, Some(removal())).await; // If this fails too, starting it connects it.
        }
        connected
    }

    /// The first device that the container wants and the host lacks. An engine creates such a container and refuses to start it, when
    /// the one before is gone. Nothing is known where the host's devices are not seen, or the engine is on another machine.
    fn missing_device<'a>(&self, spec: &'a Spec) -> Option<&'a str> {
        let there = |path: &str| self.settings.root.join(path.trim_start_matches('/')).symlink_metadata().is_ok();
        let local = self.settings.hosts.iter().all(|it| it.starts_with("unix://"));
        if !local || !there("/dev/null") {
            return None;
        }
        let paths = spec.config.devices.iter().filter_map(|it| it.split(':').next());
        paths.filter(|it| it.starts_with("/dev/")).find(|it| !there(it))
    }

    /// What the engine says of an image for another machine, where the host has no emulator for it.
    fn foreign(&self, warnings: &[String]) -> Option<String> {
        let said = warnings.iter().find(|it| has(it, &["does not match the detected host platform"]))?;
        let handlers = std::fs::read_dir(self.settings.root.join("proc/sys/fs/binfmt_misc"));
        let emulated =
            handlers.is_ok_and(|list| list.flatten().any(|it| it.file_name().to_string_lossy().starts_with("qemu-")));
        (!emulated).then(|| said.split(" and no specific").next().unwrap_or(said).to_owned())
    }

    /// Whether the container that has the name is the one that was to be created.
    async fn accept(&self, link: &Link, spec: &Spec, what: &str) -> Result<(), EngineError> {
        let seen = self.inspect(link, &spec.name, what).await?;
        let labels = labels_of(&seen);
        let same = labels.get(labels::CONFIG) == Some(&spec.hash.0) && labels::service(&labels).as_ref() == Some(&spec.key);
        if same && labels::supervised(&labels) {
            return self.connect_missing(link, &seen, what).await;
        }
        let id = seen.id.unwrap_or_default();
        let whose = if labels::supervised(&labels) { "another supervised container" } else { "a container no supervisor made" };
        Err(EngineError::Refused(format!(
            "cannot {what}: {whose} has that name (id {}); remove or rename it",
            id.get(..12).unwrap_or(&id)
        )))
    }

    /// Connects a container to the networks of its label that it lacks: its maker may have been cut short.
    async fn connect_missing(&self, link: &Link, seen: &ContainerInspectResponse, what: &str) -> Result<(), EngineError> {
        let has = seen.network_settings.as_ref().and_then(|it| it.networks.as_ref());
        for (name, endpoint) in later(&labels_of(seen)) {
            if has.is_some_and(|it| it.contains_key(&name)) {
                continue;
            }
            let container = seen.id.clone().unwrap_or_default();
            let request = NetworkConnectRequest { container, endpoint_config: Some(endpoint.settings()) };
            match link.docker.connect_network(&name, request).await {
                Err(error) if !is_so_already(&error) => {
                    return Err(sort(&format!("{what}: connect it to network {name}"), &error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    pub(super) async fn start(&self, which: &Which) -> Result<(), EngineError> {
        let link = self.link().await?;
        let what = format!("start {}", which.key);
        let seen = self.inspect(&link, &which.id.0, &what).await?;
        if seen.state.as_ref().is_some_and(|it| it.running == Some(true)) {
            return Ok(());
        }
        self.connect_missing(&link, &seen, &what).await?;
        let started = link.docker.start_container(&which.id.0, None::<StartContainerOptions>).await;
        self.forget(which);
        match started {
            Err(error) if !is_so_already(&error) => {
                let image = seen.config.as_ref().and_then(|it| it.image.as_deref()).unwrap_or("its image");
                Err(not_started(sort(&what, &error), image, &self.settings.arch))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    pub(super) async fn stop(&self, which: &Which) -> Result<(), EngineError> {
        self.halt(which, &format!("stop {}", which.key)).await.map(drop)
    }

    pub(super) async fn kill(&self, which: &Which) -> Result<(), EngineError> {
        let what = format!("kill {}", which.key);
        let Some(link) = self.halt(which, &what).await? else { return Ok(()) };
        let removed = self.within(CALL, async {
            match link.docker.remove_container(&which.id.0, Some(removal())).await {
                Err(error) if !is_so_already(&error) => found(&what, Err(error)).map(|_: Option<()>| ()),
                Ok(()) | Err(_) => Ok(()),
            }
        });
        let removed = removed.await;
        self.forget(which);
        removed
    }

    /// Stops a container, within its own grace. `None`: it is gone.
    async fn halt(&self, which: &Which, what: &str) -> Result<Option<Link>, EngineError> {
        let link = self.within(CALL, self.link()).await?;
        let look = async { found(what, link.docker.inspect_container(&which.id.0, None).await) };
        let (runs, grace) = match self.within(CALL, look).await {
            Ok(None) => return Ok(None),
            Ok(Some(seen)) => (runs(&seen), grace(&seen)),
            Err(lost @ EngineError::Unreachable(_)) => return Err(lost),
            // The engine cannot tell of it: it may run.
            Err(EngineError::Refused(_) | EngineError::InUse(_) | EngineError::Full(_)) => {
                (true, ContainerConfig::default().stop_grace)
            }
        };
        if runs {
            let stopped = self.within(grace + AFTER_GRACE, async {
                match link.docker.stop_container(&which.id.0, None::<StopContainerOptions>).await {
                    Err(error) if !is_so_already(&error) => found(what, Err(error)).map(|_: Option<()>| ()),
                    Ok(()) | Err(_) => Ok(()),
                }
            });
            let stopped = stopped.await;
            self.forget(which);
            stopped?;
        }
        Ok(Some(link))
    }

    /// One call, so that the engine finishes it whatever becomes of us.
    pub(super) async fn restart(&self, which: &Which) -> Result<(), EngineError> {
        let what = format!("restart {}", which.key);
        let look = async {
            let link = self.link().await?;
            let seen = self.inspect(&link, &which.id.0, &what).await?;
            Ok((link, seen))
        };
        let (link, seen) = self.within(CALL, look).await?;
        let restarted = self.within(grace(&seen) + AFTER_GRACE, async {
            let done = link.docker.restart_container(&which.id.0, None::<RestartContainerOptions>).await;
            done.map_err(|error| sort(&what, &error))
        });
        let restarted = restarted.await;
        self.forget(which);
        restarted
    }

    pub(super) async fn rename(&self, which: &Which, name: &str) -> Result<(), EngineError> {
        let link = self.link().await?;
        self.give_name(&link, which, name, &format!("rename {} to {name}", which.key)).await
    }

    pub(super) async fn retire(&self, which: &Which, name: &str) -> Result<(), EngineError> {
        let link = self.link().await?;
        let what = format!("retire {} as {name}", which.key);
        let update = ContainerUpdateBody { restart_policy: Some(restart(Restart::No)), ..ContainerUpdateBody::default() };
        let updated = link.docker.update_container(&which.id.0, update).await;
        self.forget(which);
        updated.map_err(|error| sort(&what, &error))?;
        self.give_name(&link, which, name, &what).await
    }

    async fn give_name(&self, link: &Link, which: &Which, name: &str, what: &str) -> Result<(), EngineError> {
        let seen = self.inspect(link, &which.id.0, what).await?;
        if seen.name.as_deref().map(|it| it.trim_start_matches('/')) == Some(name) {
            return Ok(());
        }
        let renamed = link.docker.rename_container(&which.id.0, RenameContainerOptions { name: name.to_owned() }).await;
        self.forget(which);
        match renamed {
            Err(error) if !is_so_already(&error) => Err(sort(what, &error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    async fn inspect(&self, link: &Link, name: &str, what: &str) -> Result<ContainerInspectResponse, EngineError> {
        let seen = found(what, link.docker.inspect_container(name, None).await)?;
        seen.ok_or_else(|| EngineError::Refused(format!("cannot {what}: the engine no longer has that container")))
    }

    fn forget(&self, which: &Which) {
        self.seen.borrow_mut().forget(&which.id);
    }
}

/// Removal with the anonymous volumes its image made, and whatever state it is in.
const fn removal() -> RemoveContainerOptions {
    RemoveContainerOptions { v: true, force: true, link: false }
}

fn runs(seen: &ContainerInspectResponse) -> bool {
    seen.state.as_ref().is_some_and(|it| it.running == Some(true) || it.restarting == Some(true))
}

/// What a container is given between its stop signal and SIGKILL.
fn grace(seen: &ContainerInspectResponse) -> Duration {
    let grace = seen.config.as_ref().and_then(|it| it.stop_timeout).and_then(|it| u64::try_from(it).ok());
    grace.map_or(ContainerConfig::default().stop_grace, Duration::from_secs)
}

fn labels_of(seen: &ContainerInspectResponse) -> Labels {
    let labels = seen.config.as_ref().and_then(|it| it.labels.clone());
    labels.unwrap_or_default().into_iter().collect()
}

/// A client for one creation. Engines before API 1.44 want a MAC address in a field that the client's library no longer has.
fn with_mac_address(link: &Link, config: &ContainerConfig, body: &ContainerCreateBody) -> Docker {
    let docker = link.docker.clone();
    let Some(mac) = config.mac_address.clone().filter(|_| link.api() < (1, 44)) else { return docker };
    let Ok(mut body) = serde_json::to_value(body) else { return docker };
    if let Some(fields) = body.as_object_mut() {
        fields.insert("MacAddress".to_owned(), mac.into());
    }
    let text = body.to_string();
    docker.with_request_modifier(move |request: BollardRequest| {
        let (parts, _) = request.into_parts();
        BollardRequest::from_parts(parts, body_full(text.clone().into()))
    })
}
