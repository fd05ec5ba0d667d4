//! A real browser without a screen, spoken to over its own protocol on a pair of pipes: no port, no driver, no crate.
//!
//! `chromium --remote-debugging-pipe` reads commands from file descriptor 3 and writes answers to 4, each a JSON text
//! with a zero byte behind it. The browser ends with its pipes, so that a test that panics leaves nothing running.

#![allow(dead_code, reason = "the test and the bench use different parts")]

pub mod history;

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A page that takes longer than this is broken.
const PATIENCE: Duration = Duration::from_mins(1);

/// Says that there is no browser, past the capture of the test runner, so that it is counted.
pub fn say_skipped() {
    let _ = std::io::stderr().write_all(b"skipped: chromium\n");
}

/// Whether there is a browser to be had.
pub fn is_there() -> bool {
    let found = Command::new("sh")
        .args(["-c", "command -v chromium"])
        .output();
    found.is_ok_and(|output| output.status.success())
}

/// What the browser calls itself: `Chromium 156.0.8078.79`.
pub fn version() -> String {
    let said = Command::new("chromium").arg("--version").output().unwrap();
    let words = String::from_utf8_lossy(&said.stdout);
    words
        .split_whitespace()
        .take(2)
        .collect::<Vec<_>>()
        .join(" ")
}

/// A browser with one empty page.
pub struct Browser {
    child: Child,
    commands: Option<ChildStdin>,
    answers: Receiver<Value>,
    next_id: u64,
    session: Option<String>,
    /// What the page complained about, in the order in which it did.
    pub complaints: Vec<String>,
    /// Everything the page asked for.
    pub requests: Vec<String>,
    /// Ends after the browser: its profile.
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser with a profile of its own.
    pub fn start() -> Self {
        let profile = TempDir::new().unwrap();
        // The sandbox cannot be had by root; the page is ours.
        let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        let mut child = Command::new("sh")
            .args([
                "-c",
                r#"exec chromium "$@" 3<&0 4>&1 >/dev/null 2>/dev/null"#,
                "chromium",
            ])
            .args(is_root.then_some("--no-sandbox"))
            .args([
                "--headless",
                "--disable-gpu",
                "--no-first-run",
                "--disable-dev-shm-usage",
            ])
            .args(["--window-size=1280,1000", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            // Nothing of it stays in the home of whoever runs the tests.
            .env("HOME", profile.path())
            .env("TMPDIR", profile.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_CACHE_HOME")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = child.stdin.take();
        let mut pipe = BufReader::new(child.stdout.take().unwrap());
        let (sender, answers) = channel();
        thread::spawn(move || {
            let mut text = Vec::new();
            while pipe.read_until(0, &mut text).is_ok_and(|length| length > 0) {
                text.pop();
                let is_heard = match serde_json::from_slice(&text) {
                    Ok(answer) => sender.send(answer).is_ok(),
                    Err(_) => false,
                };
                if !is_heard {
                    break;
                }
                text.clear();
            }
        });
        let mut browser = Self {
            child,
            commands,
            answers,
            next_id: 0,
            session: None,
            complaints: Vec::new(),
            requests: Vec::new(),
            _profile: profile,
        };
        let target = browser.send("Target.createTarget", &json!({ "url": "about:blank" }));
        let session = browser.send(
            "Target.attachToTarget",
            &json!({ "targetId": target["targetId"], "flatten": true }),
        );
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.send(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// Sends a command and returns its result; panics where the browser refuses it.
    pub fn send(&mut self, method: &str, parameters: &Value) -> Value {
        self.next_id += 1;
        let id = self.next_id;
        let mut command = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.commands.as_mut().unwrap().write_all(&bytes).unwrap();
        let answer = self.wait(method, |message| message["id"] == id);
        assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
        answer["result"].clone()
    }

    /// Reads messages until one is the one, and notes what the others say.
    fn wait(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = self
                .answers
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("the browser did not answer {what}"));
            self.note(&message);
            if is_it(&message) {
                return message;
            }
        }
    }

    fn note(&mut self, message: &Value) {
        let parameters = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded") => {
                self.complaints.push(parameters.to_string());
            }
            Some("Network.requestWillBeSent") => {
                let url = &parameters["request"]["url"];
                self.requests
                    .push(url.as_str().unwrap_or_default().to_owned());
            }
            _ => {}
        }
    }

    /// Opens a file, and waits until its script has drawn it.
    pub fn open(&mut self, page: &Path) {
        self.load(page);
        self.until("performance.getEntriesByName('interactive').length > 0");
    }

    /// Opens a file as a reader without scripts does.
    pub fn open_without_script(&mut self, page: &Path) {
        let off = json!({ "value": true });
        self.send("Emulation.setScriptExecutionDisabled", &off);
        self.load(page);
    }

    fn load(&mut self, page: &Path) {
        self.requests.clear();
        let url = format!("file://{}", page.display());
        self.send("Page.navigate", &json!({ "url": url }));
        self.wait("the page", |message| {
            message["method"] == "Page.loadEventFired"
        });
    }

    /// The value of an expression, after what it promises.
    pub fn value(&mut self, expression: &str) -> Value {
        let result = self.send(
            "Runtime.evaluate",
            &json!({ "expression": expression, "awaitPromise": true, "returnByValue": true }),
        );
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {result}"
        );
        result["result"]["value"].clone()
    }

