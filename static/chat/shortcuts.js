// What the keyboard shortcuts do, and the dialog that lists them; rarely_used.js hears the keys.

import { box, byId, thread } from "./page.js";

const isMac = navigator.platform.startsWith("Mac");

const last = (selector) => [...thread.querySelectorAll(selector)].at(-1);

const go = (step) => {
  const links = [...document.querySelectorAll("#conversations a[href^='/c/']")];
  const current = links.findIndex((link) => link.matches("[aria-current]"));
  const next = current < 0 ? 0 : current + step;
  links[next]?.click();
};

const showSidebar = () => {
  const sidebar = byId("sidebar");
  const opener = document.querySelector(".menu");
  if (opener.checkVisibility()) sidebar.togglePopover();
  (sidebar.querySelector("[aria-current]") ?? sidebar.querySelector("a")).focus();
};

const copyCode = () => last(".code .copy")?.click();

const ACTS = [
  ["New chat", "O", () => location.assign("/")],
  ["Search", "K", () => document.querySelector("[aria-keyshortcuts~='Control+K']")?.focus(), "Ctrl K"],
  ["Conversations", "S", showSidebar],
  ["Previous conversation", "ArrowUp", () => go(-1)],
  ["Next conversation", "ArrowDown", () => go(1)],
  ["Write a message", "L", () => box.focus()],
  ["Switch the model", "M", () => byId("id_model")?.focus()],
  ["Edit the last question", "E", () => last("a.edit")?.click()],
  ["Copy the last answer", "C", () => last("[data-copy-answer]")?.click()],
  ["Copy the last code", "J", copyCode],
  ["Send", "", null, "Enter"],
  ["New line", "", null, "Shift Enter"],
  ["Stop the answer", "", null, "Esc"],
  ["This list", "", null, "?"],
];

const NAMES = { ArrowUp: "↑", ArrowDown: "↓" };

const keysOf = ([, key, , other]) => other ?? `${isMac ? "⌥" : "Alt"} ${isMac ? "⇧" : "Shift"} ${NAMES[key] ?? key}`;

const build = () => {
  const dialog = document.createElement("dialog");
  dialog.id = "shortcuts";
  dialog.setAttribute("aria-labelledby", "shortcuts-heading");
  dialog.innerHTML = "<h2 id='shortcuts-heading'>Keyboard shortcuts</h2><dl></dl><form method='dialog'><button>Close</button></form>";
  for (const act of ACTS) {
    const [term, keys] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = act[0];
    for (const key of keysOf(act).split(" ")) {
      const kbd = document.createElement("kbd");
      kbd.textContent = key;
      keys.append(kbd, " ");
    }
    dialog.querySelector("dl").append(term, keys);
  }
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  return dialog;
};

export const show = () => {
  const dialog = byId("shortcuts") ?? build();
  if (!dialog.open) dialog.showModal();
};

export const press = (code) => ACTS.find(([, key]) => key && (code === `Key${key}` || code === key))?.[2]();
