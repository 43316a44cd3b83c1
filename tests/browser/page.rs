//! The page as a person meets it: looks for texts, buttons and fields by their names, and uses them.

use serde_json::{Value, json};

use crate::agent::{Agent, KEY, PATIENCE};
use crate::driver::{BOARD, Browser, Element};
use crate::lab::{Lab, until};
use crate::target::App;

/// Finds the first visible element that a selector matches and that has this name, if one is given.
const VISIBLE: &str = "const [selector, name] = arguments;
    const named = (it) => (it.getAttribute('aria-label') || it.textContent).trim();
    return [...document.querySelectorAll(selector)].find((it) => it.checkVisibility() && (name === null || named(it) === name)) || null;";

/// An agent that runs an app, and answers at every address of its board.
pub(crate) fn agent<'lab>(lab: &'lab Lab, app: &App) -> Agent<'lab> {
    let mut agent = Agent::new(lab).everywhere();
    agent.want(&app.v3());
    agent.start();
    agent.arrives(app);
    agent
}

/// A page of an agent, in a browser.
pub(crate) struct Page {
    pub(crate) browser: Browser,
    address: String,
}

impl Page {
    /// The page of an agent, not logged in.
    pub(crate) fn open(lab: &Lab, agent: &Agent<'_>) -> Self {
        let page = Self { browser: Browser::start(lab), address: format!("http://{BOARD}:{}/", agent.port()) };
        page.browser.visit(&page.address);
        page
    }

    /// The same, logged in.
    pub(crate) fn logged_in(lab: &Lab, agent: &Agent<'_>) -> Self {
        let page = Self::open(lab, agent);
        page.log_in(KEY);
        page.sees("Services");
        page
    }

    /// Its address, with a path after it that begins with `/`.
    pub(crate) fn address(&self, path: &str) -> String {
        format!("{}{path}", self.address.trim_end_matches('/'))
    }

    /// Types a key and logs in with it.
    pub(crate) fn log_in(&self, key: &str) {
        let field = self.the("input", Some("Key")).unwrap_or_else(|| {
            until(PATIENCE, "a key is asked for", || self.the("#key", None).is_some());
            self.the("#key", None).unwrap()
        });
        self.browser.types(&field, key);
        self.click("Log in");
    }

    /// All that is to be read on it.
    pub(crate) fn text(&self) -> String {
        self.browser.run("return document.body.innerText", &[]).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until some words are to be read on it.
    pub(crate) fn sees(&self, words: &str) {
        until(PATIENCE, &format!("`{words}` is to be read on the page"), || self.shows(words));
    }

    /// Waits until they are not any more.
    pub(crate) fn sees_no_more(&self, words: &str) {
        until(PATIENCE, &format!("`{words}` is not to be read on the page any more"), || !self.shows(words));
    }

    /// Whether some words are to be read on it now.
    pub(crate) fn shows(&self, words: &str) -> bool {
        self.text().contains(words)
    }

    /// What is to be read in the first visible element that a selector matches; empty where there is none.
    pub(crate) fn text_of(&self, selector: &str) -> String {
        let script = "const it = document.querySelector(arguments[0]); return it ? it.innerText : ''";
        self.browser.run(script, &[json!(selector)]).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until some words are to be read in an element.
    pub(crate) fn sees_in(&self, selector: &str, words: &str) {
        until(PATIENCE, &format!("{selector} says `{words}`"), || self.text_of(selector).contains(words));
    }

    /// The visible element of this selector and name.
    pub(crate) fn the(&self, selector: &str, name: Option<&str>) -> Option<Element> {
        self.browser.find(VISIBLE, &[json!(selector), json!(name)])
    }

    /// Whether there is a button of this name, and it can be pressed.
    pub(crate) fn has_button(&self, name: &str) -> bool {
        self.the("button:enabled", Some(name)).is_some()
    }

    /// Presses the button of this name as soon as it can be pressed.
    pub(crate) fn click(&self, name: &str) {
        self.clicks("button:enabled", Some(name));
    }

    /// Clicks on an element as soon as it is there.
    pub(crate) fn clicks(&self, selector: &str, name: Option<&str>) {
        let mut why = String::new();
        until(PATIENCE, &format!("{selector} {name:?} can be clicked"), || {
            let Some(element) = self.the(selector, name) else { return false };
            match self.browser.click(&element) {
                Ok(()) => true,
                // The page may have been drawn anew meanwhile.
                Err(error) => {
                    why = error;
                    false
                }
            }
        });
    }

    /// What a script returns in the page.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.browser.run(script, &[])
    }
}
