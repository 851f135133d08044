// Dialogs and menus. Knows how they open, close and give the focus back; must not know what is in them.
import { h, icon } from "./dom.js";

let serial = 0;

/** Opens a modal dialog; resolves with its return value when it closes. `footer` gets a function that closes it. */
export function dialog({ title, body = [], footer, kind = "", dismissable = true, onclose }) {
  const id = `dialog-${++serial}`;
  const back = document.activeElement;
  const close = (value = "") => element.close(value);
  const element = h("dialog", { class: kind, "aria-labelledby": id });
  const heading = h("h2", { id }, title);
  const top = dismissable
    ? h("header", {}, heading, h("button", { type: "button", class: "tool", "aria-label": "Close", onclick: () => close() }, icon("close")))
    : null;
  const inner = h("div", { class: "body" }, dismissable ? [] : heading, body);
  element.append(h("div", { class: "dialog" }, top || [], inner, footer ? h("footer", {}, footer(close)) : []));
  if (!dismissable) element.addEventListener("cancel", (event) => event.preventDefault());
  if (dismissable) {
    element.addEventListener("mousedown", (event) => { if (event.target === element) close(); });
  }
  document.body.append(element);
  element.showModal();
  const closed = new Promise((resolve) => {
    element.addEventListener("close", () => {
      element.remove();
      if (back?.isConnected) back.focus();
      onclose?.();
      resolve(element.returnValue);
    });
  });
  return { element, body: inner, heading, close, closed };
}

/** Asks for a yes. */
export async function confirm({ title, text, yes, danger = false }) {
  const opened = dialog({
    title,
    kind: "narrow",
    body: [h("p", {}, text)],
    footer: (close) => [
      h("button", { type: "button", class: "button", onclick: () => close("") }, "Cancel"),
      h("button", { type: "button", class: `button ${danger ? "danger" : "primary"}`, onclick: () => close("yes") }, yes),
    ],
  });
  opened.element.querySelector("footer .button").focus();
  return (await opened.closed) === "yes";
}

/** Asks for a line of text; null if it is closed. */
export async function prompt({ title, label, value = "", yes = "Save", type = "text" }) {
  const input = h("input", { class: "input", id: "prompt-input", type, value, autocomplete: "off", maxlength: "200" });
  const opened = dialog({
    title,
    kind: "narrow",
    body: [h("form", { class: "field", onsubmit: (event) => { event.preventDefault(); opened.close("yes"); } }, h("label", { for: "prompt-input" }, label), input)],
    footer: (close) => [
      h("button", { type: "button", class: "button", onclick: () => close("") }, "Cancel"),
      h("button", { type: "button", class: "button primary", onclick: () => close("yes") }, yes),
    ],
  });
  input.focus();
  input.select();
  return (await opened.closed) === "yes" ? input.value : null;
}

/** A menu below a button: entries are [icon, label, action, class]. Arrow keys move, Escape closes. */
export function menu(button, entries, label) {
  const items = entries.map(([sign, text, action, kind]) =>
    h("button", { type: "button", role: "menuitem", class: kind || "", tabindex: "-1", onclick: () => { close(); action(); } }, icon(sign), text));
  return float(button, h("div", { class: "menu", role: "menu", "aria-label": label }, items), items);
  function close() { button.popup?.close(); }
}

/** Shows an element beside a button, with its items reached by arrow keys. */
export function float(button, element, items, start = 0) {
  if (button.popup) { button.popup.close(); return; }
  const back = button;
  const close = () => {
    element.remove();
    button.setAttribute("aria-expanded", "false");
    delete button.popup;
    document.removeEventListener("pointerdown", outside, true);
    removeEventListener("resize", close);
    if (element.contains(document.activeElement) || document.activeElement === document.body) back.focus();
  };
  const outside = (event) => { if (!element.contains(event.target) && !button.contains(event.target)) close(); };
  element.addEventListener("keydown", (event) => {
    const at = items.indexOf(document.activeElement);
    const steps = { ArrowDown: at + 1, ArrowUp: at - 1 + items.length, Home: 0, End: items.length - 1 };
    if (event.key in steps) {
      event.preventDefault();
      items[steps[event.key] % items.length].focus();
    } else if (event.key === "Escape" || event.key === "Tab") {
      event.stopPropagation();
      if (event.key === "Escape") event.preventDefault();
      close();
      back.focus();
    }
  });
  element.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !element.contains(event.relatedTarget) && event.relatedTarget !== button) close();
  });
  button.closest("dialog, aside, main").append(element); // a landmark
  const place = button.getBoundingClientRect();
  const size = element.getBoundingClientRect();
  const left = Math.max(8, Math.min(place.left, innerWidth - size.width - 8));
  const top = place.bottom + 4 + size.height > innerHeight ? Math.max(8, place.top - size.height - 4) : place.bottom + 4;
  element.style.left = `${left}px`;
  element.style.top = `${top}px`;
  button.setAttribute("aria-expanded", "true");
  button.popup = { close };
  document.addEventListener("pointerdown", outside, true);
  addEventListener("resize", close);
  items[start]?.focus();
}
