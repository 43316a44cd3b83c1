use std::cell::RefCell;

use futures_util::Stream;
use futures_util::stream;
use tokio::sync::watch;

use super::*;
use crate::port::NetError;
use crate::sorted::SortedMap;
use crate::state::Target;
use crate::state::cloud::{CloudAccount, VpnProfile};

/// A fake network. `open`: whether connections succeed; `None`: they never complete.
struct Fake {
    open: RefCell<Option<bool>>,
    vpn: watch::Sender<VpnState>,
    dialled: RefCell<Vec<(Instant, String, u16)>>,
    steered: RefCell<Vec<(Instant, VpnState)>>,
}

impl Net for Fake {
    async fn dial(&self, host: &str, port: u16) -> Result<(), NetError> {
        self.dialled.borrow_mut().push((Instant::now(), host.to_owned(), port));
        let open = *self.open.borrow();
        match open {
            Some(true) => Ok(()),
            Some(false) => Err(NetError::Service("refused".to_owned())),
            None => pending().await,
        }
    }

    fn vpn(&self) -> impl Stream<Item = VpnState> {
        let mut changes = self.vpn.subscribe();
        changes.mark_changed();
        stream::unfold(changes, async |mut changes| {
            changes.changed().await.ok()?;
            let now = *changes.borrow_and_update();
            Some((now, changes))
        })
    }

    async fn ensure_vpn(&self, to: VpnState) -> Result<UnitChange, NetError> {
        // systemd takes its time.
        sleep(Duration::from_secs(1)).await;
        let last = self.steered.borrow().last().map(|(_, it)| *it);
        if last == Some(to) {
            return Ok(UnitChange::Already);
        }
        self.steered.borrow_mut().push((Instant::now(), to));
        Ok(UnitChange::Now)
    }

    async fn takes_vpn_profile(&self) -> Result<bool, NetError> {
        unreachable!()
    }

    async fn install_vpn(&self, _: &VpnProfile, _: &CloudAccount) -> Result<UnitChange, NetError> {
        unreachable!()
    }
}

/// The status that says what to check, and the result.
struct Channels {
    status: watch::Sender<Status>,
    connectivity: watch::Sender<Connectivity>,
    vpn: watch::Sender<VpnState>,
}

impl Channels {
    async fn run(&self, fake: &Fake) -> Infallible {
        let publish = ConnectivityPublishers { connectivity: self.connectivity.clone(), vpn: self.vpn.clone() };
        run(fake, self.status.subscribe(), publish).await
    }
}

fn device(endpoint: Option<&str>) -> (Fake, Channels) {
    let mut status = Status::default();
    status.device.api_endpoint = endpoint.map(str::to_owned);
    let fake = Fake {
        open: RefCell::new(Some(true)),
        vpn: watch::Sender::new(VpnState::Down),
        dialled: RefCell::default(),
        steered: RefCell::default(),
    };
    let (connectivity, vpn) = (watch::Sender::default(), watch::Sender::default());
    (fake, Channels { status: watch::Sender::new(status), connectivity, vpn })
}

/// Runs for `secs` seconds.
async fn live(fake: &Fake, channels: &Channels, secs: u64) {
    let _ = timeout(Duration::from_secs(secs), channels.run(fake)).await;
}

fn is_offline(channels: &Channels) -> bool {
    matches!(*channels.connectivity.borrow(), Connectivity::Offline { .. })
}

