// Keyboard shortcuts, and the sheet that lists them. Those of a single key can be switched off (WCAG 2.1.4).
import { fail } from "./announce.js";
import * as chat from "./chat.js";
import { dialog } from "./dialog.js";
import { h } from "./dom.js";
import { drop, search, toggle } from "./sidebar.js";
import { local, state } from "./state.js";

const mac = /Mac|iPhone|iPad/.test(navigator.platform);
const MOD = mac ? "⌘" : "Ctrl";
const SHEET = [
  [["Enter"], "Send"],
  [["Shift", "Enter"], "A new line"],
  [["Esc"], "Stop the answer"],
  [["Alt", "↑"], "Edit your last message"],
  [[MOD, "Enter"], "Send an edited message"],
  [[MOD, "K"], "Search conversations"],
  [["Alt", "N"], "New chat"],
  [["Alt", "M"], "Choose a model"],
  [["Alt", "C"], "Controls of this chat"],
  [["Alt", "R"], "Answer again"],
  [["Alt", "Shift", "C"], "Copy the last answer"],
  [["Alt", "Backspace"], "Delete this conversation"],
  [["Alt", ","], "Settings"],
];
const SINGLE = [[["/"], "Go to the message box"], [["?"], "This sheet"]];

export function openKeys() {
  const row = ([keys, what]) => [h("dt", {}, keys.map((key) => h("kbd", {}, key))), h("dd", {}, what)];
  dialog({
    title: "Keyboard shortcuts",
    body: [
      h("dl", { class: "keys" }, [...SHEET, ...SINGLE].flatMap(row)),
      h("label", { class: "check" }, h("input", { type: "checkbox", checked: local.get("single", true), onchange: (event) => local.set("single", event.target.checked) }),
        h("span", {}, "Shortcuts of a single key (/ and ?)")),
    ],
  });
}

const last = (selector) => [...document.querySelectorAll(selector)].at(-1);

export function init({ openControls, openSettings }) {
  const alt = {
    KeyN: () => { chat.blank(); document.getElementById("question").focus(); },
    KeyM: () => document.getElementById("picker").click(),
    KeyC: openControls,
    KeyR: () => last('.message.assistant [aria-label="Answer again"]')?.click(),
    Comma: openSettings,
    Backspace: () => { if (state.chat?.id) drop(state.chat).catch(fail); },
  };
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || event.defaultPrevented) return;
    const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
    const modified = event.ctrlKey || event.metaKey;
    if (modified && !event.altKey && !event.shiftKey && event.code === "KeyK") {
      event.preventDefault();
      if (getComputedStyle(document.querySelector(".menu-button")).display !== "none") toggle(true);
      search.focus();
    } else if (event.altKey && !modified && event.shiftKey && event.code === "KeyC") {
      event.preventDefault();
      last('.message.assistant [aria-label="Copy"]')?.click();
    } else if (event.altKey && !modified && !event.shiftKey && alt[event.code] && !(event.code === "Backspace" && typing)) {
      event.preventDefault();
      alt[event.code]();
    } else if (event.key === "Escape" && chat.writing()) {
      event.preventDefault();
      chat.stop().catch(fail);
    } else if (!typing && !modified && !event.altKey && local.get("single", true)) {
      if (event.key === "?") { event.preventDefault(); openKeys(); }
      if (event.key === "/") { event.preventDefault(); document.getElementById("question").focus(); }
    }
  });
}
