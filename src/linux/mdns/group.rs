//! avahi's D-Bus interface: an entry group of one service, and what becomes of it.
//!
//! A service is announced once it is known that no other host has one of its name. On a collision avahi withdraws it, and the
//! agent registers it anew under the name that avahi proposes. When the host's own name changes, avahi withdraws everything for
//! a while; its state says when services may be registered again.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::timeout;
use tracing::info;
use zbus::connection::Builder;
use zbus::message::Type;
use zbus::wire::OwnedObjectPath;
use zbus::{Connection, Error, MatchRule, Message, MessageStream};

use super::{SUBTYPE, complain};

/// Timeout of a request to the bus or to avahi.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The port that is published. Debian's SSH server has it.
const SSH_PORT: u16 = 22;
const SERVICE: &str = "_ssh._tcp";

const AVAHI: &str = "org.freedesktop.Avahi";
const SERVER: &str = "org.freedesktop.Avahi.Server";
const GROUP: &str = "org.freedesktop.Avahi.EntryGroup";
const BUS: (&str, &str) = ("org.freedesktop.DBus", "/org/freedesktop/DBus");

// Values of avahi's interface: every interface, every protocol, no flags.
const ANY: i32 = -1;
const NO_FLAGS: u32 = 0;
/// Of its states: the server's names are established.
const SERVER_RUNNING: i32 = 2;
// Of its entry groups' states.
const ESTABLISHED: i32 = 2;
const COLLISION: i32 = 3;
const FAILURE: i32 = 4;

/// A connection to the bus, subscribed to avahi's signals.
#[derive(Debug)]
pub(super) struct AvahiLink {
    connection: Connection,
    owners: MessageStream,
    servers: MessageStream,
    groups: MessageStream,
    /// The entry group, once avahi has made one.
    group: Option<OwnedObjectPath>,
}

/// Why publishing ended.
#[derive(Debug)]
pub(super) enum PublishError {
    /// avahi was started anew, and knows nothing of the service.
    Restarted,
    /// In human-readable text, with what to do.
    Failed(String),
}

impl From<Error> for PublishError {
    fn from(error: Error) -> Self {
        Self::Failed(format!("avahi refuses: {error}"))
    }
}

