// Begins: loads what is there, puts the parts together, follows the address and the other windows.
import { fail } from "./announce.js";
import { post } from "./api.js";
import * as chat from "./chat.js";
import * as composer from "./composer.js";
import { openControls } from "./controls.js";
import { prompt } from "./dialog.js";
import * as keys from "./keys.js";
import { openModels } from "./models.js";
import * as picker from "./picker.js";
import { openSettings } from "./settings.js";
import * as sidebar from "./sidebar.js";
import { hearOthers, loadList, loadState, state } from "./state.js";
import * as thread from "./thread.js";
import { wizard } from "./wizard.js";

const linked = () => decodeURIComponent(location.hash.slice(1));

async function show() {
  const id = linked();
  if (!id) { chat.blank(); return; }
  try {
    await chat.open(id, { push: false });
  } catch (error) {
    chat.blank();
    fail(error);
  }
}

async function catchUp() {
  await loadList();
  if (state.chat?.id && !state.following && linked() === state.chat.id) await chat.refresh();
}

/** Loads the state; a server with an API key is told it first. */
async function signedIn() {
  for (;;) {
    try {
      await loadState();
      return;
    } catch (error) {
      if (error.code !== "key_needed") throw error;
      const key = await prompt({ title: "This server has a key", label: "API key", type: "password", yes: "Open" });
      if (key) await post("/session", { key }).catch(fail);
    }
  }
}

async function begin() {
  sidebar.init({ openModels, openSettings, openKeys: keys.openKeys });
  picker.init({ openControls });
  thread.init();
  composer.init();
  keys.init({ openControls, openSettings });
  await signedIn();
  await Promise.all([show(), loadList()]);
  addEventListener("popstate", show);
  addEventListener("hashchange", () => { if (linked() !== (state.chat?.id || "")) show(); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) catchUp().catch(() => {}); });
  hearOthers((id) => {
    loadState().catch(() => {});
    loadList().catch(() => {});
    if (id && id === state.chat?.id) chat.refresh().catch(() => chat.blank());
  });
  if (state.safety.band === null) await wizard();
  else if (!matchMedia("(hover: none)").matches) document.getElementById("question").focus();
  document.documentElement.dataset.ready = "yes";
}

begin().catch((error) => { console.error(error); fail(error); });
