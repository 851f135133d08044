// Sets the theme before anything is drawn. A plain script: a module would come after the first paint.
"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => {
    try { return localStorage.getItem("lilims.theme") || "system"; } catch { return "system"; }
  };
  const apply = () => {
    const theme = chosen();
    document.documentElement.dataset.theme = theme === "system" ? (dark.matches ? "dark" : "light") : theme;
  };
  dark.addEventListener("change", apply);
  addEventListener("storage", apply);
  addEventListener("lilims-theme", apply);
  apply();
})();
