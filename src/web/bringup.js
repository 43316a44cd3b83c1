// Bring-up: each LED and each free line blinks on its own, a person says whether it did, and the answers are a report in the
// format of `boardkeeper led test --json`.

import { ask } from "./agent.js";
import { allLeds, label } from "./board.js";
import { h, t, word } from "./dom.js";

// As `boardkeeper led test`: five blinks, slow enough to follow.
const PATTERN = { pattern: "250,250", seconds: 3 };

// What can be tested: the LEDs, and the lines where the agent has any.
function candidates(model) {
  const led = (it) => ({ kind: "leds", name: it.name, label: it.label ?? null, colour: it.colour ?? null, place: it.place || "" });
  const line = (it) => ({ kind: "lines", name: it.name, label: it.label ?? null, colour: null, place: it.place || "" });
  return [...allLeds(model).map(led), ...(model.lines || []).filter((it) => !it.in_use).map(line)];
}

export function bringupView(model, act) {
  const all = candidates(model);
  const [leds, lines] = ["leds", "lines"].map((kind) => all.filter((it) => it.kind === kind));
  const done = all.filter((it) => model.bringup.has(id(it)));
  return h("section", { key: "bringup", "aria-labelledby": "bringup-title", class: "bringup" },
    h("h2", { id: "bringup-title" }, t("bringup")),
    h("p", { class: "hint" }, t(all.length ? "bringup.hint" : "bringup.none")),
    h("ol", {}, leds.map((it) => item(model, act, it))),
    lines.length > 0 && h("details", { id: "lines" },
      h("summary", {}, t("bringup.lines", { count: lines.length })),
      h("p", { class: "hint" }, t("bringup.lines_hint")),
      h("ol", {}, lines.map((it) => item(model, act, it))),
    ),
    h("div", { class: "buttons" },
      h("button", { type: "button", id: "report", disabled: done.length === 0, onclick: () => download(model, done) },
        t("bringup.report", { count: done.length })),
      done.length > 0 && h("button", { type: "button", onclick: () => act.set({ bringup: new Map() }) }, t("bringup.anew")),
    ),
  );
}

const id = (it) => `${it.kind} ${it.name}`;

function item(model, act, it) {
  const answer = model.bringup.get(id(it));
  const asks = answer && answer.operator_ok === null && answer.driver_ok;
  const name = label(it);
  const record = (change) => {
    model.bringup.set(id(it), { driver_ok: true, operator_ok: null, trouble: null, ...change });
    act.set({});
  };
  const blink = async () => {
    record({});
    try {
      await ask("POST", `/agent/v1/${it.kind}/${encodeURIComponent(it.name)}/pattern`, PATTERN);
    } catch (why) {
      record({ driver_ok: false, trouble: why.message });
    }
    act.lookAtLeds();
  };
  const button = (text, onclick, extra) => h("button", { key: text, type: "button", onclick, "aria-label": `${t(text)}: ${name}`, ...extra }, t(text));
  return h("li", { key: id(it), "data-item": it.name },
    h("span", { class: "name" }, name, " ", h("span", { class: "hint" }, [it.colour && word("colour", it.colour), it.place].filter((it) => it).join(", "))),
    h("span", { class: "answer", role: "status" }, verdict(answer)),
    h("span", { class: "buttons" },
      !asks && button(answer ? "bringup.again" : "bringup.blink", blink),
      asks && button("bringup.yes", () => record({ operator_ok: true }), { class: "yes" }),
      asks && button("bringup.no", () => record({ operator_ok: false }), { class: "no" }),
      asks && button("bringup.again", blink),
    ),
  );
}

function verdict(answer) {
  if (!answer) return "";
  if (!answer.driver_ok) return t("bringup.failed", { why: answer.trouble });
  return t({ true: "bringup.seen", false: "bringup.not_seen", null: "bringup.question" }[answer.operator_ok]);
}

// The report. What only the tool on the device reads is null.
export function report(model, done) {
  const { board, state } = model;
  const { id: boardId, name, recognised, model: tree, compatible, simulated } = board;
  const tested = (kind) => done.filter((it) => it.kind === kind).map((it) => ({
    name: it.name, label: it.label, colour: it.colour, place: it.place, ...model.bringup.get(id(it)),
    read_back: { right: 0, wrong: 0, untold: 0, example: null }, restored: null,
    before_trigger: null, after_trigger: null, before_brightness: null, after_brightness: null,
    before_settings: {}, after_settings: {}, before_direction: null, after_direction: null, before_level: null, after_level: null,
  }));
  const lines = tested("lines");
  return {
    schema: 1, tool: `boardkeeper ${state.device.supervisor_version}`, time_utc: new Date().toISOString().replace(/\.\d+Z$/, "Z"),
    board: { id: boardId, name, recognised, model: tree, compatible, simulated },
    kernel: state.device.kernel ?? null, serial: state.device.serial ?? null, leds: tested("leds"), ...(lines.length && { lines }),
  };
}

function download(model, done) {
  const text = JSON.stringify(report(model, done), null, 2) + "\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = `led-test-${model.state.device.uuid.slice(0, 7) || "board"}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
