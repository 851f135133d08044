// The messages of the open conversation.
import { fail } from "./announce.js";
import * as chat from "./chat.js";
import { copy, count, h, icon, seconds, tool } from "./dom.js";
import { render } from "./markdown.js";
import { model, on, state } from "./state.js";
import { canGoOn, siblings } from "./tree.js";

const thread = document.getElementById("thread");
const messages = document.getElementById("messages");
const articles = new Map();
let editing = null; // the id of the message that is edited, and its form, which outlives redrawing
let frame = 0;

const NOTES = {
  stopped: "You stopped this answer.",
  interrupted: "This answer was interrupted: the server was stopped while it was written.",
  length: "The answer reached its longest length.",
  full: "The model can read no more: its context is full. Begin a new chat, or edit an earlier message.",
};

/** Whether the end is in view; then it stays there while text comes. */
export const atEnd = () => thread.scrollHeight - thread.scrollTop - thread.clientHeight < 80;
export const toEnd = () => { thread.scrollTop = thread.scrollHeight; };

function switcher(message) {
  const all = siblings(state.chat.messages, message);
  if (all.length < 2) return null;
  const at = all.indexOf(message);
  const go = (step) => {
    chat.show(all[at + step]).catch(fail);
    const now = articles.get(all[at + step].id);
    (now?.querySelector(`.branches [data-step="${step}"]:not(:disabled)`) || now?.querySelector(".branches button:not(:disabled)"))?.focus();
  };
  return h("span", { class: "branches", role: "group", "aria-label": "Versions" },
    tool("left", "Previous version", () => go(-1), { disabled: at === 0, "data-step": "-1" }),
    h("span", {}, h("span", { class: "hidden" }, "Version "), `${at + 1}/${all.length}`),
    tool("right", "Next version", () => go(1), { disabled: at === all.length - 1, "data-step": "1" }));
}

function figures(message) {
  const found = message.statistics;
  if (!found?.generated_tokens) return null;
  const parts = [`${count(found.generated_tokens)} tokens`];
  if (found.tokens_per_second) parts.push(`${found.tokens_per_second < 10 ? found.tokens_per_second.toFixed(1) : Math.round(found.tokens_per_second)} tokens/s`);
  if (found.time_to_first_token) parts.push(`first after ${seconds(found.time_to_first_token)}`);
  return h("span", { class: "figures" }, parts.join(" · "));
}

function question(message) {
  if (editing?.id === message.id) return editing.form;
  const files = message.attachments.map((file) => h("span", { class: "file" }, icon("attach"), h("span", {}, file.name)));
  return [
    files.length ? h("div", { class: "files" }, files) : null,
    message.content ? h("div", { class: "text" }, message.content) : null,
    h("div", { class: "actions" }, switcher(message), copier(message),
      tool("edit", "Edit", () => { editing = { id: message.id, form: editor(message) }; draw(); articles.get(message.id).querySelector("textarea").focus(); }, { disabled: Boolean(chat.writing()) })),
  ];
}

function copier(message) {
  const button = tool("copy", "Copy", () => copy(message.content, button));
  return button;
}

function editor(message) {
  const id = `edit-${message.id}`;
  const area = h("textarea", { class: "input", id, rows: "3", value: message.content });
  const end = () => { editing = null; draw(); articles.get(message.id)?.querySelector('[aria-label="Edit"]')?.focus(); };
  const submit = (event) => {
    event?.preventDefault();
    if (!area.value.trim() && !message.attachments.length) return;
    const sent = editing;
    editing = null;
    chat.send(area.value, message.attachments, message.parent).then(() => document.getElementById("question").focus(), (error) => { editing = sent; fail(error); });
  };
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { event.stopPropagation(); end(); }
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event);
  });
  return h("form", { class: "editor", onsubmit: submit }, h("label", { class: "hidden", for: id }, "Edit your message"), area,
    h("div", { class: "row" }, h("button", { type: "button", class: "button", onclick: end }, "Cancel"),
      h("button", { type: "submit", class: "button primary" }, "Send as new version")));
}