impl AvahiLink {
    /// Connects and subscribes. Subscribing comes first, so that nothing is missed.
    pub(super) async fn open(bus: &str) -> Result<Self, String> {
        let opened = async {
            let connection = Builder::address(bus).build().await?;
            let signal = |sender: &'static str, interface: &'static str, member: &'static str| {
                MatchRule::builder().msg_type(Type::Signal).sender(sender).interface(interface).member(member)
            };
            let owners = signal(BUS.0, BUS.0, "NameOwnerChanged").arg(0, AVAHI).build()?;
            let servers = signal(AVAHI, SERVER, "StateChanged").build()?;
            let groups = signal(AVAHI, GROUP, "StateChanged").build()?;
            Ok::<_, Error>(Self {
                owners: MessageStream::for_match_rule(owners, &connection, None).await?,
                servers: MessageStream::for_match_rule(servers, &connection, None).await?,
                groups: MessageStream::for_match_rule(groups, &connection, None).await?,
                group: None,
                connection,
            })
        };
        match timeout(CALL_TIMEOUT, opened).await {
            Ok(Ok(link)) => Ok(link),
            Ok(Err(error)) => {
                Err(format!("the system bus at `{bus}` does not answer: {error}; is dbus installed and started?"))
            }
            Err(_) => Err(format!("the system bus at `{bus}` does not answer")),
        }
    }

    /// Publishes the service, and keeps it published for as long as it is polled.
    pub(super) async fn publish(&mut self, complained: &mut Option<String>) -> Result<Infallible, PublishError> {
        if !self.has_avahi().await? {
            complain(
                complained,
                "`balena device detect` does not find this board: avahi does not run; install and start avahi-daemon",
            );
            self.owner_changed().await?;
            return Err(PublishError::Restarted);
        }
        let mut name: String = self.server("GetHostName", &()).await?.body().deserialize()?;
        loop {
            let state: i32 = self.server("GetState", &()).await?.body().deserialize()?;
            if state == SERVER_RUNNING {
                name = self.register(name).await?;
            }
            name = self.watch(name, complained).await?;
        }
    }

    /// Waits until the service has to be registered again. Returns its name then.
    async fn watch(&mut self, name: String, complained: &mut Option<String>) -> Result<String, PublishError> {
        loop {
            tokio::select! {
                biased;
                changed = self.owners.next() => {
                    received(changed)?;
                    return Err(PublishError::Restarted);
                }
                message = self.servers.next() => {
                    let (state, _) = received(message)?.body().deserialize::<(i32, String)>()?;
                    self.reset().await?;
                    if state == SERVER_RUNNING {
                        return Ok(self.server("GetHostName", &()).await?.body().deserialize()?);
                    }
                }
                message = self.groups.next() => {
                    let message = received(message)?;
                    let is_ours = message.header().path().is_some_and(|it| Some(it.as_str()) == self.path());
                    let (state, why) = message.body().deserialize::<(i32, String)>()?;
                    match state {
                        _ if !is_ours => (),
                        ESTABLISHED => {
                            *complained = None;
                            info!("local mode: the board is published over mDNS as `{name}`, for `balena device detect`");
                        }
                        COLLISION => {
                            self.reset().await?;
                            return self.alternative(&name).await;
                        }
                        FAILURE => return Err(PublishError::Failed(format!("avahi reports: {why}"))),
                        _ => (),
                    }
                }
            }
        }
    }

    /// Registers the service under this name, or under another if this host has one of that name already. Returns the name.
    async fn register(&mut self, mut name: String) -> Result<String, PublishError> {
        if self.group.is_none() {
            self.group = Some(self.server("EntryGroupNew", &()).await?.body().deserialize()?);
        }
        // The empty domain and host are avahi's own.
        let no_text: [&[u8]; 0] = [];
        loop {
            let body = (ANY, ANY, NO_FLAGS, name.as_str(), SERVICE, "", "", SSH_PORT, no_text.as_slice());
            match self.group("AddService", &body).await {
                Ok(_) => break,
                Err(error) if is_collision(&error) => name = self.alternative(&name).await?,
                Err(error) => return Err(error.into()),
            }
        }
        self.group("AddServiceSubtype", &(ANY, ANY, NO_FLAGS, name.as_str(), SERVICE, "", SUBTYPE)).await?;
        self.group("Commit", &()).await?;
        Ok(name)
    }

    /// Takes the service back. avahi would do so itself a moment after the connection ends.
    pub(super) async fn free(self) {
        if self.group.is_some() {
            // An avahi that is gone has taken it back.
            let _ = self.group("Free", &()).await;
        }
    }

    async fn has_avahi(&self) -> Result<bool, Error> {
        let reply = call(&self.connection, BUS, BUS.0, "NameHasOwner", &AVAHI).await?;
        reply.body().deserialize()
    }

    async fn owner_changed(&mut self) -> Result<(), PublishError> {
        received(self.owners.next().await).map(drop)
    }

    async fn reset(&self) -> Result<(), Error> {
        match self.group {
            Some(_) => self.group("Reset", &()).await.map(drop),
            None => Ok(()),
        }
    }

    async fn alternative(&self, name: &str) -> Result<String, PublishError> {
        Ok(self.server("GetAlternativeServiceName", &name).await?.body().deserialize()?)
    }

    async fn server<B: Body>(&self, method: &str, body: &B) -> Result<Message, Error> {
        call(&self.connection, (AVAHI, "/"), SERVER, method, body).await
    }

    async fn group<B: Body>(&self, method: &str, body: &B) -> Result<Message, Error> {
        call(&self.connection, (AVAHI, self.path().unwrap_or("/")), GROUP, method, body).await
    }

    fn path(&self) -> Option<&str> {
        self.group.as_ref().map(|it| it.as_str())
    }
}

/// What the arguments of a call are.
trait Body: serde::Serialize + zbus::wire::DynamicType + Sync {}

impl<T: serde::Serialize + zbus::wire::DynamicType + Sync> Body for T {}

async fn call<B: Body>(
    connection: &Connection,
    (name, path): (&str, &str),
    interface: &str,
    method: &str,
    body: &B,
) -> Result<Message, Error> {
    let called = connection.call_method(Some(name), path, Some(interface), method, body);
    timeout(CALL_TIMEOUT, called).await.unwrap_or_else(|_| Err(Error::Failure(format!("no answer to {method}"))))
}

fn received(message: Option<Result<Message, Error>>) -> Result<Message, PublishError> {
    match message {
        Some(message) => Ok(message?),
        None => Err(PublishError::Failed("the bus closed the connection".to_owned())),
    }
}

/// Whether this host publishes a service of that name already.
fn is_collision(error: &Error) -> bool {
    matches!(error, Error::MethodError(name, ..) if name.as_str() == "org.freedesktop.Avahi.CollisionError")
}
