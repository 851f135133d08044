// What readers of the screen are told: finished sentences of an answer, politely, outside of the text that grows.

const region = document.getElementById("status");
const toasts = document.getElementById("toasts");
const segmenter = globalThis.Intl?.Segmenter ? new Intl.Segmenter("en", { granularity: "sentence" }) : null;

/** Says something at the next pause. */
export function say(text) {
  const line = document.createElement("p");
  line.textContent = text;
  region.append(line);
  while (region.childElementCount > 4) region.firstElementChild.remove();
}

/** Takes an answer as it grows, and says its sentences as they are finished, at most once in two seconds. */
export class Reader {
  constructor(already = "") {
    this.said = already.length;
    this.text = already;
    this.timer = null;
  }

  take(text) {
    this.text = text;
    this.timer ??= setTimeout(() => { this.timer = null; this.tell(false); }, 2000);
  }

  end(text) {
    clearTimeout(this.timer);
    this.text = text;
    this.tell(true);
  }

  stop() { clearTimeout(this.timer); }

  tell(last) {
    const rest = this.text.slice(this.said);
    let length = rest.length;
    if (!last) {
      const parts = segmenter ? [...segmenter.segment(rest)].map((part) => part.segment) : rest.split(/(?<=[.!?\n])/);
      length = parts.slice(0, -1).join("").length;
    }
    const ready = rest.slice(0, length).replace(/```[^]*?(```|$)/g, " code ").replace(/[*_`#>|]+/g, "").trim();
    this.said += length;
    if (ready) say(ready);
  }
}

/** A message above the box that goes by itself, unless it is an error; errors are read at once. */
export function toast(text, { error = false } = {}) {
  const line = document.createElement("div");
  line.className = "toast";
  const words = document.createElement("span");
  words.textContent = text;
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "✕";
  close.setAttribute("aria-label", "Dismiss");
  close.addEventListener("click", () => line.remove());
  line.append(words, close);
  const open = [...document.querySelectorAll("dialog[open]")].at(-1);
  if (open) { // a modal dialog covers the rest
    let inside = open.querySelector(".toasts");
    if (!inside) {
      inside = document.createElement("div");
      inside.className = "toasts";
      inside.setAttribute("role", "alert");
      open.append(inside);
    }
    inside.append(line);
  } else toasts.append(line);
  setTimeout(() => line.remove(), error ? 12_000 : 4000);
}

export const fail = (error) => toast(error.hint ? `${error.message.replace(/[^.!?…]$/, "$&.")} ${error.hint}` : error.message, { error: true });
