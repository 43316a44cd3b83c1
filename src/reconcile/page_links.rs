//! Links to the page that log in by themselves: the reconciler has the keys and chance, so it makes and opens them.

use tokio::time::Instant;

use crate::port::{Random, World};
use crate::reconcile::Reconciler;
use crate::request::Refusal;
use crate::state::Secret;

/// Random bytes of a token: 128 bits cannot be guessed in ten minutes.
const TOKEN_BYTES: usize = 16;

impl<W: World> Reconciler<'_, W> {
    /// Makes a link. Returns its token.
    pub(super) fn make_page_link(&self) -> Secret {
        let token = Secret::from_random(&self.context.world.random().bytes()[..TOKEN_BYTES]);
        self.context.publish.send_modify(|it| it.page_links.add(token.clone(), Instant::now()));
        token
    }

    /// Opens the link with this token. Returns the device's key.
    pub(super) fn open_page_link(&self, token: &Secret) -> Result<Secret, Refusal> {
        let mut key = None;
        self.context.publish.send_if_modified(|it| {
            let opened = it.page_links.open(token, Instant::now());
            key = it.device_key.clone().filter(|_| opened);
            opened
        });
        key.ok_or(Refusal::UnknownLink)
    }
}
