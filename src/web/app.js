// The page: who may see it, what it knows, and what is drawn when that changes.
//
// agent.js asks and listens, dom.js draws; board.js, services.js, device.js, bringup.js and history.js are the parts of the page.

import { ask, follow, key, read, readIfThere } from "./agent.js";
import { boardView, play } from "./board.js";
import { bringupView } from "./bringup.js";
import { deviceView } from "./device.js";
import { h, loadTexts, morph, t } from "./dom.js";
import { clock, duration, merged } from "./format.js";
import { historyView, KEPT } from "./history.js";
import { followLogs, servicesView } from "./services.js";

// How often the LEDs are looked at while the page is visible; the events do not tell of them.
const LOOK_AT_LEDS = 15000;
// How often what counts seconds is drawn anew while the page is visible.
const DRAW = 1000;
// How long a message stays.
const NOTICE = 8000;

// What the page knows. `phase`: `login`, `loading` or `open`.
const model = {
  phase: "loading", loginError: null,
  state: null, at: 0, now: Date.now(), connected: false, lostAt: null,
  board: null, leds: null, ledsAt: 0, vpn: null, lines: null, history: null,
  identified: null, bringup: new Map(), logs: null, samples: new Map(),
  busy: new Set(), notices: [], confirm: null,
};

// What a person can do on the page.
const act = {
  set(change) {
    Object.assign(model, change);
    draw();
  },

  isBusy: (what) => model.busy.has(what) || !model.connected,

  // Sends a request, and says how it ended. `handled(why)` may deal with an error itself.
  async run(what, done, method, path, body, handled = () => false) {
    model.busy.add(what);
    draw();
    try {
      const response = await ask(method, path, body);
      const missing = response.headers.get("Services-Not-Started");
      if (missing) notify("error", t("not_started", { services: missing }));
      else notify("done", done);
    } catch (why) {
      if (!handled(why)) failed(why);
    }
    model.busy.delete(what);
    draw();
  },

  async identify() {
    try {
      const response = await ask("POST", "/v1/blink", {});
      model.identified = { answer: response.headers.get("Identify-Led") };
    } catch (why) {
      model.identified = { error: why.message };
    }
    await act.lookAtLeds();
  },

  lookAtLeds,

  confirm(question) {
    act.set({ confirm: question });
  },

  logs(which) {
    model.logs?.stop.abort();
    document.getElementById("logs")?.replaceChildren();
    const stop = new AbortController();
    act.set({ logs: which && { ...which, stop } });
    if (!which) return;
    // When the agent is not reached any more, the page says so, and follows again afterwards.
    const ended = (why) => stop.signal.aborted || !model.connected || (why ? failed(why) : notify("error", t("logs.ended")));
    followLogs(which, stop.signal).then(() => ended(), ended);
  },
};

async function failed(why) {
  if (why.status !== 401) return notify("error", why.status ? why.message : t("unreachable"));
  // Either the key is not known any more, or it is a service's, which may not do everything.
  const known = await ask("GET", "/ping").then(() => true, (again) => again.status !== 401);
  if (known) notify("error", t("not_allowed"));
  else refused(why);
}

function notify(kind, text) {
  const notice = { kind, text };
  model.notices = [...model.notices.slice(-3), notice];
  draw();
  setTimeout(() => act.set({ notices: model.notices.filter((it) => it !== notice) }), NOTICE);
}

// The agent does not know the key, or not any more: it is asked for anew.
function refused(why) {
  model.logs?.stop.abort();
  const had = key.get();
  key.forget();
  const text = why.status === 403 ? why.message : had && t(model.phase === "open" ? "login.expired" : "login.wrong");
  Object.assign(model, { phase: "login", loginError: text, state: null, logs: null, confirm: null, connected: false });
  draw();
  afterwards(() => document.getElementById("key").focus());
}

// Connects with the key there is. Without one the agent answers in local mode only.
async function open() {
  act.set({ phase: "loading", loginError: null });
  await follow({
    event: onEvent,
    closed() {
      if (model.connected || model.lostAt === null) act.set({ connected: false, lostAt: new Date() });
    },
    refused,
  });
}

function onEvent(name, data) {
  if (name === "state" || name === "change") {
    model.state = name === "state" ? data : merged(model.state, data);
    model.at = Date.now();
    sampleDownloads();
    const isNew = !model.connected;
    if (model.phase !== "open") afterwards(() => document.activeElement === document.body && document.getElementById("main").focus());
    Object.assign(model, { phase: "open", connected: true, lostAt: null });
    if (isNew) {
      lookAround();
      if (model.logs) act.logs(model.logs);
    }
  } else if (name === "history" && model.history) {
    model.history = [...model.history.filter((it) => it.id !== data.id), data].slice(-KEPT);
    if (data.object === "led") lookAtLeds();
  }
  draw();
}

// Reads what the events do not tell of. It changes rarely, or only by what is done on the page.
async function lookAround() {
  try {
    const [board, vpn, lines, history] = await Promise.all([
      read("/agent/v1/board"), readIfThere("/v2/device/vpn"), readIfThere("/agent/v1/lines"),
      readIfThere("/agent/v1/history?limit=200"), lookAtLeds(),
    ]);
    act.set({ board, vpn: vpn?.vpn || null, lines: lines?.lines || null, history: history?.entries || null });
  } catch (why) {
    failed(why);
  }
}

async function lookAtLeds() {
  clearTimeout(lookAtLeds.timer);
  if (model.phase !== "open" || document.visibilityState !== "visible") return;
  try {
    model.leds = await read("/agent/v1/leds");
    model.ledsAt = Date.now();
    draw();
  } catch {
    // The stream of events finds out that the agent is not reached, and says so.
  }
  const purposes = [model.leds, ...(model.leds?.others || [])].flatMap((it) => it?.purposes || []);
  const ends = purposes.map((it) => it.seconds_left).filter((it) => it !== null).map((it) => it * 1000 + 300);
  lookAtLeds.timer = setTimeout(lookAtLeds, Math.min(LOOK_AT_LEDS, ...ends));
}

