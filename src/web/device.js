// The device: where it is reached, how it is, and what it is connected to; reboot and shutdown.

import { ahead } from "./agent.js";
import { bytes, clock, duration } from "./format.js";
import { h, t, word } from "./dom.js";

export function deviceView(model, act) {
  const { state } = model;
  const { device } = state;
  const passed = (model.now - model.at) / 1000;
  const room = (it) => it && t("room", { free: bytes(it.free_bytes), all: bytes(it.total_bytes) });
  const facts = [
    ["device.uuid", device.uuid],
    ["device.type", [device.board || device.device_type, device.arch].filter((it) => it).join(", ")],
    ["device.os", [device.os_version, device.os_variant].filter((it) => it).join(", ")],
    ["device.agent", `boardkeeper ${device.supervisor_version}`],
    ["device.addresses", device.ip_addresses.join(", ")],
    ["device.mac", device.mac_address],
    ["device.up", device.up_seconds !== null && duration(device.up_seconds + passed)],
    ["device.disk", room(device.disk)],
    ["device.memory", room(device.memory)],
    ["device.temperature", device.temperature_celsius !== null && `${device.temperature_celsius.toFixed(1)} °C`],
    ["device.voltage", [null, undefined].includes(device.undervolted) ? null : t(device.undervolted ? "voltage.low" : "voltage.good")],
    ["device.clock", clockText(model)],
    ["device.engine", engine(state.engine, passed)],
    ["device.cloud", cloud(state, passed)],
    ["device.vpn", model.vpn && vpn(model.vpn)],
    ["device.boot_config", state.boot_config && state.boot_config.state !== "unmanaged" && word("boot_config", state.boot_config.state)],
  ];
  const bad = { "device.voltage": device.undervolted, "device.engine": state.engine.state === "down" };
  return h("section", { key: "device", "aria-labelledby": "device-title" },
    h("h2", { id: "device-title" }, t("device")),
    h("dl", { class: "facts" }, facts.filter(([, value]) => value).map(([name, value]) =>
      [h("dt", {}, t(name)), h("dd", { class: bad[name] ? "warning" : null, "data-fact": name }, value)])),
    shutdown(state.shutdown),
    h("div", { class: "buttons" },
      ending(act, "reboot", "/v1/reboot"),
      ending(act, "shutdown", "/v1/shutdown"),
    ),
  );
}

function ending(act, name, path) {
  const go = (force) => act.run(name, t(`${name}.asked`), "POST", path, force ? { force: true } : {}, (why) => {
    if (why.status !== 423) return false;
    act.confirm({
      title: t("locked.title"), text: t("locked.text", { why: why.message }), verb: t(`${name}.force`), go: () => go(true),
    });
    return true;
  });
  return h("button", {
    type: "button", id: name, class: "danger", disabled: act.isBusy(name),
    onclick: () => act.confirm({ title: t(`${name}.title`), text: t(`${name}.text`), verb: t(name), go: () => go(false) }),
  }, t(name));
}

function shutdown(it) {
  if (it.state === "under_way") return h("p", { class: "warning", role: "status" }, t("ending.under_way", { by: it.by }));
  if (it.state !== "came_to_nothing") return null;
  const what = t(`ending.${it.ending || "shutdown"}`);
  return h("p", { class: "warning", role: "status" }, t("ending.nothing", { what, why: it.why, time: duration(it.seconds) }));
}

function clockText(model) {
  const off = Math.abs(ahead) > 5000 ? t(ahead > 0 ? "clock.ahead" : "clock.behind", { time: duration(Math.abs(ahead) / 1000) }) : "";
  return `${clock(model.now + ahead, new Date(model.now))}${off}`;
}

function engine(it, passed) {
  return it.state === "down" ? t("engine.down", { time: duration(it.seconds + passed), why: it.why }) : word("engine", it.state);
}

function cloud(state, passed) {
  const { cloud, connectivity } = state;
  if (!cloud) return word("connectivity", connectivity.state);
  const { registration, polling, reporting } = cloud;
  if (registration.state === "no_cloud") return t("cloud.none");
  if (registration.state === "pending") return t("cloud.pending", { why: registration.why || "" });
  const parts = [registration.endpoint];
  if (connectivity.state !== "unknown") parts.push(word("connectivity", connectivity.state));
  if (connectivity.why) parts.push(connectivity.why);
  if (polling.last) parts.push(t("cloud.polled", { time: duration(polling.last.seconds_ago + passed) }));
  for (const why of [polling.why, reporting.why]) if (why) parts.push(why);
  return parts.join(" · ");
}

function vpn({ enabled, connected }) {
  return t(connected ? "vpn.connected" : enabled ? "vpn.enabled" : "vpn.disabled");
}
