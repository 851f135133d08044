// Models that are here, models that can be brought, the room for them, and how a pull goes on.
import { fail, say } from "./announce.js";
import * as api from "./api.js";
import { dialog } from "./dialog.js";
import { bytes, h } from "./dom.js";
import { facts, quality } from "./picker.js";
import { loadState } from "./state.js";

const pause = (time) => new Promise((resolve) => { setTimeout(resolve, time); });

/** Disk and quota in words. */
export function room(found) {
  const parts = [`${bytes(found.free)} are free on this disk`];
  parts.push(found.quota === null ? `lilims uses ${bytes(found.used)}, without a quota` : `lilims uses ${bytes(found.used)} of its quota of ${bytes(found.quota)}`);
  if (found.largest !== null) parts.push(`one model may have ${bytes(found.largest)}`);
  return `${parts.join("; ")}.`;
}

/** Waits for the end of a pull; `tell` hears how it goes on. */
async function wait(pull, tell) {
  while (pull.status === "running") {
    tell?.(pull);
    await pause(300);
    pull = await api.get(`/pulls/${pull.id}`);
  }
  if (pull.status === "failed") throw new api.Failure(pull.error);
  return pull;
}

/** One model that can be brought: asks for its size, then brings it, with progress and a way out. */
function offer({ source, name, where, size, installed, pull: running }, done) {
  const line = h("p", {}, where);
  const under = h("div", { class: "wide" });
  const act = h("div", { class: "act" });
  const card = h("li", { class: "card", "data-source": source }, h("h3", {}, name), line, act, under);
  const button = (text, onclick, kind = "") => h("button", { type: "button", class: `button ${kind}`, onclick, "aria-label": `${text}: ${name}` }, text);
  const failed = (error) => {
    act.replaceChildren(button("Try again", ask));
    under.replaceChildren(h("p", { class: "note bad", role: "alert" }, [error.message, error.hint].filter(Boolean).join(" ")));
  };

  async function ask() {
    act.replaceChildren(h("span", { class: "soft small" }, "Asking …"));
    under.replaceChildren();
    try {
      const found = await wait(await api.post("/pulls", { source, dry_run: true }));
      const missing = found.result.missing ?? found.result.bytes;
      line.textContent = `${where} · ${found.result.action === "none" ? "installed already" : `${bytes(missing)} to ${found.result.action}`}`;
      act.replaceChildren(...(found.result.action === "none" ? [] : [button("Get", () => bring(), "primary")]));
      act.querySelector("button")?.focus();
      say(line.textContent);
    } catch (error) { failed(error); }
  }

  async function bring(begun) {
    const fill = h("b");
    const bar = h("div", { class: "bar-of unknown", role: "progressbar", "aria-label": `Getting ${name}`, "aria-valuemin": "0", "aria-valuemax": "100" }, fill);
    const text = h("p", {}, "Starting …");
    under.replaceChildren(bar, text);
    try {
      const pull = begun || await api.post("/pulls", { source });
      act.replaceChildren(button("Cancel", () => api.remove(`/pulls/${pull.id}`).catch(fail)));
      act.querySelector("button").focus();
      const end = await wait(pull, (now) => {
        const share = now.total ? now.done / now.total : null;
        bar.classList.toggle("unknown", share === null);
        fill.style.width = share === null ? "" : `${share * 100}%`;
        if (share !== null) bar.setAttribute("aria-valuenow", String(Math.round(share * 100)));
        text.textContent = now.total ? `${bytes(now.done)} of ${bytes(now.total)}` : "Working …";
      });
      if (end.status === "cancelled") {
        under.replaceChildren(h("p", { class: "note calm" }, "Cancelled. What has arrived is kept: the next try goes on from there."));
        act.replaceChildren(button("Get", () => bring(), "primary"));
        say("Cancelled.");
        return;
      }
      act.replaceChildren(h("span", { class: "badge" }, "installed"));
      under.replaceChildren();
      say(`${name} is installed.`);
      await loadState();
      done?.(end.result.model);
    } catch (error) { failed(error); }
  }

  if (installed) act.append(h("span", { class: "badge" }, "installed"));
  else if (running) bring(running);
  else if (size !== null && size !== undefined) { line.textContent = `${where} · ${bytes(size)}`; act.append(button("Get", () => bring(), "primary")); }
  else act.append(button("Size", ask));
  return card;
}

/** The part of a dialog that offers models. */
export function offers(found, done) {
  const list = h("ul", { class: "cards" });
  const running = (source) => found.pulls.find((pull) => pull.status === "running" && !pull.dry_run && pull.source === source);
  for (const one of found.offers) {
    list.append(offer({ source: one.source, name: one.source, where: one.from, size: one.bytes, installed: one.installed, pull: running(one.source) }, done));
  }
  for (const pull of found.pulls) {
    if (pull.status === "running" && !pull.dry_run && !found.offers.some((one) => one.source === pull.source)) {
      list.append(offer({ source: pull.source, name: pull.source, where: pull.source, pull }, done));
    }
  }
  const input = h("input", { class: "input", id: "pull-source", placeholder: "hf:org/name or https://…", autocomplete: "off", spellcheck: "false" });
  const form = h("form", { class: "field", onsubmit: (event) => {
    event.preventDefault();
    const source = input.value.trim();
    if (!source) return;
    list.querySelector(`[data-source="${CSS.escape(source)}"]`)?.remove();
    const card = offer({ source, name: source, where: "" }, done);
    list.append(card);
    card.querySelector("button")?.click();
  } }, h("label", { for: "pull-source" }, "From elsewhere"), h("div", { class: "pair" }, h("span", { class: "wide-field" }, input), h("button", { type: "submit", class: "button" }, "Look it up")),
  h("p", { class: "about" }, "A model of the Hugging Face hub, or of a server. Nothing is asked before you press the button; checkpoints are converted here."));
  return [
    found.error ? h("p", { class: "note" }, found.error) : null,
    found.offers.length || list.childElementCount ? null : h("p", { class: "soft small" }, "The registry of this machine offers no models."),
    list, form, h("p", { class: "about", id: "room" }, room(found.room)),
  ];
}

export async function openModels() {
  const found = await api.get("/models").catch((error) => { fail(error); return null; });
  if (!found) return;
  const here = found.models.map((card) => h("li", { class: "card" }, h("h3", {}, card.name), h("p", {}, facts(card)), quality(card) ? h("p", {}, quality(card)) : null,
    h("div", { class: "act" }, card.problem ? h("span", { class: "small bad" }, card.problem) : h("span", { class: "badge" }, card.loaded ? "loaded" : card.built_in ? "built in" : "installed"))));
  const opened = dialog({ title: "Models", body: [
    h("section", {}, h("h3", {}, "On this machine"), h("ul", { class: "cards" }, here)),
    h("section", {}, h("h3", {}, "Get more"), offers(found, () => { opened.close(); openModels(); })),
  ] });
}
