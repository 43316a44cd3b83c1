// The apps: what is wanted and what is, what can be done with each service, its output, downloads, locks and updates.

import { ahead, ask, readLines } from "./agent.js";
import { bytes, clock, duration, imageName, rate } from "./format.js";
import { h, t, word } from "./dom.js";
import { sentence } from "./history.js";

// Phases in which a container can be started.
const STILL = ["created", "exited", "dead"];
// Lines of output that the page keeps.
const LINES = 500;

// Entries of the history after which a service runs that did not before.
const STARTS = ["start", "started_by_engine"];

const isOf = (app, service) => (it) => it.app_id === app && it.service === service;

// A row for each wanted service, and for each container that is wanted no more.
export function rows(state) {
  const wanted = (state.apps || []).flatMap((app) => app.services.map((service) => ({ app, service })));
  const found = wanted.map(({ app, service }) =>
    ({ app, name: service.name, service, containers: state.containers.filter(isOf(app.app_id, service.name)) }));
  for (const it of state.containers) {
    const row = found.find((row) => row.app.app_id === it.app_id && row.name === it.service);
    if (!row) {
      const app = { app_id: it.app_id, name: t("app.unwanted", { id: it.app_id }), gone: true };
      found.push({ app, name: it.service, service: null, containers: [it] });
    } else if (!row.service && !row.containers.includes(it)) row.containers.push(it);
  }
  return found;
}

export function servicesView(model, act) {
  const { state } = model;
  const all = rows(state);
  const apps = [...new Map(all.map((row) => [row.app.app_id, row.app])).values()];
  for (const app of state.apps || []) if (!apps.some((it) => it.app_id === app.app_id)) apps.push(app);
  return h("section", { key: "services", "aria-labelledby": "services-title" },
    h("div", { class: "head" },
      h("h2", { id: "services-title" }, t("services")),
      h("button", { type: "button", id: "update", onclick: () => act.run("update", t("update.asked"), "POST", "/v1/update", {}) },
        t("update.now")),
    ),
    h("p", { id: "activity" }, activity(state)),
    downloads(model),
    locks(state, act),
    apps.length === 0 && h("p", { class: "hint" }, state.apps ? t("services.none") : t("services.no_target")),
    apps.map((app) => appView(model, act, app, all.filter((row) => row.app.app_id === app.app_id))),
    problems(state),
  );
}

function activity(state) {
  const parts = [state.engine.state === "down" ? t("activity.engine") : word("activity", state.activity)];
  if (state.update.failed) parts.push(t("update.failed"));
  else if (state.update.pending) parts.push(t(state.update.downloaded ? "update.downloaded" : "update.pending"));
  return [...parts, ...state.doing.map((it) => it.what)].join(" · ");
}

function appView(model, act, app, all) {
  const name = app.name || String(app.app_id);
  const path = `/v2/applications/${app.app_id}`;
  const purge = () => act.confirm({
    title: t("purge.title", { name }), text: t("purge.text", { name }), typed: name, verb: t("purge"),
    go: () => act.run(`purge ${app.app_id}`, t("purge.done", { name }), "POST", `${path}/purge`, {}),
  });
  return h("article", { key: `app ${app.app_id}`, class: "app", "aria-label": name },
    h("div", { class: "head" },
      h("h3", {}, name, app.commit && h("span", { class: "hint" }, ` ${app.commit.slice(0, 7)}`)),
      !app.gone && h("button", {
        type: "button", "aria-label": t("restart.app", { name }), disabled: act.isBusy(`restart ${app.app_id}`),
        onclick: () => act.run(`restart ${app.app_id}`, t("restart.done", { name }), "POST", `${path}/restart`, {}),
      }, t("restart.all")),
      !app.gone && h("button", {
        type: "button", class: "danger", "aria-label": t("purge.app", { name }), disabled: act.isBusy(`purge ${app.app_id}`),
        onclick: purge,
      }, t("purge")),
    ),
    all.map((row) => serviceView(model, act, row)),
  );
}

function serviceView(model, act, { app, name, service, containers }) {
  const id = `${app.app_id} ${name}`;
  const main = containers.find((it) => it.phase === "running") || containers[0];
  const why = model.history?.findLast(isOf(app.app_id, name));
  const isWanted = service && service.running && !service.stopped_by_hand;
  const isAsWanted = isWanted ? main?.phase === "running" && main.health !== "unhealthy" : main?.phase !== "running";
  const button = (verb, extra) => h("button", {
    type: "button", "aria-label": t(`${verb}.service`, { name }), disabled: act.isBusy(`${verb} ${id}`), ...extra,
    onclick: () => act.run(`${verb} ${id}`, t(`${verb}.done`, { name }), "POST",
      `/v2/applications/${app.app_id}/${verb}-service`, { serviceName: name }),
  }, t(verb));
  const logs = model.logs?.id === id;
  return h("div", { key: id, class: `service ${isAsWanted ? "good" : "bad"}`, "data-service": name },
    h("div", { class: "head" },
      h("h4", {}, name),
      h("span", { class: "is" }, containers.map(is).join(", ") || t("is.absent")),
    ),
    h("dl", {},
      fact("wanted", wanted(service) + (service?.waits_for ? `; ${service.waits_for}` : "")),
      fact("image", image(service, main)),
      fact("up", main?.phase === "running" && main.started &&
        duration((model.now + ahead - Date.parse(main.started)) / 1000)),
      fact("restarts", restarts(model, app, name)),
      fact("ports", main?.ports.join(", ")),
      fact("error", main?.error),
      fact("why", why && `${sentence(why)} (${clock(why.at)})`),
    ),
    h("div", { class: "buttons" },
      service && !(service.stopped_by_hand || main?.phase === "exited") && button("restart"),
      service && (main?.phase === "running" ? button("stop") : service.running && STILL.includes(main?.phase) && button("start")),
      h("button", {
        type: "button", "aria-expanded": String(logs), "aria-label": t("logs.service", { name }),
        onclick: () => act.logs(logs ? null : { id, app: app.app_id, service: name }),
      }, t(logs ? "logs.hide" : "logs")),
    ),
    logs && h("pre", {
      key: `logs ${id}`, id: "logs", keep: true, class: "logs", role: "log", tabindex: "0", "aria-label": t("logs.of", { name }),
    }),
  );
}