function sampleDownloads() {
  const images = new Set(model.state.downloads.map((it) => it.image));
  for (const image of model.samples.keys()) if (!images.has(image)) model.samples.delete(image);
  for (const { image, bytes } of model.state.downloads) {
    if (!Number.isInteger(bytes)) continue;
    const samples = model.samples.get(image) || [];
    model.samples.set(image, [...samples.slice(-40), [Date.now(), bytes]]);
  }
}

// Calls after what is due is drawn.
const afterwards = (call) => setTimeout(call);

// Draws once for all changes of this moment.
function draw() {
  if (draw.due) return;
  draw.due = true;
  queueMicrotask(() => {
    draw.due = false;
    model.now = Date.now();
    const name = model.state?.device.name;
    document.title = name ? `${name} · boardkeeper` : "boardkeeper";
    morph(document.body, view());
    const dialog = document.querySelector("dialog");
    if (dialog && !dialog.open) dialog.showModal();
    play(model);
  });
}

function view() {
  return [
    h("a", { class: "skip", href: "#main" }, t("skip")),
    header(),
    h("main", { id: "main", tabindex: "-1" }, model.phase === "login" ? login() : model.state ? parts() : h("p", {}, t("loading"))),
    h("div", { class: "notices", role: "status" }, model.notices.map((it) => h("p", { class: it.kind }, it.text))),
    model.confirm && dialog(model.confirm),
  ];
}

function header() {
  const { device } = model.state || {};
  const lost = model.phase !== "login" && !model.connected && model.lostAt;
  return h("header", {},
    h("h1", {}, device?.name || "boardkeeper"),
    h("p", { id: "connection", role: "status", class: lost ? "lost" : "" },
      lost ? t("not_connected", { since: clock(model.lostAt) }) : model.connected ? t("connected") : ""),
    model.phase === "open" && key.get() && h("button", { type: "button", onclick: logout }, t("logout")),
  );
}

function parts() {
  const { state } = model;
  const { local_engine: engine, local_mode: local, target_trial: trial } = state;
  return h("div", { class: model.connected ? "parts" : "parts stale" },
    engine?.open && h("p", { class: "banner", role: "alert" },
      t("banner.engine", { networks: engine.networks.join(", "), listens: engine.listens.join(", ") })),
    local?.on && h("p", { class: "banner" }, t(local.until ? "banner.local_until" : "banner.local", { until: clock(local.until) })),
    trial && h("p", { class: "banner" }, t(trial.state === "kept" ? "banner.kept" : "banner.trial", { left: trial.seconds_left !== null && duration(trial.seconds_left) })),
    boardView(model, act), servicesView(model, act), deviceView(model, act),
    h("div", { key: "last" }, bringupView(model, act), historyView(model, act)),
  );
}

function login() {
  const submit = (event) => {
    event.preventDefault();
    const typed = document.getElementById("key").value.trim();
    if (typed === "") return;
    key.set(typed);
    open();
  };
  return h("form", { class: "login", onsubmit: submit },
    h("h2", {}, t("login")),
    h("p", { id: "login-hint" }, t("login.hint")),
    h("label", { for: "key" }, t("login.key")),
    h("input", {
      id: "key", type: "password", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "login-hint login-error",
      "aria-invalid": model.loginError ? "true" : null,
    }),
    h("p", { id: "login-error", class: "warning", role: "alert" }, model.loginError),
    h("button", { type: "submit" }, t("login.go")),
  );
}

function dialog({ title, text, typed, verb, go }) {
  // The browser gives the focus back to where it was.
  const close = () => document.querySelector("dialog").close();
  const submit = (event) => {
    event.preventDefault();
    const input = document.getElementById("typed");
    if (typed && input.value.trim() !== typed) {
      input.setAttribute("aria-invalid", "true");
      return input.focus();
    }
    close();
    go();
  };
  return h("dialog", { key: title, "aria-labelledby": "dialog-title", onclose: () => act.set({ confirm: null }) },
    h("form", { onsubmit: submit },
      h("h2", { id: "dialog-title" }, title),
      h("p", {}, text),
      typed && h("label", { for: "typed" }, t("dialog.type", { name: typed })),
      typed && h("input", { id: "typed", autocomplete: "off", autocapitalize: "off", spellcheck: "false" }),
      h("div", { class: "buttons" },
        h("button", { type: "button", onclick: close }, t("dialog.cancel")),
        h("button", { type: "submit", class: "danger", id: "confirm" }, verb),
      ),
    ),
  );
}

function logout() {
  key.forget();
  location.reload();
}

// A link that `boardkeeper page` printed has a token, for which the agent gives the key, once.
async function useLink() {
  const token = location.hash.match(/^#link=(\w+)$/)?.[1];
  if (!token) return null;
  history.replaceState(null, "", location.pathname);
  try {
    key.forget();
    key.set((await (await ask("POST", `/agent/v1/page-links/${token}`, {})).json()).key);
    return null;
  } catch (why) {
    return why.status ? t("link.used") : t("unreachable");
  }
}

await loadTexts();
const linkError = await useLink();
if (linkError) act.set({ phase: "login", loginError: linkError });
else open();
document.addEventListener("visibilitychange", () => {
  lookAtLeds();
  draw();
});
addEventListener("hashchange", () => {
  if (location.hash.startsWith("#link=")) location.reload();
});
setInterval(() => model.phase === "open" && document.visibilityState === "visible" && draw(), DRAW);
