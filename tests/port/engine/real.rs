//! The contract, tested on a real engine.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use boardkeeper::linux::engine::Engine;
use boardkeeper::port::{Engine as _, EngineError};
use boardkeeper::state::config::NetworkMode;
use boardkeeper::state::network::{AddressPool, NetworkAttachment, SUPERVISOR_GATEWAY, SUPERVISOR_NETWORK, SUPERVISOR_SUBNET};
use boardkeeper::state::{ContainerPhase, EngineAction, Network, NetworkConfig, NetworkId};
use futures_util::StreamExt;
use tokio::time::Instant;

use super::lab::{Real, settings};
use super::{Lab, bare, network, seen, spec, take, which};

macro_rules! promises {
    ($($name:ident)*) => {$(
        #[tokio::test]
        async fn $name() {
            let Some(lab) = Real::up() else { return };
            super::$name(&lab).await;
        }
    )*};
}

super::every_fact!(promises);

#[tokio::test]
async fn an_image_is_pulled_and_removed() {
    let Some(mut lab) = Real::up() else { return };
    let registry = lab.registry(None);
    lab.remote = Some(lab.publish(&registry, 3));
    super::an_image_is_pulled_and_removed(&lab).await;
}

#[tokio::test]
async fn without_an_engine_it_waits_for_one() {
    let began = Instant::now();
    for (host, why) in
        [("unix:///nonexistent/docker.sock", "installed and started"), ("tcp://127.0.0.1:1", "no program listens")]
    {
        let result = Engine::connect(settings(host)).observe().await;
        assert!(matches!(&result, Err(EngineError::Unreachable(text)) if text.contains(why)), "{result:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(1));
}

/// Something that listens where an engine would, answers every call alike, and hangs up or does not.
fn impostor(path: &Path, answer: &'static [u8], hangs_up: bool) -> Engine {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for mut client in listener.incoming().map_while(Result::ok) {
            let _ = client.read(&mut [0; 4096]); // What is asked makes no difference.
            let _ = client.write_all(answer); // Nor whether the client still listens.
            if !hangs_up {
                kept.push(client);
            }
        }
    });
    Engine::connect(settings(&format!("unix://{}", path.display())))
}