// How often a service was started again, as far as the history goes back.
function restarts(model, app, name) {
  const starts = (model.history || []).filter(isOf(app.app_id, name)).filter((it) => STARTS.includes(it.action) && it.outcome !== "failed");
  return starts.length > 1 ? t("restarts", { count: starts.length - 1, since: clock(starts[0].at) }) : "";
}

const fact = (name, value) => value ? [h("dt", {}, t(`fact.${name}`)), h("dd", { class: `fact-${name}` }, value)] : null;

function is(container) {
  const more = container.exit_code ?? (container.health && word("health", container.health));
  const phase = word("phase", container.phase);
  return more === null || more === undefined ? phase : `${phase} (${more})`;
}

function wanted(service) {
  if (!service) return t("wanted.gone");
  if (service.stopped_by_hand) return t("wanted.by_hand");
  return t(service.running ? "wanted.running" : "wanted.stopped");
}

function image(service, container) {
  const [of, at] = [service?.image, container?.image].map((it) => it && imageName(it));
  return of && at && of !== at ? t("image.changes", { of, at }) : of || at;
}

function downloads(model) {
  return model.state.downloads.map((it) => {
    const samples = model.samples.get(it.image) || [];
    const speed = rate(samples);
    const left = speed && it.total_bytes ? (it.total_bytes - it.bytes) / speed : null;
    const parts = [`${it.percent} %`];
    if (it.bytes) parts.push(it.total_bytes ? t("download.of", { bytes: bytes(it.bytes), all: bytes(it.total_bytes) }) : bytes(it.bytes));
    if (speed) parts.push(t("download.rate", { bytes: bytes(speed) }));
    if (left !== null) parts.push(t("download.left", { time: duration(left) }));
    const name = imageName(it.image);
    return h("div", { key: `download ${it.image}`, class: "download" },
      h("span", {}, t("download", { name })),
      h("progress", { max: 100, value: it.percent, "aria-label": t("download", { name }) }),
      h("span", { class: "hint" }, parts.join(" · ")),
    );
  });
}

function locks(state, act) {
  if (state.locks.length === 0) return null;
  const force = () => act.confirm({
    title: t("override.title"), text: t("override.text"), verb: t("override"),
    go: () => act.run("override", t("override.done"), "POST", "/v1/update", { force: true }),
  });
  const appName = (id) => state.apps?.find((it) => it.app_id === id)?.name || String(id);
  const text = (it) => {
    const app = appName(it.app_id);
    if (it.held_by === "agent") return t("lock.agent", { app, services: it.services.join(", ") });
    if (it.held_by === "service") return t("lock.service", { app, service: it.service, since: clock(it.since * 1000), path: it.path });
    return t(it.reason ? "lock.lease_for" : "lock.lease", { app, owner: it.owner, reason: it.reason, ends: clock(it.ends) });
  };
  return h("div", { key: "locks", class: "locks" },
    h("ul", { "aria-label": t("locks") }, state.locks.map((it) => h("li", {}, text(it)))),
    state.locks.some((it) => it.held_by !== "agent") &&
      h("button", { type: "button", id: "override", class: "danger", onclick: force }, t("override")),
  );
}

function problems(state) {
  const troubles = (state.troubles || []).map((it) => {
    const again = it.again_in_seconds === null ? "" : t("trouble.again", { time: duration(it.again_in_seconds), count: it.failures });
    return `${it.what}: ${it.why}${again}`;
  });
  const all = [
    ...(state.apps || []).filter((it) => it.release?.why).map((it) => it.release.why),
    ...(state.rejected ? [t("rejected", { why: state.rejected })] : []), ...troubles, ...(state.complaints || []),
    ...(state.boot_config?.problems || []),
  ];
  const waiting = state.waiting || [];
  return [
    all.length > 0 && h("div", { key: "problems", class: "problems" }, h("h3", {}, t("troubles")), h("ul", {}, all.map((it) => h("li", {}, it)))),
    waiting.length > 0 && h("div", { key: "waiting", class: "waiting" }, h("h3", {}, t("waiting")), h("ul", {}, waiting.map((it) => h("li", {}, it)))),
  ];
}

// Follows the output of a service in the element `#logs`, until its signal ends it. Resolves when the stream ends.
export async function followLogs({ app, service }, signal) {
  const query = new URLSearchParams({ app, service, follow: "true", tail: "100" });
  const response = await ask("GET", `/agent/v1/logs?${query}`, undefined, { signal });
  await readLines(response, (line) => {
    const pre = document.getElementById("logs");
    if (!pre || line === "") return;
    const { at, stream, text } = JSON.parse(line);
    const atEnd = pre.scrollHeight - pre.scrollTop - pre.clientHeight < 30;
    const row = document.createElement("span");
    row.className = stream || "";
    row.textContent = `${clock(at)} ${text}\n`;
    pre.append(row);
    while (pre.childElementCount > LINES) pre.firstElementChild.remove();
    if (atEnd) pre.scrollTop = pre.scrollHeight;
  });
}
