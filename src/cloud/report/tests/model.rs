//! A device of these tests, and a cloud that answers as a script says.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::document;
use crate::port::{Cloud, CloudError, TargetAnswer};
use crate::sorted::{SortedMap, SortedSet};
use crate::state::cloud::{
    AppReport, CloudAccount, CloudLogLine, DeviceReport, RegisteredDevice, RegistrationForm, ReleasePin, ReleaseReport,
    ReportValue, ReportedVersions, ServiceReport, Traffic, VpnProfile,
};
use crate::state::config::RestartPolicy;
use crate::state::host::{Capacity, HostMetrics};
use crate::state::{
    AppId, ConfigHash, Container, ContainerId, ContainerPhase, ContainerRef, Current, Device, EngineAction, EngineState, Image,
    ImageId, ImageRef, Origin, Secret, ServiceKey, Status, Step, StepFault, Target, Trouble,
};

pub(super) const APP: &str = "797e233cf79543d3bc61aaf99e793a26";
pub(super) const ONE: &str = "19c48bcaffa860000000000000000000";
pub(super) const TWO: &str = "28d59cdb00b970000000000000000000";

/// A target of the cloud: a release with these services.
pub(super) fn target(commit: &str, services: &[&str], config: &str) -> Arc<Target> {
    let services: Vec<String> = services
        .iter()
        .map(|it| {
            let image = image(commit, it);
            let fields = r#""environment":{},"labels":{},"composition":{}"#;
            format!(r#""{it}":{{"id":1,"image_id":2,"image":"{}",{fields}}}"#, image.as_str())
        })
        .collect();
    let text = format!(
        r#"{{"uuid":{{"name":"d","config":{{{config}}},"apps":{{"{APP}":{{"id":24,"name":"fleet","is_host":false,"class":"fleet",
        "releases":{{"{commit}":{{"id":7,"services":{{{}}}}}}}}}}}}}}}"#,
        services.join(",")
    );
    Arc::new(document::parse(&text, Some("uuid")).unwrap())
}

/// The image of a service, as the cloud names it.
pub(super) fn image(commit: &str, service: &str) -> ImageRef {
    let mut location = hex::encode(format!("{service}{commit}"));
    location.truncate(32);
    ImageRef::new(&format!("127.0.0.1:15000/v2/{location}@sha256:{}", "f".repeat(64)))
}

pub(super) fn key(service: &str) -> ServiceKey {
    ServiceKey::new(AppId(24), service)
}

pub(super) fn container(commit: &str, service: &str, phase: ContainerPhase) -> Container {
    Container {
        id: ContainerId(format!("{service} of {commit}")),
        name: format!("{service}_2_7_{commit}"),
        key: key(service),
        phase,
        created_secs: 5,
        image: ImageId(format!("sha256:{service}{commit}")),
        image_ref: image(commit, service),
        made: Origin::Ours(ConfigHash(String::new())),
        outcome: None,
        env: Arc::default(),
        restart: RestartPolicy::Always,
        started: None,
        networks: None,
        ports: SortedSet::new(),
        is_port_taken: false,
        before_update: None,
        shares: SortedMap::new(),
        shares_since: None,
        is_orphaned: false,
        volumes: crate::sorted::SortedSet::new(),
        restarts: 0,
        is_out_of_memory: false,
        error: None,
        health: None,
    }
}

/// A device that runs a release of these services.
pub(super) fn running(commit: &str, services: &[&str]) -> Status {
    let mut status = Status {
        device: Device {
            reported: ReportedVersions {
                os_version: "balenaOS 6.4.0".to_owned(),
                os_variant: "prod".to_owned(),
                supervisor_version: "19.0.5".to_owned(),
            },
            api_port: 48484,
            mac_address: "02:42:AC:11:00:02".to_owned(),
            ip_addresses: vec!["10.0.0.5".to_owned(), "fe80::1".to_owned()],
            ..Device::default()
        },
        device_key: Some(Secret::new("5eca908fe6803c7dda6f13eadcd1f7e0".to_owned())),
        engine: EngineState::Up,
        observed_at: Some(Instant::now()),
        target: Some(target(commit, services, "")),
        metrics: HostMetrics {
            temperature_millicelsius: Some(48_312),
            cpu_percent: Some(7),
            cpu_serial: Some("0000000000000001".to_owned()),
            undervolted: Some(false),
            memory: Some(Capacity { free_bytes: 806 << 20, total_bytes: 926 << 20 }),
            storage: Some(Capacity { free_bytes: 5700 << 20, total_bytes: 6000 << 20 }),
            storage_device: Some("/dev/mmcblk0p6".to_owned()),
            ..HostMetrics::default()
        },
        ..Status::default()
    };
    change(&mut status, |it| {
        for service in services {
            it.containers.push(container(commit, service, ContainerPhase::Running));
        }
    });
    for service in services {
        add_image(&mut status, commit, service);
    }
    status
}