#[tokio::test]
async fn nonsense_is_no_engine() {
    let dir = tempfile::tempdir().unwrap();
    let answers = [
        &b""[..],
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\": [1,",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        let result = impostor(&dir.path().join(number.to_string()), answer, true).observe().await;
        assert!(matches!(result, Err(EngineError::Unreachable(_))), "{}: {result:?}", String::from_utf8_lossy(answer));
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let engine = impostor(&dir.path().join("socket"), b"", false);
    let began = Instant::now();
    let result = engine.observe().await;
    assert!(matches!(result, Err(EngineError::Unreachable(_))), "{result:?}");
    let result = engine.execute(&EngineAction::RemoveNetwork("x".into(), NetworkId::default(), None), &|_| {}).await;
    assert!(matches!(result, Err(EngineError::Unreachable(_))), "{result:?}");
    assert!(began.elapsed() <= Duration::from_secs(61), "{:?}", began.elapsed());
}

#[tokio::test]
async fn it_says_what_it_is() {
    let Some(lab) = Real::up() else { return };
    let version = lab.engine().version().await.unwrap();
    assert!(version.engine.starts_with(|it: char| it.is_ascii_digit()) && version.api.starts_with("1."), "{version:?}");
    assert!(version.host.ends_with("docker.sock") && !version.arch.is_empty() && !version.kernel.is_empty(), "{version:?}");
}

#[tokio::test]
async fn a_container_whose_making_was_cut_short_is_connected_when_it_starts() {
    let Some(lab) = Real::up() else { return };
    let mut spec = spec(&lab, "main");
    spec.config.network_mode = NetworkMode::App;
    for name in ["default", "back"] {
        take(&lab, EngineAction::CreateNetwork(network(name))).await.unwrap();
        let ipv4 = None;
        let aliases = ["main".to_owned(), format!("{name}-alias")].into();
        spec.config.networks.insert(name.into(), NetworkAttachment { aliases, ipv4, ..NetworkAttachment::default() });
    }
    take(&lab, EngineAction::Create(Arc::new(spec.clone()))).await.unwrap();
    // As it is after a cut between the creation and the second network.
    lab.docker(&["network", "disconnect", &network("back").name, &spec.name]);
    take(&lab, EngineAction::Start(which(&lab, "main").await)).await.unwrap();
    for name in ["default", "back"] {
        let format = format!("{{{{json (index .NetworkSettings.Networks \"{}\").Aliases}}}}", network(name).name);
        let aliases = lab.docker(&["inspect", "--format", &format, &spec.name]);
        assert!(aliases.contains("\"main\"") && aliases.contains(&format!("\"{name}-alias\"")), "{aliases}");
    }
}

#[tokio::test]
async fn a_container_that_cannot_be_connected_is_not_left_behind() {
    let Some(lab) = Real::up() else { return };
    let mut spec = spec(&lab, "main");
    spec.config.network_mode = NetworkMode::App;
    for (name, ipv4) in [("default", None), ("back", Some("nowhere".to_owned()))] {
        take(&lab, EngineAction::CreateNetwork(network(name))).await.unwrap();
        spec.config.networks.insert(name.into(), NetworkAttachment { ipv4, ..NetworkAttachment::default() });
    }
    let result = take(&lab, EngineAction::Create(Arc::new(spec))).await;
    assert!(matches!(&result, Err(EngineError::Refused(why)) if why.contains(&network("back").name)), "{result:?}");
    assert_eq!(seen(&lab, "main").await, None);
}

#[tokio::test]
async fn a_container_that_cannot_start_says_why() {
    let Some(lab) = Real::up() else { return };
    let mut spec = spec(&lab, "main");
    spec.config.command = Some(vec!["/missing".into()]);
    take(&lab, EngineAction::Create(Arc::new(spec))).await.unwrap();
    assert_eq!(seen(&lab, "main").await.unwrap().error, None);
    let result = take(&lab, EngineAction::Start(which(&lab, "main").await)).await;
    let Err(EngineError::Refused(why)) = result else { panic!("{result:?}") };
    assert!(why.contains("1234/main") && why.contains("/missing") && !why.contains('\n'), "{why}");
    let seen = seen(&lab, "main").await.unwrap();
    assert_eq!(seen.phase, ContainerPhase::Created);
    assert!(seen.error.is_some_and(|it| it.contains("/missing")));
}

#[tokio::test]
async fn only_what_concerns_us_wakes_us() {
    let Some(lab) = Real::up() else { return };
    take(&lab, EngineAction::Create(Arc::new(spec(&lab, "main")))).await.unwrap();
    let main = which(&lab, "main").await;
    take(&lab, EngineAction::Start(main.clone())).await.unwrap();
    lab.docker(&["run", "-d", "--name", "stranger", "--network", "none", "tests/busybox:1", "sleep", "1000"]);
    let mut events = pin!(lab.engine().events());
    let soon = Duration::from_secs(2);
    tokio::time::timeout(soon, events.next()).await.unwrap().unwrap();
    // What was under way when the stream was made may still come.
    while tokio::time::timeout(Duration::from_millis(300), events.next()).await.is_ok() {}

    lab.docker(&["exec", &main.id.0, "true"]);
    lab.docker(&["rm", "-f", "stranger"]);
    let woken = tokio::time::timeout(Duration::from_millis(400), events.next()).await;
    assert!(woken.is_err(), "woken by a stranger, or by a program in a container");

    lab.docker(&["kill", &main.id.0]);
    tokio::time::timeout(soon, events.next()).await.unwrap().unwrap();
    // The code is seen although the list only says that it exited, as it may have said before.
    assert_eq!(seen(&lab, "main").await.unwrap().phase, ContainerPhase::Exited(137));
}

/// Passes connections on to the engine, one for each call, and counts them.
fn counted(lab: &Real) -> (String, Arc<AtomicUsize>) {
    let (front, back) = (lab.dir().join("counted.sock"), lab.dir().join("docker.sock"));
    let listener = UnixListener::bind(&front).unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            count.fetch_add(1, Ordering::SeqCst);
            let engine = UnixStream::connect(&back).unwrap();
            for (mut from, mut to) in [
                (client.try_clone().unwrap(), engine.try_clone().unwrap()),
                (engine.try_clone().unwrap(), client.try_clone().unwrap()),
            ] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to); // A side that hangs up ends it.
                    let _ = to.shutdown(Shutdown::Write); // The other side may be gone already.
                });
            }
        }
    });
    (format!("unix://{}", front.display()), calls)
}