function note(message) {
  const cut = message.status === "complete" && message.statistics?.finish_reason === "length";
  const full = cut && message.statistics.prompt_tokens + message.statistics.generated_tokens >= model(message.model)?.context;
  const text = full ? NOTES.full : cut ? NOTES.length : NOTES[message.status] || message.error;
  if (!text) return null;
  const buttons = [];
  if (canGoOn(message) && message.content && !full && !chat.writing()) buttons.push(h("button", { type: "button", class: "button", onclick: () => chat.goOn(message).catch(fail) }, "Continue"));
  if (message.status === "failed" || (!message.content && canGoOn(message))) buttons.push(h("button", { type: "button", class: "button", disabled: Boolean(chat.writing()), onclick: () => chat.regenerate(message).catch(fail) }, "Try again"));
  return h("div", { class: `note ${message.status === "failed" ? "bad" : "calm"}` }, h("span", {}, text), h("span", { class: "pair" }, buttons));
}

function thoughts(message, open) {
  if (!message.reasoning) return null;
  return h("details", { class: "thoughts", open }, h("summary", {}, message.content || message.status !== "running" ? "Thoughts" : "Thinking …"), h("div", {}, message.reasoning));
}

function answer(message, article) {
  const running = message.status === "running";
  const prose = article.querySelector(".prose") || h("div", { class: "prose" });
  render(prose, message.content);
  const open = article.querySelector(".thoughts")?.open ?? false;
  const busy = running && !message.content ? h("div", { class: "working" }, h("i"), h("i"), h("i"),
    model(message.model)?.loaded ? h("span", { class: "hidden" }, "Working") : h("span", {}, "Getting the model ready …")) : null;
  const end = running ? null : h("div", { class: "actions" }, switcher(message), copier(message),
    tool("redo", "Answer again", () => chat.regenerate(message).catch(fail), { disabled: Boolean(chat.writing()) }), figures(message));
  return [h("div", { class: "who" }, message.model || "Answer"), thoughts(message, open), prose, busy, running ? null : note(message), end];
}

function fill(message) {
  let article = articles.get(message.id);
  if (!article) {
    article = h("article", { class: `message ${message.role}`, "aria-label": message.role === "user" ? "You" : "Answer", "data-id": message.id });
    articles.set(message.id, article);
  }
  article.setAttribute("aria-busy", String(message.status === "running"));
  article.replaceChildren(...(message.role === "user" ? [question(message)].flat(2) : answer(message, article)).filter(Boolean));
  return article;
}

/** Shows what an answer has gained; nodes that stay are not touched, so that a selection in them lasts. */
function grow(message) {
  const article = articles.get(message.id);
  const shown = article.querySelector(".thoughts div");
  if (message.reasoning && !shown) { fill(message); return; }
  if (shown && shown.textContent !== message.reasoning) shown.textContent = message.reasoning;
  if (message.content) article.querySelector(".working")?.remove();
  render(article.querySelector(".prose"), message.content);
}

const STARTS = {
  chat: ["Explain how a rainbow comes about", "Help me write a thank-you note", "What could I cook with rice and lemons?"],
  story: ["Once upon a time there was a small fox", "Lily found a red door in the garden", "One morning the moon forgot to set"],
};

function welcome() {
  const card = model();
  const stories = card && !card.chats;
  const starts = stories ? STARTS.story : STARTS.chat;
  return h("div", { class: "welcome" },
    h("h2", {}, stories ? "How does your story begin?" : "What is on your mind?"),
    h("p", {}, stories
      ? `${card.name} is a small model that continues stories. Write a beginning, and it goes on from there. It was not made to answer questions.`
      : "Everything stays on this machine: your words, the answers, and the model."),
    h("div", { class: "starts" }, starts.map((text) => h("button", {
      type: "button", class: "button", onclick: () => { const box = document.getElementById("question"); box.value = text; box.dispatchEvent(new Event("input")); box.focus(); },
    }, text))));
}

export function draw(focus) {
  const stay = atEnd();
  const path = chat.path();
  const ids = new Set(path.map((message) => message.id));
  for (const id of articles.keys()) if (!ids.has(id)) articles.delete(id);
  const focused = document.activeElement;
  messages.replaceChildren(...(path.length ? path.map(fill) : [welcome()]));
  if (editing?.form.contains(focused)) focused.focus();
  if (stay || !focus) toEnd();
}

export function init() {
  let shown = null;
  on("chat", (message) => {
    if (shown !== state.chat?.id) { editing = null; articles.clear(); }
    const fresh = shown !== state.chat?.id;
    shown = state.chat?.id;
    draw(!fresh && message);
  });
  for (const name of ["models", "settings"]) on(name, () => { if (state.chat && !chat.path().length) draw(); });
  on("stream", (message) => {
    if (frame) return;
    frame = requestAnimationFrame(() => {
      frame = 0;
      if (!articles.has(message.id)) return;
      const stay = atEnd();
      grow(message);
      if (stay) toEnd();
    });
  });
}
