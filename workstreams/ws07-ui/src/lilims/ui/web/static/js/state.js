// What the page knows, and who is told when it changes. Must not know the document.
import * as api from "./api.js";

export const state = {
  version: "",
  models: [],
  defaultModel: null,
  ranges: {},
  safety: { band: null, allowed: false },
  conversations: [],
  query: "",
  chat: null, // the open conversation; one without an id is not kept yet
  following: null, // ends following the answer that is written
};

const listeners = new Map();
/** Calls `listener` after each change that has this name: list, chat, stream, models, safety. */
export const on = (name, listener) => listeners.set(name, [...(listeners.get(name) || []), listener]);
export const changed = (name, ...details) => (listeners.get(name) || []).forEach((listener) => listener(...details));

const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel("lilims") : null;
/** Tells the other windows that a conversation (or, without an id, the list) is not what it was. */
export const tellOthers = (id = null) => channel?.postMessage({ id });
export const hearOthers = (listener) => channel?.addEventListener("message", (event) => listener(event.data.id));

export function model(name = state.chat?.model) {
  const wanted = name || state.defaultModel;
  return state.models.find((card) => card.name === wanted || card.aliases.includes(wanted)) || null;
}

export async function loadState() {
  const found = await api.get("/state");
  Object.assign(state, { version: found.version, models: found.models, defaultModel: found.default_model, ranges: found.ranges, safety: found.safety });
  changed("models");
  changed("safety");
}

export async function loadList() {
  const query = state.query;
  const found = await api.get(`/conversations?q=${encodeURIComponent(query)}`);
  if (query !== state.query) return; // a later one is on its way
  state.conversations = found.conversations;
  changed("list");
}

/** Settings of this browser alone. */
export const local = {
  get(name, fallback) {
    try { return JSON.parse(localStorage.getItem(`lilims.${name}`)) ?? fallback; } catch { return fallback; }
  },
  set(name, value) {
    try { localStorage.setItem(`lilims.${name}`, JSON.stringify(value)); } catch { /* private windows may refuse */ }
  },
};
