// The bar above the messages: title, model picker, controls, actions of the conversation.
import { fail } from "./announce.js";
import * as chat from "./chat.js";
import { float, menu } from "./dialog.js";
import { bytes, count, h, icon, tool } from "./dom.js";
import { actions, toggle } from "./sidebar.js";
import { loadState, model, on, state } from "./state.js";

const title = h("h1", {}, "New chat");
const name = h("span");
const picker = h("button", { type: "button", class: "tool picker", id: "picker", "aria-haspopup": "menu", "aria-expanded": "false", onclick: openPicker }, name, icon("down"));
const more = tool("more", "Conversation", () => menu(more, actions(state.chat), "Conversation"), { id: "chat-menu", "aria-haspopup": "menu", "aria-expanded": "false" });

/** Facts of a card, for one line. */
export function facts(card) {
  const parts = [];
  if (card.bytes) parts.push(bytes(card.bytes));
  if (card.context) parts.push(`context ${count(card.context)}`);
  if (card.parameters) parts.push(`${short(card.parameters)} parameters`);
  if (card.scheme) parts.push(card.bits_per_weight ? `${card.scheme}, ${card.bits_per_weight.toFixed(1)} bits a weight` : card.scheme);
  if (card.built_in && !parts.length) parts.push("built in, made when it is first used");
  return parts.join(" · ");
}

/** What was measured on a model, in words. */
export function quality(card) {
  const found = card.quality?.[0];
  if (!found) return null;
  const parts = [`perplexity ${found.perplexity.toPrecision(3)} on ${found.text}`];
  if (found.same_top !== undefined) parts.push(`chooses as ${found.reference} in ${(found.same_top * 100).toFixed(1)} % of cases`);
  if (found.divergence !== undefined) parts.push(`KL ${found.divergence.toPrecision(2)} nats`);
  return parts.join(" · ");
}

const short = (value) => (value >= 1e9 ? `${(value / 1e9).toFixed(1)} B` : value >= 1e6 ? `${(value / 1e6).toFixed(value < 1e7 ? 1 : 0)} M` : `${Math.round(value / 1e3)} k`);

function openPicker() {
  const own = model();
  const items = state.models.map((card) => h("button", {
    type: "button", role: "menuitemradio", class: "choice", tabindex: "-1", "aria-checked": String(card === own), disabled: Boolean(card.problem),
    onclick: () => { picker.popup?.close(); picker.focus(); chat.change({ model: card.name }).catch(fail); },
  },
  h("span", { class: "name" }, card.name, card.loaded ? h("span", { class: "badge" }, "loaded") : card.built_in ? h("span", { class: "badge" }, "built in") : null),
  h("span", { class: "facts" }, facts(card)),
  quality(card) ? h("span", { class: "quality" }, quality(card)) : null,
  card.chats === false ? h("span", { class: "facts" }, "continues text; does not chat") : null,
  card.problem ? h("span", { class: "facts bad" }, card.problem) : null));
  const usable = items.filter((item) => !item.disabled);
  float(picker, h("div", { class: "menu models", role: "menu", "aria-label": "Model" }, items), usable, Math.max(0, usable.findIndex((item) => item.ariaChecked === "true" || item.getAttribute("aria-checked") === "true")));
  loadState().catch(() => {});
}

function draw() {
  title.textContent = state.chat?.title || "New chat";
  document.title = state.chat?.id ? `${state.chat.title} · lilims` : "lilims";
  const card = model();
  name.textContent = card?.name || state.chat?.model || "No model";
  picker.setAttribute("aria-label", `Model: ${name.textContent}`);
  more.hidden = !state.chat?.id;
}

export function init({ openControls }) {
  document.getElementById("bar").append(
    tool("menu", "Conversations", () => toggle(), { class: "tool menu-button", "aria-controls": "sidebar", "aria-expanded": "false" }),
    title, picker, tool("sliders", "Controls of this chat", openControls, { id: "open-controls" }), more);
  for (const event of ["chat", "models", "settings", "title"]) on(event, draw);
}
