//! Authentication and authorisation of callers.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use axum::extract::Request as HttpRequest;
use axum::http::header::AUTHORIZATION;

use crate::api::form;
use crate::api::site::{self, CrossSite};
use crate::sorted::{SortedSet, sort, sort_by};
use crate::state::device::ServedConnection;
use crate::state::keys::{DeviceAction, KeyScope};
use crate::state::{Access, AppId, Caller, ClientAddress, Status};

/// The most credentials of one request: an unauthenticated caller must not make the agent hash a whole URL of them. A request
/// with more is refused, whatever they are, so that none is skipped.
pub(super) const MAX_CREDENTIALS: usize = 8;

/// Why a request is not authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AuthFailure {
    /// It has no key.
    Keyless,
    /// It has keys, and none is this device's.
    WrongKey,
    /// It has more keys than [`MAX_CREDENTIALS`].
    TooManyKeys,
    /// It has no key of this device. In local mode it would be accepted without one, if it did not come from another site.
    Foreign(CrossSite),
}

/// The callers whose keys a request has, most privileged first. One with the needed privilege is enough.
#[derive(Clone)]
pub(super) struct AuthenticatedCallers(Arc<[Caller]>);

impl AuthenticatedCallers {
    /// Authenticates a request.
    pub(super) fn of(request: &HttpRequest, status: &Status) -> Result<Self, AuthFailure> {
        let access = &status.access;
        let connection = request.extensions().get::<ServedConnection>();
        let (mut all, mut is_keyless) = (Vec::new(), true);
        for (tried, key) in credentials(request).enumerate() {
            if tried == MAX_CREDENTIALS {
                return Err(AuthFailure::TooManyKeys);
            }
            is_keyless = false;
            let caller = connection.map_or_else(|| access.caller(&key), |it| access.caller_over(&it.first_key, &key));
            all.extend(caller.cloned());
        }
        // The device's key comes first in the order of callers.
        sort(&mut all);
        all.dedup();
        let local = is_local(request, access);
        let foreign = if local { site::foreign(request, status) } else { None };
        if local && foreign.is_none() {
            for caller in &mut all {
                // In local mode a service needs no key for anything; its key only identifies it.
                if let Caller::Service { reach, .. } = caller {
                    *reach = KeyScope::Everything;
                }
            }
            if all.is_empty() {
                all.push(Caller::Local);
            }
        }
        sort_by(&mut all, |a, b| widest_first(a).cmp(&widest_first(b)));
        if !all.is_empty() {
            return Ok(Self(all.into()));
        }
        Err(match foreign {
            Some(foreign) => AuthFailure::Foreign(foreign),
            None if is_keyless => AuthFailure::Keyless,
            None => AuthFailure::WrongKey,
        })
    }

    /// No callers: for a request without a known key to a public endpoint.
    pub(super) fn none() -> Self {
        Self(Arc::default())
    }

    /// Whether they may see and change this app.
    pub(super) fn may_access(&self, app: i64) -> bool {
        self.0.iter().any(|caller| match caller {
            Caller::Device | Caller::Local | Caller::Service { reach: KeyScope::Everything, .. } => true,
            Caller::Service { key, reach: KeyScope::App | KeyScope::Device } => i64::from(key.app.0) == app,
        })
    }

    /// Whether they may see every app on the device, and every wanted one.
    pub(super) fn see_all(&self, status: &Status) -> bool {
        let wanted = status.target.iter().flat_map(|it| it.apps.keys());
        let present = status.current.containers.iter().map(|it| &it.key.app);
        wanted.chain(present).all(|app| self.may_access(i64::from(app.0)))
    }

    /// The apps that they may see and change. `None`: all.
    pub(super) fn apps(&self) -> Option<SortedSet<AppId>> {
        let of = |caller: &Caller| match caller {
            Caller::Device | Caller::Local | Caller::Service { reach: KeyScope::Everything, .. } => None,
            Caller::Service { key, reach: KeyScope::App | KeyScope::Device } => Some(key.app),
        };
        self.0.iter().map(of).collect()
    }

    /// Whether they may use an action on the whole device.
    pub(super) fn may_use(&self, action: DeviceAction, access: &Access) -> bool {
        self.0.iter().any(|caller| match caller {
            Caller::Device | Caller::Local | Caller::Service { reach: KeyScope::Everything, .. } => true,
            Caller::Service { reach: KeyScope::Device, .. } => access.service_verbs.contains(&action),
            Caller::Service { reach: KeyScope::App, .. } => false,
        })
    }

    /// Whether they have the device's key.
    pub(super) fn have_the_device_key(&self) -> bool {
        self.0.contains(&Caller::Device)
    }

    /// Whether they may have the device run anything: its owner, and in local mode every program near it.
    pub(super) fn may_push(&self) -> bool {
        let everything = |it: &Caller| matches!(it, Caller::Service { reach: KeyScope::Everything, .. });
        self.own_the_device() || self.0.iter().any(everything)
    }

    /// Whether the device's owner is among them.
    pub(super) fn own_the_device(&self) -> bool {
        self.0.iter().any(|caller| matches!(caller, Caller::Device | Caller::Local))
    }

    /// The most privileged caller: the one whose own key a request is about.
    pub(super) fn into_first(self) -> Caller {
        self.0.first().cloned().expect("made with at least one")
    }
}

/// As the log shows it.
impl fmt::Display for AuthenticatedCallers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, caller) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            match caller {
                Caller::Device => f.write_str("device key"),
                Caller::Service { key, .. } => write!(f, "service {key}"),
                Caller::Local => f.write_str("local mode"),
            }?;
        }
        Ok(())
    }
}

fn widest_first(caller: &Caller) -> u8 {
    match caller {
        Caller::Device => 0,
        Caller::Service { reach: KeyScope::Everything, .. } => 1,
        Caller::Service { reach: KeyScope::Device, .. } => 2,
        Caller::Service { reach: KeyScope::App, .. } => 3,
        Caller::Local => 4,
    }
}

/// All values in a request that may be keys. Headers first: a query may have more than are checked.
fn credentials(request: &HttpRequest) -> impl Iterator<Item = Cow<'_, str>> {
    let headers = request.headers().get_all(AUTHORIZATION).iter();
    let headers = headers.filter_map(|it| key_of(str::from_utf8(it.as_bytes()).ok()?)).map(Cow::Borrowed);
    let pairs = request.uri().query().into_iter().flat_map(|query| form::pairs(query.as_bytes()));
    let queried = pairs.filter_map(|(name, value)| (name == "apikey").then_some(Cow::Owned(value)));
    headers.chain(queried).filter(|key| !key.is_empty())
}

fn key_of(header: &str) -> Option<&str> {
    if !header.is_ascii() {
        return None;
    }
    // Some clients write several blanks, or tabs.
    let header = header.trim_ascii();
    let (scheme, key) = header.split_at(header.bytes().position(|it| it == b' ' || it == b'\t')?);
    let known = ["apikey", "bearer"].iter().any(|it| scheme.eq_ignore_ascii_case(it));
    known.then(|| key.trim_ascii())
}

/// Whether a request has anything that may be a key.
pub(super) fn tries_a_key(request: &HttpRequest) -> bool {
    credentials(request).next().is_some()
}

/// Whether local mode applies to this client: it needs no key.
fn is_local(request: &HttpRequest, access: &Access) -> bool {
    access.local_mode && request.extensions().get::<ClientAddress>().is_some_and(|peer| peer.local)
}
