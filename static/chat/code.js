// Blocks that are wide or long: code gets buttons and can be folded; elements that scroll can be focused and have a name.

import { byId, findIn, onChanged, scroller, thread } from "./page.js";
import { codeOf, wholeOf } from "./clipboard.js";
import { onUse } from "./on_demand.js";

const FOLDED = 40; // lines

export const languageOf = (block) => block.querySelector(".code-lang")?.textContent ?? "";

const makeButton = (kind, words) => {
  const button = document.createElement("button");
  button.type = "button";
  button.className = kind;
  button.textContent = words;
  return button;
};

const addButtons = (head) => {
  const language = languageOf(head.parentElement);
  const code = language ? `${language} code` : "code";
  const copy = head.querySelector(".copy");
  copy.setAttribute("aria-label", `Copy ${code}`);
  const wrap = makeButton("wrap", "Wrap");
  wrap.setAttribute("aria-label", `Wrap ${code}`);
  wrap.setAttribute("aria-pressed", "false");
  const download = makeButton("download", "Download");
  download.setAttribute("aria-label", `Download ${code}`);
  copy.before(wrap, download);
};

const isInView = (element) => {
  const { top, bottom } = element.getBoundingClientRect();
  return bottom > 0 && top < innerHeight;
};

// A reader who has scrolled away from the end keeps the block that is in view when its answer ends; a button folds it. The
// page of a shared link follows no end.
const fold = (block, hasEnded) => {
  const lines = codeOf(block).split("\n").length - 1;
  if (lines <= FOLDED || block.querySelector(".unfold")) return;
  const whole = wholeOf(block);
  const isOpen = hasEnded && !byId("latest")?.hidden && whole.some(isInView);
  const words = `All ${lines} lines`;
  const button = makeButton("unfold", isOpen ? "Fold" : words);
  button.dataset.words = words;
  button.setAttribute("aria-expanded", isOpen);
  block.classList.toggle("folded", !isOpen);
  whole.slice(1).forEach((rest) => rest.classList.toggle("after-fold", !isOpen));
  block.append(button);
};

onUse("click", ".code :is(.wrap, .download, .unfold)", () => import("./code_buttons.js"), "press");

const NAMES = { PRE: "Code", TABLE: "Table", math: "Formula" };

// Only blocks near the view are measured: a long conversation has hundreds.
const nearView = new IntersectionObserver(
  (entries) => entries.forEach(({ isIntersecting, target }) => isIntersecting && makeReachable(target)),
  { root: scroller, rootMargin: "300% 0px" },
);

// Makes an element that scrolls sideways focusable, and names it.
const makeReachable = (element) => {
  if (element.scrollWidth <= element.clientWidth + 1) return;
  element.tabIndex = 0;
  element.setAttribute("aria-label", `${NAMES[element.tagName]}, scrolls sideways`);
  if (element.tagName === "PRE") element.setAttribute("role", "region");
  nearView.unobserve(element);
};

// An answer's foot is its last element.
const isLive = (element) => Boolean(element.closest(".answer")?.lastElementChild.querySelector(".wire"));

// All but the buttons waits for the end of the answer. Links are named by their targets.
const prepare = (root) => {
  for (const head of findIn(root, ".code-head:not(:has(.wrap))")) addButtons(head);
  for (const link of findIn(root, ".text a:empty:not([aria-label])")) {
    if (!isLive(link)) link.setAttribute("aria-label", link.host || link.href);
  }
  for (const element of findIn(root, ".text :is(pre, table, math[display=block]):not([tabindex])")) {
    if (isLive(element)) continue;
    nearView.observe(element);
    if (element.matches(".code-head + pre")) fold(element.parentElement, root.matches(".answer"));
  }
};

// What came since the last frame. A foot comes with the end of an answer, which is then looked through.
const changed = new Set();

const prepareChanged = () => {
  changed.forEach((element) => element.isConnected && prepare(element));
  changed.clear();
};

const prepareSoon = (element) => {
  if (!changed.size) requestAnimationFrame(prepareChanged);
  changed.add(element.matches(".foot") ? element.parentElement : element);
};

onChanged(prepareSoon);

// A block that fitted before may have to scroll when the thread gets narrower, as beside the settings.
let width = 0;

new ResizeObserver(() => {
  if (thread.clientWidth === width) return;
  width = thread.clientWidth;
  nearView.disconnect();
  prepareSoon(thread);
}).observe(thread);
