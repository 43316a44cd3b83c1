// The board: its drawing, which LED shows what, and the button that identifies it.

import { duration, shownAt, steps } from "./format.js";
import { h, t, word } from "./dom.js";

const MARGIN = 6;
// The board of which no outline is known, in millimetres.
const GENERIC = { width_mm: 85, height_mm: 56, parts: [] };

// Every LED that may be driven, with what the board's description and the agent say of it.
export function allLeds(model) {
  const said = model.board?.leds || [];
  const { led, others = [], ...shows } = model.leds || {};
  const all = [...(led ? [{ ...led, ...shows, identifies: true }] : []), ...others];
  return all.map((it) => ({ ...said.find((one) => one.name === it.name), ...it }));
}

// What a LED shows at a moment: whether it is lit, `null` if that is not known, and in how many milliseconds that changes.
export function shown(model, led, now) {
  const all = steps(led.pattern);
  if (all.length) return shownAt(all, led.pattern_milliseconds + now - model.ledsAt);
  return { lit: led.lit ?? null, next: Infinity };
}

// How many seconds a purpose of a LED has left.
export const secondsLeft = (model, seconds, now) => Math.max(0, Math.ceil(seconds - (now - model.ledsAt) / 1000));

export function boardView(model, act) {
  const { board } = model;
  const leds = allLeds(model);
  const name = board?.name || board?.model || t("board.unknown");
  return h("section", { key: "board", "aria-labelledby": "board-title", class: "board" },
    h("h2", { id: "board-title" }, name),
    board?.simulated && h("p", { class: "hint" }, t("board.simulated")),
    drawing(model, board, leds, name),
    h("button", {
      id: "identify", class: "identify", type: "button", "aria-describedby": "identified",
      onclick: () => act.identify(),
    }, t("identify")),
    h("p", { id: "identified", class: "identified", role: "status" }, identified(model)),
    leds.length > 0 && h("ul", { class: "leds" }, leds.map((led) => h("li", { key: led.name },
      h("span", { class: `dot ${led.colour || "unknown"}`, "data-led": led.name, "aria-hidden": "true" }),
      h("span", {}, label(led)), " ",
      h("span", { class: "hint" }, showing(model, led)),
    ))),
    board?.complaint && h("p", { class: "warning" }, board.complaint),
  );
}

// The name that is printed beside a LED, else the kernel's.
export const label = (led) => led.label && led.label !== led.name ? `${led.label} (${led.name})` : led.name;

// What the last request to identify the board did.
function identified(model) {
  const { answer, error } = model.identified || {};
  const purpose = model.leds?.purposes?.find((it) => it.purpose === "identify");
  const left = purpose && secondsLeft(model, purpose.seconds_left, Date.now());
  if (error) return t("identify.failed", { why: error });
  if (answer?.startsWith("none; ")) return t("identify.none", { why: answer.slice(6) });
  if (model.leds && model.leds.owner === "bring-up") return t("identify.tool");
  if (left) return t("identify.blinks", { led: model.leds.led?.name || answer, time: duration(left) });
  if (answer) return t("identify.over", { led: answer });
  return model.leds?.why_none ? t("identify.none", { why: model.leds.why_none }) : t("identify.hint");
}

function showing(model, led) {
  if (led.trouble) return led.trouble;
  if (led.owner) return word("purpose", led.owner);
  return led.lit === true ? t("led.lit") : led.lit === false ? t("led.dark") : "";
}

function drawing(model, board, leds, name) {
  const outline = board?.outline || GENERIC;
  const { width_mm: width, height_mm: height, parts = [] } = outline;
  const unplaced = leds.filter((led) => !led.at);
  const at = (led) => led.at || { x_mm: 12 + 9 * unplaced.indexOf(led), y_mm: height - 8 };
  const box = [-MARGIN, -MARGIN, width + 2 * MARGIN, height + 2 * MARGIN].join(" ");
  return h("svg", { class: "drawing", viewBox: box, role: "img", "aria-label": t("board.drawing", { name }) },
    h("rect", { class: "pcb", width, height, rx: 3 }),
    parts.map((part) => h("rect", {
      class: `part ${part.kind}`, x: part.x_mm, y: part.y_mm, width: part.width_mm, height: part.height_mm, rx: 0.6,
    })),
    parts.filter((part) => part.width_mm >= 10 && part.height_mm >= 3).map((part) => h("text", {
      class: `part-name on-${part.kind}`, x: part.x_mm + part.width_mm / 2, y: part.y_mm + part.height_mm / 2,
    }, word("part", part.kind))),
    leds.map((led) => h("g", { key: led.name },
      h("title", {}, label(led)),
      h("circle", { class: `halo ${led.colour || "unknown"}`, "data-led": led.name, cx: at(led).x_mm, cy: at(led).y_mm, r: 3.4 }),
      h("circle", { class: `led ${led.colour || "unknown"}`, "data-led": led.name, cx: at(led).x_mm, cy: at(led).y_mm, r: 1.8 }),
      !led.at && h("text", { class: "led-name", x: at(led).x_mm, y: at(led).y_mm - 5.5 }, led.label || led.name.slice(0, 8)),
    )),
  );
}

// Lights the drawn LEDs as the real ones are now, and again whenever one changes. Nothing runs while no LED blinks, or while the
// page is hidden.
export function play(model) {
  clearTimeout(play.timer);
  const now = Date.now();
  let next = Infinity;
  for (const led of allLeds(model)) {
    const is = shown(model, led, now);
    next = Math.min(next, is.next);
    const lit = model.connected && is.lit !== null ? String(is.lit) : "unknown";
    for (const node of document.querySelectorAll(`[data-led="${CSS.escape(led.name)}"]`)) node.dataset.lit = lit;
  }
  if (next < Infinity && document.visibilityState === "visible" && model.connected) {
    play.timer = setTimeout(() => play(model), Math.max(next, 20));
  }
}
