// The actions of the keyboard shortcuts, and the dialog that lists them; rarely_used.js listens to the keys.

import { box, byId, isMac, thread } from "./page.js";

const findLast = (selector) => [...thread.querySelectorAll(selector)].at(-1);

const openNeighbour = (step) => {
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

const copyCode = () => findLast(".code .copy")?.click();

const ACTIONS = [
  ["New chat", "O", () => location.assign("/")],
  ["Search", "K", () => document.querySelector("[aria-keyshortcuts~='Control+K']")?.focus(), "Ctrl K"],
  ["Conversations", "S", showSidebar],
  ["Previous conversation", "ArrowUp", () => openNeighbour(-1)],
  ["Next conversation", "ArrowDown", () => openNeighbour(1)],
  ["Write a message", "L", () => box.focus()],
  ["Switch the model", "M", () => byId("id_model")?.focus()],
  ["Edit the last question", "E", () => findLast("a.edit")?.click()],
  ["Copy the last answer", "C", () => findLast("[data-copy-answer]")?.click()],
  ["Copy the last code", "J", copyCode],
  ["Send", "", null, "Enter"],
  ["New line", "", null, "Shift Enter"],
  ["Stop the answer", "", null, "Esc"],
  ["This list", "", null, "?"],
];

const NAMES = { ArrowUp: "↑", ArrowDown: "↓" };

const keysOf = ([, key, , other]) => other ?? `${isMac ? "⌥" : "Alt"} ${isMac ? "⇧" : "Shift"} ${NAMES[key] ?? key}`;

const buildDialog = () => {
  const dialog = document.createElement("dialog");
  dialog.id = "shortcuts";
  dialog.setAttribute("aria-labelledby", "shortcuts-heading");
  dialog.innerHTML = "<h2 id='shortcuts-heading'>Keyboard shortcuts</h2><dl></dl><form method='dialog'><button>Close</button></form>";
  for (const action of ACTIONS) {
    const [term, keys] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = action[0];
    for (const key of keysOf(action).split(" ")) {
      const kbd = document.createElement("kbd");
      kbd.textContent = key;
      keys.append(kbd, " ");
    }
    dialog.querySelector("dl").append(term, keys);
  }
  if (isMac) dialog.querySelector("dl").after("⌥ ⇧ and a letter: outside of text fields, where they write.");
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  return dialog;
};

export const show = () => {
  const dialog = byId("shortcuts") ?? buildDialog();
  if (!dialog.open) dialog.showModal();
};

export const press = (code) => ACTIONS.find(([, key]) => key && (code === `Key${key}` || code === key))?.[2]();
