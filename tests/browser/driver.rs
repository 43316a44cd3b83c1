//! A browser of its own for each test, driven over the `WebDriver` protocol: JSON over HTTP to Debian's chromedriver.
//!
//! It runs on a computer of its own, as a phone does: a network namespace at the other end of a cable. On the board's side
//! Chromium would see every container's interface come and go, and give up what it is loading each time.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::thread::panicking;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lab::{Lab, run, until};

/// The board's address on the cable.
pub(crate) const BOARD: &str = "10.77.0.1";
/// The address of the browser's computer.
const COMPUTER: &str = "10.77.0.2";
/// Where chromedriver listens there.
const PORT: u16 = 9515;
/// The process that holds the computer's network namespace. It ends with the lab. Several processes run tests there, one after
/// another; each takes away the last one's cable.
static NAMESPACE: LazyLock<u32> = LazyLock::new(|| {
    let sleeps = Command::new("unshare").args(["--net", "sleep", "infinity"]).spawn().unwrap().id();
    until(10, "there is a computer", || fs::read_to_string(format!("/proc/{sleeps}/comm")).unwrap().trim() == "sleep");
    // Chromium gives up what it is loading when an address or a link comes up, so both do before it starts: IPv6 would add an
    // address a second or two later.
    let cable = format!(
        "ip link delete lan0 2> /dev/null || true
        ip link add lan0 type veth peer name lan1 netns {sleeps}
        ip address add {BOARD}/24 dev lan0
        ip link set lan0 addrgenmode none up
        nsenter --net=/proc/{sleeps}/ns/net sh -c '
            ip link set lo up; ip address add {COMPUTER}/24 dev lan1; ip link set lan1 addrgenmode none up'"
    );
    run(Command::new("sh").args(["-e", "-c", &cable]));
    let namespace = format!("--net=/proc/{sleeps}/ns/net");
    until(10, "the cable carries", || {
        let link = Command::new("nsenter").args([&namespace, "ip", "link", "show", "lan1"]).output().unwrap();
        String::from_utf8_lossy(&link.stdout).contains("state UP")
    });
    sleeps
});

/// No command takes longer than this, not even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// The name under which the protocol passes elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one tab.
pub(crate) struct Browser {
    driver: Child,
    session: String,
    dir: TempDir,
}

/// An element of the document.
#[derive(Debug, Clone)]
pub(crate) struct Element(String);

/// A key that is no letter, in the protocol's private characters.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Key {
    Tab,
    Enter,
}