/// Changes what was observed.
pub(super) fn change(status: &mut Status, change: impl FnOnce(&mut Current)) {
    change(Arc::make_mut(&mut status.current));
}

pub(super) fn add_image(status: &mut Status, commit: &str, service: &str) {
    let id = ImageId(format!("sha256:{service}{commit}"));
    change(status, |it| it.images.push(Image { id, names: [image(commit, service)].into(), size_bytes: 1 }));
}

/// A step on a service's container.
pub(super) fn act(action: fn(ContainerRef) -> EngineAction, commit: &str, service: &str) -> Step {
    Step::Engine(action(ContainerRef { key: key(service), id: ContainerId(format!("{service} of {commit}")) }))
}

pub(super) fn pull(commit: &str, service: &str) -> Step {
    Step::Engine(EngineAction::Pull(image(commit, service)))
}

/// A step that failed this often.
pub(super) fn trouble(step: Step, failures: u32) -> Trouble {
    let why = StepFault::Failed("no such host".to_owned());
    Trouble::Step { step: Box::new(step), why, failures, again: Instant::now() }
}

/// A report in one line, without the image names: `status=Idle app 797e running 19c4 19c4:done main=Running`.
pub(super) fn shown(report: &DeviceReport) -> String {
    let short = |it: &str| it.chars().take(4).collect::<String>();
    let mut words = Vec::new();
    for (name, value) in &report.fields {
        words.push(match value {
            ReportValue::Text(it) => format!("{name}={it}"),
            ReportValue::Secret(_) => format!("{name}=…"),
            ReportValue::Number(it) => format!("{name}={it}"),
            ReportValue::Flag(it) => format!("{name}={it}"),
            ReportValue::Null => format!("{name}=null"),
        });
    }
    for (uuid, app) in &report.apps {
        words.push(format!("app {}", short(uuid)));
        words.extend(app.release_uuid.iter().map(|it| format!("runs {}", short(it))));
        for (commit, release) in &app.releases {
            words.push(format!("{}:{}", short(commit), release.update_status.unwrap_or("?")));
            for (name, service) in &release.services {
                let progress = service.download_progress.map(|it| format!(" {it} %")).unwrap_or_default();
                words.push(format!("{name}={}{progress}", service.status));
            }
        }
    }
    words.join(" ")
}

/// The bytes of the body that reports this for a device, in JSON without spaces.
pub(super) fn json_bytes(report: &DeviceReport) -> usize {
    let text = |it: &str| format!("\"{it}\"");
    let object = |members: Vec<String>| format!("{{{}}}", members.join(","));
    let member = |name: &str, value: String| format!("{}:{value}", text(name));
    let value = |it: &ReportValue| match it {
        ReportValue::Text(it) => text(it),
        ReportValue::Secret(key) => text(key.reveal()),
        ReportValue::Number(it) => it.to_string(),
        ReportValue::Flag(it) => it.to_string(),
        ReportValue::Null => "null".to_owned(),
    };
    let service = |it: &ServiceReport| {
        let progress = it.download_progress.map(|it| member("download_progress", it.to_string()));
        let fields = [member("image", text(&it.image)), member("status", text(&it.status))];
        object(fields.into_iter().chain(progress).collect())
    };
    let release = |it: &ReleaseReport| {
        let services = it.services.iter().map(|(name, it)| member(name, service(it))).collect();
        let status = it.update_status.map(|it| member("update_status", text(it)));
        object(status.into_iter().chain([member("services", object(services))]).collect())
    };
    let app = |it: &AppReport| {
        let releases = it.releases.iter().map(|(commit, it)| member(commit, release(it))).collect();
        let running = it.release_uuid.iter().map(|it| member("release_uuid", text(it)));
        object(running.chain([member("releases", object(releases))]).collect())
    };
    let mut fields: Vec<String> = report.fields.iter().map(|(name, it)| member(name, value(it))).collect();
    if !report.apps.is_empty() {
        let apps = report.apps.iter().map(|(uuid, it)| member(uuid, app(it))).collect();
        fields.push(member("apps", object(apps)));
    }
    object(vec![member(&"f".repeat(32), object(fields))]).len()
}

