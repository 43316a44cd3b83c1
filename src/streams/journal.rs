//! The host's journal, for a client on the device.

use tokio::sync::{mpsc, oneshot};

use futures_util::StreamExt;

use crate::port::Host;
use crate::request::StreamRefusal;
use crate::state::journal::JournalQuery;

/// How many journals are read at once: each is a process of the host.
pub(super) const READERS: usize = 4;
/// How many parts wait for a client. Then the journal is read no further until the client took one.
const QUEUE: usize = 4;

/// Reads the journal until its end, or until the client leaves.
pub(super) async fn send(
    host: &impl Host,
    query: JournalQuery,
    mut reply: oneshot::Sender<Result<mpsc::Receiver<Vec<u8>>, StreamRefusal>>,
) {
    let begun = tokio::select! {
        biased;
        () = reply.closed() => return,
        begun = host.read_journal(&query) => begun,
    };
    let mut parts = match begun {
        Ok(parts) => parts,
        Err(error) => {
            let _ = reply.send(Err(StreamRefusal::Failed(error.to_string()))); // The client may have gone.
            return;
        }
    };
    let (sender, receiver) = mpsc::channel(QUEUE);
    if reply.send(Ok(receiver)).is_err() {
        return;
    }
    loop {
        let part = tokio::select! {
            biased;
            () = sender.closed() => return,
            part = parts.next() => part,
        };
        let Some(part) = part else { return };
        if sender.send(part).await.is_err() {
            return;
        }
    }
}
