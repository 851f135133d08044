// Settings: appearance, safety, the data.
import { fail, toast } from "./announce.js";
import { dialog } from "./dialog.js";
import { h, icon } from "./dom.js";
import { safetySection } from "./safety.js";
import { importFile, save } from "./sidebar.js";
import { state } from "./state.js";

function theme() {
  const now = localStorage.getItem("lilims.theme") || "system";
  const choose = (value) => { localStorage.setItem("lilims.theme", value); dispatchEvent(new Event("lilims-theme")); };
  return h("div", { class: "segments", role: "radiogroup", "aria-label": "Theme" }, [["system", "As the system"], ["light", "Light"], ["dark", "Dark"]].map(([value, label]) =>
    h("label", {}, h("input", { type: "radio", name: "theme", value, checked: value === now, onchange: () => choose(value) }), h("span", {}, label))));
}

export function openSettings() {
  const file = h("input", { type: "file", class: "hidden", tabindex: "-1", "aria-hidden": "true", accept: ".json,.md,.markdown,application/json,text/markdown", id: "import-file",
    onchange: () => { if (file.files[0]) importFile(file.files[0]).then((told) => { opened.close(); toast(told); }, fail); file.value = ""; } });
  const opened = dialog({ title: "Settings", body: [
    h("section", {}, h("h3", {}, "Appearance"), h("div", {}, theme())),
    safetySection(),
    h("section", {}, h("h3", {}, "Your data"),
      h("p", { class: "small soft" }, "Conversations are kept in one file on this machine, and are sent nowhere."),
      h("div", { class: "pair" },
        h("button", { type: "button", class: "button", onclick: () => save("/export") }, icon("save"), "Export everything"),
        h("button", { type: "button", class: "button", onclick: () => file.click() }, icon("plus"), "Import"), file),
      h("p", { class: "about" }, "JSON keeps every branch and can be imported again; a conversation’s menu also has Markdown.")),
    h("p", { class: "about" }, `lilims ${state.version}`),
  ] });
}
