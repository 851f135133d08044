// The controls of a conversation: system prompt, temperature and the rest. One that is not set is the model's own.
import { fail } from "./announce.js";
import * as chat from "./chat.js";
import { dialog } from "./dialog.js";
import { h } from "./dom.js";
import { model, state } from "./state.js";

const SLIDERS = {
  temperature: ["Temperature", 0.05, 0.8, "Low is predictable, high is surprising; 0 always takes the likeliest word."],
  top_p: ["Top p", 0.01, 0.95, "Only the likeliest words that together have this probability."],
  min_p: ["Min p", 0.01, 0.05, "Only words with this share of the likeliest one’s probability."],
  repetition_penalty: ["Repetition penalty", 0.01, 1.1, "Above 1, words that were said become less likely."],
};
const NUMBERS = {
  top_k: ["Top k", "off"],
  max_tokens: ["Longest answer, in tokens", "no bound"],
  seed: ["Seed", "a new one each time"],
};

let timer, waiting = null;

/** Keeps what was set last, if it is not kept yet. */
function flush() {
  clearTimeout(timer);
  const keep = waiting;
  waiting = null;
  keep?.();
}

function set(name, value) {
  const settings = { ...state.chat.settings };
  if (value === null) delete settings[name];
  else settings[name] = value;
  state.chat.settings = settings;
  waiting = () => chat.change({ settings }).catch(fail);
  clearTimeout(timer);
  timer = setTimeout(flush, 250);
}

function slider(name) {
  const [label, step, usual, about] = SLIDERS[name];
  const [, least, most] = state.ranges[name];
  const id = `control-${name}`;
  const shown = h("output", { for: id });
  const input = h("input", { type: "range", id, min: String(least), max: String(Math.min(most, name === "repetition_penalty" ? 1.5 : most)), step: String(step), "aria-describedby": `${id}-about`,
    oninput: () => { input.classList.remove("unset"); shown.textContent = Number(input.value).toFixed(2); input.setAttribute("aria-valuetext", shown.textContent); set(name, Number(input.value)); } });
  const show = () => {
    const value = state.chat.settings[name];
    input.value = String(value ?? usual);
    input.classList.toggle("unset", value === undefined);
    shown.textContent = value === undefined ? "the model’s own" : Number(value).toFixed(2);
    input.setAttribute("aria-valuetext", shown.textContent);
  };
  show();
  return { show, element: h("div", { class: "control" }, h("label", { for: id }, label), shown, input, h("p", { class: "about", id: `${id}-about` }, about)) };
}

function number(name) {
  const [label, placeholder] = NUMBERS[name];
  const [, least, most] = state.ranges[name];
  const id = `control-${name}`;
  const input = h("input", { class: "input", type: "number", id, min: String(least), max: String(most), step: "1", placeholder, inputmode: "numeric",
    oninput: () => { if (input.validity.valid) set(name, input.value === "" ? null : Number(input.value)); } });
  const show = () => { input.value = state.chat.settings[name] ?? ""; };
  show();
  return { show, element: h("div", { class: "control" }, h("label", { for: id }, label), input) };
}

function thinking() {
  const id = "control-think";
  const input = h("select", { class: "input", id, onchange: () => set("think", { yes: true, no: false }[input.value] ?? null) },
    h("option", { value: "" }, "the model’s own"), h("option", { value: "yes" }, "think first"), h("option", { value: "no" }, "answer at once"));
  const show = () => { input.value = state.chat.settings.think === undefined ? "" : state.chat.settings.think ? "yes" : "no"; };
  show();
  return { show, element: h("div", { class: "control" }, h("label", { for: id }, "Reasoning models"), input) };
}

export function openControls() {
  const stories = model() && !model().chats;
  const system = h("textarea", { class: "input", id: "control-system", rows: "5", maxlength: "32000", value: state.chat.system,
    placeholder: stories ? "Text that stands before the story" : "Such as: You are a patient teacher. Answer briefly.",
    onchange: () => chat.change({ system: system.value }).catch(fail) });
  const parts = [...Object.keys(SLIDERS).map(slider), ...Object.keys(NUMBERS).map(number), thinking()];
  dialog({
    title: "Controls",
    kind: "drawer",
    body: [
      h("div", { class: "field" }, h("label", { for: "control-system" }, "System prompt"), system,
        h("p", { class: "about" }, stories ? "This model has no chat template: the text is put before the story." : "Tells the model who it is and how to answer, in this chat.")),
      ...parts.map((part) => part.element),
      h("div", {}, h("button", { type: "button", class: "button", onclick: () => {
        waiting = null;
        state.chat.settings = {};
        parts.forEach((part) => part.show());
        chat.change({ settings: {} }).catch(fail);
      } }, "Use the model’s own values")),
      h("p", { class: "about" }, "They hold for this chat, and for new ones."),
    ],
    onclose: () => { flush(); if (system.value !== state.chat.system) chat.change({ system: system.value }).catch(fail); },
  });
}
