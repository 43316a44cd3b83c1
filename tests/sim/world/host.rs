//! The networks and the host: a cloud that cannot be reached, a VPN that comes and goes, addresses that change, and a host
//! that does not carry out its configuration.

use std::collections::BTreeSet;
use std::time::Duration;

use boardkeeper::port::{self, HostError, JournalChange, NetError, UnitChange};
use boardkeeper::state::VpnState;
use boardkeeper::state::boot_config::BootFile;
use boardkeeper::state::cloud::{CloudAccount, ProvisionedFields, VpnProfile};
use boardkeeper::state::host::{HostAddresses, HostConfig, HostMetrics, HostPatch, ProcessUse};
use boardkeeper::state::journal::JournalQuery;
use futures_util::stream::{self, LocalBoxStream, Stream, StreamExt};
use tokio::time::sleep;

use super::marks::Mark;
use super::{Model, Sim};

/// How long a slow host takes to apply a configuration: longer than the agent's observation interval.
const TAKES: Duration = Duration::from_secs(10 * 60);

/// How long the host keeps its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum JournalKept {
    #[default]
    ThisBoot,
    OverBoots,
}

impl JournalKept {
    const fn of(persistent: bool) -> Self {
        if persistent { Self::OverBoots } else { Self::ThisBoot }
    }
}

/// The networks.
#[derive(Debug, Default)]
pub(crate) struct Net {
    /// The cloud cannot be reached.
    pub(crate) offline: bool,
    /// The VPN.
    pub(crate) vpn: VpnState,
    /// The device has a cloud.
    pub(crate) endpoint: bool,
    /// The address of the device ends in this.
    address: u64,
    /// The uuid in config.json of a device that a person registered in the cloud beforehand.
    pub(crate) registered_uuid: Option<String>,
    /// What config.json has of the registered device.
    pub(crate) provisioned: Option<ProvisionedFields>,
    /// How long the host keeps its journal.
    journal: JournalKept,
    /// The host's name.
    pub(crate) hostname: String,
    /// To configure the host takes minutes.
    pub(crate) slow_host: bool,
}

impl Model {
    /// Wakes the streams of networks and addresses.
    pub(crate) fn notify_host(&self) {
        self.notifiers.host.send_modify(|count| *count += 1);
    }

    /// The cloud is reached, or it is not.
    pub(crate) fn go_offline(&mut self, offline: bool) {
        self.net.offline = offline;
        self.hit(if offline { Mark::Offline } else { Mark::OnlineAgain });
    }

    /// The VPN comes up, or goes down.
    pub(crate) fn turn_vpn(&mut self) {
        let up = self.net.vpn == VpnState::Down;
        self.net.vpn = if up { VpnState::Up } else { VpnState::Down };
        self.hit(if up { Mark::VpnUp } else { Mark::VpnDown });
        self.notify_host();
    }

    /// The device gets another address.
    pub(crate) fn move_away(&mut self) {
        self.net.address += 1;
        self.hit(Mark::Moves);
        self.notify_host();
    }
}

impl port::Net for Sim {
    async fn dial(&self, host: &str, port: u16) -> Result<(), NetError> {
        let (wait, hangs) = self.with(|model| {
            let hangs = model.rngs.host.happens(model.rates.hangs);
            (model.rngs.host.millis(5, 200), hangs)
        });
        sleep(wait).await;
        if hangs {
            // A minute and more, as kernels do; the caller gives up before.
            self.with(|model| model.hit(Mark::DialHangs));
            sleep(Duration::from_secs(130)).await;
        }
        if self.with(|model| model.net.offline) {
            return Err(NetError::Service(format!("{host} port {port}: network is unreachable")));
        }
        Ok(())
    }

    fn vpn(&self) -> impl Stream<Item = VpnState> {
        let notifier = self.with(|model| model.notifiers.host.subscribe());
        // At once, and then after each notification.
        stream::unfold((self.clone(), notifier, true), async |(sim, mut notifier, first)| {
            if !first {
                notifier.changed().await.expect("the world outlives its agents");
            }
            let now = sim.with(|model| model.net.vpn);
            Some((now, (sim, notifier, false)))
        })
    }

    async fn ensure_vpn(&self, to: VpnState) -> Result<UnitChange, NetError> {
        sleep(Duration::from_millis(100)).await;
        self.with(|model| {
            if model.rngs.host.happens(model.rates.faults) {
                return Err(NetError::Service("systemd does not answer".into()));
            }
            if model.net.vpn == to {
                return Ok(UnitChange::Already);
            }
            model.turn_vpn();
            Ok(UnitChange::Now)
        })
    }

    async fn takes_vpn_profile(&self) -> Result<bool, NetError> {
        Ok(false)
    }

    async fn install_vpn(&self, _: &VpnProfile, _: &CloudAccount) -> Result<UnitChange, NetError> {
        Ok(UnitChange::Already)
    }
}

/// A write of config.json under way. If it is dropped, the file is the old one or the new one.
struct ProvisioningBeingWritten<'a>(&'a Sim, Option<ProvisionedFields>);

impl Drop for ProvisioningBeingWritten<'_> {
    fn drop(&mut self) {
        let (Some(fields), Ok(mut model)) = (self.1.take(), self.0.0.try_borrow_mut()) else { return };
        if model.rngs.partial.happens(500) {
            model.net.provisioned = Some(fields);
        }
        model.hit(Mark::CutInProvisioning);
    }
}