/// What a scripted cloud answers.
type Script = Box<dyn Fn(&DeviceReport) -> Result<(), CloudError>>;

/// A cloud that answers reports as its script says, and keeps them.
pub(super) struct ScriptedCloud {
    script: RefCell<Script>,
    begun: Instant,
    pub(super) reports: RefCell<Vec<(Duration, DeviceReport)>>,
}

impl ScriptedCloud {
    pub(super) fn new(script: impl Fn(&DeviceReport) -> Result<(), CloudError> + 'static) -> Self {
        Self { script: RefCell::new(Box::new(script)), begun: Instant::now(), reports: RefCell::default() }
    }

    pub(super) fn accepting() -> Self {
        Self::new(|_| Ok(()))
    }

    /// Answers differently from now on.
    pub(super) fn answer(&self, script: impl Fn(&DeviceReport) -> Result<(), CloudError> + 'static) {
        *self.script.borrow_mut() = Box::new(script);
    }

    /// The reports since the last call: seconds since the begin, and the report in one line.
    pub(super) fn take(&self) -> Vec<(u64, String)> {
        self.reports.take().into_iter().map(|(at, report)| (at.as_secs(), shown(&report))).collect()
    }
}

pub(super) fn refused(status: u16) -> Result<(), CloudError> {
    Err(CloudError::Refused { status, why: "no".to_owned(), retry_after: None })
}

pub(super) fn account() -> CloudAccount {
    let key = Secret::new("k".repeat(32));
    CloudAccount { endpoint: "https://api".to_owned(), logs_endpoint: None, uuid: "uuid".to_owned(), key }
}

impl Cloud for ScriptedCloud {
    async fn register(&self, _: &str, _: &Secret, _: &RegistrationForm) -> Result<RegisteredDevice, CloudError> {
        unreachable!()
    }
    async fn device_id(&self, _: &str, _: &Secret, _: &str) -> Result<Option<u64>, CloudError> {
        unreachable!()
    }
    async fn exchange_key(&self, _: &str, _: &Secret, _: u64, _: &Secret) -> Result<(), CloudError> {
        unreachable!()
    }
    async fn release_id(&self, _: &CloudAccount, _: &ReleasePin) -> Result<Option<u64>, CloudError> {
        unreachable!()
    }
    async fn pin(&self, _: &CloudAccount, _: u64, _: u64) -> Result<(), CloudError> {
        unreachable!()
    }
    async fn target(&self, _: &CloudAccount, _: Option<&str>) -> Result<TargetAnswer, CloudError> {
        unreachable!()
    }
    async fn report(&self, _: &CloudAccount, report: &DeviceReport) -> Result<(), CloudError> {
        self.reports.borrow_mut().push((self.begun.elapsed(), report.clone()));
        (self.script.borrow())(report)
    }
    async fn tags(&self, _: &CloudAccount) -> Result<Vec<crate::state::cloud::DeviceTag>, CloudError> {
        unreachable!()
    }
    async fn set_tags(&self, _: &CloudAccount, _: &crate::sorted::SortedMap<String, String>) -> Result<(), CloudError> {
        unreachable!()
    }
    async fn vpn_profile(&self, _: &CloudAccount) -> Result<Option<VpnProfile>, CloudError> {
        unreachable!()
    }
    async fn upload_logs(&self, _: &CloudAccount, _: &[CloudLogLine]) -> Result<(), CloudError> {
        unreachable!()
    }
    fn clock_skew(&self) -> Option<i64> {
        None
    }
    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}