    /// The value of an expression that is a number.
    pub fn number(&mut self, expression: &str) -> f64 {
        let value = self.value(expression);
        value
            .as_f64()
            .unwrap_or_else(|| panic!("{expression} is {value}"))
    }

    /// The value of an expression that counts something.
    pub fn count(&mut self, expression: &str) -> usize {
        let value = self.value(expression);
        let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
        count.unwrap_or_else(|| panic!("{expression} is {value}"))
    }

    /// The value of an expression that is a text.
    pub fn text(&mut self, expression: &str) -> String {
        let value = self.value(expression);
        let text = value.as_str();
        text.unwrap_or_else(|| panic!("{expression} is {value}"))
            .to_owned()
    }

    /// Waits until an expression is true.
    pub fn until(&mut self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.value(expression) != Value::Bool(true) {
            assert!(Instant::now() < deadline, "never true: {expression}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until everything asked for is on the screen.
    pub fn settle(&mut self) {
        self.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))).then(() => 0)");
    }

    /// Types into a field, as its user would see it done.
    pub fn fill(&mut self, id: &str, text: &str) {
        let (id, text) = (json!(id), json!(text));
        self.value(&format!(
            "{{ const field = document.getElementById({id}); field.value = {text}; field.dispatchEvent(new Event('input')); 0 }}"
        ));
        self.settle();
    }

    /// Presses a key where the focus is.
    pub fn press(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.send(
                "Input.dispatchKeyEvent",
                &json!({ "type": kind, "key": key }),
            );
        }
        self.settle();
    }

    /// A click at a place of the window.
    pub fn click(&mut self, x: f64, y: f64) {
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            self.send(
                "Input.dispatchMouseEvent",
                &json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 }),
            );
        }
        self.settle();
    }

    /// Drags from one place of the window to another.
    pub fn drag(&mut self, from: (f64, f64), to: (f64, f64)) {
        let middle = (f64::midpoint(from.0, to.0), f64::midpoint(from.1, to.1));
        for (kind, at) in [
            ("mousePressed", from),
            ("mouseMoved", middle),
            ("mouseMoved", to),
            ("mouseReleased", to),
        ] {
            self.send(
                "Input.dispatchMouseEvent",
                &json!({ "type": kind, "x": at.0, "y": at.1, "button": "left", "buttons": 1, "clickCount": 1 }),
            );
        }
        self.settle();
    }

    /// A turn of the wheel with Ctrl, which is also what a pinch on a touchpad is.
    pub fn wheel(&mut self, x: f64, y: f64, by: f64) {
        self.send(
            "Input.dispatchMouseEvent",
            &json!({ "type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": by, "modifiers": 2 }),
        );
        self.settle();
    }

    /// Follows a system in light or dark.
    pub fn scheme(&mut self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.send(
            "Emulation.setEmulatedMedia",
            &json!({ "features": [feature] }),
        );
        self.settle();
    }

    /// A picture of the window, as PNG.
    pub fn screenshot(&mut self, whole_page: bool) -> Vec<u8> {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let result = self.send(
            "Page.captureScreenshot",
            &json!({ "format": "png", "captureBeyondViewport": whole_page }),
        );
        STANDARD.decode(result["data"].as_str().unwrap()).unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Without its pipe the browser ends by itself, and its children with it.
        drop(self.commands.take());
        for _ in 0..200 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