#[tokio::test]
async fn a_look_at_what_did_not_change_is_four_calls() {
    let Some(lab) = Real::up() else { return };
    for service in ["one", "two", "three"] {
        take(&lab, EngineAction::Create(Arc::new(spec(&lab, service)))).await.unwrap();
    }
    let (host, calls) = counted(&lab);
    let engine = lab.another(|it| it.hosts = vec![host]);
    let first = engine.observe().await.unwrap();
    let before = calls.swap(0, Ordering::SeqCst);
    assert_eq!(engine.observe().await.unwrap(), first);
    assert_eq!(
        (before, calls.swap(0, Ordering::SeqCst)),
        (2 + 4 + 3 + 1, 4),
        "finding it, looking, three containers in detail and their image"
    );

    take(&lab, EngineAction::Start(which(&lab, "two").await)).await.unwrap();
    let phases: Vec<_> = engine.observe().await.unwrap().containers.into_iter().map(|it| (it.key.service, it.phase)).collect();
    assert!(phases.contains(&("two".into(), ContainerPhase::Running)), "{phases:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 4 + 1);
}

#[tokio::test]
async fn networks_are_read_back_as_they_were_asked_for() {
    let Some(lab) = Real::up() else { return };
    let pool =
        AddressPool { subnet: SUPERVISOR_SUBNET.into(), gateway: Some(SUPERVISOR_GATEWAY.into()), ..AddressPool::default() };
    let own = NetworkConfig { ipam: vec![pool], ..NetworkConfig::default() };
    let own = Network { id: NetworkId::default(), name: SUPERVISOR_NETWORK.into(), app: None, config: own };
    let mut rich = network("rich");
    rich.config.ipam = vec![AddressPool {
        subnet: "10.99.0.0/16".into(),
        gateway: Some("10.99.0.1".into()),
        ip_range: Some("10.99.8.0/24".into()),
        aux_addresses: [("host".to_owned(), "10.99.8.5".to_owned())].into_iter().collect(),
    }];
    rich.config.internal = true;
    rich.config.labels = [("mine".to_owned(), "yes".to_owned())].into_iter().collect();
    rich.config.options = [("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned())].into_iter().collect();
    let mut name_only = network("zero");
    name_only.config.config_only = true;
    for it in [&rich, &name_only, &own] {
        take(&lab, EngineAction::CreateNetwork(it.clone())).await.unwrap();
    }
    assert_eq!(bare(lab.engine().observe().await.unwrap().networks), [rich, name_only, own]);
}

#[tokio::test]
async fn the_other_supervisors_own_network_is_taken_over() {
    let Some(lab) = Real::up() else { return };
    lab.docker(&["network", "create", "--subnet", SUPERVISOR_SUBNET, "--gateway", SUPERVISOR_GATEWAY, SUPERVISOR_NETWORK]);
    let found = lab.engine().observe().await.unwrap().networks;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].name.as_str(), found[0].config.ipam.len()), (SUPERVISOR_NETWORK, 1));
    take(&lab, EngineAction::CreateNetwork(found[0].clone())).await.unwrap();
}

