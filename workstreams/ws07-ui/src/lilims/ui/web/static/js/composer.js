// The box to write in: text, attached files, the gauge of the context, send and stop.
import { fail, toast } from "./announce.js";
import * as chat from "./chat.js";
import { bytes, count, h, icon, tool } from "./dom.js";
import { model, on, state } from "./state.js";
import { atEnd, toEnd } from "./thread.js";

const FILE = 256 * 1024;
const FILES = 4;
const CHARACTERS = 3.6; // a token, about, where nothing is known yet
let files = [];
let busy = false;

const box = h("textarea", { id: "question", rows: "1", "aria-label": "Message", placeholder: "Write a message", autocomplete: "off", enterkeyhint: "send" });
const shelf = h("div", { class: "files" });
const chooser = h("input", { type: "file", multiple: true, class: "hidden", tabindex: "-1", "aria-hidden": "true", accept: "text/*,.md,.json,.csv,.log,.yaml,.yml,.toml,.py,.js,.ts,.swift,.rs,.go,.c,.h,.cpp,.java,.sql,.xml" });
const fill = h("b");
const numbers = h("span");
const gauge = h("div", { class: "gauge", role: "meter", "aria-label": "Context used", "aria-valuemin": "0" }, h("i", {}, fill), numbers);
const button = h("button", { type: "submit", class: "tool send", id: "send" });
const form = h("form", { class: "composer", "aria-label": "Write a message" }, shelf, box,
  h("div", { class: "row" }, tool("attach", "Attach a text file", () => chooser.click(), { id: "attach" }), chooser, h("span", { class: "fill" }), gauge, button));
const hint = h("p", { class: "hint", id: "hint" });
const latest = h("button", { type: "button", class: "button latest", hidden: true, onclick: () => { toEnd(); box.focus(); } }, icon("down"), "Latest");

async function attach(list) {
  for (const file of list) {
    if (files.length >= FILES) { toast(`At most ${FILES} files can be attached.`, { error: true }); break; }
    if (file.size > FILE) { toast(`${file.name} has ${bytes(file.size)}; ${bytes(FILE)} is the most. Attach a part of it.`, { error: true }); continue; }
    try {
      const text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
      if (text.includes("\0")) throw new TypeError();
      files.push({ name: file.name, text });
    } catch {
      toast(`${file.name} is not a text file.`, { error: true });
    }
  }
  draw();
  box.focus();
}

function used() {
  const path = chat.path();
  const last = [...path].reverse().find((message) => message.statistics?.prompt_tokens);
  const words = (message) => message.content.length + (message.attachments || []).reduce((sum, file) => sum + file.text.length, 0);
  const since = last ? path.slice(path.indexOf(last) + 1) : path;
  const draft = box.value.length + files.reduce((sum, file) => sum + file.text.length, 0);
  const known = last ? last.statistics.prompt_tokens + last.statistics.generated_tokens : Math.ceil(state.chat.system.length / CHARACTERS);
  return { tokens: known + Math.ceil((since.reduce((sum, message) => sum + words(message), 0) + draft) / CHARACTERS), exact: Boolean(last) && !draft && !since.length };
}

function drawGauge() {
  const context = model()?.context;
  gauge.hidden = !context;
  if (!context) return;
  const { tokens, exact } = used();
  const share = Math.min(1, tokens / context);
  fill.style.width = `${share * 100}%`;
  gauge.classList.toggle("full", share > 0.9);
  const about = exact ? "" : "about ";
  numbers.replaceChildren(count(tokens), h("span", { class: "of" }, ` of ${count(context)}`));
  gauge.setAttribute("aria-valuemax", String(context));
  gauge.setAttribute("aria-valuenow", String(Math.min(tokens, context)));
  gauge.setAttribute("aria-valuetext", `${about}${tokens} of ${context} tokens`);
  gauge.title = `The model sees at most ${count(context)} tokens of text at once; ${about}${count(tokens)} are used.`;
}

export function draw() {
  if (!state.chat) return;
  const writing = Boolean(chat.writing());
  button.classList.toggle("stop", writing);
  button.replaceChildren(icon(writing ? "stop" : "send"));
  button.setAttribute("aria-label", writing ? "Stop" : "Send");
  button.title = writing ? "Stop (Esc)" : "Send (Enter)";
  button.disabled = busy || (!writing && (!state.safety.allowed || !(box.value.trim() || files.length)));
  const stories = model() && !model().chats;
  box.placeholder = !state.safety.allowed ? "Generation is switched off" : stories ? (chat.path().length ? "Leave it to the model, or write what happens next" : "Begin a story") : "Write a message";
  hint.textContent = state.safety.band === null ? "Say first who uses lilims here: Settings, Safety." : !state.safety.allowed
    ? "Under 16, answers need a guardian’s choice: Settings, Safety."
    : stories ? "This model continues your text. What it tells is made up." : "Models make mistakes. Check what matters.";
  shelf.replaceChildren(...files.map((file, index) => h("span", { class: "file" }, icon("attach"), h("span", {}, file.name),
    h("button", { type: "button", class: "tool", "aria-label": `Remove ${file.name}`, onclick: () => { files.splice(index, 1); draw(); box.focus(); } }, icon("close")))));
  drawGauge();
}

async function submit(event) {
  event?.preventDefault();
  if (chat.writing()) { await chat.stop().catch(fail); return; }
  const content = box.value;
  if (busy || !state.safety.allowed || !(content.trim() || files.length)) return;
  const attached = files;
  busy = true;
  box.value = "";
  files = [];
  draw();
  try {
    await chat.send(content, attached);
    toEnd();
  } catch (error) {
    box.value = content;
    files = attached;
    fail(error);
  }
  busy = false;
  size();
  draw();
  if (!matchMedia("(hover: none)").matches) box.focus();
}

function size() {
  if (CSS.supports("field-sizing", "content")) return;
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight, innerHeight * 0.4)}px`;
}

export function init() {
  document.getElementById("foot").append(latest, form, hint);
  form.addEventListener("submit", submit);
  box.addEventListener("input", () => { size(); draw(); });
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && !matchMedia("(hover: none)").matches) {
      event.preventDefault();
      if (!chat.writing()) submit();
    }
    if (event.key === "ArrowUp" && event.altKey) {
      event.preventDefault();
      [...document.querySelectorAll('.message.user [aria-label="Edit"]')].at(-1)?.click();
    }
  });
  box.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) { event.preventDefault(); attach([...event.clipboardData.files]); }
  });
  chooser.addEventListener("change", () => { attach([...chooser.files]); chooser.value = ""; });
  const main = document.getElementById("main");
  main.addEventListener("dragover", (event) => { if (event.dataTransfer.types.includes("Files")) { event.preventDefault(); form.classList.add("over"); } });
  main.addEventListener("dragleave", (event) => { if (!main.contains(event.relatedTarget)) form.classList.remove("over"); });
  main.addEventListener("drop", (event) => { event.preventDefault(); form.classList.remove("over"); attach([...event.dataTransfer.files]); });
  const thread = document.getElementById("thread");
  const place = () => { latest.hidden = atEnd(); };
  thread.addEventListener("scroll", place, { passive: true });
  for (const name of ["chat", "models", "settings", "safety"]) on(name, draw);
  on("stream", () => { drawGauge(); place(); });
}
