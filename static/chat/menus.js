// Menus and small panels, on each page: the browser opens them, and what is to be done with an open one comes as soon as
// its button is pointed at.

import { run } from "./on_demand.js";

const KEY = /^(Arrow(Up|Down)|Home|End)$/;

const load = () => import("./open_menu.js");

["pointerover", "focusin"].forEach((name) =>
  document.addEventListener(name, ({ target }) => target.closest?.("[popovertarget]") && load().catch(() => {})),
);

// These do not bubble.
document.addEventListener("toggle", ({ target }) => target.matches?.(".pop") && run(load, "toggle", target), true);

document.addEventListener("keydown", (event) => {
  const menu = document.querySelector(".pop.menu-list:popover-open");
  if (!menu || !KEY.test(event.key) || !event.target.closest?.(".menu-list, [popovertarget]")) return;
  event.preventDefault();
  run(load, "press", menu, event.key);
});
