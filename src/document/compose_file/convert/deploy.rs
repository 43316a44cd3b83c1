//! `deploy` of a service: its limits and its restart policy. The rest is for clusters.

use super::Converter;
use crate::document::at::path_of;
use crate::document::compose_file::yaml::{Node, Yaml};

/// What of `deploy.resources` is which field of a service.
const LIMITS: [(&str, &str, &str); 4] = [
    ("limits", "cpus", "cpus"),
    ("limits", "memory", "mem_limit"),
    ("limits", "pids", "pids_limit"),
    ("reservations", "memory", "mem_reservation"),
];

impl Converter<'_, '_> {
    /// Makes fields of a service of what its `deploy` says. Fields of the service itself win.
    pub(super) fn deploy(&mut self, path: &str, node: &mut Node) {
        let Some(mut deploy) = node.take("deploy") else { return };
        let mut fields: Vec<(&str, Node)> = Vec::new();
        if let Some(mut resources) = deploy.take("resources") {
            for part in ["limits", "reservations"] {
                let Some(mut taken) = resources.take(part) else { continue };
                for (_, name, field) in LIMITS.iter().filter(|it| it.0 == part) {
                    fields.extend(taken.take(name).map(|it| (*field, it)));
                }
                self.not_supported(&format!("{path}.deploy.resources.{part}"), &taken);
            }
            self.not_supported(&format!("{path}.deploy.resources"), &resources);
        }
        if let Some(policy) = deploy.take("restart_policy") {
            fields.push(("restart", Node::of_text(policy.place, &restart(&policy))));
            for field in ["delay", "window"] {
                if let Some(at) = policy.key(field) {
                    self.loader.warn(at.place, &format!("{path}.deploy.restart_policy.{field}: not supported, ignored"));
                }
            }
        }
        if deploy.key("replicas").and_then(Node::scalar).as_deref() == Some("1") {
            deploy.take("replicas");
        }
        self.not_supported(&format!("{path}.deploy"), &deploy);
        for (field, value) in fields {
            if node.key(field).is_none()
                && let Some(entries) = node.map_mut()
            {
                entries.retain(|(it, _)| it != field);
                entries.push((field.to_owned(), value));
            }
        }
    }

    fn not_supported(&mut self, path: &str, node: &Node) {
        for (key, at) in node.entries().iter().filter(|(_, it)| it.value != Yaml::Null) {
            self.loader.warn(at.place, &format!("{}: not supported, ignored", path_of(path, key)));
        }
    }
}

/// The restart policy that a policy of a cluster stands for.
fn restart(policy: &Node) -> String {
    let condition = policy.key("condition").and_then(Node::scalar).unwrap_or_default();
    let most = policy.key("max_attempts").and_then(Node::scalar).filter(|it| it != "0");
    match condition.as_str() {
        "none" => "no".to_owned(),
        "on-failure" => most.map_or_else(|| condition.clone(), |most| format!("{condition}:{most}")),
        _ => "always".to_owned(),
    }
}
