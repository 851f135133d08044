// What can be done with the open conversation. Knows the API and the state; must not know the document.
import * as api from "./api.js";
import { Reader, say } from "./announce.js";
import { changed, loadList, loadState, local, state, tellOthers } from "./state.js";
import { branch, newest } from "./tree.js";

let visits = 0; // what is opened last is shown, whatever arrives last
let begins = 0; // answers that were begun: what was asked for before the latest of them is not shown over it
let saving = Promise.resolve(); // changes on their way to the server: an answer begins behind them

export function blank() {
  visits += 1;
  leave();
  state.chat = {
    id: null, title: "New chat", model: local.get("model", null), system: local.get("system", ""), settings: local.get("settings", {}),
    leaf: null, messages: [],
  };
  if (location.hash) history.pushState(null, "", location.pathname);
  changed("chat");
}

export async function open(id, { push = true } = {}) {
  const visit = ++visits;
  const chat = await api.get(`/conversations/${encodeURIComponent(id)}`);
  if (visit !== visits) return;
  leave();
  state.chat = chat;
  if (push && location.hash !== `#${id}`) history.pushState(null, "", `#${id}`);
  changed("chat");
  attend();
}

/** Loads the open conversation again, as another window left it. */
export async function refresh() {
  const id = state.chat?.id;
  const before = begins;
  if (!id) return;
  const chat = await api.get(`/conversations/${encodeURIComponent(id)}`);
  if (state.chat?.id !== id || before !== begins) return;
  leave();
  state.chat = chat;
  changed("chat");
  attend();
}

function leave() {
  state.following?.end();
  state.following = null;
}

export const path = () => (state.chat ? branch(state.chat.messages, state.chat.leaf) : []);
export const writing = () => state.chat?.messages.find((message) => message.status === "running") || null;

/** Follows the answer that is being written, if there is one. */
function attend() {
  const message = writing();
  if (!message) return;
  const reader = new Reader(message.content);
  const close = api.follow(message, {
    part(part) {
      message.content += part.content;
      message.reasoning += part.reasoning;
      message.statistics = part.statistics;
      reader.take(message.content);
      changed("stream", message);
    },
    done(final) {
      if (!final) { reader.stop(); blank(); loadList().catch(() => {}); return; } // deleted in another window
      Object.assign(message, final);
      state.following = null;
      reader.end(message.content);
      if (message.status !== "complete") say({ stopped: "Stopped.", failed: "The answer failed.", interrupted: "The answer was interrupted.", moderated: "Moderation ended the answer." }[message.status] || "");
      changed("chat", message);
      loadState().catch(() => {});
    },
  });
  state.following = { end() { close(); reader.stop(); } };
}

async function kept() {
  const chat = state.chat;
  if (chat.id) return chat;
  const { model, system, settings } = chat;
  const made = await api.post("/conversations", { model: model || state.defaultModel, system, settings });
  Object.assign(chat, made);
  history.replaceState(null, "", `#${made.id}`);
  return chat;
}

function begun(asked, messages) {
  begins += 1;
  const chat = state.chat?.id === asked.id ? state.chat : asked; // it may have been loaded again meanwhile
  for (const message of messages) {
    const at = chat.messages.findIndex((other) => other.id === message.id);
    if (at < 0) chat.messages.push(message);
    else chat.messages[at] = message;
  }
  chat.leaf = messages.at(-1).id;
  if (state.chat !== chat) return;
  changed("chat");
  attend();
  say("Answering.");
  loadList().then(() => {
    chat.title = state.conversations.find((other) => other.id === chat.id)?.title || chat.title;
    changed("title");
  }).catch(() => {});
  tellOthers(chat.id);
}

/** Asks; `parent` is the message it stands below, or undefined for the end of the branch. */
export async function send(content, attachments, parent) {
  const chat = await kept();
  await saving;
  const below = parent === undefined ? chat.leaf : parent;
  const { question, answer } = await api.post(`/conversations/${chat.id}/messages`, { parent: below, content, attachments });
  begun(chat, [question, answer]);
}

export async function regenerate(message) {
  const chat = state.chat;
  await saving;
  const { answer } = await api.post(`/conversations/${chat.id}/answers`, { parent: message.parent });
  begun(chat, [answer]);
}

export async function goOn(message) {
  const chat = state.chat;
  await saving;
  const { answer } = await api.post(`/messages/${message.id}/continue`);
  begun(chat, [answer]);
}

export async function stop() {
  const message = writing();
  if (!message) return;
  const followed = Boolean(state.following);
  await api.post(`/messages/${message.id}/stop`);
  if (!followed) await refresh(); // nobody writes it: its server was killed
}

export async function show(message) {
  const chat = state.chat;
  chat.leaf = newest(chat.messages, message.id);
  changed("chat", message);
  await api.patch(`/conversations/${chat.id}`, { leaf: chat.leaf });
}

/** Changes model, system prompt or controls; a new conversation begins as the last one was set. */
export async function change(values) {
  const chat = state.chat;
  Object.assign(chat, values);
  for (const name of ["model", "settings", "system"]) if (name in values) local.set(name, values[name]);
  changed("settings");
  if (chat.id) {
    const sent = api.patch(`/conversations/${chat.id}`, values);
    saving = Promise.allSettled([saving, sent]);
    await sent;
    tellOthers(chat.id);
  }
}

export async function rename(id, title) {
  const found = await api.patch(`/conversations/${id}`, { title });
  if (state.chat?.id === id) { state.chat.title = found.title; changed("title"); }
  await loadList();
  tellOthers(id);
}

export async function drop(id) {
  await api.remove(`/conversations/${id}`);
  if (state.chat?.id === id) blank();
  await loadList();
  tellOthers(id);
}
