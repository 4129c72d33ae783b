// Menus and small panels: beside the button that opens them, and by the arrow keys.

import { on } from "./page.js";

const MARGIN = 8; // px

const openerOf = (menu) => document.querySelector(`[popovertarget="${menu.id}"], [aria-controls="${menu.id}"][aria-expanded="true"]`);

export const place = (menu, opener) => {
  const { left, right, top, bottom } = opener.getBoundingClientRect();
  const isRtl = getComputedStyle(opener).direction === "rtl";
  const { offsetWidth: width, offsetHeight: height } = menu;
  const x = Math.max(MARGIN, Math.min(isRtl ? right - width : left, innerWidth - width - MARGIN));
  const isBelow = bottom + height + MARGIN <= innerHeight || top < height;
  Object.assign(menu.style, { left: `${x}px`, top: `${Math.max(MARGIN, isBelow ? bottom + 4 : top - height - 4)}px` });
};

on("toggle", ({ target, newState }) => {
  const opener = target.matches?.(".pop") && openerOf(target);
  if (!opener) return;
  opener.setAttribute("aria-expanded", newState === "open");
  if (newState === "open") {
    place(target, opener);
    target.querySelector("a, button, select, input")?.focus();
  }
}, true);

// A menu stays with its button no longer than that stays where it is.
on("scroll", ({ target }) => {
  const menu = document.querySelector(".pop:popover-open");
  if (menu && !menu.contains(target)) menu.hidePopover();
}, { capture: true, passive: true });

const STEPS = { ArrowDown: 1, ArrowUp: -1 };

on("keydown", (event) => {
  const menu = event.target.closest?.(".pop.menu-list:popover-open");
  if (!menu || !(event.key in STEPS || event.key === "Home" || event.key === "End")) return;
  const items = [...menu.querySelectorAll("a, button:enabled")];
  const next = items.indexOf(document.activeElement) + (STEPS[event.key] ?? 0);
  event.preventDefault();
  const index = event.key === "Home" ? 0 : event.key === "End" ? items.length - 1 : (next + items.length) % items.length;
  items[index].focus();
});
