//! Connections to hosts by name.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::sleep;

use crate::port::NetError;

/// The most addresses of one name that are tried.
const ADDRESSES: usize = 8;
/// How long an address is tried before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to a host, by any of its addresses.
///
/// Where one address family has no route, its timeouts do not use up the time of the other: an address that does not answer
/// within [`HEAD_START`], or fails, has the next one tried beside it, of the other family where there is one.
pub(in crate::linux) async fn connect(host: &str, port: u16) -> Result<TcpStream, NetError> {
    let found = match lookup_host((host, port)).await {
        Ok(found) => alternating(found.collect()),
        Err(why) => return Err(NetError::Lookup { host: host.to_owned(), why: why.to_string() }),
    };
    let mut rest = found.into_iter().take(ADDRESSES);
    let mut dials = FuturesUnordered::new();
    let mut whys = Vec::new();
    let dial = async |at: SocketAddr| (at, TcpStream::connect(at).await);
    loop {
        if let Some(at) = rest.next() {
            dials.push(dial(at));
        } else if dials.is_empty() {
            break;
        }
        let is_last = rest.len() == 0;
        tokio::select! {
            biased;
            Some((at, dialled)) = dials.next() => match dialled {
                Ok(stream) => return Ok(stream),
                Err(why) => whys.push(format!("{at}: {why}")),
            },
            () = sleep(HEAD_START), if !is_last => (),
        }
    }
    let why = if whys.is_empty() { "it has no address".to_owned() } else { whys.join(", ") };
    Err(NetError::Connect { host: host.to_owned(), port, why })
}

/// The addresses in their order, which is the resolver's, but of both families by turns.
fn alternating(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = found.into_iter().partition(|it| it.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut all = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return all;
        }
        all.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_are_tried_by_turns() {
        let at = |texts: &[&str]| texts.iter().map(|it| it.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let found = at(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]);
        assert_eq!(alternating(found), at(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]));
        assert_eq!(alternating(at(&["1.1.1.1:1"])), at(&["1.1.1.1:1"]));
        assert_eq!(alternating(Vec::new()), []);
    }
}
