// Markdown to elements: marked reads, DOMPurify decides what may stay, highlight.js colours code. Nothing else in the
// page makes HTML of text. While an answer grows only the blocks that changed are made again.
import DOMPurify from "/web/vendor/purify.js";
import { Lexer, Marked } from "/web/vendor/marked.js";
import hljs from "/web/vendor/highlight.js";
import { copy, h, icon } from "./dom.js";

const LANGUAGES = {
  bash: "bash sh shell zsh console", c: "c h", cpp: "cpp c++ cc hpp", csharp: "csharp cs c#", css: "css", diff: "diff patch",
  go: "go golang", ini: "ini toml", java: "java", javascript: "javascript js jsx mjs", json: "json jsonc", kotlin: "kotlin kt",
  lua: "lua", markdown: "markdown md", python: "python py python3", ruby: "ruby rb", rust: "rust rs", sql: "sql",
  swift: "swift", typescript: "typescript ts tsx", xml: "xml html svg", yaml: "yaml yml",
};
const NAMES = new Map(Object.entries(LANGUAGES).flatMap(([name, all]) => all.split(" ").map((alias) => [alias, name])));
const MOST = 40_000; // characters of code that are coloured
const loading = new Map();

const escaped = (text) => text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
const marked = new Marked({ gfm: true, breaks: true, async: false });
marked.use({
  renderer: {
    html: ({ text }) => escaped(text), // tags in an answer are text
    image: ({ href, text }) => `<a href="${escaped(href)}">${escaped(text || href)}</a>`, // nothing is fetched from elsewhere
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});
const RULES = {
  ALLOWED_TAGS: "a blockquote br code del em h1 h2 h3 h4 h5 h6 hr li ol p pre span strong table tbody td th thead tr ul".split(" "),
  ALLOWED_ATTR: ["href", "class", "start", "align", "title"],
  ADD_URI_SAFE_ATTR: ["align", "start"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  RETURN_DOM_FRAGMENT: true,
};

function colour(code, text, language) {
  const name = NAMES.get(language);
  if (!name || text.length > MOST) return;
  if (hljs.getLanguage(name)) {
    const html = hljs.highlight(text, { language: name, ignoreIllegals: true }).value;
    code.replaceChildren(DOMPurify.sanitize(html, { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_DOM_FRAGMENT: true }));
    return;
  }
  if (!loading.has(name)) {
    loading.set(name, import(`/web/vendor/languages/${name}.js`).then((module) => hljs.registerLanguage(name, module.default)));
  }
  loading.get(name).then(() => colour(code, text, language)).catch(() => {});
}

function frame(pre) {
  const code = pre.querySelector("code") || pre;
  const text = code.textContent.replace(/\n$/, "");
  const language = ([...code.classList].find((name) => name.startsWith("language-")) || "").slice(9).toLowerCase();
  const button = h("button", { type: "button", class: "tool", onclick: () => copy(text, button, "Copied") }, icon("copy"), "Copy");
  const shown = h("code", {}, text);
  colour(shown, text, language);
  const body = h("pre", { tabindex: "0", role: "group", "aria-label": `Code${language ? `, ${language}` : ""}` }, shown);
  pre.replaceWith(h("figure", { class: "code" }, h("figcaption", {}, h("span", {}, language || "text"), button), body));
}

function elements(token, links) {
  const tokens = Object.assign([token], { links });
  const found = DOMPurify.sanitize(marked.parser(tokens), RULES);
  found.querySelectorAll("pre").forEach(frame);
  found.querySelectorAll("table").forEach((table) => {
    const around = h("div", { class: "table", tabindex: "0", role: "group", "aria-label": "Table" });
    table.replaceWith(around);
    around.append(table);
  });
  found.querySelectorAll("a").forEach((link) => {
    link.target = "_blank";
    link.rel = "noopener noreferrer";
  });
  found.querySelectorAll("[align]").forEach((cell) => { cell.classList.add(cell.getAttribute("align")); cell.removeAttribute("align"); });
  return found;
}

/** Shows Markdown in `target`, whose children it owns; what did not change since the last call stays as it is. */
export function render(target, text) {
  const all = Lexer.lex(text, marked.defaults);
  const tokens = all.filter((token) => token.type !== "space" && token.type !== "def");
  const before = target.blocks || [];
  tokens.forEach((token, index) => {
    if (before[index]?.raw === token.raw) return;
    const block = h("div", {}, elements(token, all.links));
    if (before[index]) before[index].node.replaceWith(block);
    else target.append(block);
    before[index] = { raw: token.raw, node: block };
  });
  before.splice(tokens.length).forEach(({ node }) => node.remove());
  target.blocks = before;
}