#[tokio::test(start_paused = true)]
async fn it_dials_every_ten_seconds_and_only_changes_speak() {
    let (fake, channels) = device(Some("https://api.balena-cloud.com"));
    let mut seen = channels.connectivity.subscribe();
    live(&fake, &channels, 35).await;
    assert_eq!(fake.dialled.borrow().len(), 4);
    assert_eq!((fake.dialled.borrow()[0].1.as_str(), fake.dialled.borrow()[0].2), ("api.balena-cloud.com", 443));
    assert_eq!(*channels.connectivity.borrow(), Connectivity::Online);
    assert!(seen.has_changed().unwrap());
    seen.mark_unchanged();
    live(&fake, &channels, 35).await;
    assert!(!seen.has_changed().unwrap(), "nothing changed");
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_swallows_everything_is_given_ten_seconds() {
    let (fake, channels) = device(Some("http://api.resin.io"));
    *fake.open.borrow_mut() = None;
    live(&fake, &channels, 9).await;
    assert_eq!(*channels.connectivity.borrow(), Connectivity::Unknown);
    let began = Instant::now();
    live(&fake, &channels, 41).await;
    assert!(is_offline(&channels));
    let times: Vec<_> = fake.dialled.borrow().iter().skip(1).map(|(at, ..)| at.duration_since(began).as_secs()).collect();
    assert_eq!(times, [0, 20, 40]);
}

#[tokio::test(start_paused = true)]
async fn offline_has_a_since_that_stays_and_ends_when_the_network_comes() {
    let (fake, channels) = device(Some("http://[::1]:8080/x"));
    *fake.open.borrow_mut() = Some(false);
    live(&fake, &channels, 1).await;
    let first = channels.connectivity.borrow().clone();
    live(&fake, &channels, 60).await;
    assert_eq!(*channels.connectivity.borrow(), first);
    assert!(is_offline(&channels));
    *fake.open.borrow_mut() = Some(true);
    live(&fake, &channels, 1).await;
    assert_eq!(*channels.connectivity.borrow(), Connectivity::Online);
}

#[tokio::test(start_paused = true)]
async fn the_vpn_is_proof_enough_and_its_end_is_noticed_at_once() {
    let (fake, channels) = device(Some("https://api.resin.io"));
    *fake.open.borrow_mut() = Some(false);
    fake.vpn.send_replace(VpnState::Up);
    let story = async {
        sleep(Duration::from_secs(100)).await;
        assert_eq!((channels.connectivity.borrow().clone(), *channels.vpn.borrow()), (Connectivity::Online, VpnState::Up));
        assert!(fake.dialled.borrow().is_empty());
        fake.vpn.send_replace(VpnState::Down);
        sleep(Duration::from_millis(1)).await;
        assert!(is_offline(&channels));
        assert_eq!(*channels.vpn.borrow(), VpnState::Down);
        fake.vpn.send_replace(VpnState::Up);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(*channels.connectivity.borrow(), Connectivity::Online);
    };
    tokio::select! { biased; never = channels.run(&fake) => match never {}, () = story => () }
}

#[tokio::test(start_paused = true)]
async fn turned_off_it_is_quiet_at_once() {
    let (fake, channels) = device(Some("https://api.resin.io"));
    *fake.open.borrow_mut() = Some(false);
    let story = async {
        sleep(Duration::from_secs(1)).await;
        assert!(is_offline(&channels));
        channels.status.send_modify(|it| it.check = ConnectivityCheck::Off);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(*channels.connectivity.borrow(), Connectivity::Unknown);
        let dialled = fake.dialled.borrow().len();
        sleep(Duration::from_secs(100)).await;
        assert_eq!(fake.dialled.borrow().len(), dialled);
        channels.status.send_modify(|it| it.check = ConnectivityCheck::On);
        sleep(Duration::from_millis(1)).await;
        assert!(is_offline(&channels));
    };
    tokio::select! { biased; never = channels.run(&fake) => match never {}, () = story => () }
}

#[tokio::test(start_paused = true)]
async fn without_a_cloud_nothing_is_dialled() {
    let (fake, channels) = device(None);
    live(&fake, &channels, 100).await;
    assert!(fake.dialled.borrow().is_empty());
    assert_eq!(*channels.connectivity.borrow(), Connectivity::Unknown);
}

#[tokio::test(start_paused = true)]
async fn the_vpns_service_is_told_once_an_hour_and_only_by_a_target_that_says_so() {
    let (fake, channels) = device(None);
    let began = Instant::now();
    let say = |text: &str| {
        let config = SortedMap::from_iter([("SUPERVISOR_VPN_CONTROL".to_owned(), text.to_owned())]);
        channels.status.send_modify(|it| it.target = Some(Target { config, ..Target::default() }.into()));
    };
    let story = async {
        sleep(Duration::from_secs(5)).await;
        assert!(fake.steered.borrow().is_empty());
        say("false");
        sleep(Duration::from_secs(5)).await;
        say("true");
        sleep(Duration::from_secs(2 * 3600)).await;
    };
    tokio::select! { biased; never = channels.run(&fake) => match never {}, () = story => () }
    let steered: Vec<_> = fake.steered.borrow().iter().map(|(at, to)| (at.duration_since(began).as_secs(), *to)).collect();
    assert_eq!(steered, [(6, VpnState::Down), (3607, VpnState::Up)]);
}

#[tokio::test(start_paused = true)]
async fn the_vpn_comes_up_at_once_when_the_target_changes_while_systemd_is_asked() {
    let (fake, channels) = device(None);
    // The VPN is down already, as the stored target says; then the new target is read.
    fake.steered.borrow_mut().push((Instant::now(), VpnState::Down));
    let began = Instant::now();
    let story = async {
        for (text, wait_ms) in [("false", 500), ("true", 10_000)] {
            let config = SortedMap::from_iter([("SUPERVISOR_VPN_CONTROL".to_owned(), text.to_owned())]);
            channels.status.send_modify(|it| it.target = Some(Target { config, ..Target::default() }.into()));
            sleep(Duration::from_millis(wait_ms)).await;
        }
    };
    tokio::select! { biased; never = channels.run(&fake) => match never {}, () = story => () }
    let last = *fake.steered.borrow().last().unwrap();
    assert_eq!((last.1, last.0.duration_since(began).as_millis()), (VpnState::Up, 1500));
}
