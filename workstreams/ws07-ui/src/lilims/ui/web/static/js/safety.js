// The age gate, the guardian's PIN and moderation. What is chosen here holds on the server.
import { fail, toast } from "./announce.js";
import * as api from "./api.js";
import { prompt } from "./dialog.js";
import { h } from "./dom.js";
import { changed, state, tellOthers } from "./state.js";

/** Sends a choice; asks for the PIN if it is wanted. True if it was taken. */
export async function choose(values) {
  try {
    state.safety = await api.put("/safety", values);
    changed("safety");
    tellOthers();
    return true;
  } catch (error) {
    fail(error);
    return false;
  }
}

async function withPin(values) {
  if (!state.safety.pin) {
    const made = await prompt({ title: "Set a guardian’s PIN", label: "New PIN, at least 4 characters", type: "password" });
    if (!made || !await choose({ new_pin: made })) return false;
    return choose({ ...values, pin: made });
  }
  const pin = await prompt({ title: "Guardian", label: "PIN", type: "password", yes: "Go on" });
  return pin !== null && choose({ ...values, pin });
}

const radio = (name, value, label, checked, about, onchange) => h("label", { class: "check" },
  h("input", { type: "radio", name, value, checked, onchange }), h("span", {}, label, about ? h("span", { class: "about" }, h("br"), about) : null));

/** The part of the settings about safety; draws itself again after each choice. */
export function safetySection() {
  const section = h("section", { "aria-labelledby": "safety-title" });
  const draw = () => {
    const { band, guardian, pin, moderation, available } = state.safety;
    const under = band === "under16";
    const missing = h("p", { class: "note" }, "Moderation needs a package that is not installed: pip install 'lilims-ui[moderation]', then start the server again.");
    section.replaceChildren(
      h("h3", { id: "safety-title" }, "Safety"),
      h("div", { role: "radiogroup", "aria-label": "Who uses lilims here" },
        radio("band", "16plus", "16 or older", band === "16plus", null, async () => { await (under ? withPin({ band: "16plus" }) : choose({ band: "16plus" })); draw(); }),
        radio("band", "under16", "Under 16", under, "Nothing is generated, unless a guardian allows moderated answers.", async () => { await choose({ band: "under16" }); draw(); })),
      ...(under ? [h("div", { role: "radiogroup", "aria-label": "The guardian’s choice" },
        radio("guardian", "refuse", "Nothing is generated", guardian === "refuse", null, async () => { await withPin({ guardian: "refuse" }); draw(); }),
        radio("guardian", "moderated", "Moderated answers", guardian === "moderated", "Questions and answers are read by a classifier first. It finds offensive English, not everything a child should be spared.", async () => { await withPin({ guardian: "moderated" }); draw(); })),
      ] : [h("label", { class: "check" }, h("input", { type: "checkbox", checked: moderation, disabled: !available && !moderation, onchange: async (event) => { await choose({ moderation: event.target.checked }); draw(); } }),
        h("span", {}, "Moderate questions and answers", h("span", { class: "about" }, h("br"), "A classifier on this machine holds back offensive English.")))]),
      ...(!available ? [missing] : []),
      h("div", {}, h("button", { type: "button", class: "button", onclick: async () => {
        const current = pin ? await prompt({ title: "Change the PIN", label: "The PIN so far", type: "password", yes: "Go on" }) : undefined;
        if (current === null) return;
        const made = await prompt({ title: pin ? "Change the PIN" : "Set a guardian’s PIN", label: "New PIN, at least 4 characters", type: "password" });
        if (made && await choose({ new_pin: made, pin: current })) toast("The PIN is set.");
        draw();
      } }, pin ? "Change the guardian’s PIN" : "Set a guardian’s PIN")),
      h("p", { class: "about" }, "Only the age band and these choices are kept, on this machine. They guard against a slip, not against someone who may delete lilims’ files."));
  };
  draw();
  return section;
}
