//! Whether the cloud is reached, by the agent's own client.

use std::rc::Rc;

use crate::linux::cloud::{CloudClient, CloudClientSettings};
use crate::linux::doctor::{Checks, Finding, fine, skipped, wrong};
use crate::linux::traffic::TrafficCounter;
use crate::linux::trust::TrustStore;
use crate::port::CloudError;

/// By how many seconds this device's clock may differ from the cloud's.
const SKEW_SECS: u64 = 60;

pub(super) async fn check(checks: &Checks) -> Finding {
    let Some(endpoint) = &checks.cloud else { return skipped("cloud", "none is configured") };
    let client = CloudClient::new(CloudClientSettings {
        root: checks.root.clone(),
        trust: Rc::new(TrustStore::new(&checks.root, checks.root_ca.clone())),
        traffic: TrafficCounter::default(),
        user_agent: concat!("Supervisor/", env!("CARGO_PKG_VERSION")).to_owned(),
        proxies: checks.proxies.clone(),
    });
    let reached = match client.check(endpoint).await {
        Ok(reached) => reached,
        Err(why) => return wrong("cloud", advice(endpoint, &why)),
    };
    let way = reached.proxy.map_or_else(String::new, |it| format!(" through {it}"));
    match reached.skew_secs {
        Some(secs) if secs.unsigned_abs() > SKEW_SECS => wrong(
            "cloud",
            format!(
                "{} answers{way}, and this device's clock is {} s {} its clock; set it, or start a time service (see `timedatectl`)",
                reached.address,
                secs.unsigned_abs(),
                if secs > 0 { "ahead of" } else { "behind" }
            ),
        ),
        Some(_) => fine("cloud", format!("{} answers{way}, and the clocks agree", reached.address)),
        None => fine("cloud", format!("{} answers{way}", reached.address)),
    }
}

fn advice(endpoint: &str, why: &CloudError) -> String {
    match why {
        CloudError::Refused { .. } => {
            format!("{endpoint}: {why}; is it the address of a cloud's API? check apiEndpoint in config.json")
        }
        CloudError::Unreachable(_) | CloudError::Foreign(_) => why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::linux::clock::Clock;
    use crate::linux::doctor::CheckResult;
    use crate::port::Clock as _;
    use crate::state::Secret;
    use crate::state::proxy_variables::ProxyVariables;

    /// The finding where a server answers every request like this. `to`: the cloud's address, if it is not the server's.
    async fn found(answer: &str, to: Option<&str>) -> Finding {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = format!("http://{}", listener.local_addr().unwrap());
        let proxies = ProxyVariables { all: to.map(|_| Secret::new(at.clone())), ..ProxyVariables::default() };
        let checks = Checks {
            root: "/nowhere".into(),
            writes: Vec::new(),
            listen: Vec::new(),
            engines: Vec::new(),
            bus: None,
            registry_auth: "/nowhere".into(),
            keys: "/nowhere".into(),
            cloud: Some(to.map_or(at, str::to_owned)),
            root_ca: None,
            proxies,
            board: None,
            led_file: None,
            troubles: Vec::new(),
        };
        let serves = async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                while stream.read(&mut [0; 2048]).await.unwrap() > 0 {
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        };
        tokio::select! {
            () = serves => unreachable!("it serves for ever"),
            finding = check(&checks) => finding,
        }
    }

    fn dated(secs: i64) -> String {
        let date = std::time::UNIX_EPOCH + std::time::Duration::from_secs(secs.unsigned_abs());
        format!("HTTP/1.1 204 No Content\r\nDate: {}\r\n\r\n", httpdate::fmt_http_date(date))
    }

    #[tokio::test]
    async fn a_cloud_that_answers_is_fine_and_the_way_there_is_said() {
        let now = Clock::new("/".as_ref()).now_secs();
        let near = found(&dated(now), None).await;
        assert!(near.verdict == CheckResult::Fine && near.words.ends_with("answers, and the clocks agree"), "{near:?}");
        let far = found(&dated(now), Some("http://api.example.com")).await;
        assert!(far.verdict == CheckResult::Fine && far.words.contains("api.example.com answers through the proxy"), "{far:?}");
    }

    #[tokio::test]
    async fn a_wrong_clock_is_measured() {
        let now = Clock::new("/".as_ref()).now_secs();
        for (cloud, words) in [(now - 7200, "72"), (now + 7200, "behind its clock; set it")] {
            let finding = found(&dated(cloud), None).await;
            assert!(finding.verdict == CheckResult::Wrong && finding.words.contains(words), "{finding:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_cloud_is_wrong_and_what_to_do_is_said() {
        for answer in [
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
            "HTTP/1.1 302 Found\r\nLocation: http://portal.example.com/\r\nContent-Length: 0\r\n\r\n",
            "no HTTP\r\n\r\n",
        ] {
            let finding = found(answer, None).await;
            let says = finding.words.contains("config.json") || finding.words.contains("tries again");
            assert!(finding.verdict == CheckResult::Wrong && says, "{finding:?}");
        }
        let finding = found(&dated(0), Some("https://127.0.0.1:9")).await;
        assert!(finding.words.contains("no CA certificates found"), "{finding:?}");
    }
}
