//! The actions on containers: create, connect, start, stop, remove and rename.

use std::path::Path;
use std::time::Duration;

use bollard::query_parameters::{
    RemoveContainerOptions, RenameContainerOptions, RestartContainerOptions, StartContainerOptions, StopContainerOptions,
};
use serde_json::json;

use crate::linux::engine::connection::EngineConnection;
use crate::linux::engine::encode::{LaterEndpoint, body, later, restart};
use crate::linux::engine::errors::{found, has, is_conflict, is_so_already, not_started, sort};
use crate::linux::engine::json::EngineJson;
use crate::linux::engine::labels::{self, Labels};
use crate::linux::engine::lists::ListKind;
use crate::linux::engine::{CALL, Engine};
use crate::linux::engine::{created, decode};
use crate::linux::escaped;
use crate::port::EngineError;
use crate::state::config::{NetworkMode, RestartPolicy};
use crate::state::{ContainerConfig, ContainerId, ContainerRef, ContainerSpec, NetworkConnection};

/// How long a stop may take beyond the container's own grace period: SIGKILL, and the engine's cleanup.
const AFTER_GRACE: Duration = Duration::from_secs(30);

impl Engine {
    /// Creates a container. Notes what is known of it, if events report what happens to it from now on; otherwise the next
    /// snapshot lists all.
    pub(super) async fn create(&self, spec: &ContainerSpec) -> Result<(), EngineError> {
        let created = self.create_container(spec).await?;
        let mut lists = self.lists.borrow_mut();
        match created {
            Some((id, inspection)) if lists.is_watched() => self.container_cache.borrow_mut().note_created(id, inspection),
            Some(_) | None => lists.forget(ListKind::Containers),
        }
        Ok(())
    }

    /// Creates a container. Returns what is known of it; `None`: it must be inspected.
    async fn create_container(&self, spec: &ContainerSpec) -> Result<Option<(ContainerId, EngineJson)>, EngineError> {
        let connection = self.connection().await?;
        let what = format!("create container {} of {} from {}", spec.name, spec.key, spec.image);
        if let Some(device) = self.missing_device(spec) {
            return Err(EngineError::Refused(format!(
                "cannot {what}: this board has no device {device}; plug it in, or take it out of the document"
            )));
        }
        let base = self.base_of(&connection, &spec.image, spec.config.network_mode == NetworkMode::Host).await?;
        let mut body = EngineJson(body(spec, base.as_deref()));
        let has_further_networks = !later(&body.labels("/Labels")).is_empty();
        if let Some(mac) = spec.config.mac_address.as_deref().filter(|_| connection.api() < (1, 44)) {
            // Engines before API 1.44 take it here.
            body.0["MacAddress"] = mac.into();
        }
        let noted = base.as_deref().filter(|_| !has_further_networks).map(|it| created::inspection(spec, &body, it));
        let id = match self.post(&connection, &format!("/containers/create?name={}", escaped(&spec.name)), &body.0).await {
            Ok(made) => match self.foreign(&made.texts("/Warnings")) {
                None => made.text("/Id").to_owned(),
                Some(platforms) => {
                    // It would exit at once and be restarted for ever. If this fails, the retry finds it.
                    let _ = connection.docker.remove_container(made.text("/Id"), Some(removal())).await;
                    let arch = &self.settings.arch;
                    let advice = format!("the image is for another architecture ({platforms}); publish it for {arch} too");
                    return Err(EngineError::Refused(format!("cannot {what}: {advice}")));
                }
            },
            Err(error) if is_conflict(&error) => return self.use_existing(&connection, spec, &what).await.map(|()| None),
            Err(error) => return Err(sort(&what, &error)),
        };
        if !has_further_networks {
            return Ok(noted.map(|it| (ContainerId(id), it)));
        }
        let seen = self.inspect(&connection, &id, &what).await?;
        let connected = self.connect_missing(&connection, &seen, &what).await;
        if let Err(EngineError::Refused(_)) = &connected {
            // It would only be in the way of the retry. If this fails too, its start connects it.
            let _ = connection.docker.remove_container(&id, Some(removal())).await;
        }
        connected.map(|()| None)
    }

