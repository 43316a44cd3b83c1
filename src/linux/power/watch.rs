//! Listening for announcements of the machine's end, over a connection that is made again whenever it is lost.
//!
//! Only what logind itself sends counts: anybody on the bus may send us a signal of its name. A logind that goes away takes
//! what it announced with it, unless it is back within [`BACK_WITHIN`] and still means it.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};
use zbus::message::Type;
use zbus::{Connection, Error, MatchRule, Message, MessageStream, OwnedFd};

use super::{LOGIND, LOGIND_PATH, MANAGER, PATIENCE, Power, call};
use crate::backoff::Backoff;
use crate::port::{InhibitorNotice, PowerError};

/// How long an announced end is believed in while nobody can be asked. All comes back within five seconds.
const BACK_WITHIN: Duration = Duration::from_secs(3);
/// The first and the longest pause between two tries to reach logind.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));

const BUS: (&str, &str) = ("org.freedesktop.DBus", "/org/freedesktop/DBus");

/// A delay that logind grants: the machine waits until it is dropped, a few seconds at the most.
#[derive(Debug)]
pub struct InhibitorLock {
    /// `None`: logind granted nothing, and waits for nobody.
    _fd: Option<OwnedFd>,
}

/// What is heard of ends.
pub(super) struct ShutdownWatcher<'p> {
    power: &'p Power,
    link: Option<Link>,
    /// An end was announced, and not called off.
    announced: bool,
    /// Since when nobody can be asked.
    lost: Instant,
    pauses: Backoff,
    /// What was last said of it in the log.
    complained: Option<String>,
}

/// A connection that is listened on.
struct Link {
    connection: Connection,
    /// logind's own name on the bus.
    owner: String,
    announcements: MessageStream,
    owners: MessageStream,
    hold: Option<OwnedFd>,
}

impl<'p> ShutdownWatcher<'p> {
    pub(super) fn new(power: &'p Power) -> Self {
        let pauses = Backoff::new(PAUSES.0, PAUSES.1);
        Self { power, link: None, announced: false, lost: Instant::now(), pauses, complained: None }
    }

    /// The next thing that is heard.
    pub(super) async fn next(&mut self) -> InhibitorNotice<InhibitorLock> {
        loop {
            let turned = match &mut self.link {
                Some(link) => link.next().await,
                None => self.join().await,
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
                    if let Some(notice) = self.without(why).await {
                        return notice;
                    }
                }
            }
        }
    }

    /// Connects, and finds out how things are.
    async fn join(&mut self) -> Result<bool, String> {
        let connection = self.power.connect().await.map_err(|PowerError(why)| why)?;
        let joined = timeout(PATIENCE, Link::join(connection)).await;
        let (mut link, preparing) = joined
            .map_err(|_| "logind does not answer".to_owned())?
            .map_err(|error| super::failed("nobody to ask", &error).0)?;
        link.hold = if preparing { None } else { link.delay().await };
        self.link = Some(link);
        self.pauses.succeed();
        if self.complained.take().is_some() {
            info!("logind answers again; shutdowns are noticed");
        }
        Ok(preparing)
    }

    /// Nobody tells anything just now. What was announced is believed in for a while.
    async fn without(&mut self, why: String) -> Option<InhibitorNotice<InhibitorLock>> {
        if self.link.take().is_some() {
            self.lost = Instant::now();
            self.pauses.succeed();
            debug!(%why, "logind is gone");
            return None;
        }
        if self.announced && self.lost.elapsed() >= BACK_WITHIN {
            self.announced = false;
            return Some(InhibitorNotice::ShutdownCancelled(format!("whoever announced it is gone: {why}")));
        }
        if self.complained.as_ref() != Some(&why) {
            warn!(%why, "shutdowns by others are not noticed until logind answers");
            self.complained = Some(why);
        }
        let pause = self.pauses.fail();
        let pause = if self.announced { pause.min(BACK_WITHIN / 6) } else { pause };
        // What somebody was just granted is announced soon.
        let _ = timeout(pause, self.power.answered.notified()).await;
        None
    }

    async fn reacquire_inhibitor(&mut self) {
        if let Some(link) = &mut self.link {
            link.hold = link.delay().await;
        }
    }
}

impl Link {
    /// Listens first and asks then, so that nothing is missed in between.
    async fn join(connection: Connection) -> Result<(Self, bool), Error> {
        let signal = |sender: &'static str, path: &'static str, interface: &'static str, member: &'static str| {
            MatchRule::builder().msg_type(Type::Signal).sender(sender).path(path).interface(interface).member(member)
        };
        let announced = signal(LOGIND, LOGIND_PATH, MANAGER, "PrepareForShutdown").build()?;
        let changed = signal(BUS.0, BUS.1, BUS.0, "NameOwnerChanged").arg(0, LOGIND).build()?;
        let announcements = MessageStream::for_match_rule(announced, &connection, None).await?;
        let owners = MessageStream::for_match_rule(changed, &connection, None).await?;
        // Asking starts it where the bus can.
        let preparing = preparing(&connection).await?;
        let reply = connection.call_method(Some(BUS.0), BUS.1, Some(BUS.0), "GetNameOwner", &LOGIND).await?;
        let owner = reply.body().deserialize()?;
        Ok((Self { connection, owner, announcements, owners, hold: None }, preparing))
    }

    /// Whether the machine is about to end, whenever that changes.
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
                // It is asked again by its new name; the bus itself sends this to nobody in vain.
                _ = self.owners.next() => return Err("logind went away".to_owned()),
            }
        }
    }

    fn is_by_logind(&self, message: &Message) -> bool {
        message.header().sender().is_some_and(|it| it.as_str() == self.owner)
    }

    /// Asks for the delay. Without it the machine ends under our hands, as it does under everybody else's.
    async fn delay(&self) -> Option<OwnedFd> {
        let words = ("shutdown", "boardkeeper", "finishes what it does to containers", "delay");
        let asked = async { call(&self.connection, "Inhibit", &words).await?.body().deserialize::<OwnedFd>() };
        match timeout(PATIENCE, asked).await {
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
