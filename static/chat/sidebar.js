// The sidebar, on each page that has one.

import { onUse, run } from "./on_demand.js";
import { byId, conversation, on } from "./page.js";
import "./menus.js";
import "./sidebar_list.js";

// The chat page has a socket of its own.
if (!document.getElementById("composer")) import("./sidebar_socket.js").catch(() => {});

const menu = () => import("./sidebar_menu.js");

onUse("click", ".conversation > .more", menu, "open");
onUse("submit", ".undo, #conversation-menu form", menu, "submit");

// On a phone the sidebar is a drawer, which its button opens as a popover; otherwise it has room beside the page.
const isDrawer = matchMedia("(width < 52rem)");

on("click", (event) => {
  const button = event.target.closest("#hide-sidebar, .bar .menu");
  if (!button) return;
  if (!isDrawer.matches) {
    event.preventDefault();
    run(() => import("./sidebar_hidden.js"), button.id ? "hide" : "show");
  } else if (button.id) byId("sidebar").hidePopover();
});

on("notice", ({ detail: { change, conversation: id } }) => {
  if (id && id === conversation() && ["deleted", "restored"].includes(change)) run(menu, "tell", change);
});

// On the page that followed a deletion.
document.querySelectorAll(".dock > .undo").forEach((form) => setTimeout(() => form.remove(), 1000 * form.dataset.seconds));

// F2 at a title is the shortest way to its name.
on("keydown", ({ key, target }) => {
  const row = key === "F2" && target.closest?.(".conversation");
  if (row) run(() => import("./sidebar_rename.js"), "rename", row);
});

// A key may be pressed before the module has come.
const edge = document.getElementById("sidebar-edge");
const loadWidth = () => import("./sidebar_width.js");
["pointerover", "focus"].forEach((name) => edge.addEventListener(name, loadWidth, { once: true }));
edge.addEventListener("keydown", (event) => {
  if (!/^(Arrow(Left|Right)|Home|End)$/.test(event.key)) return;
  event.preventDefault();
  run(loadWidth, "press", event.key);
});