impl Browser {
    /// Starts a browser with a profile of its own.
    pub(crate) fn start(lab: &Lab) -> Self {
        let dir = tempfile::Builder::new().prefix("browser").tempdir_in(lab.dir()).unwrap();
        fs::create_dir(dir.path().join("downloads")).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let mut driver = Command::new("nsenter");
        driver.arg(format!("--net=/proc/{}/ns/net", *NAMESPACE)).arg("chromedriver");
        driver
            .args([format!("--port={PORT}"), format!("--allowed-ips={BOARD}")])
            .env("HOME", dir.path())
            .env("TMPDIR", dir.path());
        let driver = driver.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut browser = Self { driver, session: String::new(), dir };
        until(60, "chromedriver answers", || call("GET", "/status", &Value::Null).is_ok());
        let profile = format!("--user-data-dir={}", browser.dir.path().join("profile").display());
        // Nothing that calls home, and no sandbox: the lab has namespaces of its own.
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
            &profile,
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {"browserName": "chrome",
            "goog:chromeOptions": {"args": args}, "goog:loggingPrefs": {"browser": "ALL"}}}});
        let session = call("POST", "/session", &wanted).unwrap_or_else(|why| panic!("no browser: {why}"));
        session["sessionId"].as_str().unwrap().clone_into(&mut browser.session);
        let downloads = browser.dir.path().join("downloads");
        browser.devtools("Browser.setDownloadBehavior", &json!({"behavior": "allow", "downloadPath": downloads}));
        browser.on_desk();
        browser
    }

    /// The directory of what a person downloaded.
    pub(crate) fn downloads(&self) -> &Path {
        // A path that is as long-lived as the browser.
        Box::leak(self.dir.path().join("downloads").into_boxed_path())
    }

    /// Opens an address in its tab.
    pub(crate) fn visit(&self, address: &str) {
        self.post("url", &json!({"url": address}));
    }

    /// From now on, what is loaded from an address that ends with one of these does not arrive.
    pub(crate) fn loses(&self, names: &[&str]) {
        let urls: Vec<_> = names.iter().map(|it| format!("*/{it}")).collect();
        self.devtools("Network.enable", &json!({}));
        self.devtools("Network.setBlockedURLs", &json!({"urls": urls}));
    }

    /// Loads the address anew.
    pub(crate) fn reload(&self) {
        self.post("refresh", &json!({}));
    }

    /// Opens another tab, and goes on there.
    pub(crate) fn another_tab(&self) {
        let tab = self.post("window/new", &json!({"type": "tab"}));
        self.post("window", &json!({"handle": tab["handle"]}));
    }

    /// Runs a function's body in the page; what it returned.
    pub(crate) fn run(&self, script: &str, args: &[Value]) -> Value {
        self.post("execute/sync", &json!({"script": script, "args": args}))
    }

    /// The same with a function that returns an element, or none.
    pub(crate) fn find(&self, script: &str, args: &[Value]) -> Option<Element> {
        self.run(script, args)[ELEMENT].as_str().map(|it| Element(it.to_owned()))
    }

    /// Clicks on an element, which must be in view and covered by no other.
    pub(crate) fn click(&self, element: &Element) -> Result<(), String> {
        self.try_post(&format!("element/{}/click", element.0), &json!({})).map(drop)
    }

    /// Types into an element.
    pub(crate) fn types(&self, element: &Element, text: &str) {
        self.post(&format!("element/{}/value", element.0), &json!({"text": text}));
    }

    /// Presses a key, wherever the focus is.
    pub(crate) fn presses(&self, key: Key) {
        let value = match key {
            Key::Tab => "\u{e004}",
            Key::Enter => "\u{e007}",
        };
        let pressed = [json!({"type": "keyDown", "value": value}), json!({"type": "keyUp", "value": value})];
        self.post("actions", &json!({"actions": [{"type": "key", "id": "keyboard", "actions": pressed}]}));
    }

    /// The role of an element, and its name, as a screen reader gets them.
    pub(crate) fn role_and_name(&self, element: &Element) -> (String, String) {
        let get = |what: &str| {
            let got = call("GET", &self.path(&format!("element/{}/{what}", element.0)), &Value::Null).unwrap();
            got.as_str().unwrap_or_default().to_owned()
        };
        (get("computedrole"), get("computedlabel"))
    }

    /// A window of a desk.
    pub(crate) fn on_desk(&self) {
        let size = json!({"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
    }

    /// A phone's.
    pub(crate) fn on_phone(&self) {
        let size = json!({"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true});
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Asks for `light` or `dark` pages, as the settings of a person's system do.
    pub(crate) fn prefers(&self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.devtools("Emulation.setEmulatedMedia", &json!({"features": features}));
    }

    /// What is in view, as a PNG.
    pub(crate) fn picture(&self) -> Vec<u8> {
        let picture = call("GET", &self.path("screenshot"), &Value::Null).unwrap();
        BASE64_STANDARD.decode(picture.as_str().unwrap()).unwrap()
    }

    /// The whole page, as a PNG.
    pub(crate) fn whole_picture(&self) -> Vec<u8> {
        let wanted = json!({"format": "png", "captureBeyondViewport": true});
        let size = self.run("return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]", &[]);
        let clip = json!({"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1});
        let mut wanted = wanted;
        wanted["clip"] = clip;
        BASE64_STANDARD.decode(self.devtools("Page.captureScreenshot", &wanted)["data"].as_str().unwrap()).unwrap()
    }

    /// Errors and warnings in the console since the last look.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.post("se/log", &json!({"type": "browser"}));
        log.as_array().unwrap().iter().map(|it| it["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// One command of the browser's own protocol.
    fn devtools(&self, command: &str, params: &Value) -> Value {
        self.post("goog/cdp/execute", &json!({"cmd": command, "params": params}))
    }

    fn path(&self, command: &str) -> String {
        format!("/session/{}/{command}", self.session)
    }

    fn post(&self, command: &str, body: &Value) -> Value {
        self.try_post(command, body).unwrap_or_else(|why| panic!("{command} {body}: {why}"))
    }

    fn try_post(&self, command: &str, body: &Value) -> Result<Value, String> {
        call("POST", &self.path(command), body)
    }
}

/// One command; its value, or what the driver says of it.
fn call(method: &str, path: &str, body: &Value) -> Result<Value, String> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = talk(method, path, &body).map_err(|error| error.to_string())?;
    let value = serde_json::from_str::<Value>(&answer).map_err(|error| format!("{error}: {answer}"))?["value"].take();
    match value.get("error") {
        Some(error) => Err(format!("{error}: {}", value["message"])),
        None => Ok(value),
    }
}

/// One request of HTTP/1.1, for chromedriver answers no other; the body of the response.
fn talk(method: &str, path: &str, body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect((COMPUTER, PORT))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {COMPUTER}:{PORT}\r\nContent-Type: application/json\r\n");
    stream.write_all(format!("{head}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes())?;
    let mut stream = BufReader::new(stream);
    let mut length = None;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::Error::other("cut short"));
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse::<u64>().ok();
        }
    }
    let mut answer = String::new();
    match length {
        Some(length) => stream.take(length).read_to_string(&mut answer)?,
        None => stream.read_to_string(&mut answer)?,
    };
    Ok(answer)
}

impl Drop for Browser {
    fn drop(&mut self) {
        if panicking() {
            if let Ok(text) = self.try_post("execute/sync", &json!({"script": "return document.body.innerText", "args": []})) {
                eprintln!("--- the page\n{}", text.as_str().unwrap_or_default());
            }
            if let Ok(log) = self.try_post("se/log", &json!({"type": "browser"})) {
                eprintln!("--- its console\n{log:#}");
            }
        }
        // The browser ends with its session; where the driver is gone, the lab ends it.
        let _ = call("DELETE", &format!("/session/{}", self.session), &Value::Null);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
