// A menu or small panel that is open: its place beside its button, its focus, its arrow keys. menus.js hears of it.

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

// The menu may have been closed again before this module came.
export const toggle = (menu) => {
  const opener = openerOf(menu);
  const isOpen = menu.matches(":popover-open");
  opener?.setAttribute("aria-expanded", isOpen);
  if (!opener || !isOpen) return;
  place(menu, opener);
  if (!menu.contains(document.activeElement)) menu.querySelector("a, button, select, input")?.focus();
};

// A menu stays with its button no longer than that stays where it is.
on("scroll", ({ target }) => {
  const menu = document.querySelector(".pop:popover-open");
  if (menu && !menu.contains(target)) menu.hidePopover();
}, { capture: true, passive: true });

const STEPS = { ArrowDown: 1, ArrowUp: -1 };

// A key may come before the toggle event of the menu.
export const press = (menu, key) => {
  if (!menu.contains(document.activeElement)) toggle(menu);
  const items = [...menu.querySelectorAll("a, button:enabled")];
  const at = items.indexOf(document.activeElement);
  const next = key === "Home" || key === "End" ? 0 : Math.max(at, STEPS[key] < 0 ? 0 : -1) + STEPS[key];
  items.at(key === "End" ? -1 : next % items.length)?.focus();
};