    /// The first device that the container needs and the host lacks. An engine creates such a container and then refuses to
    /// start it, when its predecessor is gone. Nothing is known if the agent cannot see the host's devices, as in a container
    /// with a `/dev` of its own, or if the engine is on another machine: then the engine decides.
    fn missing_device<'a>(&self, spec: &'a ContainerSpec) -> Option<&'a str> {
        let there = |path: &str| self.settings.root.join(path.trim_start_matches('/')).symlink_metadata().is_ok();
        let local = self.settings.hosts.iter().all(|it| it.starts_with("unix://"));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        if !local || !is_kernels_own(&mounts, &self.settings.root.join("dev")) {
            return None;
        }
        let paths = spec.config.devices.iter().filter_map(|it| it.split(':').next());
        paths.filter(|it| it.starts_with("/dev/")).find(|it| !there(it))
    }

    /// The engine's warning about an image for another machine, if the host has no emulator for it.
    fn foreign(&self, warnings: &[String]) -> Option<String> {
        let warning = warnings.iter().find(|it| has(it, &["does not match the detected host platform"]))?;
        let handlers = std::fs::read_dir(self.settings.root.join("proc/sys/fs/binfmt_misc"));
        let emulated =
            handlers.is_ok_and(|list| list.flatten().any(|it| it.file_name().to_string_lossy().starts_with("qemu-")));
        (!emulated).then(|| warning.split(" and no specific").next().unwrap_or(warning).to_owned())
    }

    /// Accepts the container that has the name, if it is the one that was to be created.
    async fn use_existing(&self, connection: &EngineConnection, spec: &ContainerSpec, what: &str) -> Result<(), EngineError> {
        let seen = self.inspect(connection, &spec.name, what).await?;
        let labels = labels_of(&seen);
        let same = labels.get(labels::CONFIG) == Some(&spec.hash.0) && labels::service(&labels).as_ref() == Some(&spec.key);
        if same && labels::supervised(&labels) {
            return self.connect_missing(connection, &seen, what).await;
        }
        let id = seen.text("/Id");
        let whose = if labels::supervised(&labels) { "another supervised container" } else { "a container no supervisor made" };
        Err(EngineError::Refused(format!(
            "cannot {what}: {whose} has that name (id {}); remove or rename it",
            id.get(..12).unwrap_or(id)
        )))
    }

    /// Connects a container to the networks of its label that it lacks: its creation may have been interrupted.
    async fn connect_missing(&self, connection: &EngineConnection, seen: &EngineJson, what: &str) -> Result<(), EngineError> {
        let has = seen.networks();
        for (name, endpoint) in later(&labels_of(seen)) {
            if has.as_ref().is_some_and(|it| it.contains_key(&name)) {
                continue;
            }
            let what = format!("{what}: connect it to network {name}");
            self.attach(connection, seen.text("/Id"), (&name, &endpoint), &what).await?;
        }
        Ok(())
    }

    /// Attaches a container to networks. If it has an endpoint on a network that is gone, that is detached first: at the next
    /// start the engine would look for that network, even if another has its name now.
    pub(super) async fn reconnect(&self, which: &ContainerRef, networks: &[NetworkConnection]) -> Result<(), EngineError> {
        let connection = self.connection().await?;
        let connected = async {
            for it in networks {
                let what = format!("connect {} to network {}", which.key, it.network);
                let network = if it.id.0.is_empty() { &it.network } else { &it.id.0 };
                if let Some(old) = &it.instead_of {
                    self.detach(&connection, &which.id.0, [&old.0, network], &what).await?;
                }
                self.attach(&connection, &which.id.0, (network, &LaterEndpoint::from(&it.attachment)), &what).await?;
            }
            Ok(())
        };
        connected.await
    }

    pub(super) async fn start(&self, which: &ContainerRef) -> Result<(), EngineError> {
        let connection = self.connection().await?;
        let what = format!("start {}", which.key);
        let startable = self.container_cache.borrow().startable(&which.id).cloned();
        if let Some(image) = startable {
            return self.start_as_it_is(&connection, which, image.as_str(), &what).await;
        }
        let seen = self.inspect(&connection, &which.id.0, &what).await?;
        if seen.is("/State/Paused") {
            return self.unpause(&connection, which, &what).await;
        }
        if seen.is("/State/Running") {
            return Ok(());
        }
        // Its creation may have been interrupted. A network that it cannot be connected to is gone, and the planner deals with
        // what replaced it.
        if let Err(lost @ EngineError::Unreachable(_)) = self.connect_missing(&connection, &seen, &what).await {
            return Err(lost);
        }
        let image = seen.some_text("/Config/Image").unwrap_or_else(|| "its image".to_owned());
        self.start_as_it_is(&connection, which, &image, &what).await
    }

    /// Starts a container that is neither paused nor lacks a network.
    async fn start_as_it_is(
        &self,
        connection: &EngineConnection,
        which: &ContainerRef,
        image: &str,
        what: &str,
    ) -> Result<(), EngineError> {
        let started = connection.docker.start_container(&which.id.0, None::<StartContainerOptions>).await;
        match started {
            Err(error) if !is_so_already(&error) => Err(not_started(sort(what, &error), image, &self.settings.arch)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Resumes a paused container.
    async fn unpause(&self, connection: &EngineConnection, which: &ContainerRef, what: &str) -> Result<(), EngineError> {
        let unpaused = connection.docker.unpause_container(&which.id.0).await;
        match unpaused {
            Err(error) if !has(&error.to_string(), &["is not paused"]) => found(what, Err(error)).map(|_: Option<()>| ()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    pub(super) async fn stop(&self, which: &ContainerRef) -> Result<(), EngineError> {
        self.stop_by_signal(which, &format!("stop {}", which.key)).await.map(drop)
    }

    pub(super) async fn kill(&self, which: &ContainerRef) -> Result<(), EngineError> {
        let what = format!("kill {}", which.key);
        let Some(connection) = self.stop_by_signal(which, &what).await? else {
            self.note_removed(&which.id, false);
            return Ok(());
        };
        let removed = self.within(CALL, async {
            match connection.docker.remove_container(&which.id.0, Some(removal())).await {
                Ok(()) => Ok(true),
                Err(error) if is_so_already(&error) => Ok(false),
                Err(error) => found(&what, Err(error)).map(|_: Option<()>| false),
            }
        });
        self.note_removed(&which.id, removed.await?);
        Ok(())
    }

    /// Stops a container, within its own grace period. `None`: it is gone.
    async fn stop_by_signal(&self, which: &ContainerRef, what: &str) -> Result<Option<EngineConnection>, EngineError> {
        let connection = self.within(CALL, self.connection()).await?;
        let known = self.container_cache.borrow().stop_grace(&which.id).filter(|_| self.lists.borrow().is_watched());
        if let Some(grace) = known {
            self.stop_within(&connection, which, grace, what).await?;
            return Ok(Some(connection));
        }
        let look = async {
            let seen = self.details_of(&connection, &which.id.0, what).await?;
            if seen.as_ref().is_some_and(|it| it.is("/State/Paused")) {
                // A paused program handles no signal, and some engines refuse to stop it.
                self.unpause(&connection, which, what).await?;
            }
            Ok(seen)
        };
        let (runs, grace) = match self.within(CALL, look).await {
            Ok(None) => return Ok(None),
            Ok(Some(seen)) => (runs(&seen) || seen.is("/State/Paused"), decode::grace(&seen)),
            Err(lost @ EngineError::Unreachable(_)) => return Err(lost),
            // The engine cannot describe it: it may run.
            Err(EngineError::Refused(_) | EngineError::Missing(_) | EngineError::InUse(_) | EngineError::Full(_)) => {
                (true, ContainerConfig::default().stop_grace)
            }
        };
        if runs {
            self.stop_within(&connection, which, grace, what).await?;
        }
        Ok(Some(connection))
    }

    /// Stops a container that runs.
    async fn stop_within(
        &self,
        connection: &EngineConnection,
        which: &ContainerRef,
        grace: Duration,
        what: &str,
    ) -> Result<(), EngineError> {
        let stopped = self.within(grace + AFTER_GRACE, async {
            match connection.docker.stop_container(&which.id.0, None::<StopContainerOptions>).await {
                Err(error) if !is_so_already(&error) => found(what, Err(error)).map(|_: Option<()>| ()),
                Ok(()) | Err(_) => Ok(()),
            }
        });
        stopped.await
    }

    /// One call, so that the engine finishes it even if the agent ends.
    pub(super) async fn restart(&self, which: &ContainerRef) -> Result<(), EngineError> {
        let what = format!("restart {}", which.key);
        let look = async {
            let connection = self.connection().await?;
            let seen = self.inspect(&connection, &which.id.0, &what).await?;
            Ok((connection, seen))
        };
        let (connection, seen) = self.within(CALL, look).await?;
        let restarted = self.within(decode::grace(&seen) + AFTER_GRACE, async {
            let done = connection.docker.restart_container(&which.id.0, None::<RestartContainerOptions>).await;
            done.map_err(|error| sort(&what, &error))
        });
        restarted.await
    }

    pub(super) async fn rename(&self, which: &ContainerRef, name: &str) -> Result<(), EngineError> {
        let connection = self.connection().await?;
        self.give_name(&connection, which, name, &format!("rename {} to {name}", which.key)).await?;
        self.note_renamed(&which.id, name);
        Ok(())
    }

    pub(super) async fn retire(&self, which: &ContainerRef, name: &str) -> Result<(), EngineError> {
        let connection = self.connection().await?;
        let what = format!("retire {} as {name}", which.key);
        let update = json!({"RestartPolicy": restart(RestartPolicy::No)});
        let updated = self.post(&connection, &format!("/containers/{}/update", which.id.0), &update).await;
        updated.map_err(|error| sort(&what, &error))?;
        self.give_name(&connection, which, name, &what).await
    }

    async fn give_name(
        &self,
        connection: &EngineConnection,
        which: &ContainerRef,
        name: &str,
        what: &str,
    ) -> Result<(), EngineError> {
        let has_another = self.container_cache.borrow().name(&which.id).is_some_and(|it| it != name);
        if !has_another && self.inspect(connection, &which.id.0, what).await?.text("/Name").trim_start_matches('/') == name {
            return Ok(());
        }
        match connection.docker.rename_container(&which.id.0, RenameContainerOptions { name: name.to_owned() }).await {
            Err(error) if !is_so_already(&error) => Err(sort(what, &error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    async fn inspect(&self, connection: &EngineConnection, name: &str, what: &str) -> Result<EngineJson, EngineError> {
        let seen = self.details_of(connection, name, what).await?;
        seen.ok_or_else(|| EngineError::Refused(format!("cannot {what}: the engine no longer has that container")))
    }

    /// Attaches a container to a network.
    async fn attach(
        &self,
        connection: &EngineConnection,
        id: &str,
        (network, endpoint): (&str, &LaterEndpoint),
        what: &str,
    ) -> Result<(), EngineError> {
        let request = json!({"Container": id, "EndpointConfig": endpoint.settings().value()});
        match self.post(connection, &format!("/networks/{}/connect", escaped(network)), &request).await {
            Err(error) if !is_so_already(&error) => Err(sort(what, &error)),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Detaches a container from a network, by the network's id, or by the name that its successor has.
    async fn detach(
        &self,
        connection: &EngineConnection,
        id: &str,
        networks: [&String; 2],
        what: &str,
    ) -> Result<(), EngineError> {
        let mut detached = Ok(());
        for network in networks {
            let request = json!({"Container": id, "Force": true});
            let done = self.post(connection, &format!("/networks/{}/disconnect", escaped(network)), &request).await;
            detached = done.map(drop).map_err(|error| sort(what, &error));
            if detached.is_ok() {
                break;
            }
        }
        detached
    }
}

/// Removal with the anonymous volumes its image made, whatever state it is in.
pub(super) const fn removal() -> RemoveContainerOptions {
    RemoveContainerOptions { v: true, force: true, link: false }
}

fn runs(seen: &EngineJson) -> bool {
    // One that the engine cannot describe may run.
    seen.is("/State/Running") || seen.is("/State/Restarting") || seen.at("/State").is_none()
}

fn labels_of(seen: &EngineJson) -> Labels {
    seen.labels("/Config/Labels")
}

/// Whether the kernel's devtmpfs is mounted at a path, in the agent's mount namespace.
fn is_kernels_own(mountinfo: &str, at: &Path) -> bool {
    let mount = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        (Path::new(place.split(' ').nth(4)?) == at).then(|| kind.starts_with("devtmpfs "))
    };
    // The last mount at a path hides those before it.
    mountinfo.lines().filter_map(mount).next_back() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_looked_for_where_the_kernel_lists_them() {
        let host = "24 27 0:6 / /dev rw,relatime - devtmpfs devtmpfs rw,mode=755\n25 24 0:7 / /dev/pts rw - devpts devpts rw\n";
        let container =
            "8 7 0:9 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k\n9 8 0:6 /net/tun /dev/net/tun rw - devtmpfs udev rw\n";
        let given = "9 8 0:6 / /host/dev rw,nosuid shared:2 - devtmpfs udev rw\n";
        for (mounts, at, is) in [
            (host, "/dev", true),
            (container, "/dev", false),
            (container, "/host/dev", false),
            (&format!("{container}{given}"), "/host/dev", true),
            (&format!("{container}{given}"), "/dev", false),
            // Another mount over it.
            (&format!("{host}{container}"), "/dev", false),
            ("", "/dev", false),
            ("odd - \n - devtmpfs \n", "/dev", false),
        ] {
            assert_eq!(is_kernels_own(mounts, Path::new(at)), is, "{at} of {mounts}");
        }
    }
}
