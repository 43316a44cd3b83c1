// What happened, and why.

import { clock, duration } from "./format.js";
import { h, t, word } from "./dom.js";

// Entries that the page keeps.
export const KEPT = 500;
// Entries that are shown until a person asks for more.
export const SHOWN = 30;

// What happened, as the agent says it.
export const sentence = (it) => it.sentence || [word("action", it.action), it.name, it.why].filter((it) => it).join(" ");

export function historyView(model, act) {
  const { history } = model;
  if (!history) return null;
  const services = [...new Set(history.filter((it) => it.service).map((it) => it.service))].sort();
  const of = model.historyOf || "";
  const all = history.filter((it) => !of || it.service === of).reverse();
  const shown = all.slice(0, model.historyShown || SHOWN);
  return h("section", { key: "history", "aria-labelledby": "history-title" },
    h("div", { class: "head" },
      h("h2", { id: "history-title" }, t("history")),
      services.length > 1 && h("label", {}, t("history.of"), " ",
        h("select", { onchange: (event) => act.set({ historyOf: event.target.value }) },
          ["", ...services].map((it) => h("option", { value: it, selected: it === of }, it || t("history.all"))))),
    ),
    all.length === 0 && h("p", { class: "hint" }, t("history.none")),
    h("ol", { class: "history", reversed: true }, shown.map((it) => h("li", { key: it.id, class: it.outcome },
      h("time", { datetime: it.at }, clock(it.at)), " ",
      h("span", { class: "what" }, sentence(it)),
      h("span", { class: "hint" }, ` ${more(it)}`),
      it.error && h("p", { class: "warning" }, it.error),
      it.changes?.length > 0 && h("ul", {}, it.changes.map((it) => h("li", {}, change(it)))),
    ))),
    all.length > shown.length && h("button", {
      type: "button", onclick: () => act.set({ historyShown: shown.length + 3 * SHOWN }),
    }, t("history.more")),
  );
}

function change({ field, old, new: now }) {
  const said = (it) => it === null || it === undefined ? t("change.nothing") : String(it);
  return t("change", { field, old: said(old), now: said(now) });
}

function more(it) {
  const parts = it.outcome === "seen" ? [] : [word("outcome", it.outcome)];
  if (it.milliseconds >= 1000) parts.push(duration(it.milliseconds / 1000));
  else if (it.milliseconds !== null && it.milliseconds !== undefined) parts.push(`${it.milliseconds} ms`);
  if (it.asked_by && !it.sentence) parts.push(t("history.asked", { by: it.asked_by }));
  return parts.join(" · ");
}
