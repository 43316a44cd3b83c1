//! Whether the host keeps its journal over boots, as the target's setting says.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::port::{Host, HostError, JournalChange};
use crate::state::Status;
use crate::state::switch::is_on;

/// The target's setting.
const SETTING: &str = "SUPERVISOR_PERSISTENT_LOGGING";
/// Interval between two looks: another program may change it in the meantime.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);
/// The wait after a failure.
const RETRY: Duration = Duration::from_secs(5 * 60);

/// Has the host do as the target says, for as long as it is polled. Without a target nothing changes.
pub async fn run(host: &impl Host, mut status: watch::Receiver<Status>) -> Infallible {
    let mut failed = None;
    loop {
        let wanted = wanted(&status.borrow_and_update());
        let keep = async {
            let Some(persistent) = wanted else { return pending().await };
            loop {
                failed = report(host.persist_journal(persistent).await, persistent, failed.as_ref());
                sleep(if failed.is_some() { RETRY } else { LOOK_EVERY }).await;
            }
        };
        tokio::select! {
            biased;
            () = differs(&mut status, wanted) => (),
            never = keep => return never,
        }
    }
}

/// Logs what was done, and what failed once. Returns why it failed.
fn report(done: Result<JournalChange, HostError>, persistent: bool, before: Option<&HostError>) -> Option<HostError> {
    let how = if persistent { "over boots" } else { "until the next boot only" };
    match done {
        Ok(JournalChange::Already) => (),
        Ok(JournalChange::Now) => info!("the host keeps its journal {how}"),
        Ok(JournalChange::NextBoot) => info!("from the next boot on the host keeps its journal {how}"),
        Err(error) => {
            if before != Some(&error) {
                warn!(%error, "the host does not keep its journal {how}, as the target wants; the agent tries again");
            }
            return Some(error);
        }
    }
    None
}

/// What the target says. `None`: there is no target.
fn wanted(status: &Status) -> Option<bool> {
    let target = status.target.as_ref()?;
    Some(target.config.get(SETTING).is_some_and(|it| is_on(it)))
}

/// Waits until the target says otherwise.
async fn differs(status: &mut watch::Receiver<Status>, now: Option<bool>) {
    if status.wait_for(|it| wanted(it) != now).await.is_err() {
        // The publisher is gone: the agent ends.
        pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use futures_util::{Stream, stream};
    use tokio::time::Instant;

    use super::*;
    use crate::sorted::SortedMap;
    use crate::state::Target;
    use crate::state::boot_config::BootFile;
    use crate::state::cloud::ProvisionedFields;
    use crate::state::host::{HostAddresses, HostConfig, HostMetrics, HostPatch, ProcessUse};
    use crate::state::journal::JournalQuery;
    use futures_util::stream::LocalBoxStream;

    /// A host that notes what it is asked.
    #[derive(Default)]
    struct TestHost {
        asked: RefCell<Vec<(u64, bool)>>,
        fails: Cell<bool>,
    }

    impl Host for TestHost {
        fn addresses(&self) -> impl Stream<Item = HostAddresses> {
            stream::empty()
        }
        fn metrics(&self) -> HostMetrics {
            unreachable!()
        }
        fn own_use(&self) -> ProcessUse {
            ProcessUse::default()
        }
        async fn config(&self) -> Result<HostConfig, HostError> {
            unreachable!()
        }
        async fn configure(&self, _: &HostPatch) -> Result<(), HostError> {
            unreachable!()
        }
        async fn boot_file(&self) -> Result<Option<BootFile>, HostError> {
            unreachable!()
        }
        async fn write_boot_file(&self, _: &BootFile, _: Option<&Vec<u8>>) -> Result<(), HostError> {
            unreachable!()
        }
        async fn write_provisioning(&self, _: &ProvisionedFields) -> Result<(), HostError> {
            unreachable!()
        }
        async fn read_journal(&self, _: &JournalQuery) -> Result<LocalBoxStream<'static, Vec<u8>>, HostError> {
            unreachable!()
        }
        async fn persist_journal(&self, persistent: bool) -> Result<JournalChange, HostError> {
            thread_local!(static BEGUN: Instant = Instant::now());
            self.asked.borrow_mut().push((BEGUN.with(Instant::elapsed).as_secs(), persistent));
            if self.fails.get() { Err(HostError("no unit".to_owned())) } else { Ok(JournalChange::Now) }
        }
    }

    fn target(value: Option<&str>) -> Status {
        let config: SortedMap<_, _> = value.map(|it| (SETTING.to_owned(), it.to_owned())).into_iter().collect();
        Status { target: Some(Target { config, ..Target::default() }.into()), ..Status::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_host_does_as_the_target_says_and_what_failed_is_tried_again() {
        let host = TestHost::default();
        let (publish, status) = watch::channel(Status::default());
        let changes = async {
            sleep(Duration::from_secs(10)).await;
            assert_eq!(host.asked.take(), [], "without a target nothing changes");
            publish.send_replace(target(None));
            sleep(Duration::from_secs(10)).await;
            publish.send_replace(target(Some("true")));
            sleep(Duration::from_secs(10)).await;
            // Another target that says the same.
            publish.send_replace(target(Some("1")));
            sleep(Duration::from_secs(10)).await;
            host.fails.set(true);
            publish.send_replace(target(Some("off")));
            sleep(RETRY).await;
            host.fails.set(false);
            sleep(LOOK_EVERY + RETRY).await;
        };
        tokio::select! {
            biased;
            never = run(&host, status) => match never {},
            () = changes => (),
        }
        assert_eq!(host.asked.take(), [(0, false), (10, true), (30, false), (330, false), (630, false), (4230, false)]);
    }
}
