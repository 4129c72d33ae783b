// The scroll position of the conversation: it follows the text until the reader scrolls up.

import { run } from "./on_demand.js";
import { box, byId, on, onSwap, scroller, thread } from "./page.js";

const latest = byId("latest");

// The address may name a message, as links of the search do: then the page opens there and not at its end.
const target = byId(location.hash.slice(1));

let following = thread.childElementCount > 0 && !target;
let lastTop = 0;

const isAtEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 4;

const setFollowing = (value) => {
  if (following === value) return;
  following = value;
  latest.hidden = value;
};

const scrollToEnd = () => {
  if (following) scroller.scrollTop = scroller.scrollHeight;
  lastTop = scroller.scrollTop;
};

export const follow = () => {
  setFollowing(true);
  scrollToEnd();
};

// Another attempt, or wording, is another branch: the turns after the previous one are not part of it.
export const showBranch = (source) => {
  const turn = source.closest(".turn");
  const place = [...thread.children].indexOf(turn);
  const group = source.closest(".question") ? ".question" : ".answer";
  while (turn.nextElementSibling) turn.nextElementSibling.remove();
  run(() => import("./refocus.js"), "refocusBranch", source, place, group);
};

// Turns that are inserted above do not move the visible ones. At the very top browsers do not ensure that themselves.
export const keepPlace = () => {
  const turn = thread.querySelector(".turn");
  const before = turn.getBoundingClientRect().top;
  on("htmx:after:swap", () => (scroller.scrollTop += turn.getBoundingClientRect().top - before), { once: true });
};

// Only the reader scrolls upwards: text that grows does not.
scroller.addEventListener(
  "scroll",
  () => {
    if (isAtEnd()) setFollowing(true);
    else if (scroller.scrollTop < lastTop) setFollowing(false);
    lastTop = scroller.scrollTop;
  },
  { passive: true },
);

latest.addEventListener("click", () => {
  follow();
  box.focus({ preventScroll: true });
});

// Called once for each frame that changes a height, after its layout and before its paint.
const heights = new ResizeObserver(scrollToEnd);
[scroller, thread, byId("pending")].forEach((element) => heights.observe(element));

if (target) {
  target.scrollIntoView({ block: "start" });
  latest.hidden = isAtEnd();
}
scrollToEnd();

// Earlier turns are requested before the reader reaches the first one, by scrolling, by keys or by a search in the page.
const nearby = new IntersectionObserver(
  (entries) => entries.forEach(({ isIntersecting, target }) => isIntersecting && target.click()),
  { root: scroller, rootMargin: "1200px 0px 0px" },
);

const watchEarlier = () => {
  nearby.disconnect();
  if (byId("earlier")) nearby.observe(byId("earlier"));
};

watchEarlier();
onSwap(watchEarlier);