#[tokio::test]
async fn ten_thousand_files_are_put_back_byte_for_byte() {
    let Some(lab) = Real::up() else { return };
    let name = super::volume("data").name;
    take(&lab, EngineAction::CreateVolume(super::volume("data"))).await.unwrap();
    // By numbers that no image has names for, in a tree with everything that an archive carries.
    let fill = "cd /data && chown 1234:4321 . && chmod 2751 . && mkdir -p empty deep/er/est && chmod 700 empty
        for i in $(seq 10000); do d=deep/$((i % 100)); mkdir -p $d; echo $i $i $i > $d/f$i; done
        ln deep/1/f1 hard; ln -s deep/2/f2 soft; ln -s /nowhere dangling; mkfifo pipe; mknod null c 1 3
        dd if=/dev/zero of=sparse bs=1 count=1 seek=5000000; dd if=/dev/urandom of=large bs=1048576 count=20
        chown 65534:12 large; chmod 4755 deep/9/f9; touch -d '2001-02-03 04:05:06' large empty deep/7
        touch 'a name with spaces' -- '-dash' \"$(printf 'new\\nline')\"; touch $(seq -s a 60)";
    let mount = format!("{name}:/data");
    lab.docker(&["run", "--rm", "--network", "none", "-v", &mount, "tests/busybox:1", "sh", "-c", fill]);
    let place = lab.mountpoint(&name);
    let before = super::snapshots::inventory(&place);
    assert!(before.len() > 10_100, "{}", before.len());
    let began = Instant::now();
    take(&lab, EngineAction::KeepData(super::snapshots::copy(&lab))).await.unwrap();
    let kept = began.elapsed();
    let spoil = "cd /data && rm -rf deep/1 large && echo other > deep/2/f2 && chmod 777 . deep && chown 0:0 . && touch new";
    lab.docker(&["run", "--rm", "--network", "none", "-v", &mount, "tests/busybox:1", "sh", "-c", spoil]);
    assert_ne!(super::snapshots::inventory(&place), before);
    take(&lab, EngineAction::PutDataBack(super::snapshots::copy(&lab))).await.unwrap();
    eprintln!("seen: {} files and directories kept in {kept:?}, and put back {:?} after", before.len(), began.elapsed());
    let after = super::snapshots::inventory(&lab.mountpoint(&name));
    let differ: Vec<_> = before.iter().filter(|(path, it)| after.get(*path) != Some(it)).take(5).collect();
    assert_eq!((differ, after.len()), (vec![], before.len()));
}

#[tokio::test]
async fn a_copy_that_is_not_the_same_or_that_is_too_large_is_no_copy() {
    let Some(lab) = Real::up() else { return };
    let name = super::volume("data").name;
    take(&lab, EngineAction::CreateVolume(super::volume("data"))).await.unwrap();
    // Docker's unpacking loses the bit.
    lab.write(&name, "text");
    let place = lab.mountpoint(&name);
    std::fs::set_permissions(place.join("text"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    std::fs::hard_link(place.join("text"), place.join("zz")).unwrap();
    let result = take(&lab, EngineAction::KeepData(super::snapshots::copy(&lab))).await;
    assert!(matches!(&result, Err(EngineError::Refused(why)) if why.contains("setuid")), "{result:?}");
    std::fs::remove_file(place.join("zz")).unwrap();
    // It takes no room on the disk, and would in a copy.
    std::fs::File::create(lab.mountpoint(&name).join("large")).unwrap().set_len(1 << 30).unwrap();
    let result = take(&lab, EngineAction::KeepData(super::snapshots::copy(&lab))).await;
    assert!(matches!(&result, Err(EngineError::Full(why)) if why.contains("1024 MiB are copied at most")), "{result:?}");
    std::fs::remove_file(place.join("large")).unwrap();
    let floor = lab.another(|it| it.floor_bytes = 1 << 60);
    let result = floor.check_copies(&[name].into()).await;
    assert!(matches!(&result, Err(EngineError::Full(why)) if why.contains("must stay free")), "{result:?}");
}
