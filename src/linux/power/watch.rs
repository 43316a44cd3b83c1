//! Listening for announcements of a shutdown, over a connection that is made again whenever it is lost.
//!
//! Only signals from logind itself count: any program on the bus may send a signal of that name. If logind goes away, its
//! announcement counts as cancelled, unless logind is back within [`ANNOUNCEMENT_KEPT`] and still announces it.

use std::future::poll_fn;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};
use zbus::message::Type;
use zbus::{Connection, Error, MatchRule, Message, MessageStream, OwnedFd};

use super::{CALL_TIMEOUT, LOGIND, LOGIND_PATH, MANAGER, Power, call};
use crate::backoff::Backoff;
use crate::linux::watch::FileWatcher;
use crate::port::InhibitorNotice;

/// How long an announced shutdown stays valid while logind is unreachable. After a cancelled one all work resumes within five
/// seconds.
const ANNOUNCEMENT_KEPT: Duration = Duration::from_secs(3);
/// The first and the longest backoff between two attempts to reach logind.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));

const BUS: (&str, &str) = ("org.freedesktop.DBus", "/org/freedesktop/DBus");

/// An inhibitor lock of mode `delay`: the machine waits until it is dropped, a few seconds at most.
#[derive(Debug)]
pub struct InhibitorLock {
    /// `None`: logind granted no lock, and does not wait.
    _fd: Option<OwnedFd>,
}

/// Watches for shutdown announcements.
pub(super) struct ShutdownWatcher<'p> {
    power: &'p Power,
    link: Option<Link>,
    /// A shutdown was announced, and not cancelled.
    announced: bool,
    /// Since when logind is unreachable.
    lost: Instant,
    pauses: Backoff,
    /// The failure that was last logged.
    complained: Option<String>,
}

/// A connection that is subscribed to logind's signals.
struct Link {
    connection: Connection,
    /// logind's unique name on the bus.
    owner: String,
    announcements: MessageStream,
    owners: MessageStream,
    hold: Option<OwnedFd>,
}

impl<'p> ShutdownWatcher<'p> {
    pub(super) fn new(power: &'p Power) -> Self {
        let pauses = Backoff::new(BACKOFF.0, BACKOFF.1);
        Self { power, link: None, announced: false, lost: Instant::now(), pauses, complained: None }
    }

    /// The next notice.
    pub(super) async fn next(&mut self) -> InhibitorNotice<InhibitorLock> {
        loop {
            let turned = match &mut self.link {
                Some(link) => link.next().await,
                None => self.subscribe().await,
            };
            match turned {
                Ok(preparing) if preparing == self.announced => (),
                Ok(true) => {
                    self.announced = true;
                    return InhibitorNotice::ShutdownBegins(InhibitorLock {
                        _fd: self.link.as_mut().and_then(|it| it.hold.take()),
                    });
                }
                Ok(false) => {
                    self.announced = false;
                    self.reacquire_inhibitor().await;
                    return InhibitorNotice::ShutdownCancelled(
                        "logind called it off; see `journalctl -u systemd-logind`".to_owned(),
                    );
                }
                Err(why) => {
                    if let Some(notice) = self.on_unreachable(why).await {
                        return notice;
                    }
                }
            }
        }
    }

    /// Connects, and reads the present state.
    async fn subscribe(&mut self) -> Result<bool, String> {
        let connection = self.power.connect().await.map_err(|error| error.to_string())?;
        let joined = timeout(CALL_TIMEOUT, Link::subscribe(connection)).await;
        let (mut link, preparing) = joined
            .map_err(|_| "logind does not answer".to_owned())?
            .map_err(|error| super::failed("cannot watch for shutdowns", &error).to_string())?;
        link.hold = if preparing { None } else { link.delay().await };
        self.link = Some(link);
        self.pauses.succeed();
        if self.complained.take().is_some() {
            info!("logind answers again; shutdowns are noticed");
        }
        Ok(preparing)
    }

