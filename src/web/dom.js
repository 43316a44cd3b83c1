// The document from descriptions: a view returns what there should be, and `morph` changes only what differs. An element that
// stays keeps its focus, its scroll position and what a person typed.

const SVG = "http://www.w3.org/2000/svg";
const NOTHING = [null, undefined, false, ""];

// An element. Attributes that begin with `on` are handlers. `key` tells it from its siblings; `keep` leaves its children alone.
export const h = (tag, attrs, ...children) =>
  ({ tag, attrs: attrs || {}, children: children.flat(9).filter((it) => !NOTHING.includes(it)) });

// Makes the children of an element what is wanted.
export function morph(parent, wanted) {
  let at = parent.firstChild;
  const all = wanted.flat(9).filter((it) => !NOTHING.includes(it));
  for (const [index, it] of all.entries()) {
    // What is gone is removed first: an element that is moved instead loses its scroll position.
    while (at && !all.slice(index).some((it) => is(at, it))) at = removed(at);
    let found = at;
    while (found && !is(found, it)) found = found.nextSibling;
    found ||= made(parent, it);
    if (found === at) at = at.nextSibling;
    else parent.insertBefore(found, at);
    update(found, it);
  }
  while (at) at = removed(at);
}

function removed(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

const isText = (it) => typeof it !== "object";
const is = (node, it) => isText(it) ? node.nodeType === 3 : node.localName === it.tag && node.key === it.attrs.key;

function made(parent, it) {
  if (isText(it)) return document.createTextNode(it);
  const inSvg = it.tag === "svg" || parent.namespaceURI === SVG;
  const node = inSvg ? document.createElementNS(SVG, it.tag) : document.createElement(it.tag);
  node.key = it.attrs.key;
  return node;
}

function update(node, it) {
  if (isText(it)) {
    if (node.data !== String(it)) node.data = it;
    return;
  }
  const { key, keep, ...attrs } = it.attrs;
  for (const name of Object.keys(node.had || {})) if (!(name in attrs)) set(node, name, null);
  for (const [name, value] of Object.entries(attrs)) if (node.had?.[name] !== value) set(node, name, value);
  node.had = attrs;
  if (!keep) morph(node, it.children);
}

function set(node, name, value) {
  if (name.startsWith("on") || name === "value") node[name] = value;
  else if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? "" : value);
}

let texts = {};

// Loads the texts, in the language of the file.
export async function loadTexts() {
  texts = await (await fetch("/web/texts.json")).json();
  document.documentElement.lang = texts.lang;
}

// A text, with values in place of its `{names}`. With a count that is 1, the text whose key ends with `.one`, if there is one.
export function t(key, values) {
  const text = (values?.count === 1 && texts[key + ".one"]) || texts[key] || key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values?.[name] ?? "");
}

// The text of a word of the API, or the word itself.
export const word = (group, it) => texts[group + "." + it] || String(it).replaceAll("_", " ");
