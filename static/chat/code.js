// Blocks that are wide or long: code gets buttons and a fold; what scrolls gets a stop for the keyboard and a name.

import { scroller, thread, wire } from "./page.js";
import { codeOf } from "./clipboard.js";
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

// The block itself and those that continue it in the stretches that follow.
export const wholeOf = (block) => {
  const next = block.matches(":last-child") ? block.parentElement.nextElementSibling : null;
  return next?.matches(".on") ? [block, ...wholeOf(next.firstElementChild)] : [block];
};

const fold = (block) => {
  const lines = codeOf(block).split("\n").length - 1;
  if (lines <= FOLDED || block.querySelector(".unfold")) return;
  const whole = wholeOf(block);
  block.classList.add("folded");
  whole.slice(1).forEach((rest) => rest.classList.add("after-fold"));
  const button = makeButton("unfold", `All ${lines} lines`);
  button.dataset.words = button.textContent;
  button.setAttribute("aria-expanded", "false");
  block.append(button);
};

onUse("click", ".code :is(.wrap, .download, .unfold)", () => import("./code_buttons.js"), "press");

const NAMES = { PRE: "Code", TABLE: "Table", math: "Formula" };

// Only blocks near the view are measured: a long conversation has hundreds.
const nearView = new IntersectionObserver(
  (entries) => entries.forEach(({ isIntersecting, target }) => isIntersecting && makeReachable(target)),
  { root: scroller, rootMargin: "300% 0px" },
);

// An element that scrolls sideways gets a stop for the keyboard, and a name.
const makeReachable = (element) => {
  if (element.scrollWidth <= element.clientWidth + 1) return;
  element.tabIndex = 0;
  element.setAttribute("aria-label", `${NAMES[element.tagName]}, scrolls sideways`);
  if (element.tagName === "PRE") element.setAttribute("role", "region");
  nearView.unobserve(element);
};

const isLive = (element) => Boolean(element.closest(".answer")?.querySelector(".wire"));

// New blocks are measured once they are laid out; a fold waits for the end of its answer.
const prepareBlocks = () => {
  const root = wire()?.closest(".turn") ?? thread;
  nameLinks(root);
  for (const head of root.querySelectorAll(".code-head:not(:has(.wrap))")) addButtons(head);
  for (const element of root.querySelectorAll(".text :is(pre, table, math[display=block]):not([tabindex])")) {
    if (isLive(element)) continue;
    nearView.observe(element);
    if (element.matches("pre") && element.parentElement.querySelector(".code-head")) fold(element.parentElement);
  }
};

// A link without text is named by its target.
const nameLinks = (root) => {
  for (const link of root.querySelectorAll(".text a:empty:not([aria-label])")) {
    if (!isLive(link)) link.setAttribute("aria-label", link.host || link.href);
  }
};

let frame = 0;

const prepareSoon = () => {
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(prepareBlocks);
};

new MutationObserver(prepareSoon).observe(thread, { childList: true, subtree: true });

// A block that fitted before may scroll in a narrower thread, as it is beside the settings.
let width = 0;

new ResizeObserver(() => {
  if (thread.clientWidth === width) return;
  width = thread.clientWidth;
  nearView.disconnect();
  prepareSoon();
}).observe(thread);