impl Model {
    /// Why the host does not do with its journal as the target says.
    pub(crate) fn journal_unsettled(&self) -> Option<String> {
        let wanted = JournalKept::of(self.targets.wanted.config.contains_key("SUPERVISOR_PERSISTENT_LOGGING"));
        (self.net.journal != wanted).then(|| format!("the host's journal is kept {:?}, not {wanted:?}", self.net.journal))
    }
}

impl port::Host for Sim {
    fn addresses(&self) -> impl Stream<Item = HostAddresses> {
        let notifier = self.with(|model| model.notifiers.host.subscribe());
        stream::unfold((self.clone(), notifier, None), async |(sim, mut notifier, told)| {
            loop {
                let now = sim.with(|model| model.net.address);
                if told != Some(now) {
                    let ips = vec![format!("192.168.1.{}", now % 250)];
                    let addresses = HostAddresses { ips, macs: "02:00:00:00:00:01".into() };
                    return Some((addresses, (sim, notifier, Some(now))));
                }
                notifier.changed().await.expect("the world outlives its agents");
            }
        })
    }

    fn metrics(&self) -> HostMetrics {
        HostMetrics::default()
    }

    fn own_use(&self) -> ProcessUse {
        ProcessUse { resident_bytes: Some(4 << 20), cpu: Some(Duration::ZERO) }
    }
    async fn config(&self) -> Result<HostConfig, HostError> {
        sleep(Duration::from_millis(10)).await;
        if self.with(|model| model.roll(model.rates.faults, Mark::HostSaysNo)) {
            return Err(HostError("/etc/hostname: input/output error".into()));
        }
        Ok(self.with(|model| HostConfig { hostname: model.net.hostname.clone(), ..HostConfig::default() }))
    }

    async fn boot_file(&self) -> Result<Option<BootFile>, HostError> {
        self.read_boot_file().await
    }

    async fn write_boot_file(&self, file: &BootFile, _: Option<&Vec<u8>>) -> Result<(), HostError> {
        self.replace_boot_file(file).await
    }

    async fn read_journal(&self, query: &JournalQuery) -> Result<LocalBoxStream<'static, Vec<u8>>, HostError> {
        if self.with(|model| model.roll(model.rates.faults, Mark::HostSaysNo)) {
            return Err(HostError("the journal cannot be read: no such file".into()));
        }
        let lines = stream::iter([b"a line\n".to_vec()]);
        Ok(if query.follow { lines.chain(stream::pending()).boxed_local() } else { lines.boxed_local() })
    }

    async fn persist_journal(&self, persistent: bool) -> Result<JournalChange, HostError> {
        let wanted = JournalKept::of(persistent);
        if self.with(|model| model.net.journal == wanted) {
            return Ok(JournalChange::Already);
        }
        sleep(Duration::from_millis(100)).await;
        self.with(|model| {
            if model.roll(model.rates.faults, Mark::HostSaysNo) {
                return Err(HostError("systemd does not answer".into()));
            }
            model.net.journal = wanted;
            model.hit(if persistent { Mark::JournalKept } else { Mark::JournalForgotten });
            model.note(format_args!("host: its journal is kept {wanted:?}"));
            // A device that reboots for its configuration does so for this one, too.
            if !model.targets.reboots {
                return Ok(JournalChange::Now);
            }
            model.want_boot();
            Ok(JournalChange::NextBoot)
        })
    }

    async fn configure(&self, patch: &HostPatch) -> Result<(), HostError> {
        let note = |when: &str| {
            self.with(|model| {
                let ours = model.locks.of_agent().count();
                model.note(format_args!("host: {when} the name {:?} under {ours} locks", patch.hostname.as_deref()));
            });
        };
        note("writes");
        let before: BTreeSet<_> = self.with(|model| model.locks.of_agent().cloned().collect());
        let (fails, takes) = self.with(|model| {
            let slow = model.net.slow_host || model.rngs.host.happens(model.rates.hangs);
            if slow {
                model.hit(Mark::HostSlow);
            }
            let takes = if slow { TAKES } else { model.rngs.host.millis(20, 3000) };
            (model.roll(model.rates.faults, Mark::HostSaysNo), takes)
        });
        // Units that are restarted take their time; the agent observes the engine meanwhile.
        sleep(takes).await;
        if fails {
            return Err(HostError("systemd does not restart avahi-daemon.service".into()));
        }
        self.with(|model| {
            if !before.is_subset(&model.locks.of_agent().cloned().collect()) {
                model.violation("the locks under which the host is configured were given back meanwhile");
            }
            model.net.hostname.clone_from(&patch.hostname.clone().unwrap_or_default());
        });
        note("has");
        Ok(())
    }

    async fn write_provisioning(&self, fields: &ProvisionedFields) -> Result<(), HostError> {
        let mut writing = ProvisioningBeingWritten(self, Some(fields.clone()));
        self.pass(1, 100).await;
        writing.1 = None;
        self.with(|model| {
            let fails = model.roll(model.rates.faults, Mark::ProvisioningFails);
            if fails && model.rngs.calls.happens(500) {
                return Err(HostError("cannot write `/mnt/boot/config.json`: input/output error".to_owned()));
            }
            model.net.provisioned = Some(fields.clone());
            model.note(format_args!("host: config.json has the device {}", fields.uuid));
            if fails { Err(HostError("cannot write `/mnt/boot/config.json`: it was written".to_owned())) } else { Ok(()) }
        })
    }
}