    /// Handles an unreachable logind. An announced shutdown stays valid for a while.
    async fn on_unreachable(&mut self, why: String) -> Option<InhibitorNotice<InhibitorLock>> {
        if self.link.take().is_some() {
            self.lost = Instant::now();
            self.pauses.succeed();
            debug!(%why, "logind is gone");
            return None;
        }
        if self.announced && self.lost.elapsed() >= ANNOUNCEMENT_KEPT {
            self.announced = false;
            return Some(InhibitorNotice::ShutdownCancelled(format!(
                "the connection to logind, which announced it, was lost: {why}"
            )));
        }
        if self.complained.as_ref() != Some(&why) {
            warn!(%why, "shutdowns by others are not noticed until logind answers");
            self.complained = Some(why);
        }
        let pause = self.pauses.fail();
        let pause = if self.announced { pause.min(ANNOUNCEMENT_KEPT / 6) } else { pause };
        let retry = async {
            match self.power.missing_socket() {
                Some(socket) if !self.announced => appears(&socket, pause).await,
                Some(_) | None => sleep(pause).await,
            }
        };
        tokio::select! {
            () = retry => (),
            // If logind just answered another request, an announcement may follow soon: retry now.
            () = self.power.answered.notified() => (),
        }
        None
    }

    async fn reacquire_inhibitor(&mut self) {
        if let Some(link) = &mut self.link {
            link.hold = link.delay().await;
        }
    }
}

/// Waits until a file is there: on a board without a bus that may be never, and is no reason to wake up. Where it cannot be
/// watched, for this long at most.
async fn appears(path: &Path, at_most: Duration) {
    let Ok(mut watch) = FileWatcher::new(path) else { return sleep(at_most).await };
    loop {
        if watch.arm().is_err() {
            return sleep(at_most).await;
        }
        if path.exists() || poll_fn(|cx| watch.poll_change(cx)).await.is_err() {
            return;
        }
    }
}

impl Link {
    /// Subscribes before it asks, so that nothing is missed in between.
    async fn subscribe(connection: Connection) -> Result<(Self, bool), Error> {
        let signal = |sender: &'static str, path: &'static str, interface: &'static str, member: &'static str| {
            MatchRule::builder().msg_type(Type::Signal).sender(sender).path(path).interface(interface).member(member)
        };
        let announced = signal(LOGIND, LOGIND_PATH, MANAGER, "PrepareForShutdown").build()?;
        let changed = signal(BUS.0, BUS.1, BUS.0, "NameOwnerChanged").arg(0, LOGIND).build()?;
        let announcements = MessageStream::for_match_rule(announced, &connection, None).await?;
        let owners = MessageStream::for_match_rule(changed, &connection, None).await?;
        // The request has the bus start logind, if it can.
        let preparing = preparing(&connection).await?;
        let reply = connection.call_method(Some(BUS.0), BUS.1, Some(BUS.0), "GetNameOwner", &LOGIND).await?;
        let owner = reply.body().deserialize()?;
        Ok((Self { connection, owner, announcements, owners, hold: None }, preparing))
    }

    /// Whether a shutdown is in preparation, at each change.
    async fn next(&mut self) -> Result<bool, String> {
        loop {
            tokio::select! {
                biased;
                message = self.announcements.next() => {
                    let message = message.ok_or("the bus closed the connection")?.map_err(|error| error.to_string())?;
                    if self.is_by_logind(&message) {
                        return message.body().deserialize().map_err(|error| error.to_string());
                    }
                }
                // Reconnect, since logind has a new unique name; the bus sends this signal only for a change of owner.
                _ = self.owners.next() => return Err("logind went away".to_owned()),
            }
        }
    }

    fn is_by_logind(&self, message: &Message) -> bool {
        message.header().sender().is_some_and(|it| it.as_str() == self.owner)
    }

    /// Requests the delay. Without it the machine shuts down without waiting for the agent, or for any other program.
    async fn delay(&self) -> Option<OwnedFd> {
        let words = ("shutdown", "boardkeeper", "finishes what it does to containers", "delay");
        let asked = async { call(&self.connection, "Inhibit", &words).await?.body().deserialize::<OwnedFd>() };
        match timeout(CALL_TIMEOUT, asked).await {
            Ok(Ok(fd)) => Some(fd),
            Ok(Err(error)) => {
                warn!(%error, "logind grants no delay before a shutdown; allow org.freedesktop.login1.inhibit-delay-shutdown");
                None
            }
            Err(_) => None,
        }
    }
}

async fn preparing(connection: &Connection) -> Result<bool, Error> {
    let words = (MANAGER, "PreparingForShutdown");
    let properties = Some("org.freedesktop.DBus.Properties");
    let reply = connection.call_method(Some(LOGIND), LOGIND_PATH, properties, "Get", &words).await?;
    let body = reply.body();
    let value: zbus::Variant<'_> = body.deserialize()?;
    bool::try_from(value)
}
