//! The record of local mode. The target that was pushed is kept as its document, and parsed again.

use serde::{Deserialize, Serialize};

use super::ParseTarget;
use crate::sorted::SortedSet;
use crate::state::local_mode::{LocalModeRecord, LocalModeSwitch, LocalSession, SwitchEnd, numbered};
use crate::state::{AppId, ImageId, ServiceKey, Target};

#[derive(Serialize, Deserialize)]
pub(super) struct LocalModeFile {
    #[serde(deserialize_with = "Option::deserialize")]
    switch: Option<SwitchFields>,
    #[serde(deserialize_with = "Option::deserialize")]
    session: Option<SessionFields>,
}

#[derive(Serialize, Deserialize)]
struct SwitchFields {
    is_on: bool,
    target_says: bool,
    ends: Option<EndFields>,
}

#[derive(Serialize, Deserialize)]
struct EndFields {
    boot_id: String,
    uptime_secs: i64,
    length_secs: i64,
    at_secs: i64,
}

#[derive(Serialize, Deserialize)]
struct SessionFields {
    images: SortedSet<String>,
    /// Apps and services that ran when local mode was entered.
    interrupted: SortedSet<(u32, String)>,
    /// The document, as it was pushed.
    document: Option<String>,
    pushed: SortedSet<u32>,
}

impl LocalModeFile {
    pub(super) fn of(record: &LocalModeRecord) -> Self {
        let session = record.session.as_ref().map(|it| SessionFields {
            images: it.images.iter().map(|id| id.0.clone()).collect(),
            interrupted: it.interrupted.iter().map(|it| (it.app.0, it.service.clone())).collect(),
            document: it.target.as_ref().map(|it| it.document.clone()),
            pushed: it.pushed.iter().map(|it| it.0).collect(),
        });
        Self { switch: record.switch.as_ref().map(SwitchFields::of), session }
    }

    /// The record, and why the target in it cannot be parsed.
    pub(super) fn into_state(self, parse: &ParseTarget) -> (LocalModeRecord, Option<String>) {
        let mut wrong = None;
        let session = self.session.map(|it| {
            let session = LocalSession {
                images: it.images.into_iter().map(ImageId).collect(),
                interrupted: it.interrupted.iter().map(|(app, service)| ServiceKey::new(AppId(*app), service)).collect(),
                target: None,
                pushed: it.pushed.into_iter().map(AppId).collect(),
            };
            let mut read = |document: String| -> Option<Target> {
                parse(&document).and_then(numbered).map_err(|why| wrong = Some(why.to_string())).ok()
            };
            let target = it.document.and_then(&mut read);
            LocalSession { target, ..session }
        });
        (LocalModeRecord { switch: self.switch.map(SwitchFields::into_state), session }, wrong)
    }
}

impl SwitchFields {
    fn of(switch: &LocalModeSwitch) -> Self {
        let ends = switch.ends.as_ref().map(|it| EndFields {
            boot_id: it.boot_id.clone(),
            uptime_secs: it.uptime_secs,
            length_secs: it.length_secs,
            at_secs: it.at_secs,
        });
        Self { is_on: switch.is_on, target_says: switch.target_says, ends }
    }

    fn into_state(self) -> LocalModeSwitch {
        let ends = self.ends.map(|EndFields { boot_id, uptime_secs, length_secs, at_secs }| SwitchEnd {
            boot_id,
            uptime_secs,
            length_secs,
            at_secs,
        });
        LocalModeSwitch { is_on: self.is_on, target_says: self.target_says, ends }
    }
}
