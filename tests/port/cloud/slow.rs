//! A cloud that takes its time, on a clock that runs ahead whenever there is nothing to do.

use std::time::Duration;

use boardkeeper::port::{Cloud as _, CloudError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::lab::{account, client};

/// What an upload of logs comes to, and after how many seconds, where the server sends each part after its wait.
async fn uploaded(parts: &[(u64, &str)], scheme: &str) -> (Result<(), CloudError>, u64) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let account = account(&format!("{scheme}://{}", listener.local_addr().unwrap()));
    let serves = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        for (secs, part) in parts {
            sleep(Duration::from_secs(*secs)).await;
            if stream.write_all(part.as_bytes()).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let began = Instant::now();
    let client = client();
    tokio::select! {
        () = serves => unreachable!("it serves for ever"),
        told = client.upload_logs(&account, &[]) => (told, began.elapsed().as_secs()),
    }
}

#[tokio::test(start_paused = true)]
async fn the_401_for_logs_of_a_deleted_device_is_waited_for() {
    let (told, secs) = uploaded(&[(55, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")], "http").await;
    assert!(matches!(told, Err(CloudError::Refused { status: 401, .. })), "{told:?}");
    assert!((55..58).contains(&secs), "{secs}");
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_within_a_minute() {
    let endless: Vec<_> = (0..100).map(|_| (1, "1\r\nx\r\n")).collect();
    let chunked = [&[(0, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")], &endless[..]].concat();
    let length = [(0, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"), (1, "{")];
    let drips: Vec<_> = (0..100).map(|_| (1, "H")).collect();
    for parts in [&chunked[..], &length, &drips[..0], &[(0, "HTTP/1.1 200 OK\r\nX: ")]] {
        let (told, secs) = uploaded(parts, "http").await;
        assert!(matches!(&told, Err(CloudError::Unreachable(why)) if why.contains("within 58 s")), "{told:?}");
        assert_eq!(secs, 58);
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_takes_a_connection_and_says_nothing_is_given_up_after_15_seconds() {
    let (told, secs) = uploaded(&[], "https").await;
    assert!(matches!(&told, Err(CloudError::Unreachable(why)) if why.contains("within 15 s")), "{told:?}");
    assert_eq!(secs, 15);
}
