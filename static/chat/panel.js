// The settings of the conversation, in a panel beside it; without this script their link leads to a page of its own.

import { byId, isComposing, on } from "./page.js";

const makePanel = () => {
  const panel = document.createElement("dialog");
  panel.id = "panel";
  panel.className = "sheet";
  panel.setAttribute("aria-label", "Settings of this conversation");
  const styles = Object.assign(document.createElement("link"), { rel: "stylesheet" });
  styles.href = new URL("pages.css", import.meta.url);
  document.head.append(styles);
  document.querySelector("main").append(panel);
  return panel;
};

// The page's own heading is the conversation's: those of the panel are one step below.
const lower = (heading) => {
  const lowered = document.createElement(`h${Number(heading.tagName[1]) + 1}`);
  lowered.append(...heading.childNodes);
  heading.replaceWith(lowered);
};

const makeCloser = (panel) => {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "close";
  button.textContent = "Close";
  button.addEventListener("click", () => panel.close());
  return button;
};

// When the panel cannot be loaded the link opens its page.
export const open = async (link) => {
  byId("title-menu").hidePopover();
  const response = await fetch(link.href);
  const sheet = new DOMParser().parseFromString(await response.text(), "text/html").querySelector("main.sheet");
  if (!response.ok || !sheet) return location.assign(link.href);
  sheet.querySelectorAll("form:not([action])").forEach((form) => (form.action = link.pathname));
  [...sheet.querySelectorAll("h2, h1")].reverse().forEach(lower);
  const panel = byId("panel") ?? makePanel();
  panel.replaceChildren(makeCloser(panel), ...sheet.childNodes);
  if (!panel.open) panel.show();
  const wanted = link.hash ? panel.querySelector(link.hash) : null;
  (wanted?.querySelector("input:not([type=hidden])") ?? wanted ?? panel.querySelector("button")).focus();
};

on("keydown", (event) => {
  const panel = event.key === "Escape" && event.target.closest?.("#panel");
  if (!panel || isComposing(event)) return;
  event.preventDefault();
  panel.close();
  byId("heading").focus();
}, true);
