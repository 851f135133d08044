// The list of conversations: search, open, rename, export, delete, import.
import { fail, say } from "./announce.js";
import * as api from "./api.js";
import * as chat from "./chat.js";
import { confirm, menu, prompt } from "./dialog.js";
import { h, icon, tool } from "./dom.js";
import { loadList, on, state, tellOthers } from "./state.js";

const PART = 6 << 20; // bytes of an import that go at once: the server takes 8 MiB
const AT_ONCE = 1000; // conversations
const app = document.getElementById("app");
const scrim = document.getElementById("scrim");
const sidebar = document.getElementById("sidebar");
const list = h("nav", { class: "list", "aria-label": "Conversations", tabindex: "-1" });
let timer;
export const search = h("input", {
  class: "input", type: "search", id: "search", placeholder: "Search", "aria-label": "Search conversations", autocomplete: "off",
  oninput: () => { clearTimeout(timer); timer = setTimeout(() => { state.query = search.value.trim(); loadList().catch(fail); }, 150); },
  onkeydown: (event) => {
    if (event.key === "Escape" && search.value) { event.stopPropagation(); search.value = ""; search.dispatchEvent(new Event("input")); }
    if (event.key === "ArrowDown") { event.preventDefault(); list.querySelector("a")?.focus(); }
  },
});

/** Opens or closes the list where it lies over the page. */
export function toggle(open = !app.classList.contains("open")) {
  app.classList.toggle("open", open);
  scrim.hidden = !open;
  document.querySelector(".menu-button")?.setAttribute("aria-expanded", String(open));
  if (open) search.focus();
}

export function save(address) {
  h("a", { href: `/web/api${address}`, download: "" }).click();
}

/** Imports a file and shows the newest conversation of it; what to say of it, once no dialog stands before the page. */
export async function importFile(file) {
  const text = await file.text();
  const values = /\.(md|markdown|txt)$/i.test(file.name) ? [{ markdown: text }] : parts(parsed(text)).map((json) => ({ json }));
  const ids = [];
  const number = () => (ids.length === 1 ? "one conversation" : `${ids.length} conversations`);
  try {
    for (const value of values) ids.push(...(await api.post("/import", value)).conversations);
  } catch (error) {
    if (ids.length) error.hint = [error.hint, `${number()} came in before it`].filter(Boolean).join("; ");
    throw error;
  } finally {
    await loadList().catch(fail);
    tellOthers();
  }
  if (ids.length) await chat.open(ids.at(-1));
  return `Imported ${number()}.`;
}

/** An export in parts that one request may have, those with the oldest conversations first: exports begin with the newest. */
function parts(value) {
  if (!Array.isArray(value?.conversations)) return [value];
  const found = [];
  let room = 0;
  for (const one of value.conversations) {
    const size = new TextEncoder().encode(JSON.stringify(one)).length;
    if (!found.length || size > room || found[0].conversations.length >= AT_ONCE) {
      found.unshift({ ...value, conversations: [] });
      room = PART;
    }
    found[0].conversations.push(one);
    room -= size;
  }
  return found.length ? found : [value];
}

function parsed(text) {
  try { return JSON.parse(text); } catch { throw new api.Failure({ message: "This file is no JSON.", hint: "Choose an export of lilims." }); }
}

export async function rename(item) {
  const title = await prompt({ title: "Rename", label: "Title", value: item.title });
  if (title?.trim()) await chat.rename(item.id, title).catch(fail);
}

export async function drop(item) {
  if (await confirm({ title: "Delete this conversation?", text: `“${item.title}” will be removed from this machine for good.`, yes: "Delete", danger: true })) {
    await chat.drop(item.id).then(() => say("Deleted."), fail);
    document.getElementById("question").focus();
  }
}

export const actions = (item) => [
  ["edit", "Rename", () => rename(item)],
  ["save", "Export as Markdown", () => save(`/conversations/${item.id}/export?format=markdown`)],
  ["save", "Export as JSON", () => save(`/conversations/${item.id}/export?format=json`)],
  ["trash", "Delete", () => drop(item), "danger"],
];

function entry(item) {
  const current = item.id === state.chat?.id;
  const link = h("a", {
    href: `#${item.id}`, "aria-current": current ? "page" : null,
    onclick: (event) => { if (event.ctrlKey || event.metaKey || event.shiftKey) return; event.preventDefault(); chat.open(item.id).then(() => toggle(false), fail); },
  }, h("span", { class: "title" }, item.title), item.excerpt ? h("span", { class: "excerpt" }, item.excerpt) : null);
  const more = tool("more", `Actions for ${item.title}`, () => menu(more, actions(item), `Actions for ${item.title}`), { class: "tool more", "aria-haspopup": "menu", "aria-expanded": "false" });
  return h("li", { class: `item${current ? " current" : ""}` }, link, more);
}

function group(time) {
  const midnight = new Date().setHours(0, 0, 0, 0) / 1000;
  const days = Math.ceil((midnight - time) / 86_400);
  return days <= 0 ? "Today" : days === 1 ? "Yesterday" : days <= 7 ? "Last seven days" : days <= 30 ? "Last thirty days" : "Older";
}

function draw() {
  const groups = new Map();
  for (const item of state.conversations) {
    const name = state.query ? "Found" : group(item.updated);
    groups.set(name, [...(groups.get(name) || []), item]);
  }
  const empty = h("p", { class: "empty" }, state.query ? `Nothing is found for “${state.query}”.` : "Conversations will be listed here.");
  const at = list.scrollTop;
  const item = list.contains(document.activeElement) ? document.activeElement.closest("li") : null;
  const focused = item && [item.querySelector("a").hash, document.activeElement.tagName];
  list.replaceChildren(...(groups.size
    ? [...groups].flatMap(([name, items], index) => [h("h2", { id: `group-${index}` }, name), h("ul", { "aria-labelledby": `group-${index}` }, items.map(entry))])
    : [empty]));
  list.scrollTop = at;
  if (focused) (list.querySelector(`a[href="${focused[0]}"]`)?.closest("li").querySelector(focused[1]) || search).focus();
}

export function init({ openModels, openSettings, openKeys }) {
  sidebar.append(
    h("header", {},
      h("div", { class: "brand" },
        h("a", { href: "/", onclick: (event) => { event.preventDefault(); chat.blank(); } }, h("img", { src: "/web/icon.svg", alt: "" }), "lilims"),
        tool("plus", "New chat", () => { chat.blank(); toggle(false); document.getElementById("question").focus(); }, { id: "new-chat" })),
      h("div", { class: "search" }, icon("search"), search)),
    list,
    h("footer", {},
      h("button", { type: "button", class: "tool", id: "open-models", onclick: openModels }, icon("box"), "Models"),
      h("button", { type: "button", class: "tool", id: "open-settings", onclick: openSettings }, icon("gear"), "Settings"),
      tool("keyboard", "Keyboard shortcuts", openKeys)));
  scrim.addEventListener("click", () => toggle(false));
  sidebar.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && app.classList.contains("open")) { toggle(false); document.querySelector(".menu-button").focus(); }
  });
  on("list", draw);
  on("chat", draw);
}
